"""Which encoders really work on this machine, and how fast: each is tried in a process of its own.

``python -m wtgateway.encoders.probe NAME`` encodes some 1280x720 pictures and prints one line of
JSON. A driver that crashes or hangs takes that process with it and nothing else. May import what
encoders may. The rule: nothing here believes what a library says about itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import av
import numpy as np

from wtgateway import __version__
from wtgateway.encoders.base import VideoSettings, available_encoders
from wtgateway.encoders.groups import GroupBorders
from wtgateway.encoders.measurements import MEASURED_SIZE, Measurement, fingerprint, measured
from wtgateway.encoders.profiles import PROFILES
from wtgateway.encoders.video import VideoEncoder
from wtgateway.errors import EncoderError
from wtgateway.sources.base import RawVideo

TIME_LIMIT_S = 15.0
_PICTURES = 24
_WARM_UP = 4  # tables, threads and the first keyframe are no steady cost
_STEP_US = 33_333
_BITRATE_BPS = 4_000_000
_MOST_REASON = 300
_MOST_ANSWER_BYTES = 1 << 16
_BURIAL_S = 2.0


def measure(name: str) -> Measurement:
    """Encode with that encoder in this very process; a failure is in the reason, never raised."""
    profile = PROFILES.get(name)
    if profile is None:
        return failed(name, f"{name!r} is no encoder that wtgateway knows")
    settings = VideoSettings(codec=profile.codec, encoder=name, bitrate_bps=_BITRATE_BPS)
    video = None
    try:
        video = VideoEncoder(settings, track=0, rendition=0, groups=GroupBorders())
        times_ms, delay = _encode(video)
    except EncoderError as error:
        return failed(name, _reason(error))
    finally:
        if video is not None:
            video.close()
    return Measurement(
        encoder=name,
        codec=profile.codec,
        hardware=profile.hardware,
        ok=True,
        ms_per_frame=round(statistics.mean(times_ms), 2),
        delay_frames=delay,
    )


def _encode(video: VideoEncoder) -> tuple[list[float], int]:
    """Milliseconds of each picture after the first ones, and how many stayed in the encoder."""
    times_ms: list[float] = []
    given = made = 0
    for picture in _pictures():
        began = time.perf_counter()
        frames = video.encode(picture)
        times_ms.append((time.perf_counter() - began) * 1000)
        given += 1
        made += len(frames)
    if not made:
        raise EncoderError(f"no frame came out after {given} pictures")
    return times_ms[_WARM_UP:], given - made


def _reason(error: EncoderError) -> str:
    """What failed and, where FFmpeg logged why, that too: "Cannot load libcuda.so.1"."""
    cause = error.__cause__
    logged = cause.log if isinstance(cause, av.FFmpegError) else None
    return f"{error} ({str(logged[-1]).strip()})" if logged else str(error)


def _pictures() -> Iterator[RawVideo]:
    """Something that moves all over: blocks of all sizes that drift, as foliage does before a camera."""
    width, height = MEASURED_SIZE
    random = np.random.default_rng(1)
    luma = sum(
        np.kron(random.integers(0, 64, (height // size, width // size)), np.ones((size, size), np.int64))
        for size in (80, 40, 8, 4)
    )
    chroma = np.kron(random.integers(64, 192, (height // 20, width // 20)), np.ones((10, 10), np.int64))
    both = np.concatenate((chroma, chroma[::-1])).reshape(height // 2, width)
    still = np.concatenate((luma, both)).astype(np.uint8)
    for i in range(_PICTURES):
        still[:height] = np.roll(still[:height], (3, 5), (0, 1))
        at_us = i * _STEP_US
        picture = av.VideoFrame.from_ndarray(still, format="yuv420p")
        yield RawVideo(picture, at_us, at_us, at_us, _STEP_US)


def measure_apart(
    name: str, *, time_limit_s: float = TIME_LIMIT_S, command: Sequence[str] = ()
) -> Measurement:
    """The same in a process of its own, killed after the time limit.

    ``command`` is what is run with the name behind it; by default this module. Blocks; for a thread.
    """
    command = command or (sys.executable, "-m", "wtgateway.encoders.probe")
    # Files, not pipes: a pipe would be held open by whatever the driver had started.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            code = _run([*command, name], out, err, time_limit_s)
        except OSError as error:
            return failed(name, f"the trial could not be started: {error}")
        if code is None:
            return failed(name, f"it gave no answer within {time_limit_s:g} s")
        if code:
            return failed(name, _cause(code, _tail(err)))
        try:
            found = Measurement.read(json.loads(_tail(out).strip().rpartition(b"\n")[2]))
        except (ValueError, RecursionError) as error:
            return failed(name, f"the trial's answer is not readable: {error}")
    return found if found.encoder == name else failed(name, f"the trial answered for {found.encoder!r}")


def _run(command: Sequence[str], out: IO[bytes], err: IO[bytes], limit_s: float) -> int | None:
    """The exit code, or None when the process and all that it started had to be killed."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # One that hangs in the kernel outlives even this; it must not hold up the gateway.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_BURIAL_S)


def _tail(file: IO[bytes]) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_ANSWER_BYTES))
    return file.read(_MOST_ANSWER_BYTES)


def _cause(code: int, stderr: bytes) -> str:
    if code < 0:
        return f"the trial was killed by signal {-code}"
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return f"the trial ended with code {code}: {lines[-1] if lines else 'nothing was said'}"


def measured_encoders(
    cache_directory: Path,
    *,
    names: Sequence[str] | None = None,
    again: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> list[Measurement]:
    """Every encoder of this build, each tried in a process of its own or remembered from a former start.

    ``names`` are FFmpeg's; by default all video encoders that wtgateway knows and FFmpeg has.
    ``cache_directory`` is made where it lacks; ``again`` measures anew. Blocks for about a second for
    each that is not remembered; for a thread.
    """
    if names is None:
        names = [name for name in available_encoders() if name in PROFILES]
    key = fingerprint(av.library_versions, __version__)
    return measured(
        names,
        cache_directory,
        key,
        lambda name: measure_apart(name, time_limit_s=time_limit_s),
        again=again,
    )


def encoders_for(codecs: Sequence[str]) -> list[str]:
    """FFmpeg's names of the encoders of these codecs in this build."""
    return [name for name in available_encoders() if name in PROFILES and PROFILES[name].codec in codecs]


def failed(name: str, reason: str) -> Measurement:
    """A measurement that says why there is none."""
    profile = PROFILES.get(name)
    return Measurement(
        encoder=name,
        codec=profile.codec if profile else "",
        hardware=profile.hardware if profile else False,
        ok=False,
        reason=reason[:_MOST_REASON],
    )


def main(arguments: Sequence[str]) -> int:
    """One name in, one line of JSON out; 0 whenever there is an answer."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m wtgateway.encoders.probe ENCODER\n")
        return 2
    sys.stdout.write(json.dumps(asdict(measure(arguments[0]))) + "\n")
    return 0


if __name__ == "__main__":
    av.logging.set_level(av.logging.ERROR)  # so that a failure carries what FFmpeg said of it
    sys.exit(main(sys.argv[1:]))
