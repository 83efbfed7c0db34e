"""Datagram layouts and the erasure code, against any bytes, any size and any selection of pieces."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import fec
from wtgateway.protocol.arrivals import Arrival, decode_arrivals, encode_arrivals
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.fragments import (
    HEADER_BYTES,
    MAX_OBJECT_BYTES,
    _PieceCache,
    cut,
    decode_fragment,
    parity,
)
from wtgateway.protocol.nacks import NackEntry, decode_nacks, encode_nacks
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, encode_frame

U8, U16, U32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
TIME = st.integers(0, (1 << 53) - 1)


def frame_object(payload: bytes) -> bytes:
    return encode_frame(
        Frame(
            track=0, rendition=1, group=2, index=3, keyframe=False, pts_us=5, capture_us=6, duration_us=7,
            payload=payload,
        )
    )  # fmt: skip


# --- fragments -------------------------------------------------------------------------------------


@given(st.binary(max_size=3_000), st.integers(1, 1_500))
def test_pieces_are_even_few_enough_and_give_the_frame(payload: bytes, piece_bytes: int) -> None:
    data = frame_object(payload)
    datagrams = cut(data, piece_bytes)
    fragments = [decode_fragment(datagram) for datagram in datagrams]
    assert b"".join(f.data for f in fragments) == data
    assert len(datagrams) == -(-len(data) // piece_bytes)
    assert max(map(len, datagrams)) <= HEADER_BYTES + piece_bytes
    assert [f.number for f in fragments] == list(range(len(fragments)))
    assert {f.piece_bytes for f in fragments} == {len(fragments[0].data)}
    assert {(f.track, f.rendition, f.group, f.index, f.capture_us) for f in fragments} == {(0, 1, 2, 3, 6)}
    assert {(f.count, f.object_bytes, f.parity) for f in fragments} == {(len(fragments), len(data), False)}


def test_more_pieces_than_can_be_counted_are_refused() -> None:
    data = frame_object(bytes(65_536))
    with pytest.raises(ValueError, match="65535"):
        cut(data, 1)
    assert len(cut(data, 2)) == 32_792


@pytest.mark.parametrize("size", [0, FRAME_HEADER_BYTES - 1, MAX_OBJECT_BYTES + 1])
def test_what_is_no_frame_object_is_not_cut(size: int) -> None:
    with pytest.raises(ValueError):
        cut(bytes(size), 1_200)


def test_viewers_share_what_was_cut() -> None:
    data = frame_object(bytes(5_000))
    assert cut(data, 1_100) is cut(data, 1_100)
    assert parity(data, 1_100, 2) is parity(data, 1_100, 2)


def test_what_is_kept_of_it_is_bounded_in_bytes() -> None:
    made = 0

    def make(data: bytes, piece_bytes: int, rows: int) -> tuple[bytes, ...]:
        nonlocal made
        made += 1
        return (data,)

    cache = _PieceCache(make, 1_000)
    for n in range(50):
        cache.get(bytes([n]) * 150, 1, 0)
        assert cache.held_bytes <= 1_000
    cache.get(bytes([49]) * 150, 1, 0)
    assert made == 50
    cache.get(bytes([0]) * 150, 1, 0)
    assert made == 51
    assert len(cache.get(bytes(9_000), 1, 0)[0]) == 9_000
    assert cache.held_bytes == 0


@given(st.binary(max_size=HEADER_BYTES + 60))
def test_any_bytes_as_a_fragment(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_fragment(data)


@given(st.binary(min_size=1, max_size=200), st.integers(1, 90), st.data())
def test_a_damaged_fragment_is_refused_or_consistent(
    payload: bytes, piece_bytes: int, data: st.DataObject
) -> None:
    whole = frame_object(payload)
    datagrams = cut(whole, piece_bytes) + parity(whole, piece_bytes, 2)
    damaged = bytearray(data.draw(st.sampled_from(datagrams)))
    for place in data.draw(st.lists(st.integers(0, HEADER_BYTES), max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        fragment = decode_fragment(damaged)
    except ProtocolError as error:
        assert error.code == CloseCode.MALFORMED
        return
    piece = fragment.piece_bytes
    assert FRAME_HEADER_BYTES <= fragment.object_bytes <= MAX_OBJECT_BYTES
    assert -(-fragment.object_bytes // piece) == fragment.count
    if fragment.parity:
        assert fragment.number < fec.MAX_ROWS
        assert len(fragment.data) == piece
    else:
        end = fragment.number * piece + len(fragment.data)
        assert end == min((fragment.number + 1) * piece, fragment.object_bytes)


# --- the code --------------------------------------------------------------------------------------


@st.composite
def coded(draw: st.DrawFn) -> tuple[list[bytes], int, list[int]]:
    """Pieces, a number of rows, and which of pieces and rows arrive: as many as there are pieces."""
    count = draw(st.integers(1, 12) | st.sampled_from([64, fec.MAX_DATA_PIECES]))
    length = draw(st.integers(1, 5))
    last = draw(st.integers(1, length))
    noise = draw(st.randoms(use_true_random=False))
    pieces = [noise.randbytes(length) for _ in range(count - 1)] + [noise.randbytes(last)]
    rows = draw(st.integers(0, min(fec.MAX_ROWS, count + 2)))
    return pieces, rows, noise.sample(range(count + rows), count)


@given(coded())
def test_any_as_many_pieces_and_rows_as_there_are_pieces_give_them_all(
    case: tuple[list[bytes], int, list[int]],
) -> None:
    pieces, rows, arrived = case
    count, length = len(pieces), max(map(len, pieces))
    code = fec.encode(pieces, rows)
    here = {n: pieces[n] for n in arrived if n < count}
    rows_here = {n - count: code[n - count] for n in arrived if n >= count}
    missing = fec.decode(here, rows_here, count, length)
    assert set(missing) == set(range(count)) - set(here)
    for number, piece in missing.items():
        assert piece == pieces[number].ljust(length, b"\0")


@given(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=20))
def test_row_0_is_plain_xor(pieces: list[bytes]) -> None:
    expected = 0
    for piece in pieces:
        expected ^= int.from_bytes(piece, "big")
    assert fec.encode(pieces, 1) == (expected.to_bytes(4, "big"),)


def test_no_coefficient_is_zero_and_row_0_is_ones() -> None:
    for piece in range(fec.MAX_DATA_PIECES):
        assert fec.coefficient(0, piece) == 1
        assert all(fec.coefficient(row, piece) for row in range(fec.MAX_ROWS))


def test_too_little_is_an_error() -> None:
    row = fec.encode([b"ab", b"cd", b"ef"], 1)[0]
    with pytest.raises(ValueError):
        fec.decode({0: b"ab"}, {0: row}, 3, 2)
    with pytest.raises(ValueError):
        fec.encode([b"a"] * (fec.MAX_DATA_PIECES + 1), 1)
    with pytest.raises(ValueError):
        fec.encode([b"a"], fec.MAX_ROWS + 1)


@given(st.binary(min_size=1, max_size=2_000), st.integers(1, 400), st.data())
def test_parity_datagrams_stand_in_for_lost_fragments(
    payload: bytes, piece_bytes: int, data: st.DataObject
) -> None:
    whole = frame_object(payload)
    rows = data.draw(st.integers(0, 4))
    fragments = [decode_fragment(each) for each in cut(whole, piece_bytes)]
    coded = [decode_fragment(each) for each in parity(whole, piece_bytes, rows)]
    if len(fragments) > fec.MAX_DATA_PIECES:
        assert coded == []
        return
    assert [row.number for row in coded] == list(range(rows))
    assert {(f.piece_bytes, f.count, f.object_bytes) for f in fragments + coded} == {
        (fragments[0].piece_bytes, len(fragments), len(whole))
    }
    lost = set(data.draw(st.permutations(range(len(fragments))))[:rows])
    here = {f.number: f.data for f in fragments if f.number not in lost}
    found = fec.decode(here, {r.number: r.data for r in coded}, len(fragments), fragments[0].piece_bytes)
    everything = here | found
    assert b"".join(everything[n] for n in range(len(fragments)))[: len(whole)] == whole


# --- what viewers send -----------------------------------------------------------------------------

ENTRIES = st.builds(
    lambda track, rendition, group, index, ends: NackEntry(track, rendition, group, index, *sorted(ends)),
    U8, U8, U32, U32, st.tuples(U16, U16),
)  # fmt: skip
ARRIVALS = st.builds(
    lambda track, group, index, complete, stream, units, base, first, more: Arrival(
        track, group, index, complete, stream, units * 64, base + first, base + first + more
    ),
    U8, U32, U32, st.booleans(), st.booleans(), U16, st.just(10**9), st.integers(0, 10**6),
    st.integers(0, 10**6),
)  # fmt: skip


@given(st.lists(ENTRIES, min_size=1, max_size=64))
def test_nacks_survive_the_wire(entries: list[NackEntry]) -> None:
    data = encode_nacks(entries)
    assert decode_nacks(data) == tuple(entries)
    assert len(data) == 2 + 14 * len(entries)


@given(st.lists(ARRIVALS, min_size=1, max_size=64))
def test_arrivals_survive_the_wire(entries: list[Arrival]) -> None:
    data = encode_arrivals(entries)
    assert decode_arrivals(data) == tuple(entries)
    assert len(data) == 12 + 20 * len(entries)


@given(st.binary(max_size=80))
def test_any_bytes_as_what_viewers_send(data: bytes) -> None:
    for first in (b"", b"\x20", b"\x21", b"\x20\x02", b"\x21\x01"):
        with contextlib.suppress(ProtocolError):
            assert all(entry.first <= entry.last for entry in decode_nacks(first + data))
        with contextlib.suppress(ProtocolError):
            assert all(0 <= entry.first_us <= entry.last_us for entry in decode_arrivals(first + data))


def test_what_cannot_be_said_is_not_sent() -> None:
    entry = NackEntry(0, 0, 0, 0, 5, 4)
    with pytest.raises(ValueError):
        encode_nacks([entry])
    with pytest.raises(ValueError):
        encode_nacks([])
    arrival = Arrival(0, 0, 0, True, False, 1, 100, 99)
    with pytest.raises(ValueError):
        encode_arrivals([arrival])
    with pytest.raises(ValueError):
        encode_arrivals([Arrival(0, 0, 0, True, False, 1, -1, 99)])
    with pytest.raises(ValueError):
        encode_arrivals([Arrival(0, 0, 0, True, False, 1, 0, 1 << 32)])
    with pytest.raises(ValueError):
        encode_arrivals([])
