"""Retry tokens: whom they prove what, how long, and that no other bytes do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport.retry import (
    CLOCK_SKEW_S,
    LIFETIME_S,
    ROTATION_S,
    SECRET_BYTES,
    ForeignToken,
    RetryTokens,
    StaleToken,
    encode_invalid_token,
    packed_address,
)

SECRET = bytes(range(SECRET_BYTES))
ALICE: tuple[Any, ...] = ("192.0.2.7", 4000)
ORIGINAL, SOURCE = b"original", b"retrysrc"
NOW = 1_790_000_000.0


def counting() -> Callable[[int], bytes]:
    """Nonces that never repeat."""
    state = [0]

    def random(size: int) -> bytes:
        state[0] += 1
        return state[0].to_bytes(size, "big")

    return random


def tokens(secret: bytes = SECRET) -> RetryTokens:
    return RetryTokens(secret, random=counting())


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.integers(0, 65535),
    st.binary(min_size=8, max_size=20),
    st.binary(min_size=1, max_size=20),
    st.floats(0, 4e9),
)
def test_what_is_sealed_is_opened_by_all_that_share_the_secret(
    host: Any, port: int, original: bytes, source: bytes, now: float
) -> None:
    token = RetryTokens(SECRET).seal((str(host), port), original, source, now)
    assert RetryTokens(SECRET).open(token, (str(host), port), source, now + 1) == original


def test_the_two_notations_of_an_ipv4_address_are_one() -> None:
    token = tokens().seal(("::ffff:192.0.2.7", 4000, 0, 0), ORIGINAL, SOURCE, NOW)
    assert tokens().open(token, ALICE, SOURCE, NOW) == ORIGINAL
    assert packed_address(("fe80::1%eth0", 1, 0, 2)) == packed_address(("fe80::1", 1))


@pytest.mark.parametrize(
    ("address", "cid", "age"),
    [
        (("192.0.2.8", 4000), SOURCE, 0.0),
        (("192.0.2.7", 4001), SOURCE, 0.0),
        (("2001:db8::7", 4000, 0, 0), SOURCE, 0.0),
        (ALICE, b"another!", 0.0),
        (ALICE, SOURCE[:-1], 0.0),
        (ALICE, SOURCE, LIFETIME_S + 0.1),
        (ALICE, SOURCE, -CLOCK_SKEW_S - 0.1),
    ],
)
def test_a_token_proves_one_address_one_connection_and_not_for_long(
    address: tuple[Any, ...], cid: bytes, age: float
) -> None:
    token = tokens().seal(ALICE, ORIGINAL, SOURCE, NOW)
    with pytest.raises(StaleToken):
        tokens().open(token, address, cid, NOW + age)


@pytest.mark.parametrize("age", [0.0, LIFETIME_S - 0.1, -CLOCK_SKEW_S + 0.1])
def test_it_holds_across_the_change_of_keys(age: float) -> None:
    border = (NOW // ROTATION_S + 1) * ROTATION_S
    for issued in (border - 0.01, border, border + 0.01):
        assert tokens().open(tokens().seal(ALICE, ORIGINAL, SOURCE, issued), ALICE, SOURCE, issued + age)


def test_old_keys_are_forgotten() -> None:
    ours = tokens()
    old = ours.seal(ALICE, ORIGINAL, SOURCE, NOW)
    for hour in range(1, 6):
        ours.seal(ALICE, ORIGINAL, SOURCE, NOW + hour * ROTATION_S)
    assert len(ours._keys) <= 3
    with pytest.raises(ForeignToken):
        ours.open(old, ALICE, SOURCE, NOW + 5 * ROTATION_S)
    with pytest.raises(StaleToken):  # the key's name comes again after 256 hours, the key does not
        ours.open(old, ALICE, SOURCE, NOW + LIFETIME_S + 1)
    with pytest.raises(ForeignToken):
        ours.open(old, ALICE, SOURCE, NOW + 256 * ROTATION_S)


def test_another_secret_reads_nothing() -> None:
    token = tokens(bytes(SECRET_BYTES)).seal(ALICE, ORIGINAL, SOURCE, NOW)
    with pytest.raises(ForeignToken):
        tokens().open(token, ALICE, SOURCE, NOW)
    assert ORIGINAL not in token
    with pytest.raises(ValueError, match="32 bytes"):
        RetryTokens(b"short")


def test_each_token_has_a_nonce_of_its_own() -> None:
    ours = RetryTokens(SECRET)
    assert len({ours.seal(ALICE, ORIGINAL, SOURCE, NOW)[1:13] for _ in range(100)}) == 100


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    token = bytearray(tokens().seal(ALICE, ORIGINAL, SOURCE, NOW))
    at = data.draw(st.integers(0, len(token) - 1))
    token[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ForeignToken):
        tokens().open(bytes(token), ALICE, SOURCE, NOW)


@given(st.binary(max_size=200), st.floats(0, 4e9))
def test_arbitrary_bytes_are_foreign(token: bytes, now: float) -> None:
    with pytest.raises(ForeignToken):
        tokens().open(token, ALICE, SOURCE, now)


def test_a_client_understands_that_its_token_is_refused() -> None:
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="localhost"))
    client.connect(("192.0.2.1", 443), now=0.0)
    client.datagrams_to_send(0.0)
    version = client.configuration.original_version or client.configuration.supported_versions[0]
    refusal = encode_invalid_token(
        version=version,
        source_cid=client.original_destination_connection_id,
        destination_cid=client.host_cid,
    )
    assert len(refusal) < 100
    client.receive_datagram(refusal, ("192.0.2.1", 443), 0.1)
    client.handle_timer(client.get_timer() or 0.0)
    ends = []
    while (event := client.next_event()) is not None:
        if isinstance(event, ConnectionTerminated):
            ends.append(event.error_code)
    assert ends == [QuicErrorCode.INVALID_TOKEN]
