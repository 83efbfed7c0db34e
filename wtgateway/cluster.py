"""The secret that the nodes of a cluster share, and the keys that are derived from it.

One file of 32 random bytes or more, the same on every node, is all that nodes must agree on: Retry tokens,
stateless resets, resume tokens and certificates of one node are then good on all of them. Each use has a key
of its own (HKDF-SHA256, RFC 5869, with the use's name as *info*), so that none of them says anything about
another or about the secret.

The file is text: hexadecimal digits; white space and lines that begin with ``#`` are ignored. Imports errors
only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wtgateway.errors import ConfigError

log = logging.getLogger(__name__)

SECRET_BYTES: Final = 32  # of a secret that is made here, and the least that is taken
MAX_SECRET_BYTES: Final = 256
MAX_FILE_BYTES: Final = 16_384
EXPECTED: Final = (
    f"at least {2 * SECRET_BYTES} hexadecimal digits, the same on all nodes; "
    "make one with `wtgateway cluster secret FILE` and copy it to each"
)
_HEADER = (
    "# wtgateway cluster secret: the same on all nodes of one cluster; whoever has it can pose as any.\n"
)


class ClusterSecret:
    """The cluster's secret. Neither ``str`` nor ``repr`` shows it."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if not SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
            raise ValueError(f"a cluster secret has {SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
        self._secret = secret

    @classmethod
    def load(cls, path: Path) -> ClusterSecret:
        """Read ``path``; blocks, so it belongs in a thread. Raises :exc:`ConfigError` with what to do."""
        try:
            return cls(parse_secret(_read(path)))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ConfigError("cluster.secret", "", str(path), f"a file that can be read ({why})") from None
        except ValueError:  # without its text: that is what others must not see
            raise ConfigError("cluster.secret", "", str(path), f"a file with {EXPECTED}") from None

    def key(self, label: str, size: int = 32) -> bytes:
        """The key of ``size`` bytes (1 to 8160) for the use ``label``; always the same for the same label."""
        info = b"wtgateway " + label.encode()
        return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(self._secret)

    @property
    def fingerprint(self) -> str:
        """Eight digits that are equal on nodes with the same secret, and tell nothing else about it."""
        return self.key("fingerprint", 4).hex()

    def __repr__(self) -> str:
        return f"<ClusterSecret {self.fingerprint}>"


def parse_secret(data: bytes) -> bytes:
    """The secret in the text of its file. Raises ValueError for anything else."""
    if len(data) > MAX_FILE_BYTES:
        raise ValueError("too long")
    lines = data.removeprefix(b"\xef\xbb\xbf").decode("ascii").splitlines()
    secret = bytes.fromhex("".join(line for line in lines if not line.lstrip().startswith("#")))
    if not SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError("too short or too long")
    return secret


def make_secret(path: Path) -> ClusterSecret:
    """Write a new secret to ``path``, mode 0600. Raises :exc:`ConfigError`, also when there is such a file.

    Nothing is ever overwritten: with another secret this node would no longer be one of its cluster.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        expected = "a file that does not exist yet; delete that one first if its cluster is no more"
        raise ConfigError("command line", "FILE", str(path), expected) from None
    except OSError as error:
        expected = f"a place where a file can be made ({error.strerror})"
        raise ConfigError("command line", "FILE", str(path), expected) from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(f"{_HEADER}{secret.hex()}\n".encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()  # half a secret would be taken for one
        raise ConfigError("command line", "FILE", str(path), f"room for a file ({error.strerror})") from None
    return ClusterSecret(secret)


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if mode & 0o077:
            _close_to_others(stream.fileno(), path, mode)
        return stream.read(MAX_FILE_BYTES + 1)


def _close_to_others(descriptor: int, path: Path, mode: int) -> None:
    """One that is mounted into a container for a group only is as it should be, and not ours to change."""
    try:
        os.fchmod(descriptor, 0o600)
    except OSError:
        if mode & 0o007:
            log.warning("everybody on this machine can read the cluster secret %s; use chmod 600", path)
        return
    log.warning("others could read the cluster secret %s; now they cannot (mode 0600)", path)
