"""What the packet witness must know of TLS 1.3: the cipher suite and both sides' transport parameters.

RFC 8446 section 4, RFC 9001 section 8.2, RFC 9000 section 18. Nothing is checked: aioquic does the
handshake, and a wrong value here shows as a packet that cannot be opened.
"""

from __future__ import annotations

from tests.transport.equivalence.frames import Crypto, Reader

_QUIC_TRANSPORT_PARAMETERS = 57
_INTEGER_PARAMETERS = frozenset(range(0x04, 0x0C)) | {0x01, 0x03, 0x0E, 0x20}
MAX_DATA, STREAM_BIDI_LOCAL, STREAM_BIDI_REMOTE, STREAM_UNI = 0x04, 0x05, 0x06, 0x07
STREAMS_BIDI, STREAMS_UNI, ACK_DELAY_EXPONENT, MAX_ACK_DELAY = 0x08, 0x09, 0x0A, 0x0B
MAX_DATAGRAM_FRAME_SIZE = 0x20
_DEFAULTS = {ACK_DELAY_EXPONENT: 3, MAX_ACK_DELAY: 25}


class CryptoReader:
    """One side's CRYPTO stream of one packet number space, in any order of its pieces."""

    def __init__(self) -> None:
        self.suite: int | None = None
        self.parameters: dict[int, int] | None = None
        self._pieces: dict[int, bytes] = {}
        self._data = bytearray()
        self._at = 0

    def feed(self, frame: Crypto) -> None:
        """A CRYPTO frame."""
        self._pieces[frame.offset] = max(self._pieces.get(frame.offset, b""), frame.data, key=len)
        for offset, data in sorted(self._pieces.items()):
            if offset <= len(self._data) < offset + len(data):
                self._data += data[len(self._data) - offset :]
        while self._message():
            pass

    def _message(self) -> bool:
        reader = Reader(bytes(self._data))
        reader.at = self._at
        if reader.left < 4:
            return False
        kind, size = reader.number(1), reader.number(3)
        if reader.left < size:
            return False
        body = Reader(reader.take(size))
        self._at = reader.at
        match kind:
            case 1:
                body.take(2 + 32)
                body.take(body.number(1))  # session ID
                body.take(body.number(2))  # cipher suites
                body.take(body.number(1))  # compression methods
                self._extensions(body)
            case 2:
                body.take(2 + 32)
                body.take(body.number(1))
                self.suite = body.number(2)
            case 8:
                self._extensions(body)
        return True

    def _extensions(self, body: Reader) -> None:
        extensions = Reader(body.take(body.number(2)))
        while extensions.left:
            kind, data = extensions.number(2), extensions.take(extensions.number(2))
            if kind == _QUIC_TRANSPORT_PARAMETERS:
                self.parameters = _parameters(Reader(data))


def _parameters(reader: Reader) -> dict[int, int]:
    found = dict(_DEFAULTS)
    while reader.left:
        number, value = reader.varint(), Reader(reader.take(reader.varint()))
        if number in _INTEGER_PARAMETERS:
            found[number] = value.varint()
    return found
