"""Which session each QUIC stream belongs to, and writing, resetting and stopping them safely.

What a peer did to a stream meanwhile (stopped it, finished it) is its right: such calls are counted,
never raised. Imports aioquic and this package.
"""

from __future__ import annotations

from collections import Counter

from aioquic.h3.connection import H3Connection
from aioquic.quic.connection import QuicConnection

from wtgateway.transport import internals
from wtgateway.transport.webtransport import WebTransportSession

_PRUNE_AT = 512


def is_unidirectional(stream_id: int) -> bool:
    """RFC 9000 section 2.1."""
    return bool(stream_id & 2)


class StreamTable:
    """The WebTransport streams of one connection; ``h3`` is set once HTTP/3 is agreed on."""

    def __init__(self, quic: QuicConnection, counters: Counter[str]) -> None:
        self.h3: H3Connection | None = None
        self._quic = quic
        self._is_client = quic.configuration.is_client
        self._counters = counters
        self._owners: dict[int, WebTransportSession] = {}
        self._local_bidi: set[int] = set()
        self._prune_at = _PRUNE_AT
        self._resets_held: dict[int, int] = {}

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
        """Queue bytes, if that stream still takes some."""
        try:
            self._quic.send_stream_data(stream_id, data, fin)
        except (ValueError, RuntimeError):
            self._counters["late_writes"] += 1

    def reset(self, stream_id: int, http3_code: int) -> None:
        """RESET_STREAM, if that stream still has something to reset.

        One that the peer's stream limit holds back is reset when the limit allows: aioquic would send
        the frame at once, and the peer would have to close the connection (RFC 9000, section 4.6).
        """
        if internals.is_blocked(self._quic, stream_id):
            self._resets_held[stream_id] = http3_code
            return
        try:
            self._quic.reset_stream(stream_id, http3_code)
        except ValueError:
            self._counters["late_resets"] += 1

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

    def _forget_in_h3(self, stream_id: int) -> None:
        if self.h3 is not None and not is_unidirectional(stream_id):
            internals.forget_request_stream(self.h3, stream_id)
