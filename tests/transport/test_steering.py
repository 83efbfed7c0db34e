"""Sockets of one port, to which the kernel steers datagrams by connection ID, on real sockets."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from wtgateway.transport import steering
from wtgateway.transport.connection_ids import ConnectionIds, worker_of
from wtgateway.transport.udp import UdpSocket

pytestmark = pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())

V4, V6, BOTH = (
    (socket.AF_INET, ("127.0.0.1", 0)),
    (socket.AF_INET6, ("::1", 0, 0, 0)),
    (socket.AF_INET6, ("::", 0, 0, 0)),
)
SOCKETS = 3


def short(cid: bytes) -> bytes:
    return b"\x40" + cid + os.urandom(30)


def long(cid: bytes) -> bytes:
    """An Initial's head: form, version, length of the destination connection ID, the ID."""
    return b"\xc0" + b"\0\0\0\1" + bytes([len(cid)]) + cid + os.urandom(30)


@pytest.fixture(params=[(V4, "127.0.0.1"), (V6, "::1"), (BOTH, "127.0.0.1"), (BOTH, "::1")], ids=str)
def group(request: pytest.FixtureRequest) -> Iterator[tuple[list[socket.socket], tuple[str, int]]]:
    (family, address), host = request.param
    (sockets,) = steering.bind_groups([(family, address)], SOCKETS)
    for sock in sockets:
        sock.setblocking(False)
    yield sockets, (host, sockets[0].getsockname()[1])
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


def test_every_datagram_comes_to_the_worker_of_its_connection_id(
    group: tuple[list[socket.socket], tuple[str, int]],
) -> None:
    sockets, address = group
    for number in range(SOCKETS):
        ids = ConnectionIds(worker=number, workers=SOCKETS)
        for form in (short, long):
            for _ in range(20):
                data = form(ids.issue())
                with client_of(address) as client:  # another port each time: the address does not matter
                    client.sendto(data, address)
                assert arrived(sockets) == [(number, data)]


def test_connection_ids_of_strangers_are_spread(group: tuple[list[socket.socket], tuple[str, int]]) -> None:
    sockets, address = group
    with client_of(address) as client:
        for first in range(256):
            client.sendto(long(bytes([first]) + os.urandom(7)), address)
    counts = Counter(number for number, _ in arrived(sockets))
    assert [counts[n] for n in range(SOCKETS)] == [86, 85, 85]


def test_what_is_too_short_comes_to_the_first_and_harms_nobody(
    group: tuple[list[socket.socket], tuple[str, int]],
) -> None:
    sockets, address = group
    with client_of(address) as client:
        for data in (b"", b"\x40", b"\xc0", b"\xc0\0\0\0\1"):
            client.sendto(data, address)
            assert arrived(sockets) == [(0, data)]


def test_a_copy_of_a_socket_in_another_process_can_close_without_moving_the_others(
    group: tuple[list[socket.socket], tuple[str, int]],
) -> None:
    """A worker's end: the main process still holds the socket, and what arrives waits in it."""
    sockets, address = group
    sockets[1].dup().close()
    ids = ConnectionIds(worker=1, workers=SOCKETS)
    data = short(ids.issue())
    with client_of(address) as client:
        client.sendto(data, address)
    assert arrived(sockets) == [(1, data)]


def test_all_addresses_are_bound_on_one_port() -> None:
    groups = steering.bind_groups([V6, V4], 2)
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
    groups = steering.bind_groups([bound], 2)
    taken = (address[0], groups[0][0].getsockname()[1], *address[2:])
    try:
        with pytest.raises(OSError, match="in use"):
            steering.bind_groups([(family, taken)], 2)
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
            steering.bind_groups([(socket.AF_INET6, ("::1", port, 0, 0)), V4], 2)
    for group in steering.bind_groups([(socket.AF_INET6, ("::1", port, 0, 0))], 2):
        steering.close_groups([group])


def test_the_rule_is_the_same_in_the_kernel_and_here() -> None:
    """program() interpreted, against worker_of: what the kernel runs is this and nothing else."""
    for workers in (1, 2, 5, 64):
        for _ in range(50):
            cid = os.urandom(8)
            for data in (short(cid), long(cid)):
                assert _interpret(steering.program(workers), data) == worker_of(cid, workers)


def _interpret(program: list[tuple[int, int, int, int]], data: bytes) -> int:
    at = accumulator = 0
    while True:
        operation, if_true, if_false, constant = program[at]
        at += 1
        match operation:
            case 0x30:
                accumulator = data[constant]
            case 0x05:
                at += constant
            case 0x45:
                at += if_true if accumulator & constant else if_false
            case 0x94:
                accumulator %= constant
            case 0x16:
                return accumulator
            case _:
                raise AssertionError(operation)
