"""Balancers between real viewers and real gateways, in namespaces: play, rebind, start the balancer again.

viewers -- router (translates) -- edge (the balancer) -- nodes a, b
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from scripts.support.gateway import Gateway
from scripts.support.namespaces import Network
from scripts.support.processes import Program, running
from scripts.support.topology import QUIC_PORT, WEB_PORT, Topology, node_address, topology
from tests.e2e.worlds import needs_networks
from tests.lb.files import lb_text
from wtgateway.config.balancing import HIDDEN, KEPT, load_lb_file
from wtgateway.lb import nft, nftables
from wtgateway.lb.nginx import configuration
from wtgateway.lb.transparent import ROUTING

pytestmark = [needs_networks, pytest.mark.asyncio(loop_scope="module")]

NODES = {name: f"{node_address(name)}:{QUIC_PORT}" for name in ("a", "b")}
NODES6 = {name: f"[{node_address(name, socket.AF_INET6)}]:{QUIC_PORT}" for name in NODES}
LISTEN, LISTEN6 = f"10.9.0.2:{QUIC_PORT}", f"[fd09::2]:{QUIC_PORT}"
VIEWERS = 6  # all on one node in one case of 32
MORE = 8  # frames that count as playing
SEEN_KEPT, SEEN_HIDDEN = "10.9.0.1", {"a": "10.21.0.1", "b": "10.22.0.1"}


class Watcher:
    """Viewers in the client's namespace, one round of them after another."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.round = 0
        self.facts: dict[str, Any] = {}
        program.on_line = self._on_line

    def _on_line(self, line: str) -> None:
        if line.startswith("{"):
            self.facts = json.loads(line)

    @contextlib.asynccontextmanager
    async def watching(self, listen: str = LISTEN) -> AsyncIterator[None]:
        """Viewers come and play, and leave with the block."""
        self.round += 1
        await self.program.write(f"begin https://{listen}/test\n")
        await self.program.until(lambda: self.facts.get("round") == self.round, "viewers")
        await self.play("first frames")
        yield
        await self.program.write("leave\n")
        await self.program.until(lambda: self.facts.get("left") == self.round, "goodbye")

    async def play(self, what: str) -> None:
        """Until each viewer has got that many frames more."""
        wanted = [count + MORE for count in self.facts["frames"]]
        await self.program.until(
            lambda: all(have >= want for have, want in zip(self.facts["frames"], wanted, strict=True)), what
        )


@dataclass
class Scene:
    """The network and the nodes behind the edge."""

    world: Topology
    nodes: dict[str, Gateway]
    directory: Path
    balancer: Program = field(init=False)  # the one that runs, where it is a process
    spread: dict[str, dict[str, int]] = field(default_factory=dict)  # by balancer: viewers by node

    @property
    def net(self) -> Network:
        return self.world.net

    def lb_file(self, client_addresses: str, *, ipv6: bool = False) -> Path:
        path = self.directory / f"{client_addresses}{6 if ipv6 else 4}.yml"
        nodes, listen = (NODES6, LISTEN6) if ipv6 else (NODES, LISTEN)
        path.write_text(
            lb_text(nodes=nodes, listen=listen, client_addresses=client_addresses, health=not ipv6)
        )
        return path

    def viewers(self, *names: str) -> dict[str, int]:
        """How many these nodes have, or all of them, as their API says. Blocks."""
        with self.net.inside("edge"):
            return {name: self._viewers(self.nodes[name]) for name in names or self.nodes}

    def _viewers(self, node: Gateway) -> int:
        with urllib.request.urlopen(f"{node.url}/api/v1/node", timeout=10) as answer:
            facts: dict[str, Any] = json.load(answer)
            return int(facts["viewers"])

    def lines(self, node: Gateway) -> list[str]:
        return node.program.output(400).splitlines()

    def seen(self, name: str) -> set[str]:
        """The addresses at which a node has seen viewers, as its log says."""
        lines = self.lines(self.nodes[name])
        return {a for a in (SEEN_KEPT, SEEN_HIDDEN[name]) if any(f"remote={a}:" in line for line in lines)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    directory = tmp_path_factory.mktemp("balancers")
    secret = directory / "secret"
    async with topology() as world, contextlib.AsyncExitStack() as stack:
        made = Scene(world, {}, directory)
        lb = made.lb_file(HIDDEN)
        await world.net.run("client", *wtgateway("cluster", "secret", secret))
        small = ("--size", "320x180", "--fps", "30", "--no-audio", "--drain-timeout", "0s")
        for name in NODES:
            made.nodes[name] = Gateway(
                *(
                    "test:",
                    "--node",
                    name,
                    "--lb-config",
                    lb,
                    "--cluster-secret",
                    secret,
                    "--drain-timeout",
                    "0s",
                    *small,
                ),
                directory=directory / name,
                prefix=world.net.command(name),
                host="::",
                web_host=node_address(name),
                quic_port=QUIC_PORT,
                web_port=WEB_PORT,
            )
        await asyncio.gather(*(stack.enter_async_context(node) for node in made.nodes.values()))
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watcher(scene: Scene) -> AsyncIterator[Watcher]:
    command = (sys.executable, "-m", "tests.lb.watcher", str(VIEWERS))
    async with running(*scene.net.command("client", *command), stdin=asyncio.subprocess.PIPE) as program:
        yield Watcher(program)


# --- balancers --------------------------------------------------------------------------------------

Restart = Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def rules(
    scene: Scene, client_addresses: str, mode: str, *, ipv6: bool = False
) -> AsyncIterator[Restart]:
    """nftables: started again means loaded anew, with nothing left that connection tracking knew."""
    text = nft.Rules(nft.NftOptions(config=scene.lb_file(client_addresses, ipv6=ipv6), mode=mode)).text()

    async def load() -> None:
        await scene.net.run("edge", "nft", "-f", "-", stdin=text)
        await scene.net.run("edge", "conntrack", "-F")

    await load()
    yield load
    await scene.net.run("edge", "nft", "-f", "-", stdin=nftables.removal())
    await scene.net.run("edge", "conntrack", "-F")


@contextlib.asynccontextmanager
async def forwarder(scene: Scene, client_addresses: str) -> AsyncIterator[Restart]:
    """The reference forwarder, with the routing that its documentation names for kept addresses."""
    if client_addresses == KEPT:
        lines = [line for line in ROUTING.splitlines() if "default via" not in line]
        await scene.net.run("edge", "sh", "-ec", "\n".join(lines))
    words = wtgateway("lb", "run", "-c", scene.lb_file(client_addresses), "--json-log")
    async with balancer(scene, *words, ready=said('"event": "ready"')) as again:
        yield again
    if client_addresses == KEPT:
        await scene.net.run("edge", "nft", "delete", "table", "inet", "wtgateway_lb_run")


@contextlib.asynccontextmanager
async def nginx(scene: Scene, client_addresses: str) -> AsyncIterator[Restart]:
    """Debian's nginx with what is printed for it."""
    path = scene.directory / "nginx.conf"
    path.write_text(configuration(load_lb_file(scene.lb_file(client_addresses))))
    more = f"daemon off; pid {scene.directory}/nginx.pid;"
    words = ("nginx", "-e", scene.directory / "nginx.log", "-c", path, "-g", more)
    async with balancer(scene, *words, ready=listening) as again:
        yield again


Ready = Callable[[Scene, Program], Awaitable[None]]


@contextlib.asynccontextmanager
async def balancer(scene: Scene, *words: str | Path, ready: Ready) -> AsyncIterator[Restart]:
    """A balancer that is a process; started again means killed and started."""
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> Program:
            begun = await stack.enter_async_context(running(*scene.net.command("edge", *words)))
            await ready(scene, begun)
            return begun

        async def restart() -> None:
            scene.balancer.send(signal.SIGKILL)
            await scene.balancer.wait()
            scene.balancer = await start()

        scene.balancer = await start()
        yield restart


def said(words: str) -> Ready:
    """Until it has said that."""

    async def ready(_: Scene, begun: Program) -> None:
        await begun.until(lambda: words in begun.output(), "ready line")

    return ready


async def begun_by_nodes(scene: Scene) -> list[str]:
    """Entries of connection tracking that a node's packet made: in a viewer's way, and never translated."""
    entries = (await scene.net.run("edge", "conntrack", "-L", "-p", "udp")).splitlines()
    sources = tuple(f"{node_address(name)} " for name in NODES)
    return [entry for entry in entries if entry.partition("src=")[2].startswith(sources)]


async def listening(scene: Scene, begun: Program) -> None:
    """Until somebody has the port."""
    async with asyncio.timeout(10):
        while f":{QUIC_PORT}" not in await scene.net.run("edge", "ss", "-lunH"):
            assert begun.running, begun.output()
            await asyncio.sleep(0.02)


def wtgateway(*words: str | Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "wtgateway", *map(str, words))


BALANCERS = {
    "nftables-kept": lambda scene: rules(scene, KEPT, "dnat"),
    "nftables-hidden": lambda scene: rules(scene, HIDDEN, "dnat"),
    "nftables-forward-kept": lambda scene: rules(scene, KEPT, "forward"),
    "forwarder-kept": lambda scene: forwarder(scene, KEPT),
    "forwarder-hidden": lambda scene: forwarder(scene, HIDDEN),
    "nginx-hidden": lambda scene: nginx(scene, HIDDEN),
}


@pytest.mark.parametrize("name", BALANCERS)
async def test_viewers_play_through_rebindings_and_restarts(
    scene: Scene, watcher: Watcher, name: str
) -> None:
    if name.startswith("nginx") and shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("needs Debian's nginx-light and libnginx-mod-stream")
    async with BALANCERS[name](scene) as restart, watcher.watching():
        viewers = await asyncio.to_thread(scene.viewers)
        assert sum(viewers.values()) == VIEWERS
        if not name.startswith("nginx"):  # which has all that come from one address on one node
            scene.spread[name] = viewers
        for node in [node for node, count in viewers.items() if count]:
            assert (SEEN_KEPT if KEPT in name else SEEN_HIDDEN[node]) in scene.seen(node)
        await scene.world.rebind()
        await watcher.play("frames after a rebinding")
        await restart()
        await watcher.play("frames after the balancer was started again")
        await scene.world.rebind()
        await watcher.play("frames after another rebinding")
        assert watcher.facts["reconnects"] == [0] * VIEWERS
        assert await asyncio.to_thread(scene.viewers) == viewers
        if name.startswith("nftables"):
            assert not await begun_by_nodes(scene)


@pytest.mark.parametrize(("addresses", "mode"), [(HIDDEN, "dnat"), (KEPT, "forward")])
async def test_ipv6_is_the_same(scene: Scene, watcher: Watcher, addresses: str, mode: str) -> None:
    await scene.world.move("six")
    try:
        async with rules(scene, addresses, mode, ipv6=True) as again, watcher.watching(LISTEN6):
            await again()
            await watcher.play("frames after the rules were loaded again")
            assert watcher.facts["reconnects"] == [0] * VIEWERS
            assert sum((await asyncio.to_thread(scene.viewers)).values()) == VIEWERS
    finally:
        await scene.world.move("wifi")


async def test_sessions_outlive_the_replacement_of_their_balancer(scene: Scene, watcher: Watcher) -> None:
    """Whatever reads server IDs can take over from whatever did, and nobody notices."""
    async with contextlib.AsyncExitStack() as viewing:
        for name in ("nftables-hidden", "forwarder-hidden", "nftables-forward-kept"):
            async with BALANCERS[name](scene):
                if name == "nftables-hidden":
                    await viewing.enter_async_context(watcher.watching())
                await watcher.play(f"frames by {name}")
                assert watcher.facts["reconnects"] == [0] * VIEWERS
                if name == "nftables-forward-kept":
                    await viewing.aclose()


@pytest.mark.parametrize(("kind", "number"), [("run", signal.SIGKILL), ("nftables", signal.SIGSTOP)])
async def test_a_node_that_dies_gets_nobody_and_is_there_again_when_it_is_back(
    scene: Scene, watcher: Watcher, kind: str, number: int
) -> None:
    """Its port refuses, or nothing answers any more."""
    words = ["lb", kind, "-c", scene.lb_file(HIDDEN), "--json-log"]
    ready = said('"event": "ready"') if kind == "run" else said("watching 2 nodes")
    dying = scene.nodes["b"]
    async with balancer(scene, *wtgateway(*words, *(["--watch"] * (kind == "nftables"))), ready=ready):
        dying.program.send(number)
        await scene.balancer.until(lambda: "node b is down" in scene.balancer.output(), "notice of the death")
        if kind == "nftables":
            await scene.balancer.until(lambda: "a up, b down" in scene.balancer.output(), "other rules")
        async with watcher.watching():
            assert (await asyncio.to_thread(scene.viewers, "a")) == {"a": VIEWERS}
            assert watcher.facts["reconnects"] == [0] * VIEWERS
        dying.program.send(signal.SIGCONT)
        if number == signal.SIGKILL:
            await dying.start()
        await scene.balancer.until(lambda: "node b is up" in scene.balancer.output(), "notice of its return")
    await scene.net.run("edge", "nft", "-f", "-", stdin=nftables.removal())
    await scene.net.run("edge", "conntrack", "-F")


async def test_new_viewers_are_spread(scene: Scene) -> None:
    """Ports are random, so six of them may be on one node now and then, but not again and again."""
    if len(scene.spread) < len(BALANCERS) - 1:
        pytest.skip("needs the tests of all balancers before it")
    for node in NODES:
        assert sum(viewers[node] for viewers in scene.spread.values()) >= 4, scene.spread


async def test_gateways_say_that_they_limit_nothing_by_address(scene: Scene) -> None:
    for node in scene.nodes.values():
        assert sum("no limits per viewer's address" in line for line in scene.lines(node)) == 1
