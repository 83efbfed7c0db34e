"""Connection IDs that lead to their node and worker, and resets that any worker can send."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import socket
from collections import Counter

import pytest
from aioquic.quic.configuration import QuicConfiguration
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transport.ends import Recorder, fingerprint, make_certificate
from wtgateway.transport import internals
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.connection_ids import (
    CONNECTION_ID_BYTES,
    MAX_RESET_BYTES,
    MIN_RESET_BYTES,
    RESET_TOKEN_BYTES,
    SEEN_FOR_S,
    ConnectionIds,
    LbIdentity,
    ServerConnection,
    StatelessResets,
)
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.quic_lb import LbConfig, server_id_of
from wtgateway.transport.steering import Rule

SECRET = bytes(range(32))
PLACES = st.integers(1, 64).flatmap(lambda workers: st.tuples(st.integers(0, workers - 1), st.just(workers)))


@given(place=PLACES)
def test_an_id_leads_to_its_worker(place: tuple[int, int]) -> None:
    worker, workers = place
    ids = ConnectionIds(worker=worker, workers=workers)
    for _ in range(20):
        cid = ids.issue()
        assert len(cid) == CONNECTION_ID_BYTES
        assert ids.rule.worker_of(cid) == worker


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64])
def test_first_bytes_are_spread_over_all_that_lead_there(workers: int) -> None:
    """No value is favoured: every first byte the random source gives lands on exactly one."""
    for worker in range(workers):
        seen: Counter[int] = Counter()
        for first in range(256 // workers * workers):
            drawn = bytes([first]) + bytes(7)
            ids = ConnectionIds(worker=worker, workers=workers, secret=SECRET, random=lambda _, d=drawn: d)
            seen[ids.issue()[0]] += 1
        assert set(seen) == {byte for byte in range(256 // workers * workers) if byte % workers == worker}
        assert len(set(seen.values())) == 1


def test_a_first_byte_that_would_favour_some_worker_is_drawn_again() -> None:
    pool = iter([b"\xff" + bytes(7), b"\xff", b"\x01"])
    assert ConnectionIds(worker=2, workers=3, secret=SECRET, random=lambda _: next(pool)).issue()[0] == 2


@pytest.mark.parametrize(("worker", "workers"), [(0, 0), (2, 2), (-1, 2), (0, 65)])
def test_a_worker_that_cannot_be_is_refused(worker: int, workers: int) -> None:
    with pytest.raises(ValueError, match="no worker"):
        ConnectionIds(worker=worker, workers=workers)


def test_tokens_depend_on_id_and_secret_and_nothing_else() -> None:
    one, same = (ConnectionIds(worker=0, workers=2, secret=SECRET) for _ in range(2))
    cid = one.issue()
    assert one.reset_token(cid) == same.reset_token(cid)
    assert len(one.reset_token(cid)) == RESET_TOKEN_BYTES
    assert one.reset_token(cid) != one.reset_token(one.issue())
    assert one.reset_token(cid) != ConnectionIds(secret=bytes(32)).reset_token(cid)


def connection(ids: ConnectionIds) -> ServerConnection:
    certificate = make_certificate()
    configuration = QuicConfiguration(is_client=False)
    configuration.certificate, configuration.private_key = certificate.cert, certificate.key
    return ServerConnection(
        connection_ids=ids, configuration=configuration, original_destination_connection_id=bytes(8)
    )


def test_a_connection_has_only_ids_that_lead_to_its_worker() -> None:
    ids = ConnectionIds(worker=5, workers=7, secret=SECRET)
    quic = connection(ids)
    quic._remote_active_connection_id_limit = 20
    quic._replenish_connection_ids()
    assert len(quic._host_cids) == 8
    assert quic.host_cid == quic._local_initial_source_connection_id == quic._host_cids[0].cid
    assert [c.sequence_number for c in quic._host_cids] == list(range(8))
    assert len({c.cid for c in quic._host_cids}) == 8
    for known in quic._host_cids:
        assert Rule(7).worker_of(known.cid) == 5
        assert known.stateless_reset_token == ids.reset_token(known.cid)


# --- behind a balancer ------------------------------------------------------------------------------

KEY = bytes(range(16))
SIZES = st.integers(1, 14).flatmap(lambda n: st.tuples(st.just(n), st.integers(4, min(18, 18 - n))))


@st.composite
def nodes(draw: st.DrawFn) -> LbIdentity:
    sizes, key = draw(SIZES), draw(st.none() | st.just(KEY))
    config = LbConfig(draw(st.integers(0, 6)), *sizes, key, draw(st.booleans()))
    return LbIdentity(config, draw(st.binary(min_size=sizes[0], max_size=sizes[0])))


@settings(deadline=None)
@given(lb=nodes(), place=PLACES)
def test_an_id_leads_to_its_node_and_its_worker(lb: LbIdentity, place: tuple[int, int]) -> None:
    worker, workers = place
    ids = ConnectionIds(worker=worker, workers=workers, secret=SECRET, lb=lb)
    config = lb.config
    assert ids.cid_bytes == config.plaintext_bytes + 2 <= 20
    issued = [ids.issue() for _ in range(20)]
    assert len(set(issued)) == 20
    for cid in issued:
        assert len(cid) == ids.cid_bytes
        assert cid[0] >> 5 == config.rotation
        assert cid[0] & 0x1F == len(cid) - 1 or not config.encode_length
        assert server_id_of({config.rotation: config}, cid) == lb.server_id
        assert ids.rule.worker_of(cid) == worker
        assert ids.may_reset(cid)
        assert not ids.is_foreign(cid)


FOUR_PASS = LbConfig(2, 2, 7, KEY)


def test_the_workers_octet_tells_nothing() -> None:
    """Modulo the number of workers it is as likely one as the other, whose IDs they are."""
    dice = random.Random(4)
    for worker in range(2):
        ids = ConnectionIds(
            worker=worker, workers=2, secret=SECRET, lb=LbIdentity(FOUR_PASS, b"ab"), random=dice.randbytes
        )
        octets = [ids.issue()[-1] for _ in range(2000)]
        assert 900 < sum(octet % 2 for octet in octets) < 1100
        assert len(set(octets)) > 250


def test_without_room_for_the_worker_there_is_one() -> None:
    lb = LbIdentity(LbConfig(0, 1, 18, KEY), b"a")
    ids = ConnectionIds(secret=SECRET, lb=lb)
    assert len(ids.issue()) == ids.cid_bytes == 20
    assert server_id_of({0: lb.config}, ids.issue()) == b"a"
    assert ids.rule.worker_of(ids.issue()) == 0
    with pytest.raises(ValueError, match="no room"):
        ConnectionIds(workers=2, secret=SECRET, lb=lb)


def test_a_server_id_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 octets"):
        LbIdentity(FOUR_PASS, b"abc")


def test_bits_that_do_not_tell_the_length_are_random() -> None:
    config = LbConfig(2, 2, 7, KEY, encode_length=False)
    ids = ConnectionIds(secret=SECRET, lb=LbIdentity(config, b"ab"))
    assert len({ids.issue()[0] & 0x1F for _ in range(500)}) == 32


def test_when_all_nonces_are_used_up_ids_say_that_they_lead_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = ConnectionIds(worker=1, workers=2, secret=SECRET, lb=LbIdentity(FOUR_PASS, b"ab"))
    assert ids._nonces is not None
    ids._nonces.left = 4
    with caplog.at_level(logging.ERROR):
        issued = [ids.issue() for _ in range(8)]
    assert [cid[0] >> 5 for cid in issued] == [2] * 4 + [7] * 4
    assert len(caplog.records) == 1
    assert "rotation" in caplog.text
    for cid in issued[4:]:
        assert cid[0] == 0xE0 | 10
        assert len(cid) == 11
        assert ids.rule.worker_of(cid) == 1
        assert server_id_of({2: FOUR_PASS}, cid) is None
        assert not ids.may_reset(cid)


@settings(deadline=None)
@given(cid=st.binary(max_size=20), key=st.none() | st.just(KEY))
def test_ids_that_others_made_up_break_nothing(cid: bytes, key: bytes | None) -> None:
    ids = ConnectionIds(worker=1, workers=3, secret=SECRET, lb=LbIdentity(LbConfig(2, 2, 7, key), b"ab"))
    assert 0 <= ids.rule.worker_of(cid) < 3
    assert ids.is_foreign(cid) == (server_id_of({2: ids.lb.config}, cid) != b"ab" if ids.lb else False)
    assert StatelessResets(ids).answer(b"\x40" + cid, 1.0) is None  # too short for one, whatever it says


def test_a_packet_for_another_node_is_not_answered() -> None:
    """It may belong to a connection that lives there: its client would take the reset for true."""
    one, other = (
        ConnectionIds(secret=SECRET, lb=LbIdentity(FOUR_PASS, server_id)) for server_id in (b"aa", b"bb")
    )
    cid = other.issue()
    assert one.reset_token(cid) == other.reset_token(cid)
    assert StatelessResets(one).answer(b"\x40" + cid + bytes(40), 1.0) is None
    assert one.is_foreign(cid)
    answer = StatelessResets(other).answer(b"\x40" + cid + bytes(40), 1.0)
    assert answer is not None
    assert answer.endswith(one.reset_token(cid))
    unroutable = b"\xea" + cid[1:]
    assert one.is_foreign(unroutable)
    assert StatelessResets(other).answer(b"\x40" + unroutable + bytes(40), 1.0) is None


def test_reset_tokens_of_another_configuration_are_others() -> None:
    """It may issue the same ID again, to somebody else."""
    configs = [FOUR_PASS, LbConfig(2, 2, 7, KEY[::-1]), LbConfig(2, 2, 7), LbConfig(3, 2, 7, KEY)]
    tokens = {
        ConnectionIds(secret=SECRET, lb=LbIdentity(config, b"ab")).reset_token(bytes(11))
        for config in configs
    }
    assert len(tokens) == 4


def test_a_connection_behind_a_balancer_has_only_ids_of_its_node() -> None:
    lb = LbIdentity(FOUR_PASS, b"ab")
    quic = connection(ConnectionIds(worker=5, workers=7, secret=SECRET, lb=lb))
    quic._remote_active_connection_id_limit = 20
    quic._replenish_connection_ids()
    assert len(quic._host_cids) == 8
    assert {server_id_of({2: FOUR_PASS}, known.cid) for known in quic._host_cids} == {b"ab"}
    assert {len(known.cid) for known in quic._host_cids} == {11}


# --- stateless resets ------------------------------------------------------------------------------


@given(place=PLACES, size=st.integers(0, 1500), first=st.integers(0, 127))
def test_a_reset_is_shorter_than_what_it_answers_and_looks_like_any_packet(
    place: tuple[int, int], size: int, first: int
) -> None:
    ids = ConnectionIds(worker=place[0], workers=place[1])
    data = (bytes([first]) + ids.issue() + bytes(size))[: max(size, 9)]
    answer = StatelessResets(ids).answer(data, 1.0)
    if len(data) <= MIN_RESET_BYTES:
        assert answer is None
        return
    assert answer is not None
    assert MIN_RESET_BYTES <= len(answer) <= min(len(data) - 1, MAX_RESET_BYTES)
    assert answer[0] & 0xC0 == 0x40
    assert answer.endswith(ids.reset_token(data[1:9]))


def test_a_packet_for_another_worker_is_not_answered() -> None:
    ours, theirs = (ConnectionIds(worker=n, workers=2, secret=SECRET) for n in range(2))
    assert StatelessResets(ours).answer(b"\x40" + theirs.issue() + bytes(40), 1.0) is None


def test_one_connection_is_answered_once_in_a_while() -> None:
    ids = ConnectionIds()
    resets = StatelessResets(ids)
    data = b"\x40" + ids.issue() + bytes(40)
    assert resets.answer(data, 1.0)
    assert resets.answer(data, 1.0 + SEEN_FOR_S / 2) is None
    assert resets.answer(data, 1.0 + SEEN_FOR_S * 1.5)
    assert resets.suppressed == 1


def test_all_answers_together_are_bounded() -> None:
    ids = ConnectionIds()
    resets = StatelessResets(ids, per_s=10.0, burst=5.0)
    answers = [resets.answer(b"\x40" + ids.issue() + bytes(40), 1.0 + n / 100) for n in range(100)]
    answered = [answer is not None for answer in answers]
    assert sum(answered) in range(13, 16)  # 5 at once, 10 in the second
    assert all(answered[:5])


def test_a_client_knows_a_reset_by_its_token() -> None:
    ids = ConnectionIds(secret=SECRET)
    client = internals.QuicConnection(configuration=QuicConfiguration(is_client=True))
    cid = ids.issue()
    client._peer_cid.stateless_reset_token = ids.reset_token(cid)
    reset = StatelessResets(ids).answer(b"\x40" + cid + bytes(60), 0.0)
    assert reset is not None
    assert internals.is_stateless_reset(client, reset)
    assert not internals.is_stateless_reset(client, reset[:-1] + bytes([reset[-1] ^ 1]))
    assert not internals.is_stateless_reset(client, reset[-20:])
    assert not internals.is_stateless_reset(client, bytes([reset[0] | 0x80]) + reset[1:])


async def test_a_viewer_of_an_endpoint_that_forgot_it_learns_at_once() -> None:
    """The same port, the same secret, none of the state: what a worker that takes a dead one's place is."""
    certificate = make_certificate()
    forgotten: list[Recorder] = []

    def answer(request: object) -> Recorder:
        forgotten.append(Recorder())
        return forgotten[-1]

    def endpoint() -> QuicEndpoint:
        ids = ConnectionIds(secret=SECRET)
        return QuicEndpoint(on_request=answer, certificate=certificate, connection_ids=ids)

    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    first, second = endpoint(), endpoint()
    first.start_on([bound.dup()])
    viewer = Recorder()
    url = f"https://127.0.0.1:{bound.getsockname()[1]}/test"
    session = await connect(url, viewer, certificate_hashes=[fingerprint(certificate)])
    first._engine.shut()  # as a process that is killed: not a word to anybody
    second.start_on([bound.dup()])
    closed = asyncio.Event()
    viewer.on_closed = closed.set
    session.send_datagram(os.urandom(20))
    session.flush()
    async with asyncio.timeout(5):
        await closed.wait()
    assert "lost the connection" in viewer.closes[0][1]
    assert second.stats["stateless_resets"] == 1
    await disconnect(session)
    await second.close(0, "", 1.0)
    bound.close()


def test_ids_of_one_connection_cannot_be_told_from_those_of_others() -> None:
    ids = ConnectionIds(worker=1, workers=2)
    issued = [ids.issue() for _ in range(64)]
    for a, b in itertools.combinations(issued, 2):
        assert a[1:] != b[1:]
