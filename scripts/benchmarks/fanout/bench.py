"""`fanout`: what many viewers cost a core, beside the peers; latency, floods, memory and workers.

The server runs on one core, the load on another. A figure counts only if the load itself says that it was
not the limit and that what it got was what it should have got (:meth:`.report.Report.problems`). Each
round runs all servers one after the other; figures are medians over rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.fanout.report import (
    DELIVERED_SHARE,
    Report,
    bytes_per_viewer,
    growth_bytes_per_minute,
)
from scripts.benchmarks.fanout.servers import OURS, WHOLE, Server, peers, write_certificate
from scripts.benchmarks.fanout.window import FLOOD_RATE, checked, load, progress
from scripts.benchmarks.report import Figure, Options

VIEWERS = 60
ROWS = (("datagrams", 7, 0.6), ("streams", 7, 0.8), ("streams", 2, 1.0))  # mode, packets an ACK, goal
RATIOS = {"aioquic": 1 / 6, "pywebtransport": 1 / 3, "moq-rs": 1.0}
FEWER = (50, 40, 30, 20, 12, 8, 4)  # what is tried then, until a peer carries it
LATENCY_MS = {"p50": 5.0, "p99": 20.0}
OTHERS = 50
LOAD_VIEWERS = 200
IDLE_STEPS = (10, 110)
IDLE_BYTES = 150 * 1024
WORKERS, WORKERS_GOAL, WORKERS_VIEWERS, WORKER_SHARE = 2, 1.8, 40, 0.15
SOAK_VIEWERS, SOAK_LIFE_S, SOAK_GOAL = 20, 10.0, 20 * 1024  # bytes a minute


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    viewers: int = VIEWERS
    seconds: float = 10.0
    rounds: int = 3
    others: int = OTHERS
    load_viewers: int = LOAD_VIEWERS
    idle_steps: tuple[int, int] = IDLE_STEPS
    workers_viewers: int = WORKERS_VIEWERS


QUICK = Scale(
    viewers=6, seconds=2.0, rounds=1, others=6, load_viewers=12, idle_steps=(2, 8), workers_viewers=12
)


class Bench:
    """One run."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.scale = QUICK if options.quick else Scale()
        self.figures: list[Figure] = []
        self._known: dict[tuple[str, str, int, int], Report | None] = {}

    # --- windows -----------------------------------------------------------------------------------

    async def window(
        self, what: str, server: Server, *arguments: str, full_rate: bool = True, **options: Any
    ) -> Report | None:
        """One window, named ``what`` on stderr; None when it says nothing of the server."""
        progress(what)
        return checked(
            what, await load(self.options.directory, server, *arguments, **options), full_rate=full_rate
        )

    async def measured(self, server: Server, mode: str, ack_every: int, viewers: int) -> Report | None:
        """The round whose cost is the median; None when not most of them say something of the server."""
        key = (server.name, mode, ack_every, viewers)
        if key in self._known:
            return self._known[key]
        what = f"{server.name}, {viewers} viewers, {mode}, ACK 1 in {ack_every}"
        arguments = ["--viewers", str(viewers), "--seconds", str(self.scale.seconds)]
        if not server.own_protocol:
            arguments += ["--ack-every", str(ack_every)]
        reports: list[Report] = []
        for _ in range(self.scale.rounds):
            report = await self.window(what, server, *arguments, mode=mode)
            if report is not None:
                reports.append(report)
        if 2 * len(reports) <= self.scale.rounds:
            self._known[key] = None
            return None
        reports.sort(key=lambda each: each.cpu_ms_per_mbit or 0.0)
        self._known[key] = reports[len(reports) // 2]
        return self._known[key]

    def add(
        self,
        name: str,
        value: float | None,
        unit: str,
        goal: float | None = None,
        *,
        peers: dict[str, float | None] | None = None,
        at_least: bool = False,
        digits: int = 3,
    ) -> None:
        """A figure."""
        rounded = None if value is None else round(value, digits)
        self.figures.append(
            Figure(name=name, value=rounded, unit=unit, goal=goal, peers=peers or {}, at_least=at_least)
        )

    # --- cost --------------------------------------------------------------------------------------

    async def cost(self) -> None:
        """Processor time per Mbit, ours and the peers', and the ratios."""
        beside = peers() if self.options.peers else []
        carried: dict[str, tuple[int, Report]] = {}
        for peer in beside:
            for viewers in (self.scale.viewers, *(n for n in FEWER if n < self.scale.viewers)):
                if report := await self.measured(peer, "streams", 7, viewers):
                    carried[peer.name] = (viewers, report)
                    break
        for server in (OURS, WHOLE):
            for mode, ack_every, goal in ROWS:
                if server is WHOLE and mode == "datagrams":
                    continue  # it delivers media as streams
                report = await self.measured(server, mode, ack_every, self.scale.viewers)
                compared = mode == "streams" and ack_every == 7
                self.add(
                    f"{server.name}, {self.scale.viewers} viewers, {mode}, ACK 1 in {ack_every}",
                    report.cpu_ms_per_mbit if report else None,
                    "ms CPU/Mbit",
                    goal,
                    peers={n: _cost(r) for n, (_, r) in carried.items()} if compared else {},
                )
                if report and server is OURS:
                    self.add(
                        f"packets an ACK, of {report.largest_packet_bytes} bytes at most",
                        report.packets_per_ack,
                        "packets",
                        digits=2,
                    )
        await self._ratios(beside, carried)

    async def _ratios(self, beside: list[Server], carried: dict[str, tuple[int, Report]]) -> None:
        for peer in beside:
            ratio, viewers = None, 0
            if peer.name in carried:
                viewers, theirs = carried[peer.name]
                ours = await self.measured(OURS, "streams", 7, viewers)
                if ours and ours.cpu_ms_per_mbit and theirs.cpu_ms_per_mbit:
                    ratio = ours.cpu_ms_per_mbit / theirs.cpu_ms_per_mbit
            self.add(f"ratio to {peer.name}, {viewers} viewers", ratio, "x", round(RATIOS[peer.name], 3))
        if beside:
            self.add(
                "viewers in the comparison",
                self.scale.viewers,
                "",
                peers={name: viewers for name, (viewers, _) in carried.items()},
            )

    async def light(self) -> None:
        """What the load itself takes of its core."""
        for ack_every in (7, 2):
            viewers = self.scale.load_viewers
            what = f"the load, {viewers} viewers, ACK 1 in {ack_every}"
            arguments = ("--viewers", str(viewers), "--ack-every", str(ack_every))
            report = await self.window(what, OURS, *arguments, "--seconds", str(self.scale.seconds))
            share = 100 * report.own_cpu_s / report.seconds if report else None
            self.add(what, share, "% of a core", 90.0, digits=1)

    # --- latency -----------------------------------------------------------------------------------

    async def latency(self) -> None:
        """Due to the last byte; alone, and beside one who wishes for 100 Mbit/s."""
        seconds = ("--seconds", str(2 * self.scale.seconds), "--open-all")
        for name, server, arguments, goals in (
            (
                f"latency, whole gateway, {self.scale.viewers} viewers",
                WHOLE,
                ("--viewers", str(self.scale.viewers)),
                LATENCY_MS,
            ),
            (f"latency, {self.scale.others} viewers", OURS, ("--viewers", str(self.scale.others)), {}),
            (
                f"latency, {self.scale.others} viewers and a greedy one",
                OURS,
                ("--viewers", str(self.scale.others), "--greedy", "1"),
                LATENCY_MS,
            ),
        ):
            report = await self.window(name, server, *arguments, *seconds)
            latency = report.latency if report else {}
            for which in ("p50", "p99", "max"):
                self.add(f"{name}, {which}", latency.get(which), "ms", goals.get(which))
            if report and "--greedy" in arguments:
                self.add("the greedy one got", report.greedy_mbit / report.seconds, "Mbit/s", digits=1)

    async def flood(self) -> None:
        """A playing viewer's late frames while Initials are forged, and while they are not."""
        for name, flooded in (("calm", False), (f"{FLOOD_RATE} forged Initials/s", True)):
            what = f"one viewer, {name}"
            arguments = ("--viewers", "1", "--open-all", "--seconds", str(2 * self.scale.seconds))
            report = await self.window(what, WHOLE, *arguments, full_rate=False, flood=flooded)
            late = report.late_frames if report else None
            greatest = report.latency.get("max") if report else None
            self.add(f"{what}, late frames", late, "frames", 0.0 if flooded else None)
            self.add(f"{what}, latest frame", greatest, "ms")

    # --- memory and workers ------------------------------------------------------------------------

    async def memory(self) -> None:
        """Of an idle viewer."""
        what = "memory of an idle viewer"
        few, many = self.scale.idle_steps
        steps = ("--steps", str(few), str(many), "--viewers", "0", "--seconds", "0.5", "--settle", "3")
        report = await self.window(what, WHOLE, *steps, full_rate=False, extra=("--idle",))
        value = bytes_per_viewer(report.steps) if report else None
        self.add(
            f"{what}, between {few} and {many}",
            None if value is None else value / 1024,
            "KiB",
            IDLE_BYTES / 1024,
            digits=1,
        )

    async def workers(self) -> None:
        """What two carry beside what one carries, all held to the same part of a core."""
        throughput: list[float] = []
        for count in (1, WORKERS):
            what = f"{count} workers of {100 * WORKER_SHARE:g} % of a core each"
            report = await self.window(
                what,
                WHOLE,
                *("--viewers", str(self.scale.workers_viewers), "--seconds", str(self.scale.seconds)),
                *("--settle", "3"),
                full_rate=False,
                extra=("--workers", str(count)),
                pinned=False,
                share=WORKER_SHARE,
            )
            rate = None
            if report:
                rate = report.media_mbit / report.seconds
                bound = report.delivered < DELIVERED_SHARE
                if not bound:
                    progress(f"{what} carry all of it: more viewers are needed to say what they can")
                if bound or count > 1:  # what two carry is then the least that they can
                    throughput.append(rate)
            self.add(f"throughput of {what}", rate, "Mbit/s", digits=1)
        ratio = throughput[1] / throughput[0] if len(throughput) == 2 and throughput[0] else None
        self.add(f"{WORKERS} workers against one", ratio, "x", WORKERS_GOAL, at_least=True, digits=2)

    async def soak(self, minutes: float) -> None:
        """Joins and leaves for a long time: does memory grow?"""
        what = f"{minutes:g} minutes of joins and leaves"
        report = await self.window(
            what,
            WHOLE,
            *("--viewers", str(SOAK_VIEWERS), "--churn", str(SOAK_LIFE_S), "--seconds", str(60 * minutes)),
            full_rate=False,
        )
        growth = growth_bytes_per_minute(report.resident) if report else None
        if report:
            self.add(f"{what}: viewers", report.joined, "")
            self.add(f"{what}: viewers that failed", report.failed, "", 0.0)
            for name, sample in (("at first", report.resident[0]), ("at last", report.resident[-1])):
                self.add(f"{what}: memory {name}", sample[1] / 2**20, "MiB", digits=1)
        self.add(
            f"{what}: growth",
            None if growth is None else growth / 1024,
            "KiB/minute",
            SOAK_GOAL / 1024,
            digits=1,
        )


def _cost(report: Report) -> float | None:
    cost = report.cpu_ms_per_mbit
    return None if cost is None else round(cost, 3)


async def run(options: Options) -> list[Figure]:
    """The table; with ``--soak`` only that."""
    write_certificate(options.directory)
    bench = Bench(options)
    if options.soak_minutes:
        await bench.soak(options.soak_minutes)
        return bench.figures
    await bench.cost()
    await bench.light()
    await bench.latency()
    await bench.flood()
    await bench.memory()
    await bench.workers()
    return bench.figures
