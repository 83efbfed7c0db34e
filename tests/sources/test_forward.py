"""Coded video on its way through: the same pictures at the same times, groups that anyone can join at."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.bitstream import streams
from tests.sources.coded import (
    FPS,
    GROUP,
    KINDS,
    SIZE,
    Passage,
    decode,
    mux,
    number,
    originals,
    passage,
    write,
)
from wtgateway.bitstream import av1, h264, hevc, nal

CONTAINERS = {
    "h264": ("mp4", "mkv", "ts", "flv"),
    "hevc": ("mp4", "mkv", "ts"),
    "av1": ("mp4", "mkv"),
    "vp9": ("mp4", "webm"),
}
CASES = [(kind, suffix) for kind in KINDS for suffix in CONTAINERS[kind.split()[0]]]
NAMES = {"h264": "avc1.64", "hevc": "hvc1.1.6.L", "av1": "av01.0.0", "vp9": "vp09.00."}


def check_groups(found: Passage) -> None:
    """Closed groups, each of which decodes by itself."""
    assert found.video[0].keyframe
    shown: list[int] = []
    for group in found.groups:
        times = [piece.pts_us for piece in group]
        assert len(set(times)) == len(times)
        assert not shown or min(times) > max(shown)
        shown = times
        alone = decode(group)
        assert sorted(alone) == sorted(times), "a decoder that begins here gives all of its pictures"


@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_what_is_passed_on_decodes_to_the_same_pictures_at_the_same_times(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path = write(tmp_path / f"a.{suffix}", kind)
    found = passage(path)
    decoded, expected = decode(found.video), originals(path)
    if kind == "hevc open":
        assert 0 < len(expected) - len(decoded) < 12, "leading pictures of open groups are left out"
        expected = [(pts, picture) for pts, picture in expected if pts in decoded]
    assert sorted(decoded) == [pts for pts, _ in expected]
    for pts, picture in expected:
        assert np.array_equal(decoded[pts], picture)
    assert [number(picture) for _, picture in expected][:3] == [1, 2, 3]
    check_groups(found)
    assert len(found.groups) == 36 // GROUP
    (shape,) = {(p.format.codec, p.format.width, p.format.height, round(p.format.fps)) for p in found.video}
    assert shape[0].startswith(NAMES[kind.split()[0]]) and shape[1:] == (*SIZE, FPS)
    assert found.passed.forwarder.damaged == found.passed.forwarder.skipped == 0
    assert all(abs(piece.duration_us - 33_333) < 700 for piece in found.video)


@pytest.mark.parametrize("kind", KINDS)
def test_reorder_frames_is_what_a_decoder_needs(tmp_path: Path, kind: str) -> None:
    found = passage(write(tmp_path / "a.mkv", kind))
    in_order = [piece.pts_us for piece in found.video] == sorted(piece.pts_us for piece in found.video)
    assert (
        (found.video[-1].format.reorder_frames == 0)
        == in_order
        == ("B-frames" not in kind and "open" not in kind)
    )
    assert ("b-frames" in " ".join(found.video[-1].format.findings)) == (not in_order)
    overtaken = max(
        sum(earlier.pts_us > piece.pts_us for earlier in found.video[:at])
        for at, piece in enumerate(found.video)
    )
    assert found.video[-1].format.reorder_frames == overtaken


@pytest.mark.parametrize("kind", ["h264 B-frames", "hevc B-frames", "av1", "vp9"])
def test_a_file_played_again_goes_on_group_after_group(tmp_path: Path, kind: str) -> None:
    found = passage(write(tmp_path / "a.mp4", kind, frames=18), passes=3)
    assert len(found.groups) == 6
    check_groups(found)
    numbers = [number(picture) for _, picture in sorted(decode(found.video).items())]
    assert numbers == list(range(1, 19)) * 3
    assert len({id(piece.format) for piece in found.groups[1] + found.groups[-1]}) == 1


def test_keyframes_carry_all_parameter_sets_and_nothing_carries_a_delimiter(tmp_path: Path) -> None:
    for kind, suffix in CASES:
        if kind.split()[0] not in ("h264", "hevc"):
            continue
        family: Any = h264 if kind.startswith("h264") else hevc
        found = passage(write(tmp_path / f"{kind}.{suffix}", kind, frames=18))
        for piece in found.video:
            kinds = [family.nal_type(unit) for unit in nal.split_annexb(piece.payload)]
            assert family.DELIMITER not in kinds
            if piece.keyframe:
                sets = [family.SPS, family.PPS] if family is h264 else [family.VPS, family.SPS, family.PPS]
                assert kinds[: len(sets)] == sets and len(set(kinds) & set(sets)) == len(sets)
                assert [kinds.count(kind) for kind in sets] == [1] * len(sets)


def test_av1_is_low_overhead_with_its_sequence_header_at_keyframes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", "av1")
    for piece in passage(path).video:
        unit = av1.parse_temporal_unit(piece.payload, sequence_of(path))
        assert (unit.sequence is not None) == piece.keyframe == unit.keyframe
        assert all(obu.type != av1.ObuType.TEMPORAL_DELIMITER for obu in unit.obus)


def sequence_of(path: Path) -> av1.SequenceHeader:
    with av.open(str(path)) as container:
        sequence = av1.sequence_of_extradata(bytes(container.streams.video[0].codec_context.extradata or b""))
    assert sequence is not None
    return sequence


@pytest.mark.parametrize("change", [streams.without_restriction, streams.without_vui])
def test_an_sps_that_makes_decoders_wait_is_rewritten_once_that_is_proven(
    tmp_path: Path, change: Any
) -> None:
    stream = long_stream(streams.map_units(streams.x264(only_p=True), change), times=6)
    found = passage(mux(tmp_path / "a.ts", "h264", stream))
    assert not found.video[0].format.rewritten
    assert "reorder-unstated" in found.video[0].format.findings[0]
    last = found.groups[-1][0].format
    assert last.rewritten and last.reorder_frames == 0 and not last.findings
    assert held(found.groups[-1]) == 0 < held(found.groups[0])
    formats = [group[0].format for group in found.groups]
    turned = next(i for i, format_ in enumerate(formats) if format_.rewritten)
    assert 2 <= turned <= 6 and len({id(format_) for format_ in formats[turned:]}) == 1
    assert decode(found.video).keys() == {piece.pts_us for piece in found.video}


def test_an_sps_that_leaves_no_other_order_is_rewritten_at_once(tmp_path: Path) -> None:
    stream = streams.map_units(streams.x264(bf="0"), streams.without_vui)  # picture order count type 2
    found = passage(mux(tmp_path / "a.ts", "h264", long_stream(stream, 1)))
    assert all(piece.format.rewritten and not piece.format.findings for piece in found.video)
    assert held(found.groups[0]) == 0


def held(group: list[Any]) -> int:
    """Pictures that a decoder, which believes the SPS by the letter, has not given out before the end."""
    stream = [streams.Coded(piece.pts_us, piece.pts_us, piece.payload) for piece in group]
    return max(delay - 1 - at for at, delay in enumerate(streams.decode("h264", stream, strict=True).delays))


def long_stream(stream: Any, times: int, start: int = 0) -> list[streams.Coded]:
    """It again and again, on one timeline."""
    length = len(stream)
    return [
        streams.Coded(c.pts + start + i * length + 4, c.dts + start + i * length + 4, c.data)
        for i in range(times)
        for c in stream
    ]


def test_the_original_sps_comes_back_when_pictures_are_put_in_order_after_all(tmp_path: Path) -> None:
    plain, with_b = (
        streams.map_units(streams.x264(bf="2", b_strategy="0", only_p=only_p), streams.without_restriction)
        for only_p in (True, False)
    )
    stream = long_stream(plain, 5) + long_stream(with_b, 4, start=5 * len(plain) + 8)
    found = passage(mux(tmp_path / "a.ts", "h264", stream))
    rewritten = [group[0].format.rewritten for group in found.groups]
    first = rewritten.index(True)
    assert rewritten[first:10] == [True] * (10 - first) and not any(rewritten[-6:])
    assert found.video[-1].format.reorder_frames > 0
    numbers = sorted(decode(found.groups[-1]))
    assert numbers == sorted(piece.pts_us for piece in found.groups[-1])


def test_announced_reordering_is_taken_back_once_the_whole_file_was_seen(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.ts", "hevc", long_stream(streams.x265(only_p=True), 1))
    found = passage(path, passes=2)
    formats = [group[0].format for group in found.groups]
    assert [format_.rewritten for format_ in formats] == [False, False, True, True]
    assert formats[0].reorder_frames > 0 == formats[-1].reorder_frames
    assert decode(found.video).keys() == {piece.pts_us for piece in found.video}


def test_parameters_that_change_are_a_new_format_at_that_keyframe(tmp_path: Path) -> None:
    small, large = streams.x264(bf="0"), streams.x264(bf="0", width=320, height=240, profile="main")
    stream = long_stream(small, 1) + long_stream(large, 1, start=len(small))
    found = passage(mux(tmp_path / "a.ts", "h264", stream))
    shapes = [(group[0].format.width, group[0].format.codec[:7]) for group in found.groups]
    assert shapes == [(178, "avc1.64")] * 2 + [(320, "avc1.4D")] * 2
    assert all(piece.format is group[0].format for group in found.groups for piece in group)
    assert all(len(decode(group)) == 12 for group in found.groups)


def test_a_new_configuration_out_of_band_holds_from_its_packet_on(tmp_path: Path) -> None:
    """As RTMP sends it: another sequence header in the middle, and timestamps from 0 again."""
    small = write(tmp_path / "a.flv", "h264", frames=24).read_bytes()
    large = write(tmp_path / "b.flv", "h264", frames=24, size=(320, 240)).read_bytes()
    both = tmp_path / "both.flv"
    both.write_bytes(small + large[13:])  # without its header
    found = passage(both)
    assert [group[0].format.width for group in found.groups] == [192, 192, 320, 320]
    check_groups(found)
    numbers = [number(picture) for group in found.groups for _, picture in sorted(decode(group).items())]
    assert numbers == [*range(1, 25), *range(1, 25)]


def test_pictures_that_nobody_who_joins_can_decode_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", "hevc open", frames=48)
    found = passage(path)
    kinds = {hevc.nal_type(unit) for piece in found.video for unit in nal.split_annexb(piece.payload)}
    assert hevc.CRA in kinds and not kinds & {hevc.RASL_N, hevc.RASL_R}
    check_groups(found)
    assert any("open-groups" in words for words in found.video[-1].format.findings)


@pytest.mark.parametrize(("counterclockwise", "clockwise"), [(0, 0), (90, 270), (180, 180), (-90, 90)])
def test_rotation(tmp_path: Path, counterclockwise: int, clockwise: int) -> None:
    found = passage(write(tmp_path / "a.mp4", "h264 B-frames", frames=4, rotation=counterclockwise))
    assert found.video[0].format.rotation == clockwise
    assert (found.video[0].format.width, found.video[0].format.height) == SIZE


def test_bit_rate_is_measured_where_the_container_has_none(tmp_path: Path) -> None:
    stated, measured = (passage(write(tmp_path / name, "h264", frames=150)) for name in ("a.mp4", "a.ts"))
    real = sum(len(piece.payload) for piece in measured.video) * 8 * FPS / 150
    assert stated.video[0].format.bitrate_bps == pytest.approx(real, rel=0.2)
    assert measured.video[0].format.bitrate_bps == 0
    assert measured.video[-1].format.bitrate_bps == pytest.approx(real, rel=0.4)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.avi", "libx264", "yuv420p"),  # it does not say when pictures are shown
        ("a.h264", "libx264", "yuv420p"),
        ("a.mkv", "mjpeg", "yuvj420p"),
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("b.mkv", "libvpx-vp9", "yuv440p"),
        ("c.mkv", "libx264", "gray"),
        ("d.mkv", "ffv1", "yuv420p"),
    ],
)
def test_what_no_browser_decodes_is_decoded_here_as_ever(
    tmp_path: Path, tools: Any, name: str, codec: str, pix_fmt: str
) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * i, np.uint8), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    source = tools.make(str(tmp_path / name), forward=True, loop=False)
    assert source.open().coded_video == ""
    assert len(tools.pictures(source, 4)) == 4


def test_without_the_wish_nothing_is_forwarded(tmp_path: Path, tools: Any) -> None:
    source = tools.make(str(write(tmp_path / "a.mkv", "h264", opus=2)), loop=False)
    info = source.open()
    assert (info.coded_video, info.coded_audio) == ("", "")
    video, audio = tools.both(source, 20)
    assert tools.numbers(video) == list(range(1, 21)) and audio


def test_one_line_tells_of_a_trouble_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = long_stream(streams.x264(bf="0"), 3)
    for at in (14, 15, 40):
        stream[at] = streams.Coded(stream[at].pts, stream[at].dts, b"\0\0\0\1\x41\0\0\0\0\0\0\0\1\x41")
    with caplog.at_level(logging.WARNING, "wtgateway.sources"):
        found = passage(mux(tmp_path / "a.mkv", "h264", stream))
    assert found.passed.forwarder.damaged == 3
    assert [len(group) for group in found.groups] == [12, 2, 12, 4, 12, 12]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and "damaged=2 skipped=8" in lines[0] and "damaged=1 skipped=7" in lines[1]
    check_groups(found)


def test_troubles_without_end_are_told_of_ever_more_rarely(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = long_stream(streams.x264(bf="0"), 10)
    for at in range(6, 240, 12):
        stream[at] = streams.Coded(stream[at].pts, stream[at].dts, b"\0\0\0\1\x41")
    with caplog.at_level(logging.WARNING, "wtgateway.sources"):
        found = passage(mux(tmp_path / "a.mkv", "h264", stream))
    assert found.passed.forwarder.damaged == 20 and found.passed.forwarder.skipped == 100
    told = [record.getMessage().split("troubles=")[1] for record in caplog.records]
    assert [int(words.split(",")[0]) for words in told] == [1, 2, 4, 8, 16]
    assert "damaged=8 skipped=40" in told[-1]


def test_a_loss_takes_nothing_back_that_was_proven(tmp_path: Path) -> None:
    stream = long_stream(streams.map_units(streams.x264(only_p=True), streams.without_restriction), times=8)
    for at in (110, 150):
        stream[at] = streams.Coded(stream[at].pts, stream[at].dts, b"\0\0\0\1\x41")
    found = passage(mux(tmp_path / "a.mkv", "h264", stream))
    rewritten = [group[0].format.rewritten for group in found.groups]
    assert found.passed.forwarder.damaged == 2 and rewritten == sorted(rewritten) and rewritten[8]
    assert len({id(piece.format) for group in found.groups[8:] for piece in group}) == 1
    assert decode(found.video).keys() == {piece.pts_us for piece in found.video}


def test_a_stream_without_a_place_to_begin_is_not_forwarded_but_can_be_decoded(
    tmp_path: Path, tools: Any
) -> None:
    """H.264 of broadcasters: recovery points, and an IDR picture never."""
    options = {"x264-params": "open-gop=1:keyint=12:min-keyint=12", "forced-idr": "0"}
    path = mux(tmp_path / "a.ts", "h264", long_stream(streams.x264(bf="2", **options)[1:], 1))
    assert passage(path).video == []
    source = tools.make(str(path), forward=True, loop=False)
    assert source.open().coded_video == "h264"
    source.want_pictures(True)
    assert len(tools.pictures(source, 8)) == 8


def test_a_source_of_our_own_has_nothing_coded(tools: Any) -> None:
    source = tools.make("test:?size=64x64", forward=True)
    assert source.open().coded_video == ""
    source.want_pictures(False)
    assert len(tools.pictures(source, 2)) == 2
