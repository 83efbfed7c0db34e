"""Puts the frames of a sound track in order, each rendition's by itself.

While a viewer goes over to another rendition (:class:`~wtgateway.protocol.switching.SoundSwitch`), both come
for a moment, each with its own groups; who plays them goes by their timestamps. Mirrored by
client/src/media/sound_order.js. Pure; imports media only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.media import Frame
from wtgateway.protocol.ordering import FrameOrder, OrderCounters

APART_US = 500_000  # a rendition that was left so long ago begins anew: what it missed is no loss


@dataclass(slots=True)
class SoundOrder:
    """One track's frames in, the same frames in order out. Shaped like FrameOrder."""

    patience_us: int = 60_000
    counters: OrderCounters = field(default_factory=OrderCounters)
    _orders: dict[int, FrameOrder] = field(default_factory=dict)  # the last two renditions, newest last
    _newest_us: dict[int, int] = field(default_factory=dict)

    @property
    def newest(self) -> tuple[int, int, int] | None:
        """Rendition, group and index of the last frame delivered, of the rendition that came last."""
        current = next(reversed(self._orders.values()), None)
        return current.newest if current is not None else None

    def delivered(self, frame: Frame) -> bool:
        """Whether that one was delivered, or comes too late for it."""
        order = self._orders.get(frame.rendition)
        return order is not None and order.delivered(frame)

    def push(self, frame: Frame, now_us: int) -> list[Frame]:
        """Take in a frame; returns the frames that can be decoded now."""
        order = self._of(frame)
        newest_us = self._newest_us.get(frame.rendition, frame.pts_us)
        self._newest_us[frame.rendition] = max(newest_us, frame.pts_us)
        return order.push(frame, now_us)

    def lost(self, rendition: int, group: int, index: int, now_us: int) -> list[Frame]:
        """A frame will never come."""
        order = self._orders.get(rendition)
        return order.lost(group, index, now_us) if order else []

    def advance(self, now_us: int) -> list[Frame]:
        """Give up waiting where time has run out."""
        return [frame for order in self._each() for frame in order.advance(now_us)]

    def next_timeout(self) -> int | None:
        """When :meth:`advance` has something to do if nothing arrives; None: never."""
        return min((due for order in self._each() if (due := order.next_timeout()) is not None), default=None)

    def take_keyframe_request(self) -> bool:
        """Never: sound has no keyframes."""
        return False

    def _each(self) -> list[FrameOrder]:
        for order in self._orders.values():
            order.patience_us = self.patience_us
        return list(self._orders.values())

    def _of(self, frame: Frame) -> FrameOrder:
        rendition = frame.rendition
        order = self._orders.get(rendition)
        current = next(reversed(self._orders), None)
        left = rendition != current and frame.pts_us - self._newest_us.get(rendition, 0) > APART_US
        if order is None or left:
            kept = {current: self._orders[current]} if current is not None and current != rendition else {}
            order = FrameOrder(independent=True, counters=self.counters)
            self._orders = kept | {rendition: order}
            self._newest_us = {each: self._newest_us[each] for each in kept}
        order.patience_us = self.patience_us
        return order
