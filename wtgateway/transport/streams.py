"""Which session each QUIC stream belongs to, and writing, resetting and stopping them safely.

What a peer did to a stream meanwhile (stopped it, finished it) is its right: such calls are counted,
never raised. Imports aioquic and this package.
"""

from __future__ import annotations

from collections import Counter

from aioquic.h3.connection import FrameType, H3Connection, StreamType
from aioquic.quic.connection import QuicConnection

from wtgateway.transport import internals
from wtgateway.transport.flow_control import Credit
from wtgateway.transport.reset_stream_at import ResetStreamAtConnection
from wtgateway.transport.varint import encode_varint
from wtgateway.transport.webtransport import WebTransportSession

_PRUNE_AT = 512


def is_unidirectional(stream_id: int) -> bool:
    """RFC 9000 section 2.1."""
    return bool(stream_id & 2)


def preamble(session_id: int, *, unidirectional: bool) -> bytes:
    """The bytes before a stream's body, which name its session (draft-ietf-webtrans-http3-16, section 4)."""
    kind = StreamType.WEBTRANSPORT if unidirectional else FrameType.WEBTRANSPORT_STREAM
    return encode_varint(kind) + encode_varint(session_id)


class StreamTable:
    """The WebTransport streams of one connection; ``h3`` is set once HTTP/3 is agreed on.

    ``preambles_arrive``: a stream that is reset still delivers its preamble, as drafts since 13 want it.
    """

    def __init__(self, quic: QuicConnection, counters: Counter[str]) -> None:
        self.h3: H3Connection | None = None
        self.preambles_arrive = False
        self._quic = quic
        self._is_client = quic.configuration.is_client
        self._counters = counters
        self._owners: dict[int, WebTransportSession] = {}
        self._local_bidi: set[int] = set()
        self._prune_at = _PRUNE_AT
        self._resets_held: dict[int, int] = {}
        self._given_up: set[int] = set()  # reset, and told so to their session's credit

    def __len__(self) -> int:
        return len(self._owners)

    # --- whose -----------------------------------------------------------------------------------

    def add(self, stream_id: int, session: WebTransportSession) -> None:
        """The stream belongs to that session."""
        self._owners[stream_id] = session
        if self.is_local(stream_id) and not is_unidirectional(stream_id):
            self._local_bidi.add(stream_id)
        if len(self._owners) > self._prune_at:  # streams come by the dozen a second, and are over soon
            self._prune()

    def owner(self, stream_id: int) -> WebTransportSession | None:
        """The open session that stream belongs to."""
        owner = self._owners.get(stream_id)
        return None if owner is None or owner.closed else owner

    def is_local(self, stream_id: int) -> bool:
        """Whether this end opened it."""
        return stream_id & 1 != self._is_client

    def is_answer(self, stream_id: int) -> bool:
        """Whether its bytes answer on a stream we opened: without preamble, not for H3Connection."""
        return stream_id in self._local_bidi

    def live(self, session: WebTransportSession) -> list[int]:
        """The session's streams that QUIC still keeps."""
        return [
            stream_id
            for stream_id, owner in self._owners.items()
            if owner is session and internals.is_live(self._quic, stream_id)
        ]

    def forget(self, session: WebTransportSession) -> None:
        """The session is over."""
        self._owners = {key: owner for key, owner in self._owners.items() if owner is not session}

    # --- acts ------------------------------------------------------------------------------------

    def write(self, stream_id: int, data: bytes, fin: bool) -> None:
        """Queue bytes, if that stream still takes some; what the session has no credit for waits."""
        owner = self._owners.get(stream_id)
        if owner is not None and owner.credit is not None:
            if internals.is_reset(self._quic, stream_id):
                self._counters["late_writes"] += 1
                return
            allowed = owner.credit.write(stream_id, data, fin)
            if allowed is None:
                return
            data, fin = allowed
        self._write(stream_id, data, fin)

    def _write(self, stream_id: int, data: bytes, fin: bool) -> None:
        try:
            self._quic.send_stream_data(stream_id, data, fin)
        except (ValueError, RuntimeError):
            self._counters["late_writes"] += 1

    def release(self, credit: Credit) -> None:
        """Write what waited for the session's credit."""
        for released in credit.release():
            if internals.is_reset(self._quic, released.stream_id):  # stopped by the peer a moment ago
                credit.given_up(released.stream_id, released.size)
                continue
            self._write(released.stream_id, released.data, released.fin)
            if released.reset is not None:
                self.reset(released.stream_id, released.reset)

    def reset(self, stream_id: int, http3_code: int) -> None:
        """RESET_STREAM, if that stream still has something to reset.

        One that the peer's stream limit holds back is reset when the limit allows: aioquic would send
        the frame at once, and the peer would have to close the connection (RFC 9000, section 4.6).
        """
        owner = self._owners.get(stream_id)
        credit = owner.credit if owner is not None else None
        if credit is not None and credit.delay_reset(stream_id, http3_code):
            return
        if internals.is_blocked(self._quic, stream_id):
            self._resets_held[stream_id] = http3_code
            return
        head = self._preamble(stream_id, owner)
        try:
            if not head:
                self._quic.reset_stream(stream_id, http3_code)
            elif not self._quic.reset_stream_at(stream_id, http3_code, head):  # type: ignore[attr-defined]
                self._resets_held[stream_id] = http3_code
                return
        except ValueError:
            self._counters["late_resets"] += 1
        self.stopped(stream_id)

    def stopped(self, stream_id: int) -> None:
        """A stream was reset, by us or because the peer stopped it: what was never sent is credit again."""
        owner = self._owners.get(stream_id)
        if owner is None or owner.credit is None or stream_id in self._given_up:
            return
        self._given_up.add(stream_id)
        head = preamble(owner.id, unidirectional=is_unidirectional(stream_id))
        spared = internals.never_sent(self._quic, stream_id, len(head) if self.is_local(stream_id) else 0)
        owner.credit.given_up(stream_id, spared)

    def _preamble(self, stream_id: int, owner: WebTransportSession | None) -> bytes:
        """What has to arrive of a stream although it is reset."""
        if (
            owner is None
            or not self.preambles_arrive
            or not self.is_local(stream_id)
            or not isinstance(self._quic, ResetStreamAtConnection)
        ):
            return b""
        return preamble(owner.id, unidirectional=is_unidirectional(stream_id))

    def release_held_resets(self) -> None:
        """Send the resets that the peer's stream limit allows by now."""
        for stream_id, code in list(self._resets_held.items()):
            if not internals.is_blocked(self._quic, stream_id):
                del self._resets_held[stream_id]
                self.reset(stream_id, code)

    def stop(self, stream_id: int, http3_code: int) -> None:
        """STOP_SENDING, if bytes may still arrive."""
        if internals.can_receive(self._quic, stream_id):
            try:
                self._quic.stop_stream(stream_id, http3_code)
            except ValueError:
                self._counters["late_stops"] += 1

    def reject(self, stream_id: int, http3_code: int) -> None:
        """Give the stream up in every direction that it has."""
        if not is_unidirectional(stream_id) or self.is_local(stream_id):
            self.reset(stream_id, http3_code)
        self.stop(stream_id, http3_code)
        self._forget_in_h3(stream_id)

    def _prune(self) -> None:
        live = {key: owner for key, owner in self._owners.items() if internals.is_live(self._quic, key)}
        for stream_id in self._owners.keys() - live.keys():
            self._forget_in_h3(stream_id)
        self._owners, self._prune_at = live, max(_PRUNE_AT, 2 * len(live))
        self._local_bidi &= live.keys()
        self._given_up &= live.keys()

    def _forget_in_h3(self, stream_id: int) -> None:
        if self.h3 is not None and not is_unidirectional(stream_id):
            internals.forget_request_stream(self.h3, stream_id)
