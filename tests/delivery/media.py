"""What is sent in the scenarios, and what is made of what arrives. Times are seconds of virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.netsim import VirtualTime
from tests.protocol.pair import AUDIO, VIDEO
from wtgateway.media import Frame, Kind
from wtgateway.protocol.wire import encode_frame

FPS, SOUNDS = 30, 50
ENCODING = 0.008  # from capture until a frame is there
SOUND_BYTES = 160


@dataclass
class Camera:
    """Video of ``bps`` at 30 fps, keyframes every ``group`` seconds and when asked for; sound at 50."""

    time: VirtualTime
    gateway_us: Callable[[], int]
    offer: Callable[[Frame, bytes, Kind], None]
    bps: float = 1_500_000.0
    group: float = 4.0
    keyframe_size: float = 5.0  # times what frames are in the mean
    every: int = 1  # so manieth picture is encoded
    seed: int = 1
    sent: dict[tuple[int, int, int], Frame] = field(default_factory=dict)  # by track, group, index
    _position: tuple[int, int] = (-1, 0)
    _keyframe: bool = True

    def request_keyframe(self) -> None:
        """The next picture is one."""
        self._keyframe = True

    def run(self, seconds: float) -> None:
        """Everything that is captured from now on in so many seconds."""
        self._dice = random.Random(self.seed)
        start = self.time.now
        for n in range(round(seconds * FPS)):
            self.time.at(start + n / FPS + ENCODING, lambda n=n: n % self.every or self._picture())  # type: ignore[misc]
        for n in range(round(seconds * SOUNDS)):
            self.time.at(start + n / SOUNDS + ENCODING, lambda n=n: self._sound(n))  # type: ignore[misc]

    def _picture(self) -> None:
        group, index = self._position
        if self._keyframe or index >= self.group * FPS:
            group, index, self._keyframe = group + 1, 0, False
        self._position = (group, index + 1)
        mean = self.bps / 8 / FPS
        size = round(mean * (self.keyframe_size if index == 0 else self._dice.uniform(0.6, 1.3)))
        self._give(VIDEO, group, index, size, 33_333)

    def _sound(self, n: int) -> None:
        self._give(AUDIO, *divmod(n, 50), SOUND_BYTES, 20_000)

    def _give(self, track: int, group: int, index: int, size: int, duration_us: int) -> None:
        capture_us = self.gateway_us() - round(ENCODING * 1e6)
        frame = Frame(
            track=track,
            rendition=0,
            group=group,
            index=index,
            keyframe=index == 0 or track == AUDIO,
            pts_us=capture_us,
            capture_us=capture_us,
            duration_us=duration_us,
            payload=self._dice.randbytes(16) + bytes(max(0, size - 16)),
        )
        self.sent[track, group, index] = frame
        self.offer(frame, encode_frame(frame), Kind.VIDEO if track == VIDEO else Kind.AUDIO)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario came to."""

    video_on_time: float  # shares of what was captured, 0..1
    video_settled: float  # the same without the first three seconds, in which losses become known
    audio_on_time: float
    longest_freeze: float  # seconds without a picture beyond the distance of pictures
    keyframes_asked: int
    overhead: float  # bytes sent beyond the frames', as a share of theirs
    most_held_frames: int
    most_held_bytes: int


@dataclass
class Audience:
    """Takes what the viewer is given, in the order it is given, and compares it with what was captured."""

    camera: Camera
    deadline: float
    delays: dict[tuple[int, int, int], float] = field(default_factory=dict)  # from capture, in seconds
    shown: list[tuple[float, float]] = field(default_factory=list)  # capture, delivery of pictures in time
    _last: tuple[int, int] = (-1, -1)

    def take(self, frame: Frame, now_us: int, now: float) -> None:
        """A frame in order; it must be what was sent, once, and can be decoded."""
        name = (frame.track, frame.group, frame.index)
        assert frame == self.camera.sent[name], f"{name} is not what was sent"
        assert name not in self.delays, f"{name} came twice"
        delay = self.delays[name] = (now_us - frame.capture_us) / 1e6
        if frame.track == VIDEO:
            group, index = self._last
            follows = (frame.group, frame.index) == (group, index + 1)
            assert follows or (frame.index == 0 and frame.group > group), f"{name} after {self._last}"
            self._last = (frame.group, frame.index)
            if delay <= self.deadline:
                self.shown.append((now - delay, now))

    def on_time(self, track: int, *, since_us: int = 0, until_us: int = 1 << 62) -> float:
        """Share of the frames captured in a span that came before their deadline."""
        due = [
            name
            for name, frame in self.camera.sent.items()
            if name[0] == track and since_us <= frame.capture_us < until_us
        ]
        good = sum(self.delays.get(name, self.deadline + 1) <= self.deadline for name in due)
        return good / len(due) if due else 1.0

    def longest_freeze(self, since: float = 0.0, until: float = 1e9) -> float:
        """Between pictures that were in time, beyond what lies between two captures."""
        times = [now for _, now in self.shown if since <= now <= until]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        return max(0.0, max(gaps, default=until - since) - 1 / FPS)
