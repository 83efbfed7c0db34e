"""What stands between a pipeline's threads: bounded, counted, and the newest picture wins.

May import media, hub values and the values of sources; every class here is safe between threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wtgateway import clock
from wtgateway.media import Catalog, Frame

if TYPE_CHECKING:
    from wtgateway.sources.base import RawAudio, RawVideo

AUDIO_QUEUE_US = 500_000
OUTBOX_FRAMES = 240
OUTBOX_BYTES = 16 * 1024 * 1024
_JUMP_US = 1_000_000  # further back is another timeline


@dataclass(slots=True)
class PipelineStats:
    """Counters since the pipeline was made."""

    pictures_skipped: int = 0  # a newer one came before the encoder was free
    sound_skipped: int = 0
    outbox_dropped: int = 0  # the event loop did not take them in time
    restarts: int = 0
    process_deaths: int = 0  # of sources that have a process of their own
    source_lost: int = 0  # frames that the main process did not take from there in time


class LatestSlot:
    """Holds the newest picture for the encoder.

    With nothing new and a keyframe wanted, the last picture is given once more, so that a viewer
    who joins a still screen need not wait for it to move. That it becomes one is GroupBorders' business.
    Timestamps grow all the same: what was merely late, and comes after that, is shown right after it.
    """

    def __init__(self, stats: PipelineStats) -> None:
        self._condition = threading.Condition()
        self._stats = stats
        self._fresh: RawVideo | None = None
        self._last: RawVideo | None = None
        self._taken_us = 0
        self._repeated_us: int | None = None  # what follows that is later than this
        self._keyframe = False
        self._patience_us = 0  # until the last one is given again; 0: a quarter of its duration
        self._closed = False

    def put(self, raw: RawVideo) -> None:
        """Offer a picture; one that was not taken yet is skipped and counted."""
        with self._condition:
            self._stats.pictures_skipped += self._fresh is not None
            self._fresh = raw
            self._condition.notify()

    def remind(self, raw: RawVideo, since_us: int) -> None:
        """A picture that came at ``since_us`` is given again, soon, unless a newer one comes."""
        with self._condition:
            self._last, self._taken_us, self._keyframe, self._patience_us = raw, since_us, True, 0
            self._condition.notify()

    def postpone(self, patience_us: int) -> None:
        """The picture that was taken came too soon: it comes again after so long, or a newer one before."""
        with self._condition:
            self._keyframe, self._patience_us = True, patience_us

    def want_keyframe(self) -> None:
        """A picture is to be taken soon, be it the last one again."""
        with self._condition:
            self._keyframe, self._patience_us = True, 0
            self._condition.notify()

    def close(self) -> None:
        """Make every take return None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def take(self) -> RawVideo | None:
        """Wait for a picture; None when closed."""
        with self._condition:
            raw = None
            while not self._closed and raw is None:
                if self._fresh is not None:
                    raw, self._fresh = self._after_repeated(self._fresh), None
                elif not self._keyframe or self._last is None:
                    self._condition.wait()
                elif not self._changed_within(self._patience_us, self._last.duration_us):
                    raw = self._repeat(self._last)
                    self._repeated_us = raw.pts_us
            if raw is None:
                return None
            self._keyframe, self._last, self._patience_us = False, raw, 0
            self._taken_us = clock.now_us()
            return raw

    def _changed_within(self, patience_us: int, duration_us: int) -> bool:
        """Whether the last picture need not be given again, or not yet.

        A quarter of an interval is what waiting for the next picture may cost.
        """
        return self._condition.wait_for(
            lambda: self._closed or self._fresh is not None or self._patience_us != patience_us,
            (patience_us or duration_us / 4) / 1e6,
        )

    def _after_repeated(self, raw: RawVideo) -> RawVideo:
        """When a picture was given again is nothing that the source knows of."""
        repeated_us = self._repeated_us
        if repeated_us is None:
            return raw
        if repeated_us - _JUMP_US < raw.pts_us <= repeated_us:
            self._repeated_us = repeated_us + 1  # the next one may be as late
            return replace(raw, pts_us=repeated_us + 1)
        self._repeated_us = None
        return raw

    def _repeat(self, raw: RawVideo) -> RawVideo:
        passed_us = max(clock.now_us() - self._taken_us, 1)
        return replace(
            raw,
            pts_us=raw.pts_us + passed_us,
            capture_us=raw.capture_us + passed_us,
            grabbed_us=raw.grabbed_us + passed_us if raw.grabbed_us else 0,
        )


class SoundQueue:
    """At most half a second of sound on its way to the encoder; the oldest goes first.

    Sound that is wanted at times only has breaks, across which nothing is to be joined.
    """

    def __init__(self, stats: PipelineStats) -> None:
        self._condition = threading.Condition()
        self._stats = stats
        self._items: deque[RawAudio] = deque()
        self._queued_us = 0
        self._broken = False
        self._closed = False

    def break_off(self) -> None:
        """What is queued is not wanted any more; what comes next does not follow it."""
        with self._condition:
            self._items.clear()
            self._queued_us, self._broken = 0, True

    def put(self, raw: RawAudio) -> None:
        """Append; what exceeds the bound is dropped from the front and counted."""
        with self._condition:
            self._items.append(raw)
            self._queued_us += raw.duration_us
            while self._queued_us > AUDIO_QUEUE_US and len(self._items) > 1:
                self._queued_us -= self._items.popleft().duration_us
                self._stats.sound_skipped += 1
            self._condition.notify()

    def close(self) -> None:
        """Make every take return None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def take(self) -> tuple[RawAudio, bool] | None:
        """Wait for sound; returns it and whether there was a break before it, or None when closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return None
            raw = self._items.popleft()
            self._queued_us -= raw.duration_us
            broken, self._broken = self._broken, False
            return raw, broken


class Outbox:
    """Carries frames from encoder threads to the event loop, bounded, one wake-up for a burst."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Frame | Catalog], None],
        stats: PipelineStats,
    ) -> None:
        self._loop, self._deliver, self._stats = loop, deliver, stats
        self._lock = threading.Lock()
        self._items: deque[Frame | Catalog] = deque()
        self._bytes = 0
        self._woken = False

    def post(self, item: Frame | Catalog) -> bool:
        """From any thread; whether it goes on. Frames over the bound are dropped and counted."""
        with self._lock:
            if isinstance(item, Frame):
                if len(self._items) >= OUTBOX_FRAMES or self._bytes > OUTBOX_BYTES:
                    self._stats.outbox_dropped += 1
                    return False
                self._bytes += len(item.payload)
            self._items.append(item)
            woken, self._woken = self._woken, True
        if not woken:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._drain)
        return True

    def _drain(self) -> None:
        with self._lock:
            items, self._items = self._items, deque()
            self._bytes, self._woken = 0, False
        for item in items:
            self._deliver(item)
