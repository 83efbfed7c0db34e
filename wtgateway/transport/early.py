"""What arrives before it can be used: data before its CONNECT or the answer to it, and a CONNECT before the
peer's SETTINGS (draft-ietf-webtrans-http3-16, sections 4.6, 3.2 and 7.1).

Pure; bounded in bytes, in streams and in datagrams. Imports aioquic's types only.
"""

from __future__ import annotations

from aioquic.h3.events import HeadersReceived

_MAX_STREAMS = 64
_MAX_DATAGRAMS = 32
_MAX_REQUESTS = 16
_MAX_REQUEST_BYTES = 64 << 10  # of capsules behind the requests


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


class EarlyRequests:
    """Holds CONNECTs, and the capsules behind them, until they can be answered: until the peer's SETTINGS say
    how to read them, or until somebody says who may come in.
    """

    def __init__(self) -> None:
        self._requests: dict[int, tuple[HeadersReceived, bytearray]] = {}
        self._ended: set[int] = set()
        self._bytes = 0

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._requests

    def put(self, event: HeadersReceived) -> bool:
        """Keep a request; False: there is no room."""
        if len(self._requests) >= _MAX_REQUESTS:
            return False
        self._requests.setdefault(event.stream_id, (event, bytearray()))
        return True

    def add(self, stream_id: int, data: bytes, ended: bool) -> bool:
        """Keep what follows a request that waits; False: there is no room, and the request is forgotten."""
        if self._bytes + len(data) > _MAX_REQUEST_BYTES:
            self.drop(stream_id)
            return False
        self._requests[stream_id][1].extend(data)
        self._bytes += len(data)
        if ended:
            self._ended.add(stream_id)
        return True

    def drop(self, stream_id: int) -> None:
        """Forget a request."""
        request = self._requests.pop(stream_id, None)
        if request is not None:
            self._bytes -= len(request[1])
            self._ended.discard(stream_id)

    def take_one(self, stream_id: int) -> tuple[bytes, bool] | None:
        """Of that request, which is forgotten: the bytes behind it, and whether its stream has ended."""
        request = self._requests.get(stream_id)
        ended = stream_id in self._ended
        self.drop(stream_id)
        return (bytes(request[1]), ended) if request is not None else None

    def take(self) -> list[tuple[HeadersReceived, bytes, bool]]:
        """All of them, removed: (request, bytes behind it, whether its stream has ended)."""
        taken = [(event, bytes(data), key in self._ended) for key, (event, data) in self._requests.items()]
        self._requests, self._ended, self._bytes = {}, set(), 0
        return taken
