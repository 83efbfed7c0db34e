"""The HTTPS certificate of the web pages for `--public`: self-signed, so that browsers ask once.

It is not accepted by hash, so the 14-day rule does not bind it; it stays the same as long as it can,
because browsers remember the exception by it. Blocks; belongs in a thread.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

from wtgateway.certs.certificate import Certificate, make_certificate, parse_pem, subject_names_of, to_pem
from wtgateway.certs.names import SubjectNames
from wtgateway.certs.policy import BACKDATE_S, DAY_S, Window
from wtgateway.certs.store import MAX_FILE_BYTES
from wtgateway.errors import CertificateError
from wtgateway.private_files import directory_lock, prepare_directory, read_private, write_private

log = logging.getLogger(__name__)

PAGE_FILE = "page.pem"
VALIDITY_S = 397 * DAY_S  # the longest that browsers take without remark
RENEW_BEFORE_S = 30 * DAY_S


def make_page_certificate(directory: Path, names: SubjectNames, now: float) -> Path:
    """The path of one PEM file with key and certificate (for a certfile and a keyfile alike).

    Kept while it is valid for another 30 days and carries all of ``names``. Raises
    :exc:`CertificateError` when the directory cannot be used.
    """
    path = directory / PAGE_FILE
    try:
        prepare_directory(directory)
        with directory_lock(directory):
            data = read_private(path, MAX_FILE_BYTES)
            found, intact = parse_pem(data) if data is not None else ([], True)
            if not intact or not found or not _good(found[0], names, now):
                if not intact:
                    log.warning("the page certificate %s is damaged and is replaced", path)
                start = math.floor(now) - BACKDATE_S
                window = Window(start + BACKDATE_S, start, start + VALIDITY_S)
                write_private(path, to_pem(make_certificate(window, names)))
    except OSError as error:
        raise CertificateError(
            f"the page certificate {path} cannot be kept: {error.strerror or error}; "
            "choose a writable directory with --certs-dir"
        ) from None
    return path


def _good(certificate: Certificate, names: SubjectNames, now: float) -> bool:
    window = certificate.window
    in_time = window.not_before <= now < window.not_after - RENEW_BEFORE_S
    return in_time and subject_names_of(certificate).covers(names)
