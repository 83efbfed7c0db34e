"""The other end of moq-rs's client: as much of moq-lite-05 as one broadcast each way needs.

After draft-lcurley-moq-lite: a stream begins with its type; messages begin with their length; strings
have a length; all numbers are variable-length integers.
"""

from __future__ import annotations

from tests.transport.ends import Recorder
from wtgateway.transport.varint import decode_varint, encode_varint
from wtgateway.transport.webtransport import WebTransportSession

PROTOCOL = "moq-lite-05"
_ANNOUNCE, _SUBSCRIBE, _TRACK = 1, 2, 6  # bidirectional streams
_GROUP, _SETUP = 0, 1  # unidirectional ones
_SUBSCRIPTION = 5  # the id of ours


def number(value: int) -> bytes:
    return encode_varint(value)


def text(value: str) -> bytes:
    return number(len(value)) + value.encode()


def message(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return number(len(body)) + body


class Reader:
    """Values out of bytes; raises ValueError when they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def number(self) -> int:
        found = decode_varint(self._data, self._at)
        if found is None:
            raise ValueError("not all there")
        value, self._at = found
        return value

    def take(self, size: int) -> bytes:
        if self.left < size:
            raise ValueError("not all there")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        return self.take(self.number()).decode()

    def message(self) -> Reader:
        return Reader(self.take(self.number()))


class MoqPeer(Recorder):
    """Publishes broadcast "down" with track "t", and subscribes to track "t" of the client's "up".

    ``received`` has the frames and datagrams of "up"; ``group`` is what "down" consists of.
    """

    def __init__(self, group: list[bytes], datagram: bytes) -> None:
        super().__init__()
        self.group, self.sent_datagram = group, datagram
        self.received: list[bytes] = []
        self.received_datagrams: list[bytes] = []
        self.kinds: set[str] = set()
        self._answered: set[int] = set()
        self._ours: dict[int, str] = {}

    def opened(self, session: WebTransportSession) -> None:
        super().opened(session)
        self._uni(number(_SETUP) + message(number(0)))
        announce = session.open_bidi()
        self._ours[announce] = "announce"
        session.send(announce, number(_ANNOUNCE) + message(text(""), number(0)))
        session.flush()

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        super().stream_data(stream_id, data, fin)
        reader = Reader(bytes(self.streams[stream_id]))
        try:
            if stream_id in self._ours:
                self.kinds.add("ours, both ways")
                self._answer_to_us(stream_id, reader)
            elif stream_id & 2:
                self._incoming(stream_id, reader, fin)
            elif stream_id not in self._answered:
                self.kinds.add("theirs, both ways")
                self._asked(stream_id, reader)
        except ValueError:
            return  # the rest will come
        self.open.flush()

    # --- what the client asks -----------------------------------------------------------------------

    def _asked(self, stream_id: int, reader: Reader) -> None:
        kind, session = reader.number(), self.open
        request = reader.message()
        self._answered.add(stream_id)
        if kind == _ANNOUNCE:
            origin = number(77)
            announced = message(b"\x01", text("down"), number(0))
            session.send(stream_id, message(origin, number(1)) + announced)
        elif kind == _TRACK:
            session.send(stream_id, message(b"\x00\x00", number(60_000), number(1_000_000)), True)
        elif kind == _SUBSCRIBE:
            subscription = request.number()
            assert (request.text(), request.text()) == ("down", "t")
            session.send(stream_id, number(0) + message(number(0)))  # begins with group 0
            frames = b"".join(number(0) + message(frame) for frame in self.group)
            self._uni(number(_GROUP) + message(number(subscription), number(0)) + frames)
            body = number(subscription) + number(1) + number(0) + self.sent_datagram
            assert session.send_datagram(body)
        else:
            session.reset(stream_id, 0)  # probing and so on: not here

    def _uni(self, data: bytes) -> None:
        stream_id = self.open.open_uni()
        self.open.send(stream_id, data, True)
        self.kinds.add("ours, one way")

    # --- what we ask --------------------------------------------------------------------------------

    def _answer_to_us(self, stream_id: int, reader: Reader) -> None:
        if self._ours[stream_id] != "announce":
            return
        reader.message()  # who it is and how many it has
        while reader.left:
            announced = reader.message()
            status = announced.number()
            if status == 1 and announced.text() == "up" and "subscribe" not in self._ours.values():
                subscribe = self.open.open_bidi()
                self._ours[subscribe] = "subscribe"
                wish = (number(_SUBSCRIPTION), text("up"), text("t"), b"\x80\x00", number(60_000))
                self.open.send(subscribe, number(_SUBSCRIBE) + message(*wish, number(0), number(0)))

    def _incoming(self, stream_id: int, reader: Reader, fin: bool) -> None:
        self.kinds.add("theirs, one way")
        if not fin or reader.number() != _GROUP:
            return
        assert reader.message().number() == _SUBSCRIPTION
        while reader.left:
            reader.number()  # time since the frame before
            self.received.append(reader.take(reader.number()))

    def datagram(self, data: bytes) -> None:
        super().datagram(data)
        reader = Reader(data)
        assert reader.number() == _SUBSCRIPTION
        reader.number()
        reader.number()
        self.received_datagrams.append(reader.take(reader.left))
