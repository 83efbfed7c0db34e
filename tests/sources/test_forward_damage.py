"""Bytes from strangers: whatever is done to a stream, what is passed on begins at keyframes, and it goes on.

A mutated stream goes through the demuxer, the forwarder and the SPS rewrite. Nothing may raise but a
SourceError, nothing may grow, and what is passed on keeps the rules of the pipeline.
"""

from __future__ import annotations

import functools
import logging
import random
import tempfile
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bitstream import streams
from tests.sources.coded import check_rules, mux, passage, write
from wtgateway.bitstream import av1, nal, vp9
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.errors import SourceError
from wtgateway.sources import units
from wtgateway.sources.forward import Forwarder
from wtgateway.sources.opened import Opened, OpenTrack
from wtgateway.sources.passing import PassedVideo

ROUNDS = 250  # of each case
KINDS = {
    "h264 B-frames": ("mp4", "mkv", "ts", "flv"),
    "hevc open": ("mp4", "mkv", "ts"),
    "av1 hidden frames": ("mp4", "mkv"),
    "vp9 hidden frames": ("webm", "mp4"),
}
CASES = [(kind, suffix) for kind, suffixes in KINDS.items() for suffix in suffixes]


@functools.cache
def real(kind: str, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        return write(Path(directory) / f"a.{suffix}", kind, frames=24).read_bytes()


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Bits turned over, bytes lost, repeated or put in, or the end cut off."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 30))):
        at = dice.randrange(len(out))
        size = dice.choice((1, 2, 7, 188, 1000))
        what = dice.randrange(6)
        if what < 2:
            out[at] ^= 1 << dice.randrange(8)
        elif what == 2:
            del out[at : at + size]
        elif what == 3:
            out[at:at] = out[at : at + size]
        elif what == 4:
            out[at : at + size] = dice.randbytes(size)
        else:
            del out[len(out) - size :]
        if len(out) < 2:
            break
    return bytes(out)


@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_a_mutated_file_never_breaks_more_than_itself(
    tmp_path: Path, kind: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    dice = random.Random(f"{kind} {suffix}")
    played = 0
    for _ in range(ROUNDS // 5):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(mutate(real(kind, suffix), dice))
        try:
            found = passage(path, most=200)
        except SourceError:
            continue  # it is said in words that it cannot be opened
        played += bool(found.video)
        check_rules(found.video)
    assert played > ROUNDS // 20, "most of them play, or this tests nothing"


def track_of(codec: str, extradata: bytes = b"") -> tuple[Opened, OpenTrack]:
    """A track as the reader describes it, without a container behind it."""
    names = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d", "vp9": "vp9"}
    decoder: Any = av.CodecContext.create(names[codec], "r")
    if extradata:
        decoder.extradata = extradata
    track = OpenTrack("video", 0, decoder, Fraction(1, 90_000), 30.0)
    return Opened(SimpleNamespace(), (track,), "mpegts", 0), track  # type: ignore[arg-type]


@functools.cache
def packets(kind: str, suffix: str) -> tuple[tuple[bytes, int | None, int | None], ...]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"a.{suffix}"
        path.write_bytes(real(kind, suffix))
        with av.open(str(path)) as container:
            return tuple((bytes(p), p.pts, p.dts) for p in container.demux() if p.size)


@functools.cache
def extradata(kind: str, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"a.{suffix}"
        path.write_bytes(real(kind, suffix))
        with av.open(str(path)) as container:
            return bytes(container.streams.video[0].codec_context.extradata or b"")


@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_a_mutated_packet_is_counted_or_passed_on(
    kind: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    dice = random.Random(f"packets {kind} {suffix}")
    for _ in range(ROUNDS):
        extra = extradata(kind, suffix)
        if dice.randrange(4) == 0 and extra:
            extra = mutate(extra, dice)
        opened, track = track_of(kind.split()[0])
        forwarder = Forwarder(opened, track, "a mutated stream")
        forwarder._configure(extra)
        open_group = False
        for data, pts, dts in packets(kind, suffix):
            packet = av.Packet(mutate(data, dice) if dice.randrange(6) == 0 else data)
            packet.pts, packet.dts, packet.time_base = pts, dts, Fraction(1, 90_000)
            before = forwarder.damaged
            taken = forwarder.take(packet)
            if taken is None:
                open_group = open_group and forwarder.damaged == before
                continue
            open_group = open_group or taken.unit.keyframe
            assert (taken.format is not None) <= open_group
            if taken.unit.keyframe and taken.format is not None:
                check_begins(kind.split()[0], taken.unit.payload)


@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_pictures_beside_a_mutated_stream_go_on_and_never_back(
    kind: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    dice = random.Random(f"pictures {kind} {suffix}")
    came = 0
    for _ in range(ROUNDS // 10):
        opened, track = track_of(kind.split()[0])
        passed = PassedVideo(opened, track, "a mutated stream")
        passed.forwarder._configure(extradata(kind, suffix))
        newest_us = None
        for at, (data, pts, dts) in enumerate(packets(kind, suffix)):
            passed.tap.want(at % 10 < 7)  # on and off
            packet = av.Packet(mutate(data, dice) if dice.randrange(5) == 0 else data)
            packet.pts, packet.dts, packet.time_base = pts, dts, Fraction(1, 90_000)
            taken = passed.take(packet)
            if taken is not None:
                passed.place(taken, taken.pts_us, taken.pts_us or 0, 0)
            while passed.tap.busy:
                for picture in passed.tap.work():
                    assert newest_us is None or picture.pts_us > newest_us
                    newest_us = picture.pts_us
                    came += 1
    assert came > ROUNDS // 10


def check_begins(codec: str, payload: bytes) -> None:
    """A keyframe has all that a decoder needs to be configured."""
    if codec == "av1":
        assert av1.parse_temporal_unit(payload, None).sequence is not None
    elif codec == "vp9":
        assert vp9.parse_access_unit(payload).keyframe
    else:
        sets = units.NalUnits(codec)
        sets.configure(payload)
        assert sets.nameable and nal.split_annexb(payload)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["h264", "hevc", "av1", "vp9"]), st.lists(st.binary(max_size=200), max_size=12))
def test_any_bytes_are_a_unit_or_damage(codec: str, datas: list[bytes]) -> None:
    opened, track = track_of(codec)
    forwarder = Forwarder(opened, track, "noise")
    prefixes = (b"", b"\0\0\0\1\x67", b"\0\0\0\1\x42\x01", b"\x0a\x0b", b"\x82\x49\x83\x42")
    for data in (prefix + data for data in datas for prefix in prefixes):
        packet = av.Packet(data)
        packet.time_base = Fraction(1, 90_000)
        forwarder.take(packet)
    assert forwarder.damaged + forwarder.skipped <= 5 * len(datas)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
@given(data=st.binary(max_size=200))
def test_any_configuration_is_one_or_is_refused(codec: str, data: bytes) -> None:
    track = units.units_of(codec, fps=30, bitrate_bps=0, reorder_frames=0)
    for prefix in (b"", b"\1", b"\x81", b"\0\0\0\1\x67", b"\0\0\0\1\x42\x01"):
        try:
            track.configure(prefix + data)
        except BitstreamError:
            continue
    assert units.nameable(codec, data) in (True, False)


def test_parameter_sets_from_a_stranger_stay_within_bounds() -> None:
    """Every id there is, as large as it may be, and larger: what is kept has a bound."""
    source = streams.x264(bf="0")[0].units
    pps = next(unit for unit in source if unit[0] & 31 == 8)
    track = units.NalUnits("h264")
    track.take(nal.join_annexb(source), 0)
    for size in (100, 8_000, 60_000):
        many = [pps + bytes([1 + i % 200]) * size for i in range(300)]
        for unit in many:
            try:
                track.take(nal.join_annexb([unit, *source]), None)
            except BitstreamError:
                continue
    unit = track.take(nal.join_annexb(source), 0)
    assert unit is not None and len(unit.payload) < 20_000 + len(nal.join_annexb(source))


def test_a_giant_packet_is_damage() -> None:
    opened, track = track_of("vp9")
    forwarder = Forwarder(opened, track, "a giant")
    assert forwarder.take(av.Packet(bytes(16 * 1024 * 1024))) is None
    assert forwarder.damaged == 1


def test_what_the_demuxer_knows_to_be_damaged_is_not_passed_on(tmp_path: Path) -> None:
    stream = [
        streams.Coded(c.pts + 24 * i, c.dts + 24 * i, c.data)
        for i in range(4)
        for c in streams.x264(bf="0", width=640, height=360)
    ]
    whole = bytearray(mux(tmp_path / "a.ts", "h264", stream, size=(640, 360)).read_bytes())
    lost = len(whole) // 188 // 2 * 188
    (tmp_path / "b.ts").write_bytes(whole[:lost] + whole[lost + 188 :])  # one packet of 188 bytes
    found = passage(tmp_path / "b.ts")
    assert found.passed.forwarder.damaged == 1
    assert 96 - 12 <= len(found.video) < 96
    check_rules(found.video)


@pytest.mark.parametrize("pts", [None, 0, -(2**60), 2**60])
def test_times_without_sense_do_not_stop_it(tmp_path: Path, pts: int | None) -> None:
    path = write(tmp_path / "a.mkv", "h264 B-frames", frames=24)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extra = bytes(stream.codec_context.extradata or b"")
        found = [packet for packet in container.demux(stream) if packet.size]
    opened, track = track_of("h264")
    forwarder = Forwarder(opened, track, "times")
    forwarder._configure(extra)
    taken = []
    for at, packet in enumerate(found):
        if at % 3 == 1:
            packet.pts, packet.duration = pts, pts or 0
        taken.append(forwarder.take(packet))
    assert all(unit is not None and unit.format is not None for unit in taken)
    assert {round(unit.duration_us, -3) for unit in taken if unit is not None} == {33_000}
