"""A screen captured when it was drawn to, instead of asking it all the time.

May import clock, av. The rule: the picture is grabbed straight into memory the encoder reads, and
that memory is written again only after everybody let go of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading

import av

from wtgateway import clock
from wtgateway.errors import SourceError
from wtgateway.sources.base import RawVideo, SourceInfo
from wtgateway.sources.uri import ScreenRegion
from wtgateway.sources.xdamage import DamagedDisplay, Pixels, SharedImage
from wtgateway.sources.xlib import XLost, XUnavailable

_IDLE_S = 1.0  # a screen that stands still is shown again so often, for those who join
_MAX_IMAGES = 8


class Cadence:
    """At most so many pictures a second on average; pure.

    One may come half an interval early, so that a screen painted at just that rate, with the
    jitter every painter has, loses none.
    """

    def __init__(self, fps: float) -> None:
        self._interval_us = round(1_000_000 / fps)
        self._next_us = 0

    def earliest_us(self) -> int:
        """When the next picture may be grabbed."""
        return self._next_us - self._interval_us // 2

    def grabbed(self, at_us: int) -> None:
        """One was."""
        self._next_us = max(self._next_us, at_us) + self._interval_us


class DamageSource:
    """A Source of one screen region. Raises XUnavailable from open when it cannot be had so."""

    def __init__(self, region: ScreenRegion, description: str) -> None:
        self._region, self._description = region, description
        self._display: DamagedDisplay | None = None
        self._images: list[SharedImage] = []
        self._size = (0, 0)
        self._cadence = Cadence(region.fps)
        self._damaged_us = 0  # when the change not yet grabbed was seen; 0: none
        self._last_us = 0
        self._last: tuple[Pixels, int] | None = None
        self._refresh = False
        self._closed = False
        self._busy = threading.Lock()  # held while the display is used
        self._pipe_lock = threading.Lock()
        self._wake_read = self._wake_write = -1

    def open(self) -> SourceInfo:
        """See Source.open; also raises XUnavailable."""
        with self._busy:
            self._check_open()
            with self._pipe_lock:
                self._wake_read, self._wake_write = os.pipe()
            self._display = display = DamagedDisplay(self._region.display)
            self._resize(display)
            self._free_image(display)  # finds out whether memory can be shared
        self._damaged_us = clock.now_us()  # the first picture comes at once
        return SourceInfo(
            description=self._description,
            has_video=True,
            has_audio=False,
            width=self._size[0],
            height=self._size[1],
            fps=self._region.fps,
        )

    def read(self) -> RawVideo:
        """See Source.read. A still screen is shown again once a second, and after refresh()."""
        try:
            with self._busy:
                return self._read()
        except (XLost, XUnavailable) as error:
            raise SourceError(f"{self._description}: {error}") from error
        finally:
            self._clean_up_when_closed()

    def refresh(self) -> None:
        """From any thread: make read return now, with the last picture if nothing was drawn."""
        self._refresh = True
        self._wake()

    def close(self) -> None:
        """See Source.close. Who uses the display last takes it down."""
        self._closed = True
        self._wake()
        self._clean_up_when_closed()

    def __del__(self) -> None:
        self._close_pipe()

    def _wake(self) -> None:
        with self._pipe_lock, contextlib.suppress(OSError):
            if self._wake_write >= 0:
                os.write(self._wake_write, b"\0")

    def _read(self) -> RawVideo:
        display = self._display
        if display is None:
            self._check_open()
            raise SourceError(f"{self._description}: it is not open")
        while self._wait_for_damage(display):
            raw = self._grab(display)
            if raw is not None:
                return raw
        return self._again()

    def _wait_for_damage(self, display: DamagedDisplay) -> bool:
        """True when there is something new and it may be grabbed; False: show the last one again."""
        idle_until_us = self._last_us + round(_IDLE_S * 1e6)
        while True:
            self._check_open()
            now_us = clock.now_us()
            if display.drain() and not self._damaged_us:
                self._damaged_us = now_us
            if self._damaged_us:
                until_us = self._cadence.earliest_us()
                if now_us >= until_us:
                    return True
            else:
                until_us = idle_until_us
                if self._last is not None and (self._refresh or now_us >= until_us):
                    return False
            self._sleep(display, max(0, until_us - now_us) / 1e6)

    def _sleep(self, display: DamagedDisplay, seconds: float) -> None:
        ready, _, _ = select.select([display.fileno, self._wake_read], [], [], seconds)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)

    def _grab(self, display: DamagedDisplay) -> RawVideo | None:
        self._resize(display)
        capture_us, self._damaged_us = self._damaged_us, 0
        image = self._free_image(display)
        if not display.grab(image, self._region.x, self._region.y):
            self._damaged_us = capture_us  # the screen shrank between; its event is on its way
            self._cadence.grabbed(clock.now_us())
            return None
        grabbed_us = clock.now_us()
        self._cadence.grabbed(grabbed_us)
        return self._yield(image.take(), capture_us, grabbed_us)

    def _again(self) -> RawVideo:
        assert self._last is not None
        now_us = clock.now_us()
        return self._yield(self._last[0], now_us, now_us)

    def _yield(self, pixels: Pixels, capture_us: int, grabbed_us: int) -> RawVideo:
        self._refresh = False
        capture_us = max(capture_us, self._last_us + 1)
        self._last_us, self._last = capture_us, (pixels, capture_us)
        frame = av.VideoFrame.from_numpy_buffer(pixels, format="bgra")
        return RawVideo(frame, capture_us, capture_us, grabbed_us, round(1_000_000 / self._region.fps))

    def _free_image(self, display: DamagedDisplay) -> SharedImage:
        for image in self._images:
            if image.free:
                return image
        if len(self._images) >= _MAX_IMAGES:
            raise SourceError(f"{self._description}: its pictures are not let go of")
        image = display.image(*self._size)
        self._images.append(image)
        return image

    def _resize(self, display: DamagedDisplay) -> None:
        region = self._region
        room = (display.width - region.x, display.height - region.y)
        size = (min(region.width or room[0], room[0]), min(region.height or room[1], room[1]))
        if min(size) < 2:  # not XUnavailable: polling would see no more
            raise SourceError(f"{self._description}: the region lies outside of the screen")
        if size != self._size:
            self._drop_images()
            self._size = size

    def _drop_images(self) -> None:
        for image in self._images:
            image.detach()
        self._images.clear()
        self._last = None

    def _check_open(self) -> None:
        if self._closed:
            raise SourceError(f"{self._description}: closed")

    def _clean_up_when_closed(self) -> None:
        if not self._closed or not self._busy.acquire(blocking=False):
            return  # whoever is busy comes by here afterwards
        try:
            display, self._display = self._display, None
            if display is not None:
                self._drop_images()
                display.close()
            self._close_pipe()
        finally:
            self._busy.release()

    def _close_pipe(self) -> None:
        with self._pipe_lock:
            ends, self._wake_read, self._wake_write = (self._wake_read, self._wake_write), -1, -1
        for end in ends:
            if end >= 0:
                os.close(end)
