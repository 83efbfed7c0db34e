"""All floods at once: forged handshakes, NACKs, keyframe requests, control messages, slow and mute readers.

What must hold: the 99th percentile of well-behaved viewers' latency is less than twice what it was in the
quiet time before, in the same run; no frame of theirs is lost, and memory stays bounded. The attackers run on
the same machine, at a lower priority: on the internet they would not take its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

from scripts.benchmarks.fanout.window import FLOOD_RATE
from scripts.benchmarks.report import quantile
from scripts.storms.control import controls
from scripts.storms.frame import Course, Findings, Options, progress
from scripts.storms.observed import ObservedGateway, judge_leaks
from scripts.support.processes import Program, running

WHOLE = 120  # seconds of storm, after as many of quiet
CONTROLS = 5
ATTACKERS = {"nacks": 10, "keyframes": 10, "slow": 10, "mute": 10, "control": 3}
RATIO = 2.0
LEAST_QUIET_MS = 10.0  # below, twice is less than a picture's time: the scheduler's work, not the gateway's
MOST_MEMORY = 300 * 2**20  # more than before, while it rages
_POLITE = ("nice", "-n", "10")
_CONFIG = """
broadcasts:
  test: {source: "test:?size=640x360", video: {bitrate: 1M, adapt: off}}
"""


async def run(
    options: Options,
    findings: Findings,
    *,
    seconds: int = WHOLE,
    attackers: dict[str, int] | None = None,
    rate: int = FLOOD_RATE,
    viewers: int = CONTROLS,
    settle: bool = True,
) -> None:
    """The storm: as long quiet as it then rages. Without ``settle`` none waits for the dead to be noticed."""
    course = Course(seconds, options, "seconds")
    lasts = options.seconds / 2 if options.seconds else seconds
    config = options.directory / "wtgateway.yml"
    config.write_text(_CONFIG)
    gateway = ObservedGateway("-c", config, directory=options.directory)
    async with gateway:
        url = f"{gateway.url}/test"
        async with controls(url, viewers) as watching:
            await watching.more_frames(30)
            before = await gateway.quiet(viewers)
            await watching.look()
            progress(f"  quiet for {lasts:.0f} s")
            await asyncio.sleep(lasts)
            quiet = await watching.look()
            async with contextlib.AsyncExitStack() as stack:
                crowds = await _attack(stack, gateway, url, attackers or ATTACKERS, rate)
                await watching.look()
                course.begin()
                most = await _rage(gateway, course, lasts)
                raging = await watching.look()
                for kind, program in crowds.items():
                    told = await _ask(program)
                    findings.note(f"{kind}: sent", told["sent"])
                    findings.note(f"{kind}: thrown out", told["thrown_out"])
            after = await gateway.quiet(viewers, like=before) if settle else None
            await watching.judge(findings)
        findings.course(course)
        _judge(findings, quiet, raging)
        findings.holds(
            "memory more than before, at most",
            round((most - before.rss) / 2**20, 1),
            "MiB",
            MOST_MEMORY / 2**20,
        )
        if after is not None:
            more = round((after.rss - before.rss) / 2**20, 1)
            findings.note("memory more than before, after it", more, "MiB")
            judge_leaks(findings, before, after)
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


def _judge(findings: Findings, quiet: list[float], raging: list[float]) -> None:
    calm, rough = quantile(quiet, 0.99), quantile(raging, 0.99)
    findings.note("latency p50, quiet", quantile(quiet, 0.5), "ms")
    findings.note("latency p50, raging", quantile(raging, 0.5), "ms")
    findings.note("latency p99, quiet", calm, "ms")
    findings.note("latency p99, raging", rough, "ms")
    ratio = None if calm is None or rough is None else round(rough / max(calm, LEAST_QUIET_MS), 2)
    findings.holds("latency p99, raging against quiet", ratio, "x", RATIO)


async def _attack(
    stack: contextlib.AsyncExitStack, gateway: ObservedGateway, url: str, attackers: dict[str, int], rate: int
) -> dict[str, Program]:
    """Start all of them; those who need a session are in before the forged handshakes begin."""
    crowds: dict[str, Program] = {}
    for kind, count in attackers.items():
        module = (sys.executable, "-u", "-m", "scripts.storms.attackers", kind, url, str(count))
        crowds[kind] = await stack.enter_async_context(
            running(*_POLITE, *module, stdin=asyncio.subprocess.PIPE)
        )
    for kind, program in crowds.items():
        await program.until(lambda p=program: "attacking" in p.output(), f"attack by {kind}", 60)  # type: ignore[misc]
    flood = ("--port", str(gateway.quic_port), "--rate", str(rate), "--seconds", "1")
    forger = (sys.executable, "-u", "-m", "scripts.benchmarks.fanout.flood")
    await stack.enter_async_context(running(*_POLITE, *forger, *flood))
    progress(f"  {sum(attackers.values())} attackers are in, and {rate} forged handshakes a second")
    return crowds


async def _rage(gateway: ObservedGateway, course: Course, seconds: float) -> int:
    """Let it; the most memory meanwhile."""
    most = 0
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while loop.time() < ends:
        await asyncio.sleep(1.0)
        most = max(most, (await asyncio.to_thread(gateway.sample)).rss)
        course.done = int(course.elapsed)
        course.tell(f"{most / 2**20:.0f} MiB")
    return most


async def _ask(program: Program) -> dict[str, int]:
    found: list[str] = []
    program.on_line = found.append
    await program.write("?\n")
    await program.until(lambda: any(line.startswith("{") for line in found), "answer", 30)
    told: dict[str, int] = json.loads(next(line for line in found if line.startswith("{")))
    return told
