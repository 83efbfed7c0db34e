"""Opus for ears that packets may not reach: what is missing is recovered from the next, or made up.

FFmpeg's decoders have no call for either, so libopus is asked itself. May import encoders.opus, errors, av.
The rule: a packet in, its samples out, behind those of the packets that are missing before it.
Source: RFC 6716, section 2.1.7 (copies of the past in a packet), opus.h (opus_decode_float).
"""

from __future__ import annotations

import ctypes as ct
import functools
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from wtgateway.encoders.opus import LAYOUTS, SAMPLE_RATE, libopus
from wtgateway.errors import EncoderError

_MOST_SAMPLES = 5760  # a packet's, 120 ms
_MOST_MISSING_US = 200_000  # more is no loss but a pause
_MICROSECONDS = Fraction(1, 1_000_000)
Samples = npt.NDArray[np.float32]


class RefusedPacketError(Exception):
    """What came is no packet of Opus."""


class ConcealingOpus:
    """A decoder of one or two channels. Raises EncoderError without libopus."""

    def __init__(self, channels: int) -> None:
        self._library = _library()
        error = ct.c_int()
        decoder = self._library.opus_decoder_create(SAMPLE_RATE, channels, ct.byref(error))
        if not decoder:
            raise EncoderError(f"libopus gives no decoder of {channels} channels: error {error.value}")
        self._decoder = ct.c_void_p(decoder)
        self._layout, self._channels = LAYOUTS[channels], channels
        self._samples = np.empty((_MOST_SAMPLES, channels), np.float32)
        self._end_us: int | None = None  # where the samples of the last packet ended
        self._last = 0  # how many those were

    def decode(self, packet: av.Packet[Any]) -> list[av.AudioFrame]:
        """The packet's samples; before them those that are missing, whose ``pts`` is less than the packet's.

        Timestamps are µs. Raises RefusedPacketError for what is no packet; the next one can be decoded.
        """
        data, pts_us = bytes(packet), packet.pts
        assert pts_us is not None
        missing = self._missing(pts_us)
        frames = []
        for number in range(missing):
            # A packet holds a copy of the one right before it, if of any.
            source = data if number == missing - 1 else None
            samples = self._decode(source, self._last, fec=source is not None)
            frames.append(self._frame(samples, pts_us - _us((missing - number) * self._last)))
        samples = self._decode(data, _MOST_SAMPLES, fec=False)
        self._last = len(samples)
        self._end_us = pts_us + _us(len(samples))
        return [*frames, self._frame(samples, pts_us)]

    def _missing(self, pts_us: int) -> int:
        """How many packets of the last one's length would fit before this one."""
        if self._end_us is None or not 0 < pts_us - self._end_us <= _MOST_MISSING_US:
            return 0
        return round((pts_us - self._end_us) / _us(self._last))

    def _decode(self, data: bytes | None, samples: int, *, fec: bool) -> Samples:
        count = self._library.opus_decode_float(
            self._decoder,
            data,
            len(data) if data else 0,
            self._samples.ctypes.data_as(ct.c_void_p),
            samples,
            int(fec),
        )
        if count < 0:
            raise RefusedPacketError(f"libopus refuses a packet: error {count}")
        return self._samples[:count].copy()

    def _frame(self, samples: Samples, pts_us: int) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), "fltp", self._layout)
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, pts_us, _MICROSECONDS
        return frame

    def __del__(self) -> None:
        if hasattr(self, "_decoder"):
            self._library.opus_decoder_destroy(self._decoder)


def _us(samples: int) -> int:
    return samples * 1_000_000 // SAMPLE_RATE


@functools.cache
def _library() -> ct.CDLL:
    library = libopus()
    library.opus_decoder_create.restype = ct.c_void_p
    library.opus_decoder_create.argtypes = [ct.c_int32, ct.c_int, ct.POINTER(ct.c_int)]
    pointer = ct.c_void_p
    library.opus_decode_float.argtypes = [pointer, ct.c_char_p, ct.c_int32, pointer, ct.c_int, ct.c_int]
    library.opus_decoder_destroy.argtypes = [pointer]
    library.opus_decoder_destroy.restype = None
    return library
