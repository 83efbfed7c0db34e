"""What arrives before its CONNECT or the answer to it (draft-ietf-webtrans-http3 section 4.6).

Pure; bounded in bytes, in streams and in datagrams. Imports nothing.
"""

from __future__ import annotations

_MAX_STREAMS = 64
_MAX_DATAGRAMS = 32


class EarlyStreams:
    """Holds the pieces in the order of their arrival until the session opens."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._pieces: list[tuple[int, int, bytes, bool]] = []
        self._streams: set[int] = set()
        self._datagrams: list[tuple[int, bytes]] = []

    def put(self, session_id: int, stream_id: int, data: bytes, fin: bool) -> bool:
        """Keep a piece; False: there is no room, the stream has to be rejected as a whole."""
        streams = self._streams | {stream_id}
        if self._bytes + len(data) > self._limit_bytes or len(streams) > _MAX_STREAMS:
            self.drop(stream_id)
            return False
        self._streams = streams
        self._bytes += len(data)
        self._pieces.append((session_id, stream_id, data, fin))
        return True

    def take(self, session_id: int) -> list[tuple[int, bytes, bool]]:
        """All of that session, removed: (stream, bytes, fin)."""
        taken = [piece[1:] for piece in self._pieces if piece[0] == session_id]
        for stream_id in {piece[0] for piece in taken}:
            self.drop(stream_id)
        return taken

    def put_datagram(self, session_id: int, data: bytes) -> None:
        """Keep a datagram; one that there is no room for is lost, as datagrams may be."""
        if len(self._datagrams) < _MAX_DATAGRAMS:
            self._datagrams.append((session_id, data))

    def take_datagrams(self, session_id: int) -> list[bytes]:
        """All of that session, removed."""
        taken = [data for key, data in self._datagrams if key == session_id]
        self._datagrams = [item for item in self._datagrams if item[0] != session_id]
        return taken

    def drop(self, stream_id: int) -> None:
        """Forget a stream."""
        if stream_id in self._streams:
            self._pieces = [piece for piece in self._pieces if piece[1] != stream_id]
            self._streams.discard(stream_id)
            self._bytes = sum(len(piece[2]) for piece in self._pieces)
