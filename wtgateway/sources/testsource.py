"""``test:``, our own generator: a picture that can be measured, and a beep with its flash.

May import clock, av, numpy. The rule: every timestamp is an exact multiple of the frame or block
length since a whole second of gateway time, so that flash and beep begin at the same pts.
"""

from __future__ import annotations

import math
import threading
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from wtgateway import clock
from wtgateway.errors import ConfigError, SourceError
from wtgateway.sources.base import RawAudio, RawVideo, SourceInfo, SourceOptions
from wtgateway.sources.testpicture import FLASH_US, TestPicture
from wtgateway.sources.uri import DEFAULT_FPS, parse_number, parse_query, parse_size

SAMPLE_RATE = 48_000
BLOCK_SAMPLES = 480  # 10 ms: divides the second, the beep and both frame lengths of Opus
_BLOCK_US = 10_000
_BLOCKS_A_SECOND = 100
_LEVEL = 10 ** (-12 / 20)
_RAMP_S = 0.005
_BEHIND_US = 1_000_000  # further behind than this, pictures and blocks are left out


class TestSource:
    """A Source: ``test:?size=1280x720&fps=30&tone=1000`` (tone=0: no sound)."""

    __test__ = False

    def __init__(self, uri: str, options: SourceOptions) -> None:
        query = parse_query(uri)
        if unknown := set(query) - {"size", "fps", "tone"}:
            raise ConfigError(
                "source", "", uri, f"test:?size=1280x720&fps=30&tone=1000, not {sorted(unknown)}"
            )
        size = (options.width or 1280, options.height or 720)
        width, height = parse_size(query["size"], uri) if "size" in query else size
        if not (64 <= width <= 7680 and 64 <= height <= 4320):
            raise ConfigError("source", "size", f"{width}x{height}", "between 64x64 and 7680x4320")
        fps = parse_number(query.get("fps", ""), uri) or options.fps or DEFAULT_FPS
        tone_hz = parse_number(query["tone"], uri) if "tone" in query else 1000.0
        if not 1 <= fps <= 240 or tone_hz > SAMPLE_RATE / 2:
            raise ConfigError("source", "", uri, "fps from 1 to 240 and a tone of at most 24000 Hz")
        self._size = (width & ~1, height & ~1)
        self._frame_us = 1_000_000 / Fraction(fps).limit_denominator(1001)
        self._tone_hz = tone_hz
        self._closed = threading.Event()
        self._picture: TestPicture | None = None
        self._beep: list[npt.NDArray[np.int16]] = []
        self._second_us = 0  # a whole second; all timestamps count from it
        self._first_slot = self._slot = 0  # pictures since then: the first one's, the next one's
        self._block = 0  # the same of sound

    def open(self) -> SourceInfo:
        """See Source.open; takes a few ms."""
        self._check_open()
        self._picture = TestPicture(*self._size)
        self._beep = make_beep(self._tone_hz) if self._tone_hz else []
        now_us = clock.now_us()
        self._second_us = now_us - now_us % 1_000_000
        self._first_slot = self._slot = math.ceil((now_us - self._second_us) / self._frame_us)
        self._block = math.ceil((now_us - self._second_us) / _BLOCK_US)
        width, height = self._size
        return SourceInfo(
            description="test picture" + (" and tone" if self._beep else ""),
            has_video=True,
            has_audio=bool(self._beep),
            width=width,
            height=height,
            fps=float(1_000_000 / self._frame_us),
            sample_rate=SAMPLE_RATE if self._beep else 0,
            channels=2 if self._beep else 0,
        )

    def read(self) -> RawVideo | RawAudio:
        """See Source.read; sound first where both are due at once."""
        if self._picture is None:
            raise SourceError("test picture: it is not open")
        audio_us = self._second_us + self._block * _BLOCK_US
        if self._beep and audio_us <= self._pts_us(self._slot):
            return self._sound(audio_us)
        return self._paint(self._picture)

    def want_pictures(self, wanted: bool) -> None:
        """See Source.want_pictures; here pictures always come."""

    def want_sound(self, wanted: bool) -> None:
        """See Source.want_sound; here sound always comes, where there is any."""

    def close(self) -> None:
        """See Source.close."""
        self._closed.set()

    def _pts_us(self, slot: int) -> int:
        return self._second_us + round(slot * self._frame_us)

    def _paint(self, picture: TestPicture) -> RawVideo:
        pts_us = self._pts_us(self._slot)
        late_us = self._wait_until(pts_us)
        if late_us > _BEHIND_US:
            self._slot += int(late_us / self._frame_us)
            pts_us = self._pts_us(self._slot)
        slot, self._slot = self._slot, self._slot + 1
        # From 1 on: the barcode of 0 is a black strip, which any dark picture has.
        frame = picture.draw(slot - self._first_slot + 1, pts_us)
        return RawVideo(frame, pts_us, pts_us, clock.now_us(), self._pts_us(slot + 1) - pts_us)

    def _sound(self, pts_us: int) -> RawAudio:
        late_us = self._wait_until(pts_us)
        if late_us > _BEHIND_US:
            self._block += late_us // _BLOCK_US
            pts_us = self._second_us + self._block * _BLOCK_US
        samples = self._beep[self._block % _BLOCKS_A_SECOND]
        self._block += 1
        frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
        frame.sample_rate = SAMPLE_RATE
        return RawAudio(frame, pts_us, pts_us, _BLOCK_US)

    def _wait_until(self, due_us: int) -> int:
        """How late it is, in µs; negative never. Raises SourceError once closed."""
        early_us = due_us - clock.now_us()
        if early_us > 0:
            self._closed.wait(early_us / 1e6)
        self._check_open()
        return max(0, -early_us)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise SourceError("test picture: closed")


def make_beep(tone_hz: float) -> list[npt.NDArray[np.int16]]:
    """One second from a whole one on, in blocks of 1 x (2 * BLOCK_SAMPLES): a beep, then silence."""
    length = SAMPLE_RATE * FLASH_US // 1_000_000
    at_s = np.arange(length) / SAMPLE_RATE
    ramp = np.minimum(1, np.minimum(at_s, at_s[::-1]) / _RAMP_S)
    second = np.zeros(SAMPLE_RATE)
    second[:length] = _LEVEL * ramp * np.sin(2 * np.pi * tone_hz * at_s)
    stereo = np.repeat((second * 32767).astype(np.int16), 2)
    return [block[None, :] for block in np.split(stereo, _BLOCKS_A_SECOND)]
