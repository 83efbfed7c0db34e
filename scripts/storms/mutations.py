"""10^7 mutated inputs: to each decoder in a process of its own at speed, and to a live gateway meanwhile.

What must hold: a decoder raises what it may and nothing else, comes back within a second, and holds no more
after millions of inputs than after the first; the live gateway logs no traceback, a viewer beside all that
keeps its session and every frame, and nothing is left of the sessions that were made and broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from typing import Any

from scripts.storms.control import controls
from scripts.storms.frame import Course, Findings, Options
from scripts.storms.observed import ObservedGateway, judge_leaks
from scripts.support.processes import Program, running

WHOLE = 10_000_000
LANES = 4
SLOWEST_MS = 1000.0
GROWTH_PERCENT, MORE_OBJECTS = 1.0, 500
_POLITE = ("nice", "-n", "10")
_CONFIG = """
broadcasts:
  test: {source: "test:?size=320x180", video: {bitrate: 500k, adapt: off}}
"""


class _Reports:
    """The last line of JSON of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.last: dict[str, Any] = {}
        program.on_line = self._on_line

    def _on_line(self, line: str) -> None:
        if line.startswith("{"):
            self.last = json.loads(line)


async def run(
    options: Options, findings: Findings, *, whole: int = WHOLE, processes: int = 0, lanes: int = LANES
) -> None:
    """The storm. ``processes`` of fuzzers; 0: one for each core."""
    course = Course(whole, options, "mutated inputs")
    processes = processes or len(os.sched_getaffinity(0))
    config = options.directory / "wtgateway.yml"
    config.write_text(_CONFIG)
    gateway = ObservedGateway("-c", config, directory=options.directory)
    async with gateway:
        url = f"{gateway.url}/test"
        async with controls(url) as watching:
            await watching.more_frames(30)
            before = await gateway.quiet(2)
            async with contextlib.AsyncExitStack() as stack:
                length = (
                    ("--seconds", str(options.seconds))
                    if options.seconds
                    else ("--count", str(-(-whole // processes)))
                )
                fuzzers = [
                    await _start(stack, "fuzzer", *length, "--seed", str(options.seed + number))
                    for number in range(processes)
                ]
                arguments = (url, str(gateway.quic_port), str(lanes), "--seed", str(options.seed))
                hostile = await _start(stack, "hostile", *arguments)
                course.begin()
                await _until_done(course, fuzzers, hostile, watching)
                sent = Counter(hostile.last)
            await watching.more_frames(30)
            after = await gateway.quiet(2, like=before)
            await watching.judge(findings)
        findings.course(course)
        _judge_decoders(findings, fuzzers)
        for kind, count in sorted(sent.items()):
            findings.note(f"to the live gateway: {kind}", count)
        findings.must(sum(sent.values()) > 0, "nothing was sent to the live gateway")
        judge_leaks(findings, before, after)
        findings.note("memory more than before", round((after.rss - before.rss) / 2**20, 1), "MiB")
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


async def _start(stack: contextlib.AsyncExitStack, module: str, *arguments: str) -> _Reports:
    command = (*_POLITE, sys.executable, "-u", "-m", f"scripts.storms.{module}", *arguments)
    return _Reports(await stack.enter_async_context(running(*command)))


async def _until_done(course: Course, fuzzers: list[_Reports], hostile: _Reports, watching: Any) -> None:
    """Wait for the fuzzers; the hostile one goes on as long."""
    while any(each.program.running for each in fuzzers):
        await asyncio.sleep(1.0)
        await watching.look()
        course.done = sum(sum(each.last.get("done", {}).values()) for each in fuzzers)
        course.done += sum(hostile.last.values())
        course.tell()
        if not hostile.program.running:
            raise RuntimeError(f"the hostile program ended:\n{hostile.program.output()}")
    for each in fuzzers:
        if await each.program.wait():
            raise RuntimeError(f"a fuzzer ended:\n{each.program.output()}")
    course.done = sum(sum(each.last["done"].values()) for each in fuzzers) + sum(hostile.last.values())


def _judge_decoders(findings: Findings, fuzzers: list[_Reports]) -> None:
    done: Counter[str] = Counter()
    for each in fuzzers:
        done.update(each.last["done"])
    for target, count in done.items():
        findings.note(target, count)
    faults = [fault for each in fuzzers for fault in each.last["faults"]]
    findings.holds("faults of decoders", len(faults))
    for fault in faults[:5]:
        findings.must(False, f"{fault['target']}: input {fault['input']}\n{fault['traceback']}")
    findings.holds("slowest input", max(each.last["slowest_ms"] for each in fuzzers), "ms", SLOWEST_MS)
    growth = max(100 * (now - warm) / warm for warm, now in (each.last["rss"] for each in fuzzers))
    findings.holds("decoders' memory, growth", round(growth, 2), "%", GROWTH_PERCENT)
    more = max(now - warm for warm, now in (each.last["objects"] for each in fuzzers))
    findings.holds("decoders' objects, more", more, goal=MORE_OBJECTS)
