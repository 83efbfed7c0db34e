"""Sources for the processes of the tests: pictures without end; they crash, hang or end when they are told.

They are told by files of the directory ``dir`` of the broadcast's options: a word in ``<broadcast>`` there.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import threading
import time
from pathlib import Path

import av
import numpy as np

from wtgateway import clock
from wtgateway.config import BroadcastConfig
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.sources.base import CodedFormat, CodedVideo, RawVideo, SourceInfo
from wtgateway.workers.bus import FrameBus

log = logging.getLogger("wtgateway.tests")

FPS = 50
INTERVAL_US = 1_000_000 // FPS
GROUP = 25  # pictures; of what is forwarded
FORMAT = CodedFormat(codec="avc1.42E01F", width=64, height=96, fps=FPS, findings=("B-frames: 2 pictures",))


class Scripted:
    """Pictures in real time, raw or as coded; what is forwarded is payload to be counted, not to be seen."""

    def __init__(self, config: BroadcastConfig) -> None:
        self._word = Path(config.options["dir"]) / config.name
        self._coded = config.options.get("coded") == "yes"
        self._number = 0
        self._next = time.monotonic()
        self._closed = threading.Event()

    def open(self) -> SourceInfo:
        """Refuses as long as it is told so."""
        if self._said("refuse"):
            raise SourceError("the test says no")
        return SourceInfo(
            description="scripted", has_video=True, has_audio=False, width=64, height=96, fps=FPS,
            video_codec="h264", coded_video="h264" if self._coded else "",
        )  # fmt: skip

    def read(self) -> RawVideo | CodedVideo:
        """The next picture, at its time."""
        self._obey()
        log.debug("a picture")
        self._next += 1 / FPS
        if self._closed.wait(max(0.0, self._next - time.monotonic())):
            raise SourceError("closed")
        number, self._number = self._number, self._number + 1
        now_us = clock.now_us()
        if self._coded:
            payload = b"%d " % number + bytes(1000)
            return CodedVideo(payload, number % GROUP == 0, now_us, now_us, now_us, INTERVAL_US, FORMAT)
        frame = av.VideoFrame.from_ndarray(np.full((144, 64), number % 200, np.uint8), format="yuv420p")
        return RawVideo(frame, now_us, now_us, now_us, INTERVAL_US)

    def want_pictures(self, wanted: bool) -> None:
        """None beside what is coded."""

    def want_sound(self, wanted: bool) -> None:
        """There is none."""

    def close(self) -> None:
        """Make read raise."""
        self._closed.set()

    def _said(self, word: str) -> bool:
        try:
            return self._word.read_text() == word
        except FileNotFoundError:
            return False

    def _obey(self) -> None:
        if not self._word.exists():
            return
        word = self._word.read_text()
        if word in ("read", "abort", "segv", "hang", "end", "lose", "mad"):
            self._word.unlink()  # once
        match word:
            case "read":  # of an address that is not there, in native code
                ctypes.string_at(0)
            case "abort":
                ctypes.CDLL(None).abort()
            case "segv":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":  # native code that keeps the interpreter's lock
                ctypes.PyDLL(None).sleep(600)
            case "mad":
                scribble()
            case "end":
                raise SourceEnded("the test says so")
            case "lose":
                raise SourceError("cable pulled")


def scribble() -> None:
    """Nonsense where the next frame would stand, as from code that has lost its way before it crashes."""
    bus = next(each for each in gc.get_objects() if isinstance(each, FrameBus))

    def write() -> None:
        bus._ring._put(bus._ring.position, b"\xff" * 64)
        for fd in bus._readers:
            os.eventfd_write(fd, 64)

    bus._loop.call_soon_threadsafe(write)


def scripted(config: BroadcastConfig) -> Scripted:
    """As :func:`wtgateway.pipeline.recipe.make_source`."""
    return Scripted(config)
