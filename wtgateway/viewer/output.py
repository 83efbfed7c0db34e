"""What `wtgateway view` prints: one line that is kept current, notices, a summary or JSON.

Statistics go to stdout, notices to stderr.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from typing import Any, TextIO

from wtgateway.viewer.client import Viewer, ViewOptions

LINE_INTERVAL_S = 1.0
TERMINAL_INTERVAL_S = 0.25


def printable(text: str) -> str:
    """Words of a peer without what a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in text)


class LiveLine:
    """One line updated in place on a terminal, a line at a time elsewhere."""

    def __init__(self, out: TextIO, err: TextIO, *, quiet: bool = False) -> None:
        self._out, self._err, self._quiet = out, err, quiet
        self._terminal = out.isatty()
        self._shown = False
        self.interval_s = TERMINAL_INTERVAL_S if self._terminal else LINE_INTERVAL_S

    def show(self, line: str) -> None:
        """The current figures."""
        if self._quiet:
            return
        self._out.write(f"\r{printable(line)}\x1b[K" if self._terminal else f"{printable(line)}\n")
        self._out.flush()
        self._shown = True

    def notice(self, line: str) -> None:
        """Something that happened."""
        if self._terminal and self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
        self._err.write(f"{printable(line)}\n")
        self._err.flush()

    def end(self) -> None:
        """Leave the last line standing."""
        if self._terminal and self._shown:
            self._out.write("\n")


def summary(stats: dict[str, Any]) -> str:
    """A few lines on what was seen."""
    sound = stats["audio"]
    lines = [f"watched {stats['seconds']:.1f} s, {stats['reconnects']} reconnects{_roams(stats)}"]
    if stats["framesReceived"]:
        lines.append(
            f"picture  {stats['codec']} {stats['width']}x{stats['height']}, {_counts(stats)}, "
            f"{stats['fps']:.1f} fps{_latency(stats)}"
        )
    if sound["framesReceived"]:
        lines.append(f"sound    {sound['codec']}, {_counts(sound)}{_latency(sound)}")
    if stats["firstFrameMs"] is not None:
        lines.append(
            f"first frame {stats['firstFrameMs']:.0f} ms after CONNECT, "
            f"{stats['bitrateBps'] / 1e6:.2f} Mbit/s, round trip {stats['rttMs']:.1f} ms"
        )
    if stats["fragmentsReceived"]:
        lines.append(
            f"pieces   {stats['fragmentsReceived']}, {stats['fragmentsRecovered']} more from parity, "
            f"{stats['nacksSent']} asked for again, {stats['framesExpired']} frames too late"
        )
    if stats["recorded"]:
        lines.append(f"recorded {stats['recorded']}")
    if not stats["framesReceived"] and not sound["framesReceived"]:
        lines.append("nothing was received")
    return "\n".join(lines)


def _roams(stats: dict[str, Any]) -> str:
    if not stats["roams"]:
        return ""
    gap = "" if stats["roamMs"] is None else f" (the last with {stats['roamMs']:.0f} ms without a picture)"
    return f", {stats['roams']} changes of path{gap}"


def _counts(track: dict[str, Any]) -> str:
    return (
        f"{track['framesReceived']} frames, {track['framesDecoded']} decoded, "
        f"{track['framesDropped']} dropped, {track['gaps']} gaps"
    )


def _latency(track: dict[str, Any]) -> str:
    p50, p95 = track["latencyMs"]["p50"], track["latencyMs"]["p95"]
    return "" if p50 is None else f", latency {p50:.1f} ms (p95 {p95:.1f})"


def run_view(options: ViewOptions) -> int:
    """Watch until the time is over or ^C; 0 if anything was received, 1 otherwise.

    Raises as :meth:`wtgateway.viewer.client.Viewer.run`.
    """
    return asyncio.run(_view(options))


async def _view(options: ViewOptions) -> int:
    line = LiveLine(sys.stdout, sys.stderr, quiet=options.json)
    viewer = Viewer(options, on_notice=line.notice)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, viewer.stop)
    printer = asyncio.create_task(_print(viewer, line))
    try:
        await viewer.run()
    finally:
        printer.cancel()
        line.end()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    stats = viewer.stats()
    sys.stdout.write(json.dumps(stats) + "\n" if options.json else summary(stats) + "\n")
    sys.stdout.flush()
    return 0 if stats["framesReceived"] or stats["audio"]["framesReceived"] else 1


async def _print(viewer: Viewer, line: LiveLine) -> None:
    while True:
        await asyncio.sleep(line.interval_s)
        viewer.stats()
        line.show(viewer.figures.line(time.monotonic()))
