"""Binary layouts of media on the wire (docs/protocol.md, "Media objects").

A unidirectional stream carries one or more frame objects back to back; datagrams carry pieces of them
(:mod:`~wtgateway.protocol.fragments`). :func:`encode_frame` makes the bytes once per rendition; every viewer
shares them.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol.codes import CloseCode

PROTOCOL_VERSION = 1
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
FRAME_HEADER_BYTES = 48


class ObjectType(enum.IntEnum):
    """First byte of every media object and datagram. Values not listed are reserved."""

    FRAME = 0x01  # on streams
    FRAGMENT = 0x10  # in datagrams, as all that follow
    PARITY = 0x11
    PADDING = 0x1F
    NACK = 0x20  # from the viewer
    ARRIVALS = 0x21  # from the viewer


class FrameFlag(enum.IntFlag):
    """Second byte of a frame object. Unknown bits are ignored."""

    KEYFRAME = 0x01
    DISCARDABLE = 0x02


_HEADER = struct.Struct(">BBBBIIIQQIIII")
assert _HEADER.size == FRAME_HEADER_BYTES
_U32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A frame object's header: a :class:`Frame` without its payload, and the payload's length."""

    track: int
    rendition: int
    flags: FrameFlag
    group: int
    index: int
    payload_bytes: int
    pts_us: int
    capture_us: int
    duration_us: int
    grab_delta_us: int
    convert_delta_us: int
    encode_delta_us: int

    @property
    def keyframe(self) -> bool:
        """Whether the frame begins a group."""
        return FrameFlag.KEYFRAME in self.flags

    def frame(self, payload: bytes) -> Frame:
        """The whole frame; stage times come back from their deltas (0 stays 0: no such stage)."""

        def stage(delta_us: int) -> int:
            return self.capture_us + delta_us if delta_us else 0

        return Frame(
            track=self.track,
            rendition=self.rendition,
            group=self.group,
            index=self.index,
            keyframe=self.keyframe,
            pts_us=self.pts_us,
            capture_us=self.capture_us,
            duration_us=self.duration_us,
            payload=payload,
            grabbed_us=stage(self.grab_delta_us),
            converted_us=stage(self.convert_delta_us),
            encoded_us=stage(self.encode_delta_us),
            discardable=FrameFlag.DISCARDABLE in self.flags,
        )


def encode_frame(frame: Frame) -> bytes:
    """A frame object: 48 bytes of header and the payload.

    Raises ValueError if the payload is longer than MAX_PAYLOAD_BYTES.
    """
    if len(frame.payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {len(frame.payload)} bytes is over {MAX_PAYLOAD_BYTES}")
    flags = (FrameFlag.KEYFRAME if frame.keyframe else 0) | (
        FrameFlag.DISCARDABLE if frame.discardable else 0
    )

    def delta(stage_us: int) -> int:
        return min(max(stage_us - frame.capture_us, 1), _U32) if stage_us else 0

    return (
        _HEADER.pack(
            ObjectType.FRAME,
            flags,
            frame.track,
            frame.rendition,
            frame.group,
            frame.index,
            len(frame.payload),
            frame.pts_us,
            frame.capture_us,
            min(max(frame.duration_us, 0), _U32),
            delta(frame.grabbed_us),
            delta(frame.converted_us),
            delta(frame.encoded_us),
        )
        + frame.payload
    )


def decode_frame_header(data: bytes | bytearray | memoryview) -> FrameHeader:
    """Parse the first 48 bytes of ``data``.

    Raises ProtocolError (MALFORMED) for fewer bytes, another object type or a payload over the
    limit.
    """
    if len(data) < FRAME_HEADER_BYTES:
        raise ProtocolError(CloseCode.MALFORMED, f"a frame header of {len(data)} bytes is cut short")
    kind, flags, track, rendition, group, index, size, pts, capture, duration, grab, conv, enc = (
        _HEADER.unpack_from(data)
    )
    if kind != ObjectType.FRAME:
        raise ProtocolError(CloseCode.MALFORMED, f"object type 0x{kind:02x} is not a frame")
    if size > MAX_PAYLOAD_BYTES:
        raise ProtocolError(CloseCode.TOO_LARGE, f"a payload of {size} bytes is over the limit")
    return FrameHeader(
        track, rendition, FrameFlag(flags & 0x03), group, index, size, pts, capture, duration, grab, conv, enc
    )


class FrameParser:
    """Cuts a stream's bytes into frames. Feed it in order; it holds at most one unfinished frame.

    Raises ProtocolError as :func:`decode_frame_header`; after an error it must not be fed again.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: FrameHeader | None = None

    @property
    def idle(self) -> bool:
        """True at a frame's border, the only place where a stream may end in order."""
        return not self._buffer and self._header is None

    @property
    def header(self) -> FrameHeader | None:
        """The header of the unfinished frame, once it is here."""
        return self._header

    @property
    def buffered(self) -> int:
        """Bytes of the unfinished frame that are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames completed by ``data``."""
        self._buffer += data
        frames: list[Frame] = []
        while True:
            if self._header is None:
                if len(self._buffer) < FRAME_HEADER_BYTES:
                    return frames
                self._header = decode_frame_header(self._buffer)
            end = FRAME_HEADER_BYTES + self._header.payload_bytes
            if len(self._buffer) < end:
                return frames
            frames.append(self._header.frame(bytes(self._buffer[FRAME_HEADER_BYTES:end])))
            del self._buffer[:end]
            self._header = None
