"""Sources killed at random: a camera's process dies 100 times and comes back up to three seconds later.

What must hold: every viewer has pictures again within two seconds after the camera answers again, keeps its
session, and nothing is left of a hundred broken sources.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import time
from collections.abc import Callable

from scripts.benchmarks.report import quantile
from scripts.storms.frame import Course, Findings, Options, StormFailed
from scripts.storms.observed import ObservedGateway, judge_leaks, until
from scripts.support.crowd import Crowd, crowd
from scripts.support.processes import ROOT, Program, accepts, free_port, start

WHOLE = 100
VIEWERS = 10
AWAY_SECONDS = (0.1, 3.0)
BACK_MS = 2000.0
_PATIENCE_SECONDS = 40.0  # longer than the longest pause between two attempts of the gateway
PYTHON = "/usr/bin/python3"  # Debian's, which has GStreamer's bindings
_SCRIPT = ROOT / "scripts" / "peers" / "rtsp" / "camera.py"


def why_not() -> str:
    """Why there is no camera here; empty where there is one."""
    asked = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        done = subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, timeout=30)
    except OSError as error:
        return f"no {PYTHON}: {error}"
    return "" if done.returncode == 0 else "needs Debian's gir1.2-gst-rtsp-server-1.0 and python3-gi"


class Camera:
    """A camera that can be killed and started again at the same address."""

    def __init__(self) -> None:
        self.port = free_port()
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """For the gateway."""
        return f"rtsp://127.0.0.1:{self.port}/x"

    async def start(self) -> None:
        """Start it; returns when it accepts connections."""
        self._program = await start(PYTHON, _SCRIPT, str(self.port))
        await until(lambda: accepts(self.port), "a camera that answers", 30, every=0.02)

    async def kill(self) -> None:
        """As when its power fails."""
        program, self._program = self._program, None
        if program is not None:
            program.process.kill()
            await program.wait()

    async def __aenter__(self) -> Camera:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


async def run(
    options: Options,
    findings: Findings,
    *,
    viewers: int = VIEWERS,
    kills: int = WHOLE,
    away: Callable[[random.Random], float] = lambda dice: dice.uniform(*AWAY_SECONDS),
) -> None:
    """The storm."""
    if words := why_not():
        raise StormFailed(words)
    dice = random.Random(options.seed)
    course = Course(kills, options, "kills")
    back_ms: list[float] = []
    lost = 0
    async with contextlib.AsyncExitStack() as stack:
        camera = await stack.enter_async_context(Camera())
        gateway = ObservedGateway(camera.url, "--name", "camera", directory=options.directory)
        await stack.enter_async_context(gateway)
        watching = await stack.enter_async_context(crowd((), f"{gateway.url}/camera", viewers))
        await watching.more_frames(30)
        before = await gateway.quiet(viewers)
        course.begin()
        while not course.over:
            took = await _kill(camera, watching, away(dice), dice)
            lost += took is None
            back_ms += [] if took is None else [took]
            course.done += 1
            course.tell(f"last one back after {took or 0:.0f} ms")
        reports = await watching.report()
        after = await gateway.quiet(viewers, like=before)
        findings.course(course)
        findings.holds("times that a viewer did not come back at all", lost)
        findings.note("back after, median", quantile(back_ms, 0.5), "ms")
        findings.holds("back after, the slowest", max(back_ms, default=None), "ms", BACK_MS)
        sessions = sum(report["reconnects"] for report in reports)
        findings.holds("sessions lost", sessions)
        judge_leaks(findings, before, after)
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


async def _kill(camera: Camera, watching: Crowd, away: float, dice: random.Random) -> float | None:
    """ms from the camera's return to a new picture at the last of the viewers; None when it does not come."""
    await asyncio.sleep(dice.uniform(0.2, 1.0))
    await camera.kill()
    await asyncio.sleep(away)
    had = [report["frames"] for report in await watching.report()]  # nothing is on its way any more
    await camera.start()
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                frames = [report["frames"] for report in await watching.report()]
                if all(now > least for now, least in zip(frames, had, strict=True)):
                    return round(1000 * (time.monotonic() - began), 1)
                await asyncio.sleep(0.02)
    return None
