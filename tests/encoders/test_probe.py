"""Encoders are tried in processes of their own, remembered, and chosen by what they cost."""

from __future__ import annotations

import json
import sys
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.encoders import Measurement, choose
from wtgateway.encoders.measurements import fingerprint, measured
from wtgateway.encoders.probe import main, measure, measure_apart, measured_encoders

Output = pytest.CaptureFixture[str]


def measurement(encoder: str, codec: str, ms: float, **other: object) -> Measurement:
    values: dict[str, object] = {"hardware": False, "ok": True, "delay_frames": 0, "reason": ""} | other
    return Measurement(encoder=encoder, codec=codec, ms_per_frame=ms, **values)  # type: ignore[arg-type]


def trial(code: str) -> tuple[str, ...]:
    """A program in the place of the probe's; the encoder's name is its last argument."""
    return (sys.executable, "-c", f"import json, os, signal, sys, time\n{code}")


GOOD = measurement("libx264", "h264", 2.5)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("libx264", "h264"), ("libx265", "hevc"), ("libsvtav1", "av1"), ("libvpx-vp9", "vp9")],
)
def test_software_works_here_and_holds_nothing_back(name: str, codec: str) -> None:
    found = measure(name)
    assert (found.ok, found.codec, found.delay_frames, found.reason) == (True, codec, 0, "")
    assert found.ms_per_frame > 0
    with pytest.raises(FrozenInstanceError):
        found.ok = False  # type: ignore[misc]


def test_the_command_prints_one_line(capsys: Output) -> None:
    assert main(["no-such"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    found = Measurement.read(json.loads(line))
    assert (found.ok, found.reason) == (False, "'no-such' is no encoder that wtgateway knows")
    assert main([]) == 2


def test_it_really_runs_apart() -> None:
    found = measure_apart("libx264")
    assert (found.encoder, found.ok, found.delay_frames) == ("libx264", True, 0)
    assert measure_apart("no-such").reason == "'no-such' is no encoder that wtgateway knows"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the trial was killed by signal 11"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the trial was killed by signal 9"),
        ("sys.exit('cannot map the device')", "the trial ended with code 1: cannot map the device"),
        ("sys.exit(3)", "the trial ended with code 3: nothing was said"),
        ("print('Segmentation')", "the trial's answer is not readable: "),
        ("print('[' * 100000)", "the trial's answer is not readable: "),
        ("", "the trial's answer is not readable: "),
        ("print('{}')", "the trial's answer is not readable: no measurement: {}"),
        (f"print({json.dumps(asdict(GOOD))!r})", "the trial answered for 'libx264'"),
    ],
)
def test_a_driver_that_breaks_hurts_only_its_trial(code: str, reason: str) -> None:
    found = measure_apart("h264_qsv", command=trial(code))
    assert (found.encoder, found.codec, found.hardware, found.ok) == ("h264_qsv", "h264", True, False)
    assert found.reason.startswith(reason), found.reason
    assert len(found.reason) <= 300


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(600)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)",
        # What it started lives on with the same outputs.
        "import subprocess\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).wait()",
    ],
)
def test_a_driver_that_hangs_is_killed(code: str) -> None:
    found = measure_apart("h264_nvenc", time_limit_s=0.5, command=trial(code))
    assert (found.ok, found.reason) == (False, "it gave no answer within 0.5 s")


def test_what_cannot_be_started_is_told() -> None:
    found = measure_apart("libx264", command=("/nonexistent/python",))
    assert found.reason.startswith("the trial could not be started: ")


def test_libraries_may_talk_before_the_answer() -> None:
    code = f"print('Svt[info]: hello')\nprint({json.dumps(asdict(GOOD))!r})"
    assert measure_apart("libx264", command=trial(code)) == GOOD


# --- the cache ----------------------------------------------------------------------------------


class Trials:
    """Counts what is measured."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, name: str) -> Measurement:
        self.asked.append(name)
        return replace(GOOD, encoder=name)


def test_what_was_measured_is_remembered(tmp_path: Path) -> None:
    trials, store = Trials(), tmp_path / "below" / "cache"
    first = measured(["a", "b"], store, "k1", trials)
    assert [m.encoder for m in first] == ["a", "b"]
    assert measured(["b", "a"], store, "k1", trials) == first[::-1]
    assert trials.asked == ["a", "b"]
    measured(["a", "c"], store, "k1", trials)
    assert trials.asked == ["a", "b", "c"], "only what lacks"
    measured(["a"], store, "k2", trials)
    assert trials.asked == ["a", "b", "c", "a"], "another machine"
    measured(["a"], store, "k1", trials, again=True)
    assert trials.asked == ["a", "b", "c", "a", "a"]
    assert measured(["a", "b"], store, "k1", trials) == first, "the others are still known"
    assert trials.asked == ["a", "b", "c", "a", "a"]
    assert sorted(path.name for path in store.iterdir()) == ["encoders-k1.json", "encoders-k2.json"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"[" * 100_000, b"\xff", b'[{"encoder": "a"}]'])
def test_a_spoilt_cache_is_measured_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "encoders-k.json").write_bytes(content)
    trials = Trials()
    assert [m.encoder for m in measured(["a"], tmp_path, "k", trials)] == ["a"]
    assert trials.asked == ["a"]
    measured(["a"], tmp_path, "k", trials)
    assert trials.asked == ["a"], "and is whole again"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert measured(["a"], tmp_path / "file" / "cache", "k", Trials())[0].encoder == "a"


def test_all_encoders_of_the_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def apart(name: str, *, time_limit_s: float) -> Measurement:
        asked.append(name)
        return replace(GOOD, encoder=name)

    monkeypatch.setattr("wtgateway.encoders.probe.measure_apart", apart)
    first = measured_encoders(tmp_path)
    assert {"libx264", "libx265", "libsvtav1", "libvpx-vp9"} <= {m.encoder for m in first}
    assert "libopus" not in asked
    assert measured_encoders(tmp_path) == first
    assert len(asked) == len(first)


def test_other_libraries_are_another_fingerprint() -> None:
    one = fingerprint({"libavcodec": (62, 28, 102)}, "1.0")
    assert one == fingerprint({"libavcodec": (62, 28, 102)}, "1.0")
    assert len({one, fingerprint({"libavcodec": (63, 0, 0)}, "1.0"), fingerprint({}, "1.0")}) == 3
    assert one != fingerprint({"libavcodec": (62, 28, 102)}, "1.1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries(dict.fromkeys(asdict(GOOD), JSON)) | JSON)
def test_any_document_is_a_measurement_or_a_value_error(document: object) -> None:
    try:
        found = Measurement.read(document)
    except ValueError:
        return
    assert asdict(found) == document


# --- the choice ---------------------------------------------------------------------------------

MEASURED = [
    measurement("libx264", "h264", 4.0),
    measurement("h264_nvenc", "h264", 2.0, hardware=True),
    measurement("h264_v4l2m2m", "h264", 1.0, hardware=True, delay_frames=1),
    measurement("h264_qsv", "h264", 0.0, hardware=True, ok=False, reason="Cannot load"),
    measurement("libx265", "hevc", 26.0),
    measurement("libsvtav1", "av1", 12.0),
    measurement("libvpx-vp9", "vp9", 15.0),
]


@pytest.mark.parametrize(
    ("codecs", "fps", "size", "expected"),
    [
        (["av1", "h264"], 30, (1280, 720), "libsvtav1"),  # 12 of 16.7 ms
        (["av1", "h264"], 60, (1280, 720), "h264_nvenc"),  # 12 of 8.3 ms; the cheapest that works
        (["av1", "h264"], 30, (1920, 1080), "h264_nvenc"),  # 27 of 16.7 ms
        (["h265"], 30, (1280, 720), None),  # 26 of 16.7 ms
        (["h265"], 30, (640, 360), "libx265"),
        (["vp9", "av1"], 30, (1280, 720), "libvpx-vp9"),  # the order of preference, not of cost
        (["hevc", "vp9", "av1"], 60, (3840, 2160), None),
        ([], 30, (1280, 720), None),
        (["theora"], 30, (1280, 720), None),
    ],
)
def test_the_first_that_keeps_up(
    codecs: list[str], fps: float, size: tuple[int, int], expected: str | None
) -> None:
    chosen = choose(codecs, fps, size, MEASURED)
    assert (chosen.encoder if chosen else None) == expected


def test_head_room_is_the_callers_to_give() -> None:
    assert choose(["hevc"], 30, (1280, 720), MEASURED, head_room=0.5) is None
    chosen = choose(["hevc"], 30, (1280, 720), MEASURED, head_room=0.9)
    assert chosen is not None
    assert chosen.encoder == "libx265"


@given(
    st.lists(st.sampled_from(["h264", "hevc", "av1", "vp9"]), unique=True),
    st.floats(1, 240),
    st.tuples(st.integers(16, 7680), st.integers(16, 4320)),
    st.lists(
        st.builds(
            measurement,
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["h264", "hevc", "av1", "vp9"]),
            st.floats(0, 1000),
            ok=st.booleans(),
            delay_frames=st.integers(0, 2),
        )
    ),
)
def test_never_one_that_cannot_keep_up(
    codecs: list[str], fps: float, size: tuple[int, int], found: list[Measurement]
) -> None:
    def usable(m: Measurement) -> bool:
        cost_ms = m.ms_per_frame * size[0] * size[1] / (1280 * 720)
        return m.ok and m.delay_frames == 0 and m.codec in codecs and cost_ms * fps <= 500

    chosen = choose(codecs, fps, size, found)
    assert (chosen is None) == (not any(map(usable, found)))
    if chosen is not None:
        assert usable(chosen)
        earlier = codecs[: codecs.index(chosen.codec)]
        assert not any(usable(m) for m in found if m.codec in earlier)
