"""Which node a datagram goes to: nothing raises, IDs lead home from anywhere, new ones are spread."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lb.files import CONFIGS, NAMES, PLAIN, long_header, server_ids, short_header
from wtgateway.lb import routing
from wtgateway.lb.packets import parse_header
from wtgateway.lb.routing import DROPS, REMEMBERED_S, Node, NodeState, Router, client_key
from wtgateway.transport.quic_lb import LbConfig, encode

CLIENT = ("192.0.2.7", 50000)
CLIENTS = st.tuples(st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str), st.integers(1, 65535))
DATAGRAMS = st.binary(max_size=64) | st.builds(
    lambda first, rotation, rest: bytes([first, rotation << 5 | 8]) + rest,
    st.integers(0, 255), st.integers(0, 7), st.binary(max_size=60),
)  # fmt: skip
# Client-made: of a codepoint that no configuration has.
FOREIGN = bytes([0b111_01000]) + bytes(8)


def router(*states: NodeState) -> Router:
    nodes = [Node(name, server_ids(n), (f"10.0.0.{n + 1}", 4433)) for n, name in enumerate(NAMES)]
    for node, state in zip(nodes, states, strict=False):
        node.state = state
    return Router(CONFIGS, nodes)


@given(st.lists(st.tuples(DATAGRAMS, CLIENTS), max_size=8), st.lists(st.sampled_from(NodeState), max_size=3))
def test_any_bytes_go_somewhere_or_are_counted(
    arriving: list[tuple[bytes, tuple[str, int]]], states: list[NodeState]
) -> None:
    tested = router(*states)
    sent = 0
    for data, client in arriving:
        node = tested.route(data, client, 0.0)
        assert node is None or (node in tested.nodes and node.state is not NodeState.DOWN)
        sent += node is not None
    dropped = sum(tested.counters[name] for name in DROPS)
    routed = tested.counters["routed_by_server_id"] + tested.counters["routed_by_address"]
    assert (routed, dropped) == (sent, len(arriving) - sent)


@given(
    config=st.sampled_from(list(CONFIGS.values())),
    number=st.integers(0, 2),
    data=st.data(),
    clients=st.lists(CLIENTS, min_size=1),
)
def test_a_short_header_goes_to_the_node_that_its_id_names_from_any_address(
    config: LbConfig, number: int, data: st.DataObject, clients: list[tuple[str, int]]
) -> None:
    tested = router(NodeState.UP, NodeState.DRAINING)
    nonce = data.draw(st.binary(min_size=config.nonce_bytes, max_size=config.nonce_bytes))
    packet = short_header(
        config, server_ids(number)[config.rotation], nonce, data.draw(st.binary(max_size=40))
    )
    for client in clients:
        assert tested.route(packet, client, 0.0) is tested.nodes[number]
    assert tested.remembered == 0


@given(number=st.integers(0, 2), client=CLIENTS)
def test_a_long_header_with_a_nodes_id_goes_there_too(number: int, client: tuple[str, int]) -> None:
    tested = router(*[NodeState.DRAINING] * 3)
    cid = encode(PLAIN, server_ids(number)[0], bytes(6))
    assert tested.route(long_header(cid), client, 0.0) is tested.nodes[number]


def test_a_server_id_means_what_its_configuration_says() -> None:
    """Two nodes may have the same octets under different codepoints."""
    ids = {0: b"\0\1", 1: b"\0\2"}
    nodes = [Node("a", ids, ("10.0.0.1", 1)), Node("b", {0: b"\0\2", 1: b"\0\1"}, ("10.0.0.2", 1))]
    configs = {0: LbConfig(0, 2, 6), 1: LbConfig(1, 2, 6)}
    tested = Router(configs, nodes)
    for rotation, expected in ((0, "a"), (1, "b")):
        for _ in range(2):  # decoded, then remembered
            node = tested.route(short_header(configs[rotation], b"\0\1"), CLIENT, 0.0)
            assert node is not None and node.name == expected


@given(clients=st.lists(CLIENTS, min_size=1, max_size=30, unique=True))
def test_new_connections_stay_where_they_began(clients: list[tuple[str, int]]) -> None:
    """Through everything that happens to other nodes meanwhile."""
    tested = router()
    first = {client: tested.route(long_header(FOREIGN), client, 0.0) for client in clients}
    for node in tested.nodes:
        node.state = NodeState.DRAINING
    assert {c: tested.route(long_header(FOREIGN), c, 9.0) for c in clients} == first
    # a short header that names nobody goes where its handshake went
    assert {c: tested.route(b"\x40" + FOREIGN, c, 18.0) for c in clients} == first
    assert all(tested.route(long_header(FOREIGN), c, 19.0 + REMEMBERED_S) is None for c in clients)
    assert tested.counters["dropped_no_node"] == len(clients)


def test_new_connections_are_spread_and_only_a_lost_nodes_share_moves() -> None:
    clients = [("198.51.100.9", port) for port in range(1, 3001)]
    before = {c: router().route(long_header(FOREIGN), c, 0.0) for c in clients}
    names = {c: node.name for c, node in before.items() if node}
    assert min(Counter(names.values()).values()) > 900
    for state in (NodeState.DRAINING, NodeState.DOWN):
        tested = router(NodeState.UP, state)
        after = {c: tested.route(long_header(FOREIGN), c, 0.0) for c in clients}
        for client, node in after.items():
            assert node is not None and node.name != "b"
            assert names[client] in ("b", node.name)


def test_a_handshake_with_a_node_that_died_begins_anew_elsewhere() -> None:
    tested = router()
    node = tested.route(long_header(FOREIGN), CLIENT, 0.0)
    assert node is not None
    node.state = NodeState.DOWN
    other = tested.route(long_header(FOREIGN), CLIENT, 1.0)
    assert other not in (node, None)
    cid = encode(PLAIN, node.server_ids[0], bytes(6))
    assert tested.route(long_header(cid), CLIENT, 1.0) is other


def test_packets_for_a_dead_node_are_dropped_and_go_through_when_it_is_back() -> None:
    tested = router(NodeState.DOWN)
    packet = short_header(PLAIN, server_ids(0)[0])
    assert tested.route(packet, CLIENT, 0.0) is None
    assert tested.counters == {"dropped_node_down": 1}
    tested.nodes[0].state = NodeState.UP
    assert tested.route(packet, CLIENT, 0.0) is tested.nodes[0]


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"", "dropped_malformed"),
        (b"\x40", "dropped_malformed"),
        (b"\xc0\0\0\0\1", "dropped_malformed"),
        (b"\xc0\0\0\0\1\x08seven..", "dropped_malformed"),
        (b"\x40" + FOREIGN, "dropped_unroutable"),
        (b"\x40\x08\0\1", "dropped_unroutable"),
        (short_header(PLAIN, b"\xff\xff"), "dropped_unknown_server"),
    ],
)
def test_what_is_dropped_is_counted(data: bytes, counter: str) -> None:
    tested = router()
    assert tested.route(data, CLIENT, 0.0) is None
    assert tested.counters == {counter: 1}


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "REMEMBERED", 10)
    monkeypatch.setattr(routing, "_CACHED_IDS", 10)
    tested = router()
    for port in range(100):
        tested.route(long_header(FOREIGN), ("192.0.2.1", port), 0.0)
        tested.route(short_header(PLAIN, server_ids(0)[0], bytes(5) + bytes([port])), CLIENT, 0.0)
    assert tested.remembered == 10
    assert len(tested._cache) <= 10
    tested.route(long_header(FOREIGN), ("192.0.2.2", 1), REMEMBERED_S)
    assert tested.remembered == 1


def test_an_address_is_the_same_however_it_is_written() -> None:
    plain = client_key(("192.0.2.7", 7))
    assert client_key(("::ffff:192.0.2.7", 7, 0, 0)) == plain != client_key(("192.0.2.7", 8))
    assert client_key(("fe80::1%eth0", 7, 0, 2)) == client_key(("fe80::1", 7))


@given(st.binary(max_size=40))
def test_a_header_is_what_rfc_8999_says(data: bytes) -> None:
    header = parse_header(data)
    if header is None:
        assert len(data) < 2 or (data[0] & 0x80 and (len(data) < 6 or len(data) < 6 + data[5]))
    elif header.long:
        assert header.cid == data[6 : 6 + data[5]]
    else:
        assert header.cid == data[1:21]
