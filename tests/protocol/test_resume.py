"""Resume tokens: what they say comes back, once, for whom it was meant, and nothing else harms."""

from __future__ import annotations

import base64
from dataclasses import replace

import msgpack
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wtgateway.media import Kind
from wtgateway.protocol.abilities import parse_abilities
from wtgateway.protocol.resume import (
    KEY_BYTES,
    MAX_CHARACTERS,
    MAX_VALID_US,
    MAX_WISHES,
    NONCE_BYTES,
    VALID_US,
    Refused,
    ResumeTokens,
    Resumption,
    TokenRefused,
    TrackWish,
    UsedTokens,
    Wishes,
)
from wtgateway.protocol.subscribe_query import MAX_DEADLINE_MS, parse_connect_path

NOW = 1_790_000_000_000_000
KEY = bytes(range(KEY_BYTES))
TOKENS = ResumeTokens(KEY)
NONCE = b"\x07" * NONCE_BYTES
PLAIN = Resumption(
    instance="5f0c9a17d2e84b36",
    session="a1b2c3d4e5f6",
    wishes=Wishes(kinds=(Kind.VIDEO,), delivery="auto", deadline_ms=250, codecs="avc1,opus"),
    expires_us=NOW + VALID_US,
)
TRACKS = st.builds(
    TrackWish,
    track=st.integers(0, 255),
    rendition=st.integers(-1, 255),
    delivery=st.sampled_from(["", "stream", "datagram", "auto"]),
    deadline_ms=st.integers(0, MAX_DEADLINE_MS),
)
WISHES = st.builds(
    Wishes,
    kinds=st.lists(st.sampled_from([Kind.VIDEO, Kind.AUDIO]), unique=True).map(tuple),
    delivery=st.sampled_from(["stream", "datagram", "auto"]),
    deadline_ms=st.integers(0, MAX_DEADLINE_MS),
    codecs=st.sampled_from(
        ["", "all", "avc1:3840x2160@60,av01,opus", ",".join(f"c{n:07}" for n in range(32))]
    ),
    tracks=st.lists(TRACKS, max_size=MAX_WISHES).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=5) | st.binary(max_size=16),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


def why(token: str, *, tokens: ResumeTokens = TOKENS, broadcast: str = "cam", now_us: int = NOW) -> Refused:
    with pytest.raises(TokenRefused) as caught:
        tokens.open(token, broadcast=broadcast, now_us=now_us)
    return caught.value.reason


def seal(resumption: Resumption = PLAIN, *, broadcast: str = "cam") -> str:
    return TOKENS.seal(resumption, broadcast=broadcast, nonce=NONCE)


@given(WISHES, st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES), st.text(max_size=300))
def test_what_was_sealed_comes_back(wishes: Wishes, nonce: bytes, broadcast: str) -> None:
    resumption = replace(PLAIN, wishes=wishes)
    token = TOKENS.seal(resumption, broadcast=broadcast, nonce=nonce)
    assert len(token) <= MAX_CHARACTERS
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    opened, number = ResumeTokens(KEY).open(token, broadcast=broadcast, now_us=NOW)
    assert number == nonce
    if len(wishes.codecs) < 100:
        assert opened == resumption
    else:  # too long for a token, maybe, and the query has it anyway
        assert replace(opened, wishes=replace(opened.wishes, codecs=wishes.codecs)) == resumption


@given(st.text(max_size=600) | st.text("abcXYZ019-_", max_size=600))
@example("")
@example("AQ")
@example("A" * 10_000)
def test_what_is_no_token_is_unreadable(text: str) -> None:
    assert why(text) is Refused.UNREADABLE


@given(st.data())
def test_a_changed_one_is_unreadable(data: st.DataObject) -> None:
    token = seal()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from([c for c in "Ab0-_" if c != token[at]]))
    changed = token[:at] + other + token[at + 1 :]
    try:
        TOKENS.open(changed, broadcast="cam", now_us=NOW)
    except TokenRefused as error:
        assert error.reason is Refused.UNREADABLE
    else:  # bits behind the last byte, which mean nothing
        assert at == len(token) - 1


@settings(max_examples=50)
@given(
    st.binary(max_size=80)
    | JSON.map(msgpack.packb)
    | st.lists(JSON, min_size=10, max_size=10).map(msgpack.packb)
)
def test_what_another_version_sealed_is_unreadable(body: bytes) -> None:
    sealed = b"\x01" + NONCE + AESGCM(KEY).encrypt(NONCE, body, b"\x01")
    assert why(base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()) is Refused.UNREADABLE


def test_it_is_bound_to_secret_broadcast_identity_and_time() -> None:
    token = seal()
    assert why(token, tokens=ResumeTokens(bytes(KEY_BYTES))) is Refused.UNREADABLE
    assert why(token, broadcast="cam2") is Refused.FOREIGN
    assert why(TOKENS.seal(PLAIN, broadcast="cam", nonce=NONCE, identity="ann")) is Refused.FOREIGN
    assert why(token, now_us=NOW + VALID_US) is Refused.EXPIRED
    assert TOKENS.open(token, broadcast="cam", now_us=NOW + VALID_US - 1)
    # of a node whose clock is far ahead: it would have to be remembered for as long
    assert why(seal(replace(PLAIN, expires_us=NOW + MAX_VALID_US + 1))) is Refused.EXPIRED


def test_the_query_goes_before_what_the_token_says() -> None:
    wishes = replace(PLAIN.wishes, tracks=(TrackWish(0, 2),))
    silent = wishes.apply(parse_connect_path("/cam?resume=x"))
    assert (silent.kinds, silent.delivery, silent.deadline_ms) == ((Kind.VIDEO,), "auto", 250)
    loud = parse_connect_path("/cam?subscribe=audio&delivery=stream&deadline=0&codecs=av01")
    assert wishes.apply(loud) == loud
    assert wishes.apply(parse_connect_path("/cam")).abilities == parse_abilities("avc1,opus")


def test_once_and_not_again_until_it_is_over() -> None:
    used = UsedTokens()
    used.use(b"1", NOW + 10, NOW)
    for now in (NOW, NOW + 9):
        with pytest.raises(TokenRefused) as caught:
            used.use(b"1", NOW + 10, now)
        assert caught.value.reason is Refused.USED
    used.use(b"2", NOW + 30, NOW + 10)  # the first is forgotten: it is refused as expired now
    assert used.all() == [(b"2", NOW + 30)]


def test_one_told_of_by_others_is_used() -> None:
    used = UsedTokens()
    used.note(b"1", NOW + 10, NOW)
    used.note(b"1", NOW + 10, NOW)
    assert len(used) == 1
    with pytest.raises(TokenRefused):
        used.use(b"1", NOW + 10, NOW)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20), st.integers(0, 5)), max_size=60))
def test_no_token_is_taken_twice_and_memory_is_bounded(uses: list[tuple[int, int, int]]) -> None:
    used, now = UsedTokens(most=8), NOW
    expiries: dict[int, int] = {}  # a number belongs to one token
    taken: set[int] = set()
    for number, lives, pause in uses:
        now += pause
        expires = expiries.setdefault(number, now + lives)
        if expires <= now:
            continue
        try:
            used.use(bytes([number]), expires, now)
        except TokenRefused as error:
            if error.reason is Refused.USED:
                assert number in taken
            else:
                assert len(used) == 8
        else:
            assert number not in taken
            taken.add(number)
        assert len(used) <= 8
