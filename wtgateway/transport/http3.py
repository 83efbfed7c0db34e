"""aioquic's HTTP/3 connection with what WebTransport adds since draft 02, in one place.

Its SETTINGS announce every draft that is spoken (:mod:`drafts`), the peer's are checked for what they
may not say, and a WebTransport stream may begin at the beginning of a request stream only. Where a
changed aioquic no longer asks the methods below, what is announced is draft 02, as aioquic does itself.
Imports aioquic and this package.
"""

from __future__ import annotations

from collections.abc import Collection

import pylsqpack
from aioquic.h3.connection import (
    FrameError,
    FrameType,
    H3Connection,
    H3Stream,
    HeadersState,
    Setting,
    SettingsError,
)
from aioquic.quic.connection import QuicConnection

from wtgateway.transport import drafts, internals
from wtgateway.transport.drafts import Draft, Limits


def spoken() -> tuple[Draft, ...]:
    """The drafts that this aioquic allows."""
    return drafts.ALL if internals.EXTENSIBLE else (Draft.DRAFT_02, Draft.DRAFT_07)


class Http3Connection(H3Connection):
    """Announces ``offered`` drafts with ``limits`` for each session."""

    def __init__(
        self, quic: QuicConnection, *, offered: Collection[Draft], limits: Limits, max_sessions: int
    ) -> None:
        self._offered, self._limits = offered, limits
        self._announcement = drafts.announcement(offered, limits, max_sessions)
        super().__init__(quic, enable_webtransport=True)
        if (self.sent_settings or {}).get(Setting.QPACK_MAX_TABLE_CAPACITY) == 0:
            self._decoder = pylsqpack.Decoder(0, 0)

    def draft(self) -> Draft | None:
        """The draft that both ends speak; None before the peer's SETTINGS, and where there is none.

        A client that follows the text to be published announces nothing but datagrams (section 3.1).
        """
        theirs, ours = self.received_settings, self.sent_settings or {}
        if theirs is None:
            return None
        announced = [draft for draft in self._offered if ours.get(draft.setting)]
        found = drafts.negotiate(announced, theirs)
        if found is None and not self._is_client and Draft.DRAFT_15 in announced and self.datagrams:
            return Draft.DRAFT_15
        return found

    def credit(self, draft: Draft) -> Limits | None:
        """What the peer lets each session send at first; None: there is no flow control."""
        return drafts.flow_control(draft, self._limits, self.received_settings or {})

    @property
    def datagrams(self) -> bool:
        """Whether the peer takes HTTP Datagrams (RFC 9297, section 2.1.1)."""
        return (self.received_settings or {}).get(drafts.H3_DATAGRAM) == 1

    # --- what aioquic asks itself ------------------------------------------------------------------

    def _get_local_settings(self) -> dict[int, int]:
        settings = super()._get_local_settings()
        # No dynamic table: with one, a few bytes that refer to a long entry again and again become headers of
        # any size (RFC 9204, section 7.1), and a CONNECT's headers are too few to gain by it.
        settings |= {Setting.QPACK_MAX_TABLE_CAPACITY: 0, Setting.QPACK_BLOCKED_STREAMS: 0}
        if Draft.DRAFT_02 not in self._offered:
            del settings[Setting.ENABLE_WEBTRANSPORT]
        return settings | self._announcement

    def _validate_settings(self, settings: dict[int, int]) -> None:
        super()._validate_settings(settings)
        if found := drafts.problem(settings):
            raise SettingsError(found)

    def _check_control_frame_type(self, frame_type: int) -> None:
        if frame_type == FrameType.WEBTRANSPORT_STREAM:  # section 4.3
            raise FrameError("WT_STREAM on a control stream")
        super()._check_control_frame_type(frame_type)

    def _check_request_or_push_frame_type(self, frame_type: int, stream: H3Stream) -> None:
        if frame_type == FrameType.WEBTRANSPORT_STREAM and stream.headers_recv_state != HeadersState.INITIAL:
            raise FrameError("WT_STREAM behind the beginning of a stream")
        super()._check_request_or_push_frame_type(frame_type, stream)
