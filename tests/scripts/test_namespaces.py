"""The networks that tests and benchmarks make: addresses, links that go down, what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.support import namespaces
from scripts.support.namespaces import Network, NetworkError, network
from scripts.support.processes import running

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")

FAMILIES = (socket.AF_INET, socket.AF_INET6)


@contextlib.asynccontextmanager
async def routed() -> AsyncIterator[Network]:
    """A client with two ways to a router, and a node behind it."""
    async with network("client", "router", "node") as net:
        for name, number in (("wifi", 1), ("mobile", 2)):
            near = (f"10.{number}.0.2/24", f"fd0{number}::2/64")
            await net.link("client", "router", near, (f"10.{number}.0.1/24", f"fd0{number}::1/64"), name=name)
        await net.link("router", "node", ("10.9.0.1/24", "fd09::1/64"), ("10.9.0.2/24", "fd09::2/64"))
        await net.forward("router")
        for via in ("10.9.0.1", "fd09::1"):
            await net.route("node", "default", via, link="router")
        for name, number in (("wifi", 1), ("mobile", 2)):
            for via in (f"10.{number}.0.1", f"fd0{number}::1"):
                await net.route("client", "default", via, link=name, metric=number)
        yield net


def bound(net: Network, name: str, family: socket.AddressFamily) -> socket.socket:
    """A UDP socket in there."""
    with net.inside(name):
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind(("", 0))
    return sock


def seen_from(net: Network, family: socket.AddressFamily) -> str:
    """The address from which the node hears the client now."""
    with bound(net, "node", family) as node, bound(net, "client", family) as client:
        client.sendto(b"hello", (net.address_of("node", family=family), node.getsockname()[1]))
        data, source = node.recvfrom(100)
        assert data == b"hello"
        node.sendto(b"back", source)
        assert client.recv(100) == b"back"
        heard: str = source[0]
        return heard


async def test_a_client_moves_from_one_link_to_the_other_and_back() -> None:
    async with routed() as net:
        for family in FAMILIES:
            assert seen_from(net, family) == net.address_of("client", "wifi", family)
        await net.down("client", "wifi")
        for family in FAMILIES:
            assert seen_from(net, family) == net.address_of("client", "mobile", family)
        await net.up("client", "wifi")
        for family in FAMILIES:
            assert seen_from(net, family) == net.address_of("client", "wifi", family)


async def test_programs_and_sockets_are_inside_and_nothing_else_is() -> None:
    async with routed() as net:
        listing = (sys.executable, "-c", "import socket; print([name for _, name in socket.if_nameindex()])")
        assert await net.run("client", *listing) == "['lo', 'wifi', 'mobile']\n"
        assert "wifi" not in [name for _, name in socket.if_nameindex()]
        with net.inside("client"):
            assert [name for _, name in socket.if_nameindex()] == ["lo", "wifi", "mobile"]
        assert "wifi" not in [name for _, name in socket.if_nameindex()]
        assert await net.run("node", "cat", stdin="given") == "given"
        with pytest.raises(NetworkError, match="no-such-file"):
            await net.run("node", "cat", "/no-such-file")


async def test_programs_inside_know_the_hosts_they_were_told() -> None:
    ask = (sys.executable, "-c", "import socket; print(socket.gethostbyname('gateway.test'))")
    async with network("one", "other") as net:
        net.hosts("one", {"gateway.test": ["10.9.0.2"]})
        assert await net.run("one", *ask) == "10.9.0.2\n"
        with pytest.raises(NetworkError):
            await net.run("other", *ask)
        files = namespaces._FILES / net.namespace("one")
    assert not files.exists()


async def test_names_that_do_not_fit_are_told() -> None:
    async with network("one", "other") as net:
        await net.link("one", "other", "10.1.0.1/24", "10.1.0.2/24")
        assert net.address_of("one") == "10.1.0.1"
        for call in (
            lambda: net.command("nobody"),
            lambda: net.address_of("one", family=socket.AF_INET6),
            lambda: net.address_of("one", "wifi"),
        ):
            with pytest.raises(NetworkError):
                call()
        for name in ("", "longer-than-any-interface"):
            with pytest.raises(NetworkError, match="too long, or taken"):
                await net.link("one", "other", "10.2.0.1/24", "10.2.0.2/24", name=name)
        with pytest.raises(NetworkError, match="no interface"):
            await net.down("one", "wifi")


async def test_nothing_is_left() -> None:
    async with network("one") as net:
        handle = namespaces._HANDLES / net.namespace("one")
        assert handle.exists()
        async with running(*net.command("one", "sleep", "600")) as left:
            namespaces._remove([net.namespace("one")])
            async with asyncio.timeout(10):
                assert await left.wait() == -9
    assert not handle.exists()


async def test_what_a_crash_left_behind_is_removed_and_others_are_not() -> None:
    with subprocess.Popen(("sleep", "600")) as other:
        names = [f"wtg-{pid}-0-test" for pid in (other.pid, 2**22 + 1)]  # the second is beyond any process
        try:
            for name in names:
                subprocess.run(("ip", "netns", "add", name), check=True)
            async with network():
                there = {path.name for path in Path("/run/netns").iterdir()}
            assert names[0] in there
            assert names[1] not in there
        finally:
            other.kill()
            namespaces._remove(names)
