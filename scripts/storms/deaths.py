"""Workers and encoders killed at random under 50 viewers, by SIGKILL.

What must hold: viewers of other workers do not notice (no picture is missing, no other session), those of the
dead one have pictures again within a second, and after all the deaths there are as many processes, files and
mappings of memory as before. A dead encoder takes its broadcast away from all for less than a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.benchmarks.fanout.proc import family
from scripts.benchmarks.report import quantile
from scripts.storms.control import Controls, controls
from scripts.storms.frame import Course, Findings, Options, StormFailed
from scripts.storms.observed import ObservedGateway, judge_leaks, until
from wtgateway.transport import steering

WHOLE = 60
VIEWERS = 50
WORKERS = 2
BACK_MS = 1000.0
EACH = 25  # viewers of a process: their handshakes share a core, and more processes would want more cores
PAUSE_SECONDS = 0.5
KINDS = {"worker": b"wtgateway.workers", "encoder": b"wtgateway.isolation"}  # modules of processes
_CONFIG = """
workers: {workers}
broadcasts:
  test: {{source: "test:?size=320x180", {isolate}video: {{bitrate: 300k, adapt: off}}}}
"""


@dataclass(slots=True)
class _Tally:
    """Of one kind of deaths; ms."""

    deaths: int = 0
    affected: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    torn: int = 0  # pictures missing of viewers who were not to notice


def children(pid: int, kind: str) -> list[int]:
    """Processes of that kind below the gateway."""
    found = []
    for each in family(pid)[1:]:
        with contextlib.suppress(OSError):
            if KINDS[kind] in Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0"):
                found.append(each)
    return found


def isolates() -> bool:
    """Whether broadcasts can have a process of their own."""
    from wtgateway.config import BroadcastConfig

    return "isolate" in BroadcastConfig.__dataclass_fields__


async def run(
    options: Options,
    findings: Findings,
    *,
    viewers: int = VIEWERS,
    deaths: int = WHOLE,
    pause: float = PAUSE_SECONDS,
) -> None:
    """The storm: two deaths of workers to one of an encoder, with a ``pause`` or twice that between them."""
    if words := steering.why_not():
        raise StormFailed(f"there is one worker only: {words}")
    dice = random.Random(options.seed)
    course = Course(deaths, options, "deaths")
    tallies = {kind: _Tally() for kind in KINDS}
    config = options.directory / "wtgateway.yml"
    config.write_text(_CONFIG.format(workers=WORKERS, isolate="isolate: true, " if isolates() else ""))
    gateway = ObservedGateway("-c", config, directory=options.directory)
    async with gateway:
        await until(lambda: _whole(gateway), "all workers", 60)
        async with controls(f"{gateway.url}/test", viewers, deadline_ms=0, each=EACH) as watching:
            await watching.more_frames(30)
            before = await gateway.quiet(viewers)
            course.begin()
            kinds = ("worker", "encoder", "worker") if children(gateway.pid, "encoder") else ("worker",)
            while not course.over:
                kind = kinds[course.done % len(kinds)]
                await _death(gateway, watching, kind, tallies[kind], dice)
                await asyncio.sleep(dice.uniform(pause, 2 * pause))
                course.done += 1
                course.tell()
            after = await gateway.quiet(viewers, like=before)
        findings.course(course)
        findings.note("viewers", viewers)
        _judge(findings, tallies)
        judge_leaks(findings, before, after)
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


def _whole(gateway: ObservedGateway) -> bool:
    """Whether there are all workers, and one that stands by for the next death."""
    return len(children(gateway.pid, "worker")) > WORKERS


async def _death(
    gateway: ObservedGateway, watching: Controls, kind: str, tally: _Tally, dice: random.Random
) -> None:
    await watching.look()
    before = watching.reports
    victim = dice.choice(children(gateway.pid, kind))
    os.kill(victim, signal.SIGKILL)
    tally.deaths += 1
    longest = await _until_all_play(watching)
    for number, report in enumerate(watching.reports):
        affected = kind == "encoder" or _sessions(report) > _sessions(before[number])
        (tally.affected if affected else tally.others).append(longest[number])
        if not affected:
            tally.torn += report["skipped"] - before[number]["skipped"]
    await until(lambda: bool(children(gateway.pid, kind)), f"another {kind}", 60)
    if kind == "worker":
        await until(lambda: _whole(gateway), "all workers again", 60)


def _sessions(report: dict[str, Any]) -> int:
    return int(report["reconnects"] + report["roams"])


async def _until_all_play(watching: Controls, pictures: int = 30) -> list[float]:
    """Wait for so many more pictures everywhere; and the longest pause of each meanwhile (ms)."""
    wanted = [report["frames"] + pictures for report in watching.reports]
    longest = [0.0] * len(wanted)
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.1)
            await watching.look()
            longest = [
                max(was, report["longest_ms"]) for was, report in zip(longest, watching.reports, strict=True)
            ]
            if all(report["frames"] >= least for report, least in zip(watching.reports, wanted, strict=True)):
                return longest


def _judge(findings: Findings, tallies: dict[str, _Tally]) -> None:
    for kind, tally in tallies.items():
        if not tally.deaths:
            findings.note(f"{kind}s killed", 0)
            continue
        findings.note(f"{kind}s killed", tally.deaths)
        findings.note(f"{kind}: viewers that were affected", len(tally.affected))
        findings.note(f"{kind}: affected without a picture, median", quantile(tally.affected, 0.5), "ms")
        if tally.affected:
            findings.holds(f"{kind}: affected without a picture", max(tally.affected), "ms", BACK_MS)
        if tally.others:
            findings.note(f"{kind}: others without a picture", max(tally.others), "ms")
            findings.holds(f"{kind}: pictures that others missed", tally.torn)
