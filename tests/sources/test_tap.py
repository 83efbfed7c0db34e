"""Pictures beside coded video: from the middle of a group, within bounds, never in the way."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from tests.sources import coded
from tests.sources.coded import GROUP, number, passage, write
from wtgateway.sources import CodedVideo, RawVideo, tap
from wtgateway.sources.tap import PictureTap, Tapped


@functools.cache
def pieces(kind: str = "h264", frames: int = 36) -> tuple[CodedVideo, ...]:
    with tempfile.TemporaryDirectory() as directory:
        return tuple(passage(write(Path(directory) / "a.mkv", kind, frames)).video)


def tapped(piece: CodedVideo) -> Tapped:
    times = (piece.pts_us, piece.capture_us, piece.grabbed_us, piece.duration_us)
    return Tapped(piece.payload, piece.keyframe, *times)


def finish(tapper: PictureTap) -> list[RawVideo]:
    """What it has to do, until it has nothing more to do."""
    found = []
    while tapper.busy:
        found += tapper.work()
    return found


def numbers(pictures: list[RawVideo]) -> list[int | None]:
    return [number(coded.luma(picture.frame)) for picture in pictures]


@pytest.mark.parametrize(("kind", "decoder"), [("h264", "h264"), ("av1", "libdav1d"), ("vp9", "vp9")])
def test_one_picture_for_each_unit_without_delay(kind: str, decoder: str) -> None:
    tapper = PictureTap(decoder)
    tapper.want(True)
    assert finish(tapper) == []
    for at, piece in enumerate(pieces(kind), 1):
        tapper.add(tapped(piece))
        found = finish(tapper)
        assert numbers(found) == [at]
        assert (found[0].pts_us, found[0].duration_us) == (piece.pts_us, piece.duration_us)


@pytest.mark.parametrize(
    ("kind", "decoder"),
    [("h264", "h264"), ("h264 B-frames", "h264"), ("hevc", "hevc"), ("av1", "libdav1d"), ("vp9", "vp9")],
)
def test_only_the_newest_picture_of_the_group_so_far(kind: str, decoder: str) -> None:
    tapper = PictureTap(decoder)
    for piece in pieces(kind)[: GROUP + 8]:
        tapper.add(tapped(piece))
    assert not tapper.busy, "nobody wants a picture: nothing is decoded"
    tapper.want(True)
    found = finish(tapper)
    assert len(found) == 1
    held = 2 if "B-frames" in kind else 0  # pictures that are still in the decoder
    assert numbers(found)[0] == GROUP + 8 - held
    for piece in pieces(kind)[GROUP + 8 :]:
        tapper.add(tapped(piece))
        found += finish(tapper)
    found += tapper.flush()
    assert numbers(found) == list(range(numbers(found)[0] or 0, 37)), "then one after the other"


def test_nothing_is_kept_when_pictures_are_no_longer_wanted() -> None:
    tapper = PictureTap("h264")
    tapper.want(True)
    for piece in pieces()[:6]:
        tapper.add(tapped(piece))
    finish(tapper)
    tapper.want(False)
    assert tapper.busy and finish(tapper) == [] and tapper._decoder is None
    tapper.add(tapped(pieces()[6]))
    assert finish(tapper) == [] and tapper.flush() == []
    tapper.want(True)
    assert numbers(finish(tapper)) == [7]


def test_a_group_out_of_bounds_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "MAX_PACKETS", 5)
    tapper = PictureTap("h264")
    for piece in pieces()[: GROUP - 1]:
        tapper.add(tapped(piece))
        assert len(tapper._group.units) <= 5
    tapper.want(True)
    assert finish(tapper) == []
    tapper.add(tapped(pieces()[GROUP - 1]))
    assert finish(tapper) == []
    tapper.add(tapped(pieces()[GROUP]))
    assert numbers(finish(tapper)) == [GROUP + 1]
    for piece in pieces()[GROUP + 1 : 2 * GROUP]:
        tapper.add(tapped(piece))  # a decoder that keeps up needs no bound
        assert len(finish(tapper)) == 1


def test_a_group_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "MAX_BYTES", len(pieces()[0].payload) + 100)
    tapper = PictureTap("h264")
    for piece in pieces()[:GROUP]:
        tapper.add(tapped(piece))
        assert sum(len(unit.payload) for unit in tapper._group.units) <= tap.MAX_BYTES
    tapper.want(True)
    assert finish(tapper) == []


def test_decoding_that_is_too_slow_begins_anew_at_a_keyframe() -> None:
    tapper = PictureTap("h264")
    tapper.want(True)
    assert finish(tapper) == []
    for _ in range(7):
        for piece in pieces()[:GROUP]:
            tapper.add(tapped(piece))
    assert tapper.skipped == 6 * GROUP
    assert len(tapper._pending.units) == GROUP


def test_damage_is_passed_over_until_a_place_to_begin() -> None:
    tapper = PictureTap("h264")
    tapper.want(True)
    found = []
    for at, piece in enumerate(pieces()):
        if at == 4:
            tapper.interrupt()
        tapper.add(tapped(piece))
        found += finish(tapper)
    assert numbers(found) == [*range(1, 5), *range(GROUP + 1, 37)]


def test_a_decoder_that_refuses_everything_is_replaced() -> None:
    tapper = PictureTap("vp9")
    tapper.want(True)
    finish(tapper)
    for i in range(40):
        tapper.add(Tapped(b"\x40garbage", i == 0, i, i, i, 1))
        assert finish(tapper) == []
    assert tapper.damaged >= 30
    for piece in pieces("vp9"):
        tapper.add(tapped(piece))
        finish(tapper)
    tapper.add(tapped(pieces("vp9")[0]))
    assert not finish(tapper), "a picture that goes back in time is none"
