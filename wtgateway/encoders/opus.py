"""Two ways to libopus: through FFmpeg, and straight, for what FFmpeg's wrapper has no option for (DTX).

May import errors, av, encoders.base. The rule: a block of exactly one frame in, its packet out.
Source: RFC 6716 section 2.1.9 (DTX), opus_defines.h (numbers of requests).
"""

from __future__ import annotations

import ctypes as ct
import ctypes.util
import functools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext

from wtgateway.encoders.base import AudioSettings
from wtgateway.errors import EncoderError

SAMPLE_RATE = 48_000
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
Samples = npt.NDArray[np.float32]
_LOW_DELAY_BPS = 32_000  # a channel; below that the SILK half of Opus is worth its 4 ms
_EXPECTED_LOSS = 10  # percent, for fec: how much of the rate its copies may take
_APPLICATIONS = {"voip": 2048, "audio": 2049, "lowdelay": 2051}
_SET_BITRATE, _SET_FEC, _SET_LOSS, _SET_DTX, _GET_LOOKAHEAD = 4002, 4012, 4014, 4016, 4027
_MAX_PACKET = 1275 + 7  # RFC 6716, section 3.4, and how libopus wants it


class OpusCodec(Protocol):
    """An open encoder. ``lookahead``: by how many samples what comes out is older than what went in."""

    lookahead: int
    head: bytes  # OpusHead (RFC 7845, section 5.1); empty where nobody needs it

    def encode(self, block: Samples) -> list[bytes]:
        """A frame of (channels, samples). Raises av.FFmpegError, EncoderError."""


def application(settings: AudioSettings, channels: int) -> str:
    """What libopus is to be good at."""
    if settings.fec:  # only the SILK half of Opus has it, which voip keeps to at more bits
        return "voip"
    return "lowdelay" if settings.bitrate_bps >= _LOW_DELAY_BPS * channels else "audio"


def open_opus(settings: AudioSettings, channels: int) -> OpusCodec:
    """Raises av.FFmpegError, ValueError, EncoderError."""
    if settings.dtx and channels <= 2:
        return DirectOpus(settings, channels)
    return LibavOpus(settings, channels)


class LibavOpus:
    """FFmpeg's."""

    def __init__(self, settings: AudioSettings, channels: int) -> None:
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate, context.format, context.layout = SAMPLE_RATE, "flt", LAYOUTS[channels]
        context.time_base = Fraction(1, SAMPLE_RATE)
        context.bit_rate = settings.bitrate_bps
        context.options = {
            "frame_duration": str(settings.frame_ms),
            "application": application(settings, channels),
            "mapping_family": "1" if channels > 2 else "0",
        }
        if settings.fec:
            context.options |= {"fec": "1", "packet_loss": str(_EXPECTED_LOSS)}
        context.open()
        self.head = bytes(context.extradata or b"")
        self.lookahead = int.from_bytes(self.head[10:12], "little")
        self._context, self._layout = context, LAYOUTS[channels]

    def encode(self, block: Samples) -> list[bytes]:
        """See OpusCodec.encode."""
        interleaved = np.ascontiguousarray(block.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, "flt", self._layout)
        frame.sample_rate = SAMPLE_RATE
        return [bytes(packet) for packet in self._context.encode(frame)]


class DirectOpus:
    """The library itself, with DTX: of silence that lasts, frames of one byte come out.

    They go on coming, so that nothing looks lost and time goes on; decoders make silence, or a little noise,
    of each.
    """

    head = b""

    def __init__(self, settings: AudioSettings, channels: int) -> None:
        library = libopus()
        error = ct.c_int()
        wanted = _APPLICATIONS[application(settings, channels)]
        encoder = library.opus_encoder_create(SAMPLE_RATE, channels, wanted, ct.byref(error))
        if not encoder:
            raise EncoderError(f"libopus gives no encoder of {channels} channels: error {error.value}")
        self._library, self._encoder = library, ct.c_void_p(encoder)
        self._channels = channels
        self._packet = ct.create_string_buffer(_MAX_PACKET)
        self._request(_SET_DTX, ct.c_int(1))
        self._request(_SET_BITRATE, ct.c_int(settings.bitrate_bps))
        if settings.fec:
            self._request(_SET_FEC, ct.c_int(1))
            self._request(_SET_LOSS, ct.c_int(_EXPECTED_LOSS))
        lookahead = ct.c_int()
        self._request(_GET_LOOKAHEAD, ct.byref(lookahead))
        self.lookahead = lookahead.value

    def encode(self, block: Samples) -> list[bytes]:
        """See OpusCodec.encode."""
        interleaved = np.ascontiguousarray(block.T, dtype=np.float32)
        size = self._library.opus_encode_float(
            self._encoder, interleaved.ctypes.data_as(ct.c_void_p), block.shape[1], self._packet, _MAX_PACKET
        )
        if size < 0:
            raise EncoderError(f"libopus failed: error {size}")
        return [self._packet.raw[:size]]

    def __del__(self) -> None:
        if hasattr(self, "_encoder"):
            self._library.opus_encoder_destroy(self._encoder)

    def _request(self, number: int, value: Any) -> None:
        if code := self._library.opus_encoder_ctl(self._encoder, number, value):
            raise EncoderError(f"libopus refuses request {number}: error {code}")


@functools.cache
def libopus() -> ct.CDLL:
    """libopus, preferably the one that came with PyAV. Raises EncoderError."""
    for name in _candidates():
        try:
            library = ct.CDLL(name)
        except OSError:
            continue
        library.opus_encoder_create.restype = ct.c_void_p
        library.opus_encoder_create.argtypes = [ct.c_int32, ct.c_int, ct.c_int, ct.POINTER(ct.c_int)]
        # Its last argument is variadic, which some machines pass in another way: it is left out here.
        library.opus_encoder_ctl.argtypes = [ct.c_void_p, ct.c_int]
        pointer = ct.c_void_p
        library.opus_encode_float.argtypes = [pointer, pointer, ct.c_int, ct.c_char_p, ct.c_int32]
        library.opus_encoder_destroy.argtypes = [pointer]
        library.opus_encoder_destroy.restype = None
        return library
    raise EncoderError("audio.dtx needs libopus; install it (Debian: apt install libopus0), or turn dtx off")


def _candidates() -> Iterator[str]:
    package = Path(av.__file__).parent
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from (str(path) for path in sorted(folder.glob("libopus*")))
    if found := ctypes.util.find_library("opus"):
        yield found
