"""Two nodes behind a balancer, on loopback: what each says to packets that are, or are not, meant for it."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.transport.test_endpoint import Waiting
from tests.transport.test_floods import HASHES, Gate, Wire
from tests.transport.test_fuzz import hostile_datagrams
from wtgateway.cluster import ClusterSecret
from wtgateway.transport import internals
from wtgateway.transport.admission import Admission, Limits, Retry
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.connection_ids import LbIdentity
from wtgateway.transport.identity import Identity
from wtgateway.transport.lane import Attention
from wtgateway.transport.quic_lb import LbConfig, server_id_of
from wtgateway.transport.retry import RetryTokens
from wtgateway.transport.urgency import Urgency

KEY = bytes(range(16))
CONFIGS = {
    "plaintext": LbConfig(0, 2, 8),
    "four passes": LbConfig(2, 2, 7, KEY),
    "one pass": LbConfig(5, 4, 12, KEY),
    "the longest": LbConfig(6, 1, 18, KEY, encode_length=False),
}
FOUR_PASS = CONFIGS["four passes"]
A, B = b"\0\1", b"\0\2"
SECRET = ClusterSecret(bytes(range(32)))

MakeNode = Callable[..., Any]
MakeClient = Callable[[Any], Any]


class Node(Gate):
    """A gate with an identity."""

    def __init__(self, identity: Identity, **limits: Any) -> None:
        self.ids = identity.connection_ids()
        super().__init__(connection_ids=self.ids, secret=identity.retry_secret, **limits)


@pytest.fixture
async def nodes() -> AsyncIterator[MakeNode]:
    made: list[Node] = []

    async def make(
        server_id: bytes = A,
        config: LbConfig = FOUR_PASS,
        secret: ClusterSecret | None = SECRET,
        **limits: Any,
    ) -> Node:
        node = Node(Identity.of_cluster(secret, LbIdentity(config, server_id)), **limits)
        (node.address,) = await node.endpoint.start("127.0.0.1", 0)
        made.append(node)
        return node

    yield make
    for node in made:
        await node.endpoint.close(0, "", 0.1)


class Client(Wire):
    """A client that has one address for all nodes; ``gate`` is where the balancer sends it."""

    def send(self, datagrams: list[bytes]) -> None:
        for data in datagrams:
            self.sock.sendto(data, self.gate.address)


@pytest.fixture
def clients() -> Iterator[MakeClient]:
    made: list[Client] = []

    def make(node: Node) -> Client:
        made.append(Client(node))
        return made[-1]

    yield make
    for client in made:
        client.sock.close()


@pytest.mark.parametrize("name", CONFIGS)
async def test_viewers_are_served_under_such_ids(nodes: MakeNode, name: str) -> None:
    config = CONFIGS[name]
    server_id = os.urandom(config.server_id_bytes)
    node = await nodes(server_id, config)
    viewer = Waiting()
    nonces = node.ids._nonces.left
    session = await connect(node.url(), viewer, certificate_hashes=HASHES)
    (link,) = node.endpoint._engine.live
    seen: Counter[Attention] = Counter()
    receive = link.lane.receive

    def counted(*arguments: Any) -> Attention:
        attention = receive(*arguments)
        seen[attention] += 1
        return attention

    link.lane.receive = counted
    await node.until(lambda: not link.half_open)
    node.endpoint._engine.route = lambda *_: pytest.fail("a connection that is open is found without asking")
    server = node.handlers[0].open
    streams = [server.send_frame(bytes(20_000), Urgency.DELTA) for _ in range(20)]
    server.flush()
    await viewer.until(lambda: set(streams) <= viewer.finished)
    issued = {known.cid for known in link.quic._host_cids}
    assert {len(cid) for cid in issued} == {node.ids.cid_bytes}
    assert nonces - node.ids._nonces.left == len(issued)  # none for a Retry that was not sent
    assert {server_id_of({config.rotation: config}, cid) for cid in issued} == {server_id}
    if internals.EXPRESS:
        assert seen[Attention.FULL] < sum(seen.values()) / 2  # most are read on the short path
    session.send_datagram(b"up")
    session.flush()
    await node.until(lambda: node.handlers[0].datagrams == [b"up"])
    await disconnect(session)


async def test_a_viewer_that_moves_keeps_its_session(nodes: MakeNode, clients: MakeClient) -> None:
    node = await nodes()
    wire = clients(node)
    await shake_hands(wire)
    wire.sock.close()
    wire.sock = wire.socket()  # another port: what a NAT does that has forgotten
    wire.quic.send_ping(7)
    wire.send(wire.flight())
    await wire.receive()
    (link,) = node.endpoint._engine.live
    assert link.quic._network_paths[0].addr.address == wire.sock.getsockname()


async def shake_hands(wire: Client) -> None:
    wire.send(wire.flight())
    async with asyncio.timeout(10):
        while not wire.quic._handshake_confirmed:
            await wire.receive()
            wire.send(wire.flight())


# --- at the wrong node ------------------------------------------------------------------------------


async def test_what_came_to_the_wrong_node_harms_no_connection_of_another(
    nodes: MakeNode, clients: MakeClient
) -> None:
    """Stray packets are let go in silence: a reset from there would end what lives at the right node."""
    right, wrong = await nodes(A), await nodes(B)
    wire = clients(right)
    await shake_hands(wire)
    wire.quic.send_datagram_frame(b"astray")
    stray = wire.flight()
    for data in stray:
        wire.sock.sendto(data, wrong.address)
    await wrong.drained(len(stray))
    assert wrong.stats["datagrams_misrouted"] == wrong.stats["datagrams_dropped"] == len(stray)
    assert wrong.stats["stateless_resets"] == wrong.stats["datagrams_out"] == 0
    wire.quic.send_ping(1)
    wire.send(wire.flight())
    await wire.receive()
    assert internals.close_event(wire.quic) is None
    assert right.endpoint.connections == 1
    assert right.stats["datagrams_misrouted"] == 0


async def test_a_node_that_forgot_a_connection_says_so_and_its_viewer_believes_it(
    nodes: MakeNode, clients: MakeClient
) -> None:
    """The same for one that takes the place of a dead one: the secret is the cluster's."""
    before, after = await nodes(A), await nodes(A)
    wire = clients(before)
    await shake_hands(wire)
    wire.quic.send_datagram_frame(bytes(30))
    (data,) = wire.flight()
    wire.sock.sendto(data, after.address)
    await after.drained(1)
    assert after.stats["stateless_resets"] == 1
    source = None
    while source != after.address:  # the other still probes the path
        reset, source = wire.sock.recvfrom(65535)
    assert len(reset) < len(data)
    assert internals.is_stateless_reset(wire.quic, reset)


async def test_an_initial_that_went_astray_begins_nothing(nodes: MakeNode, clients: MakeClient) -> None:
    """The client has heard of its node already: its keys are not those of a new connection."""
    right, wrong = await nodes(A), await nodes(B)
    wire = clients(right)
    wire.send(wire.flight())
    await wire.receive()
    flight = wire.flight()
    for data in flight:
        wire.sock.sendto(data, wrong.address)
    await wrong.drained(len(flight))
    assert wrong.stats["datagrams_out"] == 0
    assert wrong.endpoint.connections == wrong.half_open == 0
    wire.send(flight)  # what was lost comes again, and finds its way
    async with asyncio.timeout(10):
        while not wire.quic._handshake_confirmed:
            await wire.receive()
            wire.send(wire.flight())


async def test_a_proof_given_to_one_node_is_taken_by_another(nodes: MakeNode, clients: MakeClient) -> None:
    one, other = await nodes(A, retry_above=0), await nodes(B, retry_above=0)
    wire = clients(one)
    wire.send(wire.flight())
    await wire.receive()
    assert one.stats["retries"] == 1
    wire.gate = other  # the balancer has come to think otherwise
    await shake_hands(wire)
    assert (one.endpoint.connections, other.endpoint.connections) == (0, 1)
    assert other.stats["retries"] == 0
    (link,) = other.endpoint._engine.live
    assert link.quic._network_paths[0].is_validated
    assert server_id_of({2: FOUR_PASS}, wire.quic._peer_cid.cid) == B


async def test_without_a_secret_in_common_the_proof_is_asked_for_again_or_refused(
    nodes: MakeNode, clients: MakeClient
) -> None:
    """Never taken: who could make up proofs could have anybody flooded. And never a loop."""
    one = await nodes(A, retry_above=0, secret=None)
    other = await nodes(B, retry_above=0, secret=None)
    wire = clients(one)
    wire.send(wire.flight())
    await wire.receive()
    wire.gate = other
    flight = wire.flight()
    wire.send(flight)
    await other.drained(len(flight))
    assert other.stats["tokens_unknown"] == len(flight)
    assert other.endpoint.connections == 0
    await wire.receive()
    assert wire.flight() == []  # a client takes one Retry (RFC 9000, section 17.2.5.2)


# --- bad input --------------------------------------------------------------------------------------


def forged(dice: random.Random, node: Node, count: int) -> list[bytes]:
    """Short headers with IDs of this node, of others, of none, whole and cut off, and noise behind."""
    other = Identity.of_cluster(SECRET, LbIdentity(FOUR_PASS, B)).connection_ids()
    found: list[bytes] = []
    for _ in range(count):
        cid = dice.choice((node.ids.issue(), other.issue(), b"\xe7" + dice.randbytes(10), dice.randbytes(20)))
        data = bytes((0x40 | dice.randrange(64),)) + cid + dice.randbytes(dice.choice((0, 4, 20, 40, 1200)))
        found.append(data[: dice.choice((1, 2, 8, 11, 12, 22, 1500))])
        at = dice.randrange(1201)
        scid = dice.randbytes(dice.choice((0, 8, 20)))
        head = b"\xc3\0\0\0\1" + bytes((len(cid),)) + cid + bytes((len(scid),)) + scid
        found.append((head + dice.randbytes(1200))[:at] + bytes(dice.choice((0, 1200 - at if at else 0))))
    return found


@pytest.mark.parametrize("seed", range(2))
async def test_forged_ids_break_nothing_and_nothing_is_amplified(
    nodes: MakeNode, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    node = await nodes()
    viewer = Waiting()
    session = await connect(node.url(), viewer, certificate_hashes=HASHES)
    dice = random.Random(seed)
    answered = 0
    with caplog.at_level(logging.WARNING), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
        noisy.bind(("127.0.0.1", 0))
        noisy.setblocking(False)
        for data in forged(dice, node, 70) + hostile_datagrams(seed):
            read = node.stats["datagrams_in"]
            noisy.sendto(data, node.address)
            await node.until(lambda read=read: node.stats["datagrams_in"] > read)
            await node.until(lambda: not node.endpoint._acceptor._queue)
            back = 0
            while True:
                try:
                    back += len(noisy.recv(65535))
                except BlockingIOError:
                    break
            assert back <= (3 * len(data) if data[:1] >= b"\x80" else max(0, len(data) - 1))
            answered += bool(back)
    assert answered  # resets of this node's own IDs
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert node.stats["datagrams_misrouted"] > 0
    assert node.endpoint.connections == 1
    server = node.handlers[0].open
    stream = server.send_frame(bytes(5000), Urgency.DELTA)
    server.flush()
    await viewer.until(lambda: stream in viewer.finished)
    await disconnect(session)


async def test_a_flood_of_ids_of_other_nodes_costs_no_answers(nodes: MakeNode) -> None:
    node = await nodes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        other = Identity.of_cluster(SECRET, LbIdentity(FOUR_PASS, B)).connection_ids()
        for _ in range(200):
            sock.sendto(b"\x40" + other.issue() + bytes(40), node.address)
        await node.drained(200)
        assert node.stats["datagrams_misrouted"] == 200
        assert node.stats["datagrams_out"] == 0


def test_initials_without_an_answer_use_up_no_nonces() -> None:
    """Of a small nonce there are not so many that a flood might not use them up."""
    identity = Identity.of_cluster(SECRET, LbIdentity(LbConfig(0, 2, 4, KEY), A))
    ids = identity.connection_ids()
    assert ids._nonces is not None
    before = ids._nonces.left
    admission = Admission(
        tokens=RetryTokens(identity.retry_secret), counters=Counter(), limits=Limits(retry_above=0)
    )
    decisions = [
        admission.decide(1.0, 1e9, ("192.0.2.1", 9), os.urandom(8), b"", ids.issue) for _ in range(6000)
    ]
    retries = [decision for decision in decisions if isinstance(decision, Retry)]
    assert before - ids._nonces.left == len(retries) < 6000
