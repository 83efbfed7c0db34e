"""Demuxing in a thread of its own, so that nobody waits for a peer longer than he wants to.

May import av, errors, clock. FFmpeg may block for long inside a connect, a name lookup or a read,
and PyAV has no way to interrupt it but its timeouts. So all that may block happens in a daemon
thread; the caller waits on a condition and can leave at once, and the thread follows when FFmpeg
returns, at the latest after the timeout. It also means arrival is stamped when data arrives,
however long decoding takes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av

from wtgateway import clock
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.sources.errors_text import source_error
from wtgateway.sources.opened import Opened, tracks_of
from wtgateway.sources.srt import SrtInput
from wtgateway.sources.uri import Mode, Plan

MAX_BYTES = 24 * 1024 * 1024
MAX_PACKETS = 1500  # some ten seconds
MAX_LAG_US = 2_000_000  # of a live stream that nobody fetches
_GRACE_S = 1.0  # FFmpeg's timeouts first, ours behind them


@dataclass(frozen=True, slots=True)
class Manner:
    """How an open container is read.

    ``loop``: open it again at its end. ``lossy``: the peer sets the pace; what is not fetched in
    time is thrown away. ``endless``: an end is a loss, not an end in order.
    """

    loop: bool = False
    lossy: bool = False
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A packet (empty: flush its decoder) or, without one, the end of a pass."""

    packet: av.Packet[Any] | None
    arrival_us: int
    opened: Opened
    bytes: int = 0  # of memory it holds


class PacketReader:
    """``open`` and ``next`` from one thread, ``close`` from any.

    In a lossy manner a full queue is emptied and counted in ``dropped``, and video begins again
    at a keyframe. Otherwise the thread waits for room.
    """

    def __init__(
        self,
        plan: Plan,
        manner: Callable[[Opened], Manner],
        *,
        open_timeout_s: float = 10.0,
        read_timeout_s: float = 10.0,
    ) -> None:
        self.dropped = 0
        self._plan, self._manner_of = plan, manner
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self._condition = threading.Condition()
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._manner = Manner()
        self._opened: Opened | None = None
        self._failure: SourceError | None = None
        self._closed = self._woken = False
        self._skip_to_key = False
        self._waits_for_room = False  # the thread, in a manner that is not lossy

    def open(self) -> Opened:
        """Start the thread, wait until the tracks are known. Raises SourceError."""
        threading.Thread(target=self._run, name=f"reader {self._plan.description}", daemon=True).start()
        with self._condition:
            limit_s = 2 * self._open_timeout_s + _GRACE_S  # connecting, then looking at the streams
            self._condition.wait_for(lambda: self._opened or self._failure or self._closed, limit_s)
            if self._opened is not None and not self._closed:
                return self._opened
            raise self._why("it did not open in time")

    def next(self) -> Item:
        """The next item. Raises SourceEnded, SourceError (closed, lost, or nothing in time)."""
        item = self._await(wakeable=False)
        assert item is not None
        return item

    def wait(self) -> Item | None:
        """As next, but None as soon as wake is called."""
        return self._await(wakeable=True)

    def wake(self) -> None:
        """From any thread: have the one that waits look around."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def poll(self) -> Item | None:
        """The next item if it is there already; raises nothing: what is wrong next tells."""
        with self._condition:
            return self._pop() if self._items and not self._closed else None

    def close(self) -> None:
        """Make both raise now; the thread ends when FFmpeg lets it."""
        with self._condition:
            self._closed = True
            self._items.clear()
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether close was called."""
        return self._closed

    def _await(self, *, wakeable: bool) -> Item | None:
        with self._condition:
            self._condition.wait_for(
                lambda: self._items or self._failure or self._closed or (wakeable and self._woken),
                self._read_timeout_s + _GRACE_S,
            )
            if wakeable and self._woken and not self._closed:
                self._woken = False
                return None
            if self._closed or not self._items:
                raise self._why(f"nothing came for {self._read_timeout_s:g} s; is the peer sending?")
            return self._pop()

    def _pop(self) -> Item:
        item = self._items.popleft()
        self._bytes -= item.bytes
        if self._waits_for_room and self._half_empty():
            self._condition.notify_all()
        return item

    def _why(self, otherwise: str) -> SourceError:
        if self._closed:
            return SourceError(f"{self._plan.description}: closed")
        return self._failure or SourceError(f"{self._plan.description}: {otherwise}")

    def _run(self) -> None:
        doing, began_us = "cannot be opened", clock.now_us()
        failure: SourceError | None = None
        try:
            while not self._closed:
                opened = self._open_container()
                doing = "broke off"
                self._announce(opened)
                try:
                    self._demux(opened)
                finally:
                    opened.close()
                if not self._manner.loop:
                    break
        except SourceError as error:
            failure = self._named(error)
        except (av.FFmpegError, OSError, ValueError) as error:
            late = doing == "cannot be opened" and clock.now_us() - began_us >= self._open_timeout_s * 1e6
            # Interrupted while it opens, FFmpeg tells many tales.
            cause = TimeoutError() if late else error
            failure = source_error(self._plan.description, doing, cause)
        with self._condition:
            self._failure = failure or self._ended()
            self._condition.notify_all()

    def _named(self, error: SourceError) -> SourceError:
        description = self._plan.description
        return error if description in str(error) else SourceError(f"{description}: {error}")

    def _announce(self, opened: Opened) -> None:
        with self._condition:
            if self._opened is None:
                self._manner = self._manner_of(opened)
                self._opened = opened
                self._condition.notify_all()

    def _ended(self) -> SourceError:
        if self._manner.endless:
            return SourceError(f"{self._plan.description}: the peer closed the connection")
        return SourceEnded(f"{self._plan.description}: came to its end")

    def _open_container(self) -> Opened:
        source = self._open_srt() if self._plan.url.startswith("srt:") else None
        container = None
        try:
            container = av.open(
                source or self._plan.url,
                "r",
                format=self._plan.format,
                options=dict(self._plan.options),
                timeout=(self._open_timeout_s, self._read_timeout_s),
            )
            tracks = tuple(tracks_of(container, self._plan.mode is Mode.DEVICE))
            if not tracks:
                text = "it has no picture and no sound that can be decoded"
                raise SourceError(f"{self._plan.description}: {text}")
            return Opened(container, tracks, container.format.name, max(0, container.duration or 0), source)
        except BaseException:
            if container is not None:
                container.close()
            if source is not None:
                source.close()
            raise

    def _open_srt(self) -> SrtInput:
        return SrtInput(
            self._plan.url,
            open_timeout_s=self._open_timeout_s,
            read_timeout_s=self._read_timeout_s,
            closed=lambda: self._closed,
        )

    def _demux(self, opened: Opened) -> None:
        held = {track.index: track.packet_bytes for track in opened.tracks}
        streams = [stream for stream in opened.container.streams if stream.index in held]
        for packet in opened.container.demux(streams):
            size = packet.size + held[packet.stream_index]
            if not self._put(Item(packet, clock.now_us(), opened, size)):
                return
        self._put(Item(None, clock.now_us(), opened))

    def _put(self, item: Item) -> bool:
        with self._condition:
            if self._manner.lossy:
                self._make_room(item)
                if self._skip(item):
                    return not self._closed
            else:
                self._wait_for_room(item)
            if self._closed:
                return False
            self._items.append(item)
            self._bytes += item.bytes
            self._condition.notify_all()
            return True

    def _wait_for_room(self, item: Item) -> None:
        """Once full, until half of it is gone: to be woken for each packet costs more than reading it."""
        if not self._full(item):
            return
        self._waits_for_room = True
        self._condition.wait_for(lambda: self._closed or self._half_empty())
        self._waits_for_room = False

    def _half_empty(self) -> bool:
        return 2 * self._bytes <= MAX_BYTES and 2 * len(self._items) <= MAX_PACKETS

    def _full(self, item: Item) -> bool:
        if not self._items:
            return False
        return self._bytes + item.bytes > MAX_BYTES or len(self._items) >= MAX_PACKETS

    def _make_room(self, item: Item) -> None:
        oldest_us = self._items[0].arrival_us if self._items else item.arrival_us
        if self._full(item) or item.arrival_us - oldest_us > MAX_LAG_US:
            self.dropped += len(self._items)
            self._items.clear()
            self._bytes = 0
            self._skip_to_key = not all(track.intra_only for track in item.opened.tracks)

    def _skip(self, item: Item) -> bool:
        """After a loss video is of no use until its next keyframe."""
        packet = item.packet
        if not self._skip_to_key or packet is None or packet.stream.type != "video":
            return False
        self._skip_to_key = not packet.is_keyframe
        self.dropped += self._skip_to_key
        return self._skip_to_key
