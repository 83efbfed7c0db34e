"""The encoded renditions of one video track: a thread for each, running while somebody wants it.

May import media, and the values of sources and encoders. The rule: a picture is put once and encoded
once for each rendition that is wanted; what one of them cannot take in time does not hold up another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from wtgateway import clock
from wtgateway.media import Frame, Rendition
from wtgateway.pipeline.queues import LatestSlot, PipelineStats

if TYPE_CHECKING:
    from wtgateway.encoders import GroupBorders, VideoEncoder
    from wtgateway.protocol.targets import EncoderTarget
    from wtgateway.sources.base import RawVideo

StartThread = Callable[[str, Callable[[], None]], threading.Thread]


class Rung:
    """One rendition while it runs: its slot, its encoder, its thread."""

    def __init__(
        self,
        encoder: VideoEncoder,
        stats: PipelineStats,
        encoded: Callable[[Rendition, list[Frame]], None],
        target: EncoderTarget | None = None,
    ) -> None:
        self.slot = LatestSlot(stats)
        self.target = target  # from any thread; the encoder's own follows it with the next picture
        self._followed: EncoderTarget | None = None
        self._encoder, self._encoded = encoder, encoded
        self._stopped = threading.Event()

    def run(self) -> None:
        """Encode until stopped; the thread's body."""
        try:
            while (raw := self.slot.take()) is not None:
                self._follow()
                if self._encoder.skips(raw):
                    self.slot.postpone(self._followed.every * raw.duration_us if self._followed else 0)
                    continue
                frames = self._encoder.encode(raw)
                if not frames and not self._encoder.begun:
                    self.slot.want_keyframe()  # it could not begin with this one, and no other may come
                # One that follows may be running already: this one's frames would come behind its.
                if self._encoder.rendition is not None and not self._stopped.is_set():
                    self._encoded(self._encoder.rendition, frames)
        finally:
            self._encoder.close()

    def _follow(self) -> None:
        target = self.target
        if target is None or target == self._followed:
            return
        self._encoder.set_bitrate(target.bitrate_bps)
        self._encoder.reconfigure(scale=target.scale, every=target.every)
        self._followed = target

    def stop(self) -> None:
        """End the thread after the picture it is at; does not wait for it."""
        self._stopped.set()
        self.slot.close()


class Ladder:
    """``want`` says which renditions are to run, ``put`` gives all of them a picture."""

    def __init__(
        self,
        groups: GroupBorders,
        make: Callable[[int], VideoEncoder],
        encoded: Callable[[Rendition, list[Frame]], None],
        start: StartThread,
        stats: PipelineStats,
    ) -> None:
        """``make`` gives the encoder of a rendition id, at once: ``want`` calls it, and its caller waits."""
        self._groups, self._make, self._encoded = groups, make, encoded
        self._start, self._stats = start, stats
        self._lock = threading.Lock()
        self._rungs: dict[int, Rung] = {}
        self._threads: list[threading.Thread] = []
        self._targets: Mapping[int, EncoderTarget] = {}
        self._last: RawVideo | None = None
        self._last_us = 0
        self._closed = False

    @property
    def running(self) -> frozenset[int]:
        """Ids of the renditions that are encoded."""
        with self._lock:
            return frozenset(self._rungs)

    def want(self, renditions: Iterable[int]) -> None:
        """From any thread: these and no others are to run."""
        wanted = set(renditions)
        with self._lock:
            if self._closed:
                return
            for gone in set(self._rungs) - wanted:
                self._rungs.pop(gone).stop()
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            first = not self._rungs  # nobody has encoded the last picture
            for new in sorted(wanted - set(self._rungs)):
                rung = self._rungs[new] = Rung(
                    self._make(new), self._stats, self._encoded, self._targets.get(new)
                )
                self._give_last(rung.slot, as_it_is=first)
                self._threads.append(self._start(f"video{new}", rung.run))

    def _give_last(self, slot: LatestSlot, *, as_it_is: bool) -> None:
        """A still picture would never come again."""
        if self._last is None:
            return
        if as_it_is and clock.now_us() - self._last_us < self._last.duration_us:
            slot.put(self._last)
        else:
            slot.remind(self._last, self._last_us)

    def put(self, raw: RawVideo) -> None:
        """A picture for all that run."""
        with self._lock:
            self._last, self._last_us = raw, clock.now_us()
            for rung in self._rungs.values():
                rung.slot.put(raw)

    def follow(self, targets: Mapping[int, EncoderTarget]) -> None:
        """From any thread: what each rendition's encoder is to do, from the next picture on."""
        with self._lock:
            self._targets = targets
            for number, rung in self._rungs.items():
                rung.target = targets.get(number, rung.target)

    def want_keyframe(self) -> None:
        """All renditions begin a group with the next picture, or soon with the last one again."""
        self._groups.want()
        with self._lock:
            for rung in self._rungs.values():
                rung.slot.want_keyframe()

    def close(self) -> list[threading.Thread]:
        """Stop all; the threads that are to be waited for."""
        with self._lock:
            self._closed = True
            for rung in self._rungs.values():
                rung.stop()
            self._rungs.clear()
            return self._threads
