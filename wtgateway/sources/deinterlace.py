"""Whole pictures of interlaced ones: what is shown line by line in two moments looks like a comb elsewhere.

May import av. The rule: progressive pictures pass untouched, until the first interlaced one comes. From then
on each waits for the next, of which the filter needs to know; its time stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

# It looks at the pictures before and after, one comes out for each. Progressive ones go through unchanged.
_FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")


class Deinterlacer:
    """Pictures of one track in the order in which they are shown. Used by one thread.

    ``time_base``: of pictures that do not say themselves.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: Any = None  # av.filter.Graph
        self._shape: tuple[Any, ...] = ()

    def __call__(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """What can be shown now; pictures come out with their own times, in another time base."""
        frame.time_base = frame.time_base or self._time_base
        shape = (frame.width, frame.height, frame.format.name, frame.time_base)
        if self._graph is None and not frame.interlaced_frame:
            return [frame]
        held: list[av.VideoFrame] = []
        if self._graph is None or shape != self._shape:
            held = self.flush()
            if not frame.interlaced_frame:
                return [*held, frame]
            self._open(frame, shape)
        self._graph.push(frame)
        return [*held, *self._pull()]

    def flush(self) -> list[av.VideoFrame]:
        """What is still held back; the next picture begins anew."""
        if self._graph is None:
            return []
        self._graph.push(None)
        held = list(self._pull())
        self._graph = None
        return held

    def _open(self, frame: av.VideoFrame, shape: tuple[Any, ...]) -> None:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        whole, sink = graph.add(*_FILTER), graph.add("buffersink")
        source.link_to(whole)
        whole.link_to(sink)
        graph.configure()
        self._graph, self._shape = graph, shape

    def _pull(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
