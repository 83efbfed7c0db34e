"""Real peers for the sources: media files written here, servers from Debian, X displays.

Peers are started on free ports and killed at the end. Readiness is polled on conditions with a
deadline; what reads a source waits for the source, never for a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import pytest

from wtgateway import clock
from wtgateway.errors import SourceError
from wtgateway.sources import RawAudio, RawVideo, Source, SourceOptions, make_source
from wtgateway.sources.barcode import decode_barcode
from wtgateway.sources.testpicture import TestPicture

T = TypeVar("T")

FPS = 30
SIZE = (192, 160)
TONE_HZ = 1000
DEADLINE_S = 40.0

CODECS = {"mp4": ("libx264", "aac"), "mkv": ("libx264", "libopus"), "webm": ("libvpx", "libopus")}


@dataclass(frozen=True)
class MediaFile:
    """A file whose pictures carry their number from 1 on, with a steady tone."""

    path: Path
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / FPS


def write_media(path: Path, frames: int, *, audio_s: float | None = None, b_frames: int = 2) -> MediaFile:
    """Write it; the container by the suffix. ``audio_s`` None: as long as the picture; 0: none."""
    video_codec, audio_codec = CODECS[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        video = container.add_stream(video_codec, rate=FPS)
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        video.gop_size = FPS // 2
        video.thread_count = 1  # one slice: rtph264pay repeats the parameter sets before every one
        if video_codec == "libx264":
            video.options = {"bf": str(b_frames), "b_strategy": "0", "preset": "ultrafast", "crf": "20"}
        else:
            video.options = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"}
            video.bit_rate = 1_000_000
        audio_s = frames / FPS if audio_s is None else audio_s
        audio = container.add_stream(audio_codec, rate=48_000, layout="stereo") if audio_s else None
        blocks = _tone(audio_s) if audio else iter(())
        picture = TestPicture(*SIZE)
        for number in range(frames):
            frame = picture.draw(number + 1, number * 1_000_000 // FPS)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
            for block in blocks:
                assert audio is not None
                container.mux(audio.encode(block))
                if block.pts / 48_000 > number / FPS:
                    break
        for block in blocks:
            assert audio is not None
            container.mux(audio.encode(block))
        container.mux(video.encode(None))
        if audio:
            container.mux(audio.encode(None))
    return MediaFile(path, frames)


def _tone(seconds: float) -> Iterator[av.AudioFrame]:
    total = round(seconds * 48_000)
    wave = (0.25 * np.sin(2 * np.pi * TONE_HZ * np.arange(total) / 48_000)).astype(np.float32)
    for start in range(0, total, 960):
        block = np.stack((wave[start : start + 960],) * 2)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        yield frame


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MediaFile]:
    """A function from suffix, number of frames and options to a file, written once."""
    directory = tmp_path_factory.mktemp("media")
    made: dict[Any, MediaFile] = {}

    def make(suffix: str, frames: int, **options: Any) -> MediaFile:
        key = (suffix, frames, tuple(sorted(options.items())))
        if key not in made:
            made[key] = write_media(directory / f"{len(made)}.{suffix}", frames, **options)
        return made[key]

    return make


class Peers:
    """Processes and servers of one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = contextlib.ExitStack()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program, killed at the end of the test at the latest."""
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._stack.callback(self.kill, process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill it at once and reap it."""
        process.kill()
        process.wait()

    def callback(self, function: Callable[[], object]) -> None:
        """To be called at the end of the test."""
        self._stack.callback(function)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    made = Peers(tmp_path)
    yield made
    made.close()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Tools:
    """What tests of sources do again and again."""

    FPS, SIZE, TONE_HZ = FPS, SIZE, TONE_HZ
    free_port = staticmethod(free_port)

    def __init__(self) -> None:
        self.opened: list[Source] = []

    def make(self, uri: str, **options: Any) -> Source:
        """A source, closed at the end of the test."""
        source = make_source(uri, SourceOptions(**options))
        self.opened.append(source)
        return source

    def open(self, uri: str, **options: Any) -> Source:
        """An open source."""
        source = self.make(uri, **options)
        source.open()
        return source

    def open_when_ready(self, uri: str, **options: Any) -> Source:
        """An open source that has yielded a frame; tried until its peer is there."""

        def attempt() -> Source | None:
            source = self.make(uri, **options)
            try:
                source.open()
                source.read()
            except SourceError:
                source.close()
                return None
            return source

        return self.wait_for(attempt)

    def wait_for(self, attempt: Callable[[], T | None]) -> T:
        """Poll until there is a result; the deadline fails the test."""
        pause = threading.Event()
        deadline_us = clock.now_us() + round(DEADLINE_S * 1e6)
        while clock.now_us() < deadline_us:
            result = attempt()
            if result is not None:
                return result
            pause.wait(0.05)
        pytest.fail("the peer did not become ready")

    def wait_for_port(self, port: int) -> None:
        """Until somebody listens there."""

        def attempt() -> bool | None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return None

        self.wait_for(attempt)

    def pictures(self, source: Source, count: int) -> list[RawVideo]:
        """The next pictures, sound passed over."""
        found: list[RawVideo] = []
        while len(found) < count:
            raw = source.read()
            if isinstance(raw, RawVideo):
                found.append(raw)
        return found

    def both(self, source: Source, pictures: int) -> tuple[list[RawVideo], list[RawAudio]]:
        """Pictures, and the sound that came with them."""
        video: list[RawVideo] = []
        audio: list[RawAudio] = []
        while len(video) < pictures:
            raw = source.read()
            video.append(raw) if isinstance(raw, RawVideo) else audio.append(raw)
        return video, audio

    def read_until_error(self, source: Source, limit: int = 3000) -> SourceError:
        """What the source raises in the end."""
        for _ in range(limit):
            try:
                source.read()
            except SourceError as error:
                return error
        pytest.fail("the source went on without its peer")

    def numbers(self, pictures: list[RawVideo]) -> list[int | None]:
        """The barcodes."""
        return [decode_barcode(luma(raw)) for raw in pictures]


def luma(raw: RawVideo) -> np.ndarray[Any, Any]:
    frame = raw.frame if raw.frame.format.name == "yuv420p" else raw.frame.reformat(format="yuv420p")
    return np.asarray(frame.to_ndarray()[: frame.height])


@pytest.fixture
def tools() -> Iterator[Tools]:
    made = Tools()
    yield made
    for source in made.opened:
        source.close()


class Painter:
    """Fills rectangles of an X display's root window."""

    def __init__(self, display: str) -> None:
        x = self._x = ctypes.CDLL("libX11.so.6")
        p, u, i, n = ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_uint
        for name, result, arguments in (
            ("XOpenDisplay", p, [ctypes.c_char_p]),
            ("XDefaultRootWindow", u, [p]),
            ("XDefaultGC", p, [p, i]),
            ("XSetForeground", i, [p, p, u]),
            ("XFillRectangle", i, [p, u, p, i, i, n, n]),
            ("XSync", i, [p, i]),
            ("XCloseDisplay", i, [p]),
        ):
            function = getattr(x, name)
            function.restype, function.argtypes = result, arguments
        self._display = x.XOpenDisplay(display.encode())
        assert self._display
        self._root = x.XDefaultRootWindow(self._display)
        self._gc = x.XDefaultGC(self._display, 0)

    def fill(self, rgb: int, x: int, y: int, width: int, height: int) -> None:
        """Paint, and wait until the server has."""
        self._x.XSetForeground(self._display, self._gc, rgb)
        self._x.XFillRectangle(self._display, self._root, self._gc, x, y, width, height)
        self._x.XSync(self._display, 0)

    def close(self) -> None:
        if self._display:
            self._x.XCloseDisplay(self._display)
            self._display = None


@dataclass
class Screen:
    """An X server."""

    name: str
    process: subprocess.Popen[bytes]
    painter: Painter

    def kill(self) -> None:
        self.painter.close()
        self.process.kill()
        self.process.wait()


def start_screen(width: int = 320, height: int = 240, *extra: str, number: str = "") -> Screen:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    read_end, write_end = os.pipe()
    command = ["Xvfb", *([f":{number}"] if number else []), "-displayfd", str(write_end), "-nolisten", "tcp"]
    command += ["-screen", "0", f"{width}x{height}x24", *extra]
    process = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        name = f":{answer.readline().strip()}"  # written once it is ready
    return Screen(name, process, Painter(name))


@pytest.fixture
def screens() -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def start(*args: Any, **kwargs: Any) -> Screen:
        made.append(start_screen(*args, **kwargs))
        return made[-1]

    yield start
    for screen in made:
        screen.kill()
