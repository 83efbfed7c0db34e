"""Parameter sets as a stream brings them: the newest of each id, all that a keyframe needs, in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bitstream.streams import Coded, mutated_units, value_or_error, x264, x265
from wtgateway.bitstream import h264, hevc
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.bitstream.linter import Observer
from wtgateway.bitstream.sets import MAX_SET_BYTES, SetStore

SETS: dict[str, Any] = {"h264": (h264.SPS, h264.PPS), "hevc": (hevc.VPS, hevc.SPS, hevc.PPS)}


def first(codec: str, **options: Any) -> Coded:
    return (x264 if codec == "h264" else x265)(**options)[0]


def kinds(codec: str, units: tuple[bytes, ...]) -> tuple[int, ...]:
    return tuple(map(h264.nal_type if codec == "h264" else hevc.nal_type, units))


def split(codec: str, coded: Coded) -> tuple[list[bytes], bytes]:
    """Parameter sets and first slice."""
    family: Any = h264 if codec == "h264" else hevc
    is_slice = (lambda unit: h264.nal_type(unit) in h264.SLICES) if codec == "h264" else hevc.is_slice
    sets = [unit for unit in coded.units if family.nal_type(unit) in SETS[codec]]
    return sets, next(unit for unit in coded.units if is_slice(unit))


@pytest.mark.parametrize("codec", SETS)
def test_a_slice_leads_to_its_sps(codec: str) -> None:
    sets, coded_slice = split(codec, first(codec))
    store = SetStore(codec)
    with pytest.raises(BitstreamError, match="have not come yet"):
        store.sps_of(coded_slice)
    store.add(reversed(first(codec).units))  # also when the PPS comes first
    store.add(sets)
    assert store.sps_of(coded_slice) in sets
    assert kinds(codec, (store.sps_of(coded_slice),)) == (SETS[codec][-2],)
    assert kinds(codec, store.units) == SETS[codec] and set(store.units) == set(sets)
    assert all(map(store.is_set, sets)) and not store.is_set(coded_slice)


@pytest.mark.parametrize("codec", SETS)
def test_a_new_sps_replaces_the_old_one_and_what_was_written_for_it(codec: str) -> None:
    (small, _), (large, coded_slice) = (split(codec, first(codec, width=width)) for width in (178, 320))
    store = SetStore(codec)
    store.add(small)
    store.add(large[:-1])
    with pytest.raises(BitstreamError, match="have not come yet"):
        store.sps_of(coded_slice)
    store.add(large)
    assert set(store.units) == set(large)


def test_what_is_too_large_is_refused() -> None:
    sets, _ = split("h264", first("h264"))
    store = SetStore("h264")
    store.add(sets)
    with pytest.raises(BitstreamError):
        store.add([sets[1] + b"\1" * MAX_SET_BYTES])
    with pytest.raises(BitstreamError):
        store.add([b"\x67" + b"\xff" * 20])
    assert store.units == tuple(sets)


@given(st.sampled_from(["h264", "hevc"]), st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(codec: str, data: bytes) -> None:
    store = SetStore(codec)
    store.add(first(codec).units)
    for prefix in (b"", b"\x67", b"\x68", b"\x65", b"\x40\1", b"\x42\1", b"\x44\1", b"\x26\1"):
        value_or_error(lambda unit=prefix + data: store.add([unit]), lambda u=prefix + data: store.sps_of(u))


@pytest.mark.parametrize("codec", SETS)
def test_mutated_sets_keep_their_bound(codec: str) -> None:
    store = SetStore(codec)
    for unit in mutated_units([(first(codec),)], seed=11):
        value_or_error(lambda unit=unit: store.add([unit]), lambda unit=unit: store.sps_of(unit))
    assert len(store.units) <= 32 + 256
    assert all(len(unit) <= MAX_SET_BYTES for unit in store.units)


def test_the_observer_says_what_it_saw() -> None:
    observer = Observer("h264")
    key, *others = x264(bf="0")
    facts = observer.observe(key.units, 0)
    assert facts is not None and facts.keyframe
    later = observer.observe(others[0].units, 1)
    assert later is not None and not later.keyframe
    assert observer.observe((b"",)) is not None and observer.observe((b"\x41",)) is None


def test_times_that_go_back_at_an_idr_picture_are_another_clock() -> None:
    stream = x264(bf="0")
    observer = Observer("h264")
    for coded in stream:
        observer.observe(coded.units, coded.pts + (1000 if coded.pts < 12 else 0))
    assert observer.observation.in_order
    observer.observe(stream[1].units, 5)
    assert observer.observation.times_back == 1
