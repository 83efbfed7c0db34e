"""Joins and leaves: 10,000 viewers, 50 at a time, over every transport; 50 more vanish without a word.

What must hold: memory stays within 1 % of what it was after the warm-up, nothing is left of those who left
(files, threads, tasks, shared memory), no traceback, and nobody else loses a frame.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from scripts.storms.churn import TRANSPORTS
from scripts.storms.control import controls
from scripts.storms.frame import Course, Findings, Options, progress
from scripts.storms.observed import ObservedGateway, Sample, judge_leaks, until
from scripts.support.processes import Program, running

WHOLE = 10_000
AT_A_TIME = 50
BATCH = 1000  # between two looks at memory, when nobody is there
WARM_UP = 2 * BATCH  # allocators and caches have their size then
GROWTH_PERCENT = 1.0
_LIMITS = ("--video-bitrate", "500k")


class _Crowd:
    """A running churn.py and its last words."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.told: dict[str, Any] = {"joined": 0, "failed": 0, "problem": ""}
        program.on_line = self._on_line

    def _on_line(self, line: str) -> None:
        if line.startswith("{"):
            self.told = json.loads(line)


async def run(
    options: Options, findings: Findings, *, batch: int = BATCH, at_a_time: int = AT_A_TIME
) -> None:
    """The storm. A short one has smaller batches; memory is judged where there were enough of them."""
    course = Course(WHOLE, options, "joins")
    gateway = ObservedGateway("test:?size=320x180", *_LIMITS, directory=options.directory)
    failed = 0
    async with gateway:
        url = f"{gateway.url}/test"
        async with controls(url) as watching:
            samples: list[tuple[int, Sample]] = []
            before = await gateway.quiet(2)
            course.begin()
            if options.seconds:
                batch = min(batch, 250)
            while not course.over:
                told = await _batch(url, at_a_time, min(batch, course.left), course)
                failed += int(told["failed"])
                if told["problem"]:
                    progress(f"  a viewer failed: {told['problem']}")
                course.done += int(told["joined"])
                samples.append((course.done, await gateway.quiet(2)))
                course.tell(f"{samples[-1][1].rss / 2**20:.1f} MiB", every_s=0.0)
                await watching.look()
            await _vanish(gateway, url, at_a_time)
            after = await gateway.quiet(2, like=before)
            await watching.judge(findings)
        findings.course(course)
        findings.note("transports", len(TRANSPORTS))
        findings.holds("viewers that saw no picture", failed)
        judge_leaks(findings, before, after)
        _judge_memory(findings, samples)
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


async def _batch(url: str, at_a_time: int, count: int, course: Course) -> dict[str, Any]:
    command = (sys.executable, "-u", "-m", "scripts.storms.churn", "--transports", ",".join(TRANSPORTS))
    async with running(*command, url, str(at_a_time), str(count)) as program:
        crowd = _Crowd(program)
        code = await program.wait()
        if code:
            raise RuntimeError(f"the viewers' program failed:\n{program.output()}")
        return crowd.told


async def _vanish(gateway: ObservedGateway, url: str, count: int) -> None:
    """So many viewers whose process is killed: the gateway finds out by itself."""
    command = (sys.executable, "-u", "-m", "scripts.storms.churn", "--hold")
    async with running(*command, url, str(count), str(count)) as program:
        await until(lambda: gateway.viewers() >= count, f"{count} viewers to kill", 60)
        program.process.kill()
        await program.wait()
    progress(f"  {count} viewers were killed; waiting until the gateway has noticed")


def _judge_memory(findings: Findings, samples: list[tuple[int, Sample]]) -> None:
    """The first sample after the warm-up against the last; the mean of two each, as pages come in lumps."""
    warm = [each for joins, each in samples if joins >= WARM_UP]
    for joins, each in samples:
        findings.note(f"memory after {joins} joins", round(each.rss / 2**20, 2), "MiB")
    if len(warm) < 4:
        progress("  too few joins to judge memory by: it is told, no more")
        return
    first, last = (sum(each.rss for each in pair) / 2 for pair in (warm[:2], warm[-2:]))
    findings.holds("growth of memory", round(100 * (last - first) / first, 2), "%", GROWTH_PERCENT)
