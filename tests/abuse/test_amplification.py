"""How many bytes the gateway sends for each that it gets, to an address that nobody has proven to be his.

RFC 9000, section 8.1: at most three times. The figures stand in docs/security.md; here they are measured.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.transport.ends import make_certificate
from tests.transport.test_floods import first_flight, make_client
from wtgateway.transport.admission import ANSWERS_PER_S
from wtgateway.transport.endpoint import QuicEndpoint
from wtgateway.transport.webtransport import Refusal

DOCS = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
DOCUMENTED = {
    words.strip(): float(factor)
    for words, factor in re.findall(r"^\| ([^|]+) \| (\d+\.\d\d) \|$", DOCS, re.MULTILINE)
}
CERTIFICATE = make_certificate()
QUIET_S = 1.2  # some probe timeouts: what is sent again counts as well


OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Victim:
    """Sends once, and counts all that comes."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect(("127.0.0.1", port))
        OPEN.append(self.sock)
        self.sent = 0

    def send(self, *datagrams: bytes) -> None:
        for data in datagrams:
            self.sent += self.sock.send(data)

    async def received(self, quiet_s: float) -> int:
        """All bytes until nothing has come for so long."""
        loop, total = asyncio.get_running_loop(), 0
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    total += len(await loop.sock_recv(self.sock, 65536))
            except TimeoutError:
                return total


@pytest.fixture
async def endpoint(request: pytest.FixtureRequest) -> AsyncIterator[QuicEndpoint]:
    made = QuicEndpoint(
        on_request=lambda _: Refusal(404, ""), certificate=CERTIFICATE, **getattr(request, "param", {})
    )
    ((_, made.port),) = await made.start("127.0.0.1", 0)  # type: ignore[attr-defined]
    yield made
    await made.close(0, "", 0.1)


def check(words: str, received: int, sent: int) -> None:
    """Against what is documented: not more, and nothing that is not so any more."""
    factor = received / sent
    print(f"{words}: {factor:.2f} ({received} bytes for {sent})")
    assert received > 0
    assert factor <= DOCUMENTED[words] + 0.005
    assert factor >= DOCUMENTED[words] - 0.3, "docs/security.md says more than there is"


async def test_a_handshake_that_goes_no_further(endpoint: QuicEndpoint) -> None:
    victim = Victim(endpoint.port)  # type: ignore[attr-defined]
    victim.send(*first_flight(make_client(), ("127.0.0.1", 1)))
    received = await victim.received(QUIET_S)
    assert received <= 3 * victim.sent
    check("handshake, address not proven", received, victim.sent)


@pytest.mark.parametrize("endpoint", [{"retry_above": 0}], indirect=True)
async def test_retry(endpoint: QuicEndpoint) -> None:
    victim = Victim(endpoint.port)  # type: ignore[attr-defined]
    flight = first_flight(make_client(), ("127.0.0.1", 1))
    victim.send(flight[0])
    check("Retry", await victim.received(0.3), victim.sent)


async def test_version_negotiation(endpoint: QuicEndpoint) -> None:
    victim = Victim(endpoint.port)  # type: ignore[attr-defined]
    head = b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08" + bytes(8) + b"\x08" + bytes(8)
    victim.send(head.ljust(1200, b"\0"))
    check("Version Negotiation", await victim.received(0.3), victim.sent)
    small = Victim(endpoint.port)  # type: ignore[attr-defined]
    small.send(head.ljust(600, b"\0"))
    assert await small.received(0.2) == 0


@pytest.mark.parametrize("size", [21, 22, 40, 43, 100, 1200])
async def test_stateless_reset(endpoint: QuicEndpoint, size: int) -> None:
    """Always shorter than what it answers, so that two who answer each other come to an end."""
    victim = Victim(endpoint.port)  # type: ignore[attr-defined]
    victim.send((b"\x40" + endpoint._ids.issue() + os.urandom(size))[:size])
    received = await victim.received(0.1)
    assert received < victim.sent
    if size == 43:
        check("stateless reset, at most", received, victim.sent)


async def test_connection_refused(endpoint: QuicEndpoint) -> None:
    endpoint.refuse_connections()
    victim = Victim(endpoint.port)  # type: ignore[attr-defined]
    flight = first_flight(make_client(), ("127.0.0.1", 1))
    victim.send(flight[0])
    check("CONNECTION_REFUSED, INVALID_TOKEN", await victim.received(0.3), victim.sent)


async def test_garbage_is_not_answered(endpoint: QuicEndpoint) -> None:
    victim = Victim(endpoint.port)  # type: ignore[attr-defined]
    for size in (1, 20, 100, 1199, 1200, 1500):
        victim.send(os.urandom(size), b"\xc0" + os.urandom(size), bytes(size))
    assert await victim.received(0.2) < victim.sent / 4
    assert ANSWERS_PER_S <= 5000
