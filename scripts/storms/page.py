"""A page in Chromium for 30 minutes: resized, hidden, shown, muted, its latency mode changed, all the time.

What must hold: after garbage collection the page's and its worker's heaps are no larger at the end than they
were after the warm-up (10 % and 1 MiB of room: V8 keeps some), nodes and listeners neither, the picture never
stands still for more than two seconds while it can be seen, and no error is in the console.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from typing import Any

from scripts.benchmarks.chromium import Chromium, Page
from scripts.storms.frame import Course, Findings, Options, StormFailed
from scripts.storms.observed import ObservedGateway, judge_leaks

WHOLE = 1800  # seconds
STALL_SECONDS = 2.0
GROWTH, ROOM_BYTES = 0.10, 1 << 20
WARM_UP_SHARE = 0.2
_LOOK_SECONDS = 30.0
_CONFIG = """
broadcasts:
  test: {source: "test:?size=320x180", video: {bitrate: 500k}}
"""
_WATCH = """(() => {
  const seen = window.stormSeen = {painted: -1, at: performance.now(), longest: 0, errors: 0};
  addEventListener('error', () => seen.errors++);
  addEventListener('unhandledrejection', () => seen.errors++);
  document.addEventListener('visibilitychange', () => { seen.at = performance.now(); });
  setInterval(() => {
    const now = performance.now(), painted = window.player?.stats().framesPainted ?? -1;
    if (painted !== seen.painted || document.hidden) { seen.painted = painted; seen.at = now; }
    else if (painted > 0) seen.longest = Math.max(seen.longest, now - seen.at);
  }, 100);
})()"""
_HIDE = """(hidden => {
  Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
  const word = hidden ? 'hidden' : 'visible';
  Object.defineProperty(document, 'visibilityState', {configurable: true, get: () => word});
  document.dispatchEvent(new Event('visibilitychange'));
})(%s)"""
_ACTS = ("resize", "hide", "mute", "mode", "volume", "overlay")
_HEAPS = ("JSHeapUsedSize", "Nodes", "JSEventListeners")


async def run(options: Options, findings: Findings, *, seconds: int = WHOLE) -> None:
    """The storm."""
    if shutil.which("chromium") is None:
        raise StormFailed("needs Debian's chromium")
    dice = random.Random(options.seed)
    course = Course(seconds, options, "seconds")
    config = options.directory / "wtgateway.yml"
    config.write_text(_CONFIG)
    gateway = ObservedGateway("-c", config, directory=options.directory)
    async with gateway:
        before = await gateway.quiet()
        async with Chromium() as chromium:
            page = await chromium.open(f"{gateway.url}/test")
            await page.call("Performance.enable")
            await _painted(page, 30)
            await page.evaluate(_WATCH)
            course.begin()
            looks = await _storm(page, course, dice, (options.seconds or seconds))
            seen = await page.evaluate("window.stormSeen")
            stats = await page.evaluate("window.player.stats()")
            await page.close()
        after = await gateway.quiet(like=before)
        findings.course(course)
        _judge(findings, looks, seen, stats)
        judge_leaks(findings, before, after)
        gateway.judge_log(findings)
        await gateway.judge_end(findings)


async def _painted(page: Page, count: int, seconds: float = 60.0) -> None:
    """Wait for so many painted frames."""
    deadline = time.monotonic() + seconds
    while (await page.evaluate("window.player?.stats().framesPainted ?? 0")) < count:
        if time.monotonic() > deadline:
            raise StormFailed(f"the page painted no {count} frames in {seconds:g} s")
        await asyncio.sleep(0.2)


async def _storm(page: Page, course: Course, dice: random.Random, lasts: float) -> list[dict[str, float]]:
    """One act after the other; heaps after the warm-up and then now and again."""
    looks: list[dict[str, float]] = []
    every = min(_LOOK_SECONDS, lasts / 8)
    due = WARM_UP_SHARE * lasts
    while not course.over:
        await _act(page, dice)
        course.done = int(course.elapsed)
        if course.elapsed >= due:
            due = course.elapsed + every
            looks.append(await _look(page))
            course.tell(f"{looks[-1]['JSHeapUsedSize'] / 2**20:.1f} MiB")
    course.done = int(course.elapsed)
    looks.append(await _look(page))
    return looks


async def _act(page: Page, dice: random.Random) -> None:
    match dice.choice(_ACTS):
        case "resize":
            size = {"width": dice.randrange(200, 1600), "height": dice.randrange(150, 1000)}
            await page.call("Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, mobile=False, **size)
        case "hide":  # as long as makes the gateway leave the pictures out, or not
            await page.evaluate(_HIDE % "true")
            await asyncio.sleep(dice.uniform(0.2, 4.5))
            await page.evaluate(_HIDE % "false")
        case "mute":
            await page.evaluate("window.player.setMuted(!window.player.muted)")
        case "mode":
            await page.evaluate(f"window.player.setLatencyMode('{dice.choice(('asap', 'smooth'))}')")
        case "volume":
            await page.evaluate(f"window.player.setVolume({dice.random():.2f})")
        case _:
            for kind in ("keyDown", "keyUp"):
                await page.call(
                    "Input.dispatchKeyEvent", type=kind, key="s", code="KeyS", text="s" * (kind[3] == "D")
                )
    await asyncio.sleep(dice.uniform(0.3, 1.5))


async def _look(page: Page) -> dict[str, float]:
    """What the page holds after garbage collection."""
    for _ in range(2):
        await page.call("HeapProfiler.collectGarbage")
    metrics = (await page.call("Performance.getMetrics"))["metrics"]
    return {each["name"]: each["value"] for each in metrics if each["name"] in _HEAPS}


def _judge(
    findings: Findings, looks: list[dict[str, float]], seen: dict[str, Any], stats: dict[str, Any]
) -> None:
    findings.note("frames painted", stats["framesPainted"])
    findings.holds("longest stall while visible", round(seen["longest"]), "ms", 1000 * STALL_SECONDS)
    findings.holds("errors in the page", seen["errors"])
    findings.holds("sessions lost", stats.get("reconnects", 0))
    first, last = looks[: max(1, len(looks) // 4)], looks[-max(1, len(looks) // 4) :]
    for name, room in zip(_HEAPS, (ROOM_BYTES, 50, 20), strict=True):
        # The least of each: what is alive at a moment depends on what the page has just done.
        was, now = (min(each[name] for each in part) for part in (first, last))
        findings.note(f"{name} after the warm-up", was)
        findings.holds(f"{name} at the end", now, goal=round(was * (1 + GROWTH) + room))
