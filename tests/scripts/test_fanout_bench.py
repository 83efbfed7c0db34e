"""The pure parts of the bench `fanout`: what a window is worth, and the figures that follow."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from scripts.benchmarks.fanout import proc
from scripts.benchmarks.fanout.audit import Audit, Frames
from scripts.benchmarks.fanout.bench import QUICK, Bench, Scale
from scripts.benchmarks.fanout.content import FPS, FRAME_BYTES, MBIT_PER_FRAME, fragments, make_frame
from scripts.benchmarks.fanout.load_arguments import arguments
from scripts.benchmarks.fanout.quicframes import Packet, StreamPart
from scripts.benchmarks.fanout.report import (
    LATE_MS,
    Report,
    bytes_per_viewer,
    growth_bytes_per_minute,
    latency_summary,
)
from scripts.benchmarks.report import Options
from scripts.benchmarks.systems.environments import interpreter


def report(**changes: object) -> Report:
    """Ten viewers for ten seconds, and nothing wrong."""
    fine: dict[str, object] = {
        "viewers": 10,
        "seconds": 10.0,
        "media_mbit": 10 * 10 * FPS * MBIT_PER_FRAME,
        "server_cpu_s": 1.0,
        "own_cpu_s": 5.0,
        "packets": 45_000,
        "acks": 6_000,
    }
    return Report(**{**fine, **changes})  # type: ignore[arg-type]


def test_a_window_without_faults_counts() -> None:
    whole = report()
    assert whole.problems() == []
    assert whole.delivered == pytest.approx(1)
    assert whole.cpu_ms_per_mbit == pytest.approx(1000 / (3000 * MBIT_PER_FRAME))
    assert whole.packets_per_ack == 7.5
    assert Report.from_json(whole.as_json()) == whole


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"own_cpu_s": 9.1}, "91 % of its core"),
        ({"drops": 1}, "1 datagrams dropped"),
        ({"send_dropped": 1}, "did not leave"),
        ({"wrong": 1, "first_wrong": "a zero"}, "a zero"),
        ({"forged": 1}, "1 unsealed"),
        ({"malformed": 1}, "1 malformed"),
        ({"lost": 300}, "lost on the way"),
        ({"media_mbit": 0.96 * 3000 * MBIT_PER_FRAME}, "only 96 %"),
    ],
)
def test_every_fault_is_told(change: dict[str, object], word: str) -> None:
    (problem,) = report(**change).problems()
    assert word in problem


def test_a_server_at_its_limit_is_measured_where_that_is_the_question() -> None:
    assert report(media_mbit=1.0).problems(full_rate=False) == []


def test_nothing_delivered_costs_nothing_that_could_be_told() -> None:
    assert report(media_mbit=0.0, acks=0).cpu_ms_per_mbit is None
    assert report(acks=0).packets_per_ack is None


def test_latencies_are_summed_up() -> None:
    found = latency_summary([float(n) for n in range(1, 101)])
    assert found == {"p50": 51.0, "p99": 100.0, "max": 100.0, "late": sum(n > LATE_MS for n in range(1, 101))}
    assert latency_summary([]) == {}


def test_late_frames_are_those_that_came_late_and_those_that_never_came() -> None:
    assert report(frames=3000, latency={"late": 2}).late_frames == 2
    assert report(frames=2985, latency={"late": 2}).late_frames == 2 + 5
    assert report(frames=2995).late_frames == 0  # one of each viewer may be under way at either end


def test_memory_of_one_more_and_its_growth() -> None:
    assert bytes_per_viewer([(10, 1000), (110, 21_000)]) == 200
    assert bytes_per_viewer([(10, 1000)]) is None
    noisy = random.Random(1)
    samples = [(float(at), 1_000_000 + 100 * at + noisy.randrange(50)) for at in range(0, 600, 5)]
    assert growth_bytes_per_minute(samples) == pytest.approx(6000, rel=0.02)
    assert growth_bytes_per_minute(samples[:3]) is None


def test_frames_are_put_together_whatever_comes_twice() -> None:
    frames = Frames(recording=True)
    audit = Audit(frames, assemble=True, head_bytes=48)
    wire = b"\x40\x54\x00" + bytes(48) + make_frame(1_000_000)
    media = 0
    for start in (1200, 0, 0, *range(2400, len(wire), 1200)):
        packet = Packet()
        packet.streams.append(StreamPart(15, start, wire[start : start + 1200], False))
        media += audit(packet, 3_000_000)
    assert frames.latencies_ms == [2.0] and frames.whole == 1 and frames.wrong == 0
    assert media == FRAME_BYTES + 1200 - 51


def test_frames_of_datagrams_are_put_together_in_any_order() -> None:
    frames = Frames(recording=True)
    audit = Audit(frames, assemble=True)
    pieces = fragments(3, make_frame(500_000), 1100)
    random.Random(2).shuffle(pieces)
    packet = Packet()
    packet.datagrams += [b"\0" + piece for piece in pieces]
    assert audit(packet, 1_500_000) == FRAME_BYTES
    assert frames.latencies_ms == [1.0]


def test_streams_of_http_are_no_media() -> None:
    frames = Frames(recording=True)
    packet = Packet()
    packet.streams += [StreamPart(3, 0, b"\0\4\0", False), StreamPart(1, 0, b"words", False)]
    assert Audit(frames, assemble=True)(packet, 0) == 0 and frames.wrong == 0


def test_processor_time_and_memory_are_those_of_the_process() -> None:
    before, own = proc.cpu_seconds(os.getpid()), time.process_time()
    sum(range(300_000))
    assert proc.cpu_seconds(os.getpid()) - before == pytest.approx(time.process_time() - own, abs=0.01)
    assert os.getpid() in proc.family(os.getpid())
    assert 1 << 20 < proc.resident_bytes(os.getpid()) < 1 << 34


def test_greedy_viewers_come_on_top() -> None:
    assert arguments(["--port", "1", "--pid", "1", "--viewers", "50", "--greedy", "1"]).viewers == 51


def test_an_interpreter_is_one_that_runs() -> None:
    assert interpreter((3, 11)) is not None
    assert interpreter((3, 99)) is None


def test_the_whole_bench_is_what_the_goals_are_for(tmp_path: Path) -> None:
    assert Bench(Options(directory=tmp_path)).scale == Scale()
    assert Bench(Options(quick=True, directory=tmp_path)).scale == QUICK
    whole = Scale()
    assert (whole.viewers, whole.others, whole.load_viewers, whole.idle_steps) == (60, 50, 200, (10, 110))
