"""What the linter finds in real streams, and when it lets the SPS be rewritten."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitstream.streams import Coded, decode, map_units, without_restriction, without_vui, x264, x265
from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.linter import (
    Code,
    Finding,
    Observation,
    Observer,
    Proof,
    Severity,
    Sps,
    lint,
    safe_to_rewrite,
)


def watched(codec: str, stream: tuple[Coded, ...] | list[Coded], rounds: int = 1) -> tuple[Sps, Observation]:
    """The SPS and what an observer saw of the stream, played ``rounds`` times."""
    observer = Observer(codec)
    for turn in range(rounds):
        for coded in stream:
            observer.observe(coded.units, coded.pts + 1000 * turn)
    return observer.sps[0], observer.observation


def codes(findings: tuple[Finding, ...]) -> set[Code]:
    return {finding.code for finding in findings}


def test_b_frames_are_found_and_never_rewritten() -> None:
    for codec, stream in (("h264", x264()), ("hevc", x265())):
        sps, seen = watched(codec, stream)
        assert seen.pictures == 24
        assert seen.keyframes == 2
        assert seen.b_pictures > 0
        assert seen.reordered > 0
        assert seen.reorder_depth == decode(codec, stream).reorder_depth == sps.reorder_frames
        (finding,) = (f for f in lint(sps, seen) if f.code is Code.B_FRAMES)
        assert finding.severity is Severity.ERROR
        assert f"hold {seen.reorder_depth} frame(s)" in finding.message
        for whole in (False, True):
            assert not safe_to_rewrite(sps, seen, whole_stream=whole).safe


def test_b_frames_are_found_though_the_sps_is_silent() -> None:
    sps, seen = watched("h264", map_units(x264(), without_restriction), rounds=4)
    assert Code.B_FRAMES in codes(lint(sps, seen))
    assert not safe_to_rewrite(sps, seen, whole_stream=True).safe


@pytest.mark.parametrize("strip", [without_restriction, without_vui])
def test_a_silent_sps_is_found_and_may_be_rewritten(strip: object) -> None:
    assert callable(strip)
    # Interlaced coding makes libx264 choose picture order count type 0, as most cameras do.
    silent = map_units(x264(height=100, bf="0", flags="+ildct+ilme"), strip)
    sps, seen = watched("h264", silent)
    assert isinstance(sps, h264.Sps)
    assert sps.poc_type == 0
    (finding,) = (f for f in lint(sps, seen) if f.code is Code.REORDER_UNSTATED)
    assert finding.severity is Severity.WARNING
    assert f"up to {sps.max_dpb_frames} frames" in finding.message
    assert not safe_to_rewrite(sps, seen).safe, "24 pictures are too few"
    assert safe_to_rewrite(sps, seen, whole_stream=True).proof is Proof.WHOLE_STREAM
    assert safe_to_rewrite(*watched("h264", silent, rounds=3)).proof is Proof.WINDOW


def test_order_count_type_2_is_proof_by_itself() -> None:
    sps, _ = watched("h264", map_units(x264(tune="zerolatency"), without_vui))
    assert isinstance(sps, h264.Sps)
    assert sps.poc_type == 2
    assert safe_to_rewrite(sps, Observation()).proof is Proof.SYNTAX


def test_announced_reordering_wants_the_whole_stream() -> None:
    for codec, stream in (("h264", x264(only_p=True)), ("hevc", x265(only_p=True))):
        sps, seen = watched(codec, stream, rounds=5)
        assert seen.in_order
        assert seen.b_pictures == 0
        assert Code.REORDER_STATED in codes(lint(sps, seen))
        assert not safe_to_rewrite(sps, seen).safe
        assert safe_to_rewrite(sps, seen, whole_stream=True).proof is Proof.WHOLE_STREAM


def test_a_good_stream_has_no_findings() -> None:
    for codec, stream in (("h264", x264(tune="zerolatency")), ("hevc", x265(params="bframes=0"))):
        sps, seen = watched(codec, stream)
        assert lint(sps, seen) == ()
        assert safe_to_rewrite(sps, seen).proof is Proof.SYNTAX


def test_a_rewritten_stream_has_no_findings_about_order() -> None:
    def rewrite(unit: bytes) -> bytes:
        return h264.declare_no_reordering(unit) if h264.nal_type(unit) == h264.SPS else unit

    sps, seen = watched("h264", map_units(x264(bf="0", only_p=True), rewrite))
    assert lint(sps, seen) == ()


def test_reordering_that_begins_later_takes_the_permission_back() -> None:
    calm = map_units(x264(height=100, bf="0", flags="+ildct+ilme"), without_restriction)
    wild = map_units(x264(height=100, flags="+ildct+ilme"), without_restriction)
    observer = Observer("h264")
    for coded in calm * 3:
        observer.observe(coded.units)
    assert safe_to_rewrite(observer.sps[0], observer.observation).safe
    for coded in wild:
        observer.observe(coded.units)
    assert not safe_to_rewrite(observer.sps[0], observer.observation).safe


def test_timestamps_that_go_back_are_reordering_too() -> None:
    stream = map_units(x264(height=100, bf="0", flags="+ildct+ilme"), without_restriction)
    observer = Observer("h264")
    for coded, pts in zip(stream[:4], (0, 2, 1, 3), strict=True):
        observer.observe(coded.units, pts)
    assert observer.observation.times_back == 1
    assert not safe_to_rewrite(observer.sps[0], observer.observation, whole_stream=True).safe


def test_pictures_before_their_parameter_sets_prove_nothing() -> None:
    stream = x264(height=100, bf="0", flags="+ildct+ilme")
    observer = Observer("h264")
    for coded in stream[1:]:
        observer.observe(coded.units)
    assert observer.observation.order_unknown == 11
    observer.add(map(without_restriction, stream[0].units))
    verdict = safe_to_rewrite(observer.sps[0], observer.observation, whole_stream=True)
    assert (verdict.safe, verdict.proof) == (False, None)
    assert "11 pictures do not tell" in verdict.reason


def test_nothing_seen_proves_nothing() -> None:
    sps, _ = watched("hevc", x265())
    assert not safe_to_rewrite(sps, Observation(), whole_stream=True).safe


def test_findings_about_joining_and_buffers() -> None:
    sps, seen = watched("h264", x264(height=100, refs="6", flags="+ildct+ilme"))
    assert {Code.LARGE_DPB, Code.INTERLACED} <= codes(lint(sps, seen))
    sps, _ = watched("hevc", x265(params="interlace=tff:bframes=0"))
    assert Code.INTERLACED in codes(lint(sps, Observation()))
    assert codes(lint(sps, Observation(pictures=60))) >= {Code.NO_KEYFRAME}
    sps, seen = watched("hevc", x265(params="open-gop=1:b-adapt=0"))
    assert Code.OPEN_GROUPS in codes(lint(sps, seen))
    bare = [
        Coded(c.pts, c.dts, b"\0\0\1" + b"\0\0\1".join(u for u in c.units if h264.nal_type(u) in h264.SLICES))
        for c in x264()
    ]
    observer = Observer("h264")
    observer.add(x264()[0].units)
    for coded in bare:
        observer.observe(coded.units)
    assert observer.observation.keyframes_without_sets == 2
    assert Code.NO_PARAMETER_SETS in codes(lint(observer.sps[0], observer.observation))


def test_broken_units_are_counted_and_prove_nothing() -> None:
    stream = x265(only_p=True)
    observer = Observer("hevc")
    observer.observe(stream[0].units)
    observer.observe([b"\x42\x01\xff", b"\x26\x01"])
    seen = observer.observation
    assert seen.broken == 2
    assert Code.BROKEN in codes(lint(observer.sps[0], seen))
    assert not safe_to_rewrite(observer.sps[0], seen, whole_stream=True).safe


def test_other_codecs_are_refused() -> None:
    with pytest.raises(ValueError, match="use h264 or hevc"):
        Observer("vp9")


UNIT = st.tuples(
    st.sampled_from([0x67, 0x68, 0x65, 0x41, 0x06, 0x42, 0x44, 0x26, 0x02, 0x40]), st.binary(max_size=40)
)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["h264", "hevc"]),
    st.lists(
        st.lists(UNIT.map(lambda u: bytes((u[0], 1)) + u[1]) | st.binary(max_size=4), max_size=4), max_size=8
    ),
)
def test_an_observer_takes_anything(codec: str, access_units: list[list[bytes]]) -> None:
    observer = Observer(codec)
    observer.add((x264() if codec == "h264" else x265())[0].units)
    for units in access_units:
        observer.observe(units, len(units))
    seen = observer.observation
    assert seen.reordered <= seen.pictures <= len(access_units)
    for sps in observer.sps:
        assert all(finding.message for finding in lint(sps, seen))
        verdict = safe_to_rewrite(sps, seen)
        assert verdict.safe == (verdict.proof is not None)
        assert not (verdict.safe and isinstance(sps, hevc.Sps) and sps.reorder_frames)


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_missing_units_are_no_evidence_of_another_order(codec: str, b_frames: int) -> None:
    hevc_params = f"bframes={b_frames}:b-adapt=0"
    once = x264(bf=str(b_frames), b_strategy="0") if codec == "h264" else x265(params=hevc_params)
    whole, gappy = Observer(codec), Observer(codec)
    stream = [Coded(c.pts + 24 * i, c.dts, c.data) for i in range(8) for c in once]
    for at, coded in enumerate(stream):
        whole.observe(coded.units, coded.pts)
        if at % 40 == 20:
            gappy.gap()
        if at % 40 not in range(14, 20):
            gappy.observe(coded.units, coded.pts)
    assert gappy.observation.pictures == len(stream) - 30
    assert (gappy.observation.reorder_depth, gappy.observation.in_order) == (
        whole.observation.reorder_depth,
        b_frames == 0,
    )
