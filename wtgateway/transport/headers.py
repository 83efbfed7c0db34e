"""The header fields of a WebTransport CONNECT (RFC 9220, draft-ietf-webtrans-http3-16 sections 3.2 and 3.3).

Pure: lists of byte pairs in and out. Imports the values of this package only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wtgateway.transport import structured_fields
from wtgateway.transport.drafts import Draft
from wtgateway.transport.webtransport import Refusal, SessionRequest

Fields = list[tuple[bytes, bytes]]

REASON_FIELD = b"wtgateway-reason"
_PROTOCOLS = ("webtransport", "webtransport-h3")  # drafts before and after the rename
_MAX_REASON = 256


def parse_request(
    fields: Sequence[tuple[bytes, bytes]], remote: tuple[Any, ...], draft: Draft
) -> SessionRequest | Refusal:
    """The CONNECT that ``fields`` are, or how to refuse what they are instead."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    if headers.get(":method") != "CONNECT":
        return Refusal(404, "this port speaks WebTransport only; pages are on the web port")
    if headers.get(":protocol") not in _PROTOCOLS:
        return Refusal(501, "only WebTransport can be CONNECTed to here")
    if headers.get(":scheme") != "https" or not headers.get(":path", "").startswith("/"):
        return Refusal(400, "a WebTransport CONNECT needs the scheme https and an absolute path")
    return SessionRequest(
        path=headers[":path"],
        authority=headers.get(":authority", ""),
        origin=headers.get("origin", ""),
        headers={name: value for name, value in headers.items() if not name.startswith(":")},
        remote=remote,
        protocols=parse_offers(headers.get("wt-available-protocols", ""), draft),
    )


def parse_offers(value: str, draft: Draft) -> tuple[str, ...]:
    """The sub-protocols of WT-Available-Protocols, best first; a field to be ignored is none."""
    return structured_fields.parse_strings(value, tokens=draft < Draft.DRAFT_13) or ()


def parse_choice(value: str, draft: Draft) -> str:
    """The sub-protocol of WT-Protocol; a field to be ignored is the empty string."""
    return structured_fields.parse_string(value, tokens=draft < Draft.DRAFT_13) or ""


def choose_protocol(offered: Sequence[str], supported: Sequence[str]) -> str:
    """The client's first offer that we support, or the empty string."""
    return next((name for name in offered if name in supported), "")


def acceptance(protocol: str, draft: Draft) -> Fields:
    """The fields of 200. Browsers still announce draft 02 and want it answered."""
    fields = [(b":status", b"200")]
    if draft < Draft.DRAFT_13:
        fields.append((b"sec-webtransport-http3-draft", b"draft02"))
    if protocol:
        fields.append((b"wt-protocol", structured_fields.format_strings([protocol]).encode()))
    return fields


def refusal(answer: Refusal) -> Fields:
    """The fields of a 4xx or 5xx; what no field may carry is taken out of the reason."""
    words = "".join(c if 0x20 <= ord(c) < 0x7F else "?" for c in answer.reason)[:_MAX_REASON].strip()
    fields = [(b":status", str(answer.status).encode()), (REASON_FIELD, words.encode())]
    if answer.retry_after_s:
        fields.append((b"retry-after", str(answer.retry_after_s).encode()))
    return fields


def request(
    authority: str, path: str, protocols: Sequence[str], extra: Mapping[str, str], draft: Draft
) -> Fields:
    """The fields of our own CONNECT."""
    old = draft < Draft.DRAFT_13
    fields = [
        (b":method", b"CONNECT"),
        (b":protocol", b"webtransport" if old else b"webtransport-h3"),
        (b":scheme", b"https"),
        (b":authority", authority.encode()),
        (b":path", path.encode()),
    ]
    if old:
        fields.append((b"sec-webtransport-http3-draft02", b"1"))
    if protocols:
        fields.append((b"wt-available-protocols", structured_fields.format_strings(protocols).encode()))
    return fields + [(name.lower().encode(), value.encode()) for name, value in extra.items()]
