"""Sockets of one port, to which the kernel steers datagrams by connection ID, on real sockets."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from wtgateway.transport import steering
from wtgateway.transport.connection_ids import ConnectionIds, LbIdentity
from wtgateway.transport.quic_lb import LbConfig
from wtgateway.transport.steering import Rule
from wtgateway.transport.udp import UdpSocket

pytestmark = pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())

V4, V6, BOTH = (
    (socket.AF_INET, ("127.0.0.1", 0)),
    (socket.AF_INET6, ("::1", 0, 0, 0)),
    (socket.AF_INET6, ("::", 0, 0, 0)),
)
SOCKETS = 3
SECRET = bytes(range(32))
KEY = bytes(range(16))
ALONE, CLEAR, FOUR_PASS, SINGLE_PASS = (
    None,
    LbIdentity(LbConfig(0, 2, 6), b"\0\1"),
    LbIdentity(LbConfig(1, 2, 7, KEY), b"\0\1"),
    LbIdentity(LbConfig(6, 4, 12, KEY, encode_length=False), b"\0\0\0\1"),
)
LAYOUTS = [ALONE, CLEAR, FOUR_PASS, SINGLE_PASS]


def issuers(lb: LbIdentity | None, workers: int = SOCKETS) -> list[ConnectionIds]:
    return [ConnectionIds(worker=n, workers=workers, secret=SECRET, lb=lb) for n in range(workers)]


def short(cid: bytes) -> bytes:
    return b"\x40" + cid + os.urandom(30)


def long(cid: bytes) -> bytes:
    """An Initial's head: form, version, length of the destination connection ID, the ID."""
    return b"\xc0" + b"\0\0\0\1" + bytes([len(cid)]) + cid + os.urandom(30)


Group = tuple[list[socket.socket], tuple[str, int], list[ConnectionIds]]


@pytest.fixture(
    params=[
        (V4, "127.0.0.1", 0),
        (V6, "::1", 1),
        (BOTH, "127.0.0.1", 2),
        (BOTH, "::1", 0),
        (V4, "127.0.0.1", 3),
    ],
    ids=str,
)
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """Sockets, their address, what issues connection IDs for each; every layout once."""
    (family, address), host, layout = request.param
    issuing = issuers(LAYOUTS[layout])
    (sockets,) = steering.bind_groups([(family, address)], issuing[0].rule)
    for sock in sockets:
        sock.setblocking(False)
    yield sockets, (host, sockets[0].getsockname()[1]), issuing
    steering.close_groups([sockets])


def arrived(sockets: list[socket.socket]) -> list[tuple[int, bytes]]:
    """Loopback delivers within the sender's call: what is not there now was not sent."""
    found: list[tuple[int, bytes]] = []
    for number, sock in enumerate(sockets):
        while True:
            try:
                found.append((number, sock.recv(2000)))
            except BlockingIOError:
                break
    return found


def client_of(address: tuple[str, int]) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)


def test_every_datagram_comes_to_the_worker_of_its_connection_id(group: Group) -> None:
    sockets, address, issuing = group
    for number, ids in enumerate(issuing):
        for form in (short, long):
            for _ in range(20):
                data = form(ids.issue())
                with client_of(address) as client:  # another port each time: the address does not matter
                    client.sendto(data, address)
                assert arrived(sockets) == [(number, data)]


def test_connection_ids_of_strangers_are_spread(group: Group) -> None:
    sockets, address, _ = group
    with client_of(address) as client:
        for first in range(256):
            client.sendto(long(bytes([first]) + os.urandom(7)), address)
    counts = Counter(number for number, _ in arrived(sockets))
    assert [counts[n] for n in range(SOCKETS)] == [86, 85, 85]


def test_what_is_too_short_comes_to_the_first_and_harms_nobody(group: Group) -> None:
    sockets, address, issuing = group
    with client_of(address) as client:
        size = issuing[0].cid_bytes
        for data in (b"", b"\x40", b"\xc0", b"\xc0\0\0\0\1", b"\xc0\0\0\0\1" + bytes((size,))):
            client.sendto(data, address)
            assert arrived(sockets) == [(0, data)]


def test_a_copy_of_a_socket_in_another_process_can_close_without_moving_the_others(
    group: Group,
) -> None:
    """A worker's end: the main process still holds the socket, and what arrives waits in it."""
    sockets, address, issuing = group
    sockets[1].dup().close()
    data = short(issuing[1].issue())
    with client_of(address) as client:
        client.sendto(data, address)
    assert arrived(sockets) == [(1, data)]


def test_all_addresses_are_bound_on_one_port() -> None:
    groups = steering.bind_groups([V6, V4], Rule(2))
    try:
        assert len({sock.getsockname()[1] for group in groups for sock in group}) == 1
        assert [len(group) for group in groups] == [2, 2]
    finally:
        steering.close_groups(groups)


@pytest.mark.parametrize("bound", [V4, V6, BOTH], ids=str)
def test_a_port_in_use_is_refused_even_if_its_holder_would_share_it(
    bound: tuple[int, tuple[Any, ...]],
) -> None:
    family, address = bound
    groups = steering.bind_groups([bound], Rule(2))
    taken = (address[0], groups[0][0].getsockname()[1], *address[2:])
    try:
        with pytest.raises(OSError, match="in use"):
            steering.bind_groups([(family, taken)], Rule(2))
        with pytest.raises(OSError, match="in use"):
            UdpSocket.bind(family, taken, counters=Counter())
    finally:
        steering.close_groups(groups)
    UdpSocket.bind(family, taken, counters=Counter()).close()


def test_nothing_stays_open_when_a_later_address_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            steering.bind_groups([(socket.AF_INET6, ("::1", port, 0, 0)), V4], Rule(2))
    for group in steering.bind_groups([(socket.AF_INET6, ("::1", port, 0, 0))], Rule(2)):
        steering.close_groups([group])


@pytest.mark.parametrize("lb", LAYOUTS)
def test_the_rule_is_the_same_in_the_kernel_and_here(lb: LbIdentity | None) -> None:
    """program() interpreted, against worker_of: what the kernel runs is this and nothing else."""
    for workers in (1, 2, 5, 64):
        ids = ConnectionIds(worker=workers // 2, workers=workers, secret=SECRET, lb=lb)
        code = steering.program(ids.rule)
        for _ in range(30):
            ours, foreign = ids.issue(), [os.urandom(size) for size in (8, ids.cid_bytes, 13, 20)]
            assert _interpret(code, short(ours)) == _interpret(code, long(ours)) == workers // 2
            for cid in foreign:
                assert _interpret(code, long(cid)) == ids.rule.worker_of(cid)
            assert _interpret(code, short(foreign[1])) == ids.rule.worker_of(foreign[1])


def _interpret(program: list[steering.Instruction], data: bytes) -> int:
    at = a = x = 0
    while True:
        operation, if_true, if_false, constant = program[at]
        at += 1
        match operation:
            case 0x20:
                a = int.from_bytes(data[constant : constant + 4], "big")
            case 0x30:
                a = data[constant]
            case 0x07:
                x = a
            case 0x24:
                a = a * constant & 0xFFFFFFFF
            case 0x74:
                a >>= constant
            case 0xAC:
                a ^= x
            case 0x45:
                at += if_true if a & constant else if_false
            case 0x15:
                at += if_true if a == constant else if_false
            case 0x94:
                a %= constant
            case 0x16:
                return a
            case _:
                raise AssertionError(operation)
