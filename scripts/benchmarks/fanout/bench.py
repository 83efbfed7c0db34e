"""`fanout`: what many viewers cost a core, beside the peers; latency, floods, memory and workers.

The server runs on one core, the load on another. A figure counts only if the load itself says that it was
not the limit and that what it got was what it should have got (:meth:`.report.Report.problems`). Each
round runs all servers one after the other; figures are medians over rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass

from scripts.benchmarks.fanout.proc import family
from scripts.benchmarks.fanout.quota import NoQuota, limited
from scripts.benchmarks.fanout.report import Report, bytes_per_viewer, growth_bytes_per_minute
from scripts.benchmarks.fanout.servers import OURS, WHOLE, Server, peers, serving, write_certificate
from scripts.benchmarks.report import Figure, Options
from scripts.support.processes import ProgramFailed, running

VIEWERS = 60
ROWS = (("datagrams", 7, 0.6), ("streams", 7, 0.8), ("streams", 2, 1.0))  # mode, packets an ACK, goal
RATIOS = {"aioquic": 1 / 6, "pywebtransport": 1 / 3, "moq-rs": 1.0}
FEWER = (50, 40, 30, 20, 12, 8, 4)  # what is tried then, until a peer carries it
LATENCY_MS = {"p50": 5.0, "p99": 20.0}
OTHERS, FLOOD_RATE = 50, 2000
LOAD_VIEWERS = 200
IDLE_STEPS = (10, 110)
IDLE_BYTES = 150 * 1024
WORKERS, WORKERS_GOAL, WORKERS_VIEWERS, WORKER_SHARE = 2, 1.8, 160, 0.15
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

    # --- loads -------------------------------------------------------------------------------------

    async def load(
        self,
        server: Server,
        *arguments: str,
        mode: str = "streams",
        extra: tuple[str, ...] = (),
        pinned: bool = True,
        flood: bool = False,
        share: float = 0.0,
    ) -> Report | str:
        """One window, or why there is none. ``share``: of a core, what each process of the server gets."""
        try:
            async with serving(server, self.options.directory, mode=mode, pinned=pinned, extra=extra) as (
                program,
                port,
            ):
                ends = ("--port", str(port), "--pid", str(program.process.pid))
                command = (*server.load, *ends, *server.arguments, *arguments)
                if flood:
                    async with running(
                        *(sys.executable, "-u", "-m", "scripts.benchmarks.fanout.flood"),
                        *("--port", str(port), "--rate", str(FLOOD_RATE), "--seconds", "1"),
                    ) as flooding:
                        lines: list[str] = []
                        flooding.on_line = lines.append
                        await flooding.until(lambda: "flooding" in lines, "start of the flood")
                        return await _played(command)
                if share:
                    with limited(family(program.process.pid), share):
                        return await _played(command)
                return await _played(command)
        except (ProgramFailed, NoQuota) as error:
            return str(error)

    async def measured(
        self, server: Server, mode: str, ack_every: int, viewers: int, *, seconds: float = 0.0
    ) -> Report | None:
        """The round whose cost is the median; None when one of them says nothing of the server."""
        key = (server.name, mode, ack_every, viewers)
        if key in self._known:
            return self._known[key]
        what = f"{server.name}, {viewers} viewers, {mode}, ACK 1 in {ack_every}"
        _progress(what)
        arguments = ["--viewers", str(viewers), "--seconds", str(seconds or self.scale.seconds)]
        if not server.own_protocol:
            arguments += ["--ack-every", str(ack_every)]
        reports = []
        for _ in range(self.scale.rounds):
            report = await self.load(server, *arguments, mode=mode)
            if not _valid(what, report) or not isinstance(report, Report):
                self._known[key] = None
                return None
            reports.append(report)
        reports.sort(key=lambda each: each.cpu_ms_per_mbit or 0.0)
        self._known[key] = statistics.median_low(reports) if len(reports) == 1 else reports[len(reports) // 2]
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
            _progress(what)
            arguments = ("--viewers", str(viewers), "--ack-every", str(ack_every))
            report = await self.load(OURS, *arguments, "--seconds", str(self.scale.seconds))
            share = None
            if _valid(what, report) and isinstance(report, Report):
                share = 100 * report.own_cpu_s / report.seconds
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
            _progress(name)
            report = await self.load(server, *arguments, *seconds)
            latency = report.latency if _valid(name, report) and isinstance(report, Report) else {}
            for which in ("p50", "p99", "max"):
                self.add(f"{name}, {which}", latency.get(which), "ms", goals.get(which))
            if isinstance(report, Report) and "--greedy" in arguments:
                self.add("the greedy one got", report.greedy_mbit / report.seconds, "Mbit/s", digits=1)

    async def flood(self) -> None:
        """A playing viewer's late frames while Initials are forged, and while they are not."""
        for name, flooded in (("calm", False), (f"{FLOOD_RATE} forged Initials/s", True)):
            what = f"one viewer, {name}"
            _progress(what)
            report = await self.load(
                WHOLE, "--viewers", "1", "--open-all", "--seconds", str(2 * self.scale.seconds), flood=flooded
            )
            valid = _valid(what, report, full_rate=False) and isinstance(report, Report)
            late = report.late_frames if valid and isinstance(report, Report) else None
            greatest = report.latency.get("max") if valid and isinstance(report, Report) else None
            self.add(f"{what}, late frames", late, "frames", 0.0 if flooded else None)
            self.add(f"{what}, latest frame", greatest, "ms")

    # --- memory and workers ------------------------------------------------------------------------

    async def memory(self) -> None:
        """Of an idle viewer."""
        what = "memory of an idle viewer"
        _progress(what)
        few, many = self.scale.idle_steps
        steps = ("--steps", str(few), str(many), "--viewers", "0", "--seconds", "0.5", "--settle", "3")
        report = await self.load(WHOLE, *steps, extra=("--idle",))
        value = None
        if isinstance(report, Report):
            value = bytes_per_viewer(report.steps)
        else:
            _progress(f"{what}: {report}")
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
            _progress(what)
            report = await self.load(
                WHOLE,
                *("--viewers", str(self.scale.workers_viewers), "--seconds", str(self.scale.seconds)),
                extra=("--workers", str(count)),
                pinned=False,
                share=WORKER_SHARE,
            )
            rate = None
            if _valid(what, report, full_rate=False) and isinstance(report, Report):
                rate = report.media_mbit / report.seconds
                throughput.append(rate)
                if count > 1 and report.delivered > 0.97:
                    _progress(f"{what}: the load was not server-bound")
            self.add(f"throughput of {what}", rate, "Mbit/s", digits=1)
        ratio = throughput[1] / throughput[0] if len(throughput) == 2 and throughput[0] else None
        self.add(f"{WORKERS} workers against one", ratio, "x", WORKERS_GOAL, at_least=True, digits=2)

    async def soak(self, minutes: float) -> None:
        """Joins and leaves for a long time: does memory grow?"""
        what = f"{minutes:g} minutes of joins and leaves"
        _progress(what)
        report = await self.load(
            WHOLE,
            *("--viewers", str(SOAK_VIEWERS), "--churn", str(SOAK_LIFE_S), "--seconds", str(60 * minutes)),
        )
        growth = None
        if isinstance(report, Report):
            growth = growth_bytes_per_minute(report.resident)
            self.add(f"{what}: viewers", report.joined, "")
            self.add(f"{what}: viewers that failed", report.failed, "", 0.0)
            for name, sample in (("at first", report.resident[0]), ("at last", report.resident[-1])):
                self.add(f"{what}: memory {name}", sample[1] / 2**20, "MiB", digits=1)
        else:
            _progress(f"{what}: {report}")
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


async def _played(command: tuple[str, ...]) -> Report | str:
    """Run a load to its end; its report, or what it says instead."""
    lines: list[str] = []
    async with running(*command) as program:
        program.on_line = lines.append
        await program.wait()
    for line in lines:
        if line.startswith("{"):
            values = json.loads(line)
            return str(values["error"]) if "error" in values else Report.from_json(values)
    return "the load ended without a word:\n" + "\n".join(lines[-20:])


def _valid(what: str, report: Report | str, *, full_rate: bool = True) -> bool:
    """Whether it measured the server; otherwise the reason is told."""
    problems = [report] if isinstance(report, str) else report.problems(full_rate=full_rate)
    if problems:
        print(f"{what}: {'; '.join(problems)}", file=sys.stderr, flush=True)
    return not problems


def _progress(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


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
