"""Connection IDs that lead to their worker, and resets that any worker can send."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections import Counter

import pytest
from aioquic.quic.configuration import QuicConfiguration
from hypothesis import given
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
    ServerConnection,
    StatelessResets,
    worker_of,
)
from wtgateway.transport.endpoint import QuicEndpoint

SECRET = bytes(range(32))
PLACES = st.integers(1, 64).flatmap(lambda workers: st.tuples(st.integers(0, workers - 1), st.just(workers)))


@given(place=PLACES)
def test_an_id_leads_to_its_worker(place: tuple[int, int]) -> None:
    worker, workers = place
    ids = ConnectionIds(worker=worker, workers=workers)
    for _ in range(20):
        cid = ids.issue()
        assert len(cid) == CONNECTION_ID_BYTES
        assert worker_of(cid, workers) == worker


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
        assert worker_of(known.cid, 7) == 5
        assert known.stateless_reset_token == ids.reset_token(known.cid)


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
