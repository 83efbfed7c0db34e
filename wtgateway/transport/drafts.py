"""Which draft of WebTransport over HTTP/3 a connection speaks: SETTINGS in, a decision out.

An endpoint announces every draft that it speaks, each by a setting of its own, and both take the
highest that they share (draft-ietf-webtrans-http3-16, section 7.1). Streams, datagrams and error
codes are the same in all of them; what differs is who waits for whose SETTINGS, session flow control
and a header field.

| draft | its setting | spoken by |
|---|---|---|
| 02 | ENABLE_WEBTRANSPORT 0x2b603742 | Chromium, Firefox |
| 07 | WEBTRANSPORT_MAX_SESSIONS 0xc671706a | moq-rs, quinn's family |
| 13, 14 | WT_MAX_SESSIONS 0x14e9cd29 | Safari 26.4 |
| 15, 16 | WT_ENABLED 0x2c7cf000 | pywebtransport, webtransport-go |

Pure; imports nothing of the project.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

H3_DATAGRAM = 0x33  # RFC 9297, section 2.1.1
INITIAL_MAX_DATA = 0x2B61
INITIAL_MAX_STREAMS_UNI = 0x2B64
INITIAL_MAX_STREAMS_BIDI = 0x2B65

MAX_STREAMS = 1 << 60  # no more streams have an identifier


class Draft(enum.IntEnum):
    """The generations of draft-ietf-webtrans-http3, by the first draft of each."""

    DRAFT_02 = 2
    DRAFT_07 = 7
    DRAFT_13 = 13
    DRAFT_15 = 15  # and 16, the current one

    @property
    def setting(self) -> int:
        """The identifier that announces it."""
        return _SETTINGS[self]


_SETTINGS = {
    Draft.DRAFT_02: 0x2B603742,
    Draft.DRAFT_07: 0xC671706A,
    Draft.DRAFT_13: 0x14E9CD29,
    Draft.DRAFT_15: 0x2C7CF000,
}
_COUNTS_SESSIONS = (Draft.DRAFT_07, Draft.DRAFT_13)  # the setting's value is how many are allowed

ALL = tuple(Draft)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one end lets the other send in a session before more is granted (section 5.5)."""

    max_data: int = 0  # bytes of stream bodies
    max_streams_uni: int = 0
    max_streams_bidi: int = 0

    def __bool__(self) -> bool:
        """Whether the end that says so wishes for flow control (section 5.1)."""
        return bool(self.max_data or self.max_streams_uni or self.max_streams_bidi)


def announcement(drafts: Collection[Draft], limits: Limits, max_sessions: int) -> dict[int, int]:
    """The SETTINGS that say so; draft 02 alone says nothing of limits."""
    settings = {draft.setting: max_sessions if draft in _COUNTS_SESSIONS else 1 for draft in drafts}
    if max(drafts) >= Draft.DRAFT_13:
        settings[INITIAL_MAX_DATA] = limits.max_data
        settings[INITIAL_MAX_STREAMS_UNI] = limits.max_streams_uni
        settings[INITIAL_MAX_STREAMS_BIDI] = limits.max_streams_bidi
    return settings


def problem(settings: Mapping[int, int]) -> str:
    """Why the connection has to end with H3_SETTINGS_ERROR; empty: it has not (sections 3.1 and 5.6.2)."""
    if settings.get(Draft.DRAFT_15.setting, 0) > 1:
        return "SETTINGS_WT_ENABLED is neither 0 nor 1"
    for setting in (INITIAL_MAX_STREAMS_UNI, INITIAL_MAX_STREAMS_BIDI):
        if settings.get(setting, 0) > MAX_STREAMS:
            return "a limit on streams is over 2^60"
    return ""


def negotiate(ours: Collection[Draft], theirs: Mapping[int, int]) -> Draft | None:
    """The highest draft of both, or None when the peer announces none of ours."""
    return max((draft for draft in ours if theirs.get(draft.setting)), default=None)


def flow_control(draft: Draft, ours: Limits, theirs: Mapping[int, int]) -> Limits | None:
    """The peer's initial limits, or None when sessions have no flow control (section 5.1)."""
    if draft < Draft.DRAFT_13 or not ours:
        return None
    limits = Limits(
        theirs.get(INITIAL_MAX_DATA, 0),
        theirs.get(INITIAL_MAX_STREAMS_UNI, 0),
        theirs.get(INITIAL_MAX_STREAMS_BIDI, 0),
    )
    several = draft == Draft.DRAFT_13 and theirs.get(draft.setting, 0) > 1  # drafts 13 and 14 count this too
    return limits if limits or several else None
