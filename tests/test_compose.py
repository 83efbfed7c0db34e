"""The cluster of compose.yaml as processes: started from its own command lines, in the order it asks for.

The network is as Docker makes it: a bridge, an address for each service, published ports translated from the
host's loopback. A native viewer on that host plays through the balancer while nodes go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from scripts.support import namespaces
from scripts.support.namespaces import Network, network
from scripts.support.processes import Program, running
from tests.compose import Service, command, document, services
from tests.test_container import LASTING, NODES

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-"),
]
CLUSTER = [name for name in services() if "profiles" not in services()[name].raw]
PATIENCE_S = 30.0


class Cluster:
    """The running services, and the host that their ports are published on."""

    def __init__(self, net: Network, directory: Path) -> None:
        self.net, self.directory = net, directory
        self.programs: dict[str, Program] = {}
        self._stack = contextlib.AsyncExitStack()

    async def start(self, name: str) -> None:
        """Start a service when what it needs is as it asks."""
        service = services()[name]
        for needed, condition in service.needs.items():
            await self._reached(needed, condition)
        words = self.net.command(_namespace(service), *command(service, self.directory))
        self.programs[name] = await self._stack.enter_async_context(running(*words))

    async def _reached(self, name: str, condition: str) -> None:
        program = self.programs[name]
        if condition == "service_completed_successfully":
            assert await program.wait() == 0, program.output()
        elif condition == "service_healthy":
            await self.healthy(name)
        else:
            assert condition == "service_started"

    async def healthy(self, name: str) -> None:
        """Wait until its health check, run where it runs, says so."""
        service, program = services()[name], self.programs[name]
        words = self.net.command(_namespace(service), *command(service, self.directory, *service.check))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert program.running, program.output()
                async with running(*words) as check:
                    if await check.wait() == 0:
                        return

    async def get(self, url: str, *, inside: str = "host") -> Any:
        """JSON as it is from there."""
        return await asyncio.to_thread(self._get, url, inside)

    def _get(self, url: str, inside: str) -> Any:
        with self.net.inside(inside), urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    async def sessions(self, name: str) -> list[dict[str, Any]]:
        """The viewers of one node; none when it is gone. A node tells its own machine alone who they are."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return list(await self.get("http://127.0.0.1:8080/api/v1/sessions", inside=name))
        return []

    async def playing_at(self, names: Iterable[str], viewer: Program, frames: int = 10) -> str:
        """Wait until one of the nodes has sent a viewer so many frames; which one."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert viewer.running, viewer.output()
                for name in names:
                    if any(session["framesSent"] >= frames for session in await self.sessions(name)):
                        return name

    async def close(self) -> None:
        """End all of them."""
        await self._stack.aclose()


def _namespace(service: Service) -> str:
    return service.name if service.address else "host"


@contextlib.asynccontextmanager
async def docker_network() -> AsyncIterator[Network]:
    """A bridge on the host with all services at their addresses, and their ports published."""
    with_address = [services()[name] for name in CLUSTER if services()[name].address]
    [given] = document()["networks"]["cluster"]["ipam"]["config"]
    length = given["subnet"].partition("/")[2]
    bridge = given["subnet"].replace(".0/", ".1/")
    async with network("host", *(service.name for service in with_address)) as net:
        await net.run("host", "ip", "link", "add", "cluster", "type", "bridge")
        await net.run("host", "ip", "address", "add", bridge, "dev", "cluster")
        await net.run("host", "ip", "link", "set", "cluster", "up")
        for service in with_address:
            await net.link(service.name, "host", f"{service.address}/{length}", (), name=service.name)
            await net.run("host", "ip", "link", "set", service.name, "master", "cluster")
        await net.setting("host", "ipv4/conf/all/route_localnet", 1)
        await net.run("host", "nft", "-f", "-", stdin=_published(with_address))
        yield net


def _published(with_address: list[Service]) -> str:
    rules = [
        f"ip daddr {host} {protocol} dport {outside} dnat to {service.address}:{inside}"
        for service in with_address
        for host, outside, inside, protocol in service.ports
    ]
    return "\n".join(
        [
            "table ip published {",
            "  chain out { type nat hook output priority -100",
            *(f"    {rule}" for rule in rules),
            "  }",
            "  chain behind { type nat hook postrouting priority 100",
            "    ip saddr 127.0.0.0/8 oifname cluster masquerade",
            "  }",
            "}",
        ]
    )


@contextlib.asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Cluster]:
    """All services, healthy."""
    async with docker_network() as net:
        made = Cluster(net, directory)
        try:
            for name in CLUSTER:
                await made.start(name)
            await asyncio.gather(*(made.healthy(name) for name in CLUSTER if name in LASTING))
            yield made
        finally:
            await made.close()


async def test_a_viewer_plays_on_while_its_node_is_stopped(tmp_path: Path) -> None:
    """Pages through the proxy, media through the balancer; SIGTERM hands the viewer over."""
    async with cluster(tmp_path) as made:
        page = "http://127.0.0.1:8080/test"  # as compose.yaml publishes it
        words = (sys.executable, "-m", "wtgateway", "view", page, "--json", "--delivery", "auto")
        async with running(*made.net.command("host", *words)) as viewer:
            first = await made.playing_at(NODES, viewer)
            made.programs[first].send(signal.SIGTERM)
            [other] = set(NODES) - {first}
            assert await made.playing_at([other], viewer) == other
            assert await made.programs[first].wait() == 0, made.programs[first].output()
            sent = (await made.sessions(other))[0]["framesSent"]
            await made.playing_at([other], viewer, frames=sent + 30)
            viewer.send(signal.SIGINT)
            await viewer.wait()
        figures = json.loads(viewer.output(1))
    assert figures["roams"] == 1
    assert figures["reconnects"] == 0, "it was handed over, not cut off"
    assert (figures["framesDropped"], figures["decodeErrors"]) == (0, 0)
