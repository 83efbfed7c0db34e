"""Program: many viewers from one core; measures a window of the server's life, prints it as a line of JSON.

It joins the viewers, waits until all play, opens the window after ``--settle``, and reads the processor time
of the server (``--pid``, children included) and its own at both ends. See :mod:`.receiver` for how it
acknowledges. It says itself when it was the limit (:func:`.report.problems`).
"""

from __future__ import annotations

import argparse
import collections
import gc
import heapq
import itertools
import json
import random
import select
import signal
import sys
import time

from aioquic.quic.connection import QuicConnection

from scripts.benchmarks.fanout import proc
from scripts.benchmarks.fanout.audit import Audit, Frames
from scripts.benchmarks.fanout.load_arguments import arguments
from scripts.benchmarks.fanout.receiver import Counts, Receiver
from scripts.benchmarks.fanout.report import Report, latency_summary
from scripts.benchmarks.fanout.viewer import Joining, State, Viewer

JOINING_AT_ONCE = 8
PLAYING = "playing"  # the line that says that all have joined
_LIMITS_EVERY_S = 1.0
_TURN_S = 0.02  # the longest a turn waits while somebody joins
_IDLE_TURN_S = 0.25
_RSS_EVERY_S = 5.0


class LoadError(RuntimeError):
    """There is nothing to measure."""


class Load:
    """All viewers of the process."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        server = (chosen.host, chosen.port)
        self._joining, self._greedy_joining = (
            Joining(server, chosen.mtu, chosen.open_all, path, chosen.draft)
            for path in (chosen.path, chosen.greedy_path)
        )
        self._clock = time.monotonic
        self._poll = select.epoll()
        self._viewers: dict[int, Viewer] = {}
        self._ack_timers: collections.deque[tuple[float, Viewer]] = collections.deque()
        self._limit_timers: list[tuple[float, int, Viewer]] = []
        self._order = itertools.count()  # of timers that are due at the same time
        self._made = 0
        self._random = random.Random(chosen.seed)
        self.counts = Counts()
        self.frames = Frames()
        self.others = (Counts(), Frames())  # of greedy viewers, who do not count
        self._offset_ns = 0
        self._gone: list[Viewer] = []

    # --- viewers -----------------------------------------------------------------------------------

    def _make(self, now: float) -> None:
        chosen = self._chosen
        number, self._made = self._made, self._made + 1
        greedy = number < chosen.greedy
        counts, frames = self.others if greedy else (self.counts, self.frames)

        def receiver_of(quic: QuicConnection) -> Receiver:
            return Receiver(
                quic,
                ack_every=chosen.ack_every,
                max_ack_delay_s=chosen.ack_delay_ms / 1000,
                sample=1.0 if chosen.open_all else chosen.sample,
                audit=Audit(frames, assemble=chosen.open_all, head_bytes=chosen.head),
                counts=counts,
                seed=chosen.seed + number,
            )

        viewer = Viewer(self._greedy_joining if greedy else self._joining, receiver_of, now)
        self._viewers[viewer.fileno()] = viewer
        self._poll.register(viewer.fileno(), select.EPOLLIN)
        if chosen.churn:
            viewer.leaves_at = now + chosen.churn * self._random.uniform(0.5, 1.5)

    def _drop(self, viewer: Viewer) -> None:
        self._poll.unregister(viewer.fileno())
        del self._viewers[viewer.fileno()]
        self._gone.append(viewer)
        if not self._chosen.churn:
            raise LoadError(f"a viewer was lost: {viewer.problem}")
        viewer.socket.close()

    def _in(self, state: State) -> int:
        return sum(viewer.state is state for viewer in self._viewers.values())

    @property
    def lost(self) -> int:
        """Packet numbers skipped, over all viewers."""
        return sum(v.receiver.lost for v in self._viewers.values() if v.receiver)

    @property
    def drops(self) -> int:
        """What the kernel dropped at our sockets."""
        return sum(viewer.drops() for viewer in self._viewers.values())

    # --- turns -------------------------------------------------------------------------------------

    def until(self, end: float, *, wanted: int, joined: bool = False) -> None:
        """Turn until ``end``, with ``wanted`` viewers; ``joined``: or until all of them play.

        Raises LoadError when they do not.
        """
        while (now := self._clock()) < end:
            joining = self._in(State.JOINING) if self._limits_missing() else 0
            while len(self._viewers) < wanted and joining < JOINING_AT_ONCE:
                self._make(now)
                joining += 1
            if joined and not joining and len(self._viewers) >= wanted:
                return
            self._turn(self._wait_s(now, end, joining))
        if joined:
            playing = self._in(State.PLAYING)
            raise LoadError(f"{playing} of {wanted} viewers joined in time")

    def _limits_missing(self) -> bool:
        """Whether somebody may be joining: those who play all have a timer for their limits."""
        return len(self._limit_timers) < len(self._viewers) or self._chosen.churn > 0

    def _wait_s(self, now: float, end: float, joining: int) -> float:
        wait = min(end - now, _TURN_S if joining or self._chosen.churn else _IDLE_TURN_S)
        if self._ack_timers:
            wait = min(wait, self._ack_timers[0][0] - now)
        if self._limit_timers:
            wait = min(wait, self._limit_timers[0][0] - now)
        return max(0.0, wait)

    def _turn(self, wait_s: float) -> None:
        ready = self._poll.poll(wait_s)
        clock, offset_ns = self._clock, self._offset_ns
        for fd, _ in ready:
            viewer = self._viewers[fd]
            now = clock()
            viewer.read(now, offset_ns)
            self._settle(viewer, now)
        self._timers(clock())

    def _settle(self, viewer: Viewer, now: float) -> None:
        """Send, and note what the viewer has to be woken for."""
        known = viewer.receiver is not None
        viewer.flush(now)
        receiver = viewer.receiver
        if viewer.state is State.CLOSED:
            self._drop(viewer)
        elif receiver is not None:
            if not known:
                heapq.heappush(self._limit_timers, (now + _LIMITS_EVERY_S, next(self._order), viewer))
            if receiver.ack_at is not None and receiver.ack_at != viewer.timer_at:
                viewer.timer_at = receiver.ack_at
                self._ack_timers.append((receiver.ack_at, viewer))

    def _timers(self, now: float) -> None:
        while self._ack_timers and self._ack_timers[0][0] <= now:
            _, viewer = self._ack_timers.popleft()
            if viewer.receiver is not None and viewer.state is State.PLAYING:
                viewer.receiver.handle_timer(now)
                self._settle(viewer, now)
        while self._limit_timers and self._limit_timers[0][0] <= now:
            due, order, viewer = heapq.heappop(self._limit_timers)
            if viewer.receiver is not None and viewer.state is State.PLAYING:
                viewer.receiver.raise_limits(now)
                self._settle(viewer, now)
                heapq.heappush(self._limit_timers, (due + _LIMITS_EVERY_S, order, viewer))
                self._offset_ns = time.monotonic_ns() - time.time_ns()
        if self._limits_missing():
            self._joiners(now)

    def _joiners(self, now: float) -> None:
        for viewer in list(self._viewers.values()):
            if viewer.state is State.JOINING:
                viewer.handle_timer(now)
            elif now >= viewer.leaves_at:
                viewer.leave()
            if viewer.state is State.CLOSED:
                self._drop(viewer)

    def leave(self) -> None:
        """All viewers leave."""
        for viewer in self._viewers.values():
            viewer.leave()

    # --- measuring ---------------------------------------------------------------------------------

    def join(self, wanted: int) -> None:
        """Until so many play."""
        self.until(self._clock() + self._chosen.join_seconds, wanted=wanted, joined=True)

    def resident(self) -> list[tuple[int, int]]:
        """The server's memory with each of ``--steps`` viewers, settled."""
        found = []
        for wanted in self._chosen.steps:
            self.join(wanted)
            self.until(self._clock() + self._chosen.settle, wanted=wanted)
            found.append((wanted, proc.resident_bytes(self._chosen.pid)))
        return found

    def window(self) -> Report:
        """All join, settle, and are measured for ``--seconds``."""
        chosen = self._chosen
        steps = self.resident()
        wanted = max([chosen.viewers, *chosen.steps])
        self.join(wanted)
        print(PLAYING, flush=True)
        self.until(self._clock() + chosen.settle, wanted=wanted)
        before, others, lost, drops = self.counts.copy(), self.others[0].copy(), self.lost, self.drops
        server, own, began = proc.family_cpu_seconds(chosen.pid), time.process_time(), self._clock()
        self.frames.recording = True
        resident = self._run(began, wanted)
        self.frames.recording = False
        seconds, own_seconds = self._clock() - began, time.process_time() - own
        after = proc.family_cpu_seconds(chosen.pid)
        used = {pid: cpu - server.get(pid, 0.0) for pid, cpu in after.items()}
        counts = self.counts.minus(before)
        return Report(
            viewers=wanted - chosen.greedy,
            seconds=seconds,
            media_mbit=counts.media_bytes() * 8 / 1e6,
            greedy_mbit=self.others[0].minus(others).media_bytes() * 8 / 1e6,
            server_cpu_s=sum(used.values()),
            processes_cpu_s=[round(value, 4) for value in used.values()],
            own_cpu_s=own_seconds,
            packets=counts.packets,
            opened=counts.opened,
            acks=counts.acks,
            largest_packet_bytes=self.counts.largest_packet_bytes,
            lost=max(0, self.lost - lost),
            drops=max(0, self.drops - drops),
            send_dropped=sum(viewer.send_dropped for viewer in self._viewers.values()),
            forged=counts.forged,
            malformed=counts.malformed,
            wrong=self.frames.wrong,
            first_wrong=self.frames.first_wrong,
            frames=self.frames.whole,
            opens_all=chosen.open_all,
            latency=latency_summary(self.frames.latencies_ms),
            steps=steps,
            resident=resident,
            joined=self._made,
            failed=sum(bool(viewer.problem) for viewer in self._gone),
        )

    def _run(self, began: float, wanted: int) -> list[tuple[float, int]]:
        end = began + self._chosen.seconds
        resident = []
        while (now := self._clock()) < end:
            if self._chosen.churn:
                resident.append((round(now - began, 1), proc.resident_bytes(self._chosen.pid)))
                self.until(min(end, now + _RSS_EVERY_S), wanted=wanted)
            else:
                self.until(end, wanted=wanted)
        return resident


def main() -> None:
    """Join, measure, print."""
    chosen = arguments()
    proc.pin(chosen.core)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would be a pause in all viewers at once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load = Load(chosen)
    try:
        report = load.window()
    except (LoadError, OSError) as error:
        load.leave()
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
    load.leave()
    print(json.dumps(report.as_json()), flush=True)


if __name__ == "__main__":
    main()
