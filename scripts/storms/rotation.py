"""Certificates rotated every 2 s and the configuration reloaded every 3 s, for ten minutes.

What must hold: no viewer's session ends, no frame is lost, each reload is carried out, and whoever comes anew
gets in all the time with the hashes that are told at that moment.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

from scripts.storms.churn import TRANSPORTS
from scripts.storms.control import controls
from scripts.storms.frame import Course, Findings, Options, StormFailed
from scripts.storms.observed import ObservedGateway, judge_leaks
from scripts.support.processes import running

WHOLE = 600  # seconds
ROTATE_SECONDS, RELOAD_SECONDS = 2.0, 3.0
VIEWERS = 10
_CONFIG = """
cert_rotate: {rotate:g}s
broadcasts:
  test: {{source: "test:?size=320x180", video: {{bitrate: 500k, adapt: off}}}}
{more}"""
_MORE = """  other{number}: {{source: "test:?size=320x180", on_demand: true}}
"""


def write(config: Path, reloads: int) -> None:
    """Another configuration each time: a broadcast that comes, changes its name, and goes."""
    more = _MORE.format(number=reloads % 3) if reloads % 3 else ""
    fresh = config.with_suffix(".new")
    fresh.write_text(_CONFIG.format(rotate=ROTATE_SECONDS, more=more))
    fresh.rename(config)  # as editors do: it is never half written


async def run(options: Options, findings: Findings, *, viewers: int = VIEWERS, seconds: int = WHOLE) -> None:
    """The storm."""
    course = Course(seconds, options, "seconds")
    config = options.directory / "wtgateway.yml"
    write(config, 0)
    gateway = ObservedGateway("-c", config, directory=options.directory)
    newcomers = {"joined": 0, "failed": 0}
    async with gateway:
        if not reloads_on_hangup():
            raise StormFailed("this gateway cannot be told to read its configuration again")
        url = f"{gateway.url}/test"
        async with controls(url, viewers) as watching:
            await watching.more_frames(30)
            before = await gateway.quiet(viewers)
            course.begin()
            certificates, reloads, refused = await _storm(gateway, config, course, newcomers)
            write(config, 0)
            gateway.program.process.send_signal(signal.SIGHUP)
            after = await gateway.quiet(viewers, like=before)
            await watching.judge(findings)
        findings.course(course)
        findings.holds("certificates in use one after the other", certificates, goal=2, at_least=True)
        findings.holds("reloads", reloads, goal=1, at_least=True)
        findings.holds("reloads that were not carried out", refused)
        findings.note("newcomers who got in", newcomers["joined"])
        findings.holds("newcomers who did not", newcomers["failed"])
        judge_leaks(findings, before, after)
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


def reloads_on_hangup() -> bool:
    """Whether the gateway has a reload at all: without, SIGHUP would end it."""
    from wtgateway.gateway import Gateway

    return hasattr(Gateway, "apply")


async def _storm(
    gateway: ObservedGateway, config: Path, course: Course, newcomers: dict[str, int]
) -> tuple[int, int, int]:
    """Distinct certificates seen, reloads made, and how many did not show in the list of broadcasts."""
    seen: set[str] = set()
    reloads = refused = 0
    coming = asyncio.create_task(_come(f"{gateway.url}/test", newcomers))
    try:
        while not course.over:
            due = time.monotonic() + RELOAD_SECONDS
            reloads += 1
            write(config, reloads)
            gateway.program.process.send_signal(signal.SIGHUP)
            shown = False
            while time.monotonic() < due or not shown:
                answer = await asyncio.to_thread(gateway.get, "/api/v1/transport")
                seen.add(answer["certificateHashes"][0]["value"])
                shown = shown or await asyncio.to_thread(_shows, gateway, reloads)
                if time.monotonic() > due + 20:
                    refused += 1
                    break
                await asyncio.sleep(0.2)
            course.done = int(course.elapsed)
            course.tell(f"{reloads} reloads, {len(seen)} certificates")
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
    return len(seen), reloads, refused


def _shows(gateway: ObservedGateway, reloads: int) -> bool:
    names = {each["name"] for each in gateway.get("/api/v1/broadcasts")}
    return names == ({"test", f"other{reloads % 3}"} if reloads % 3 else {"test"})


async def _come(url: str, newcomers: dict[str, int]) -> None:
    """Two at a time join and leave, all the while."""
    command = (sys.executable, "-u", "-m", "scripts.storms.churn", "--transports", ",".join(TRANSPORTS))
    while True:
        async with running(*command, url, "2", "10") as program:
            await program.wait()
            last = [line for line in program.output().splitlines() if line.startswith("{")][-1:]
            told = json.loads(last[0]) if last else {"joined": 0, "failed": 10}
            for name in newcomers:
                newcomers[name] += told[name]
        await asyncio.sleep(0.5)
