"""Nodes behind a balancer, in the network of scripts.support.topology: programs as an operator runs them.

    async with topology() as world, Cluster(world, directory, balancer="nftables") as cluster:
        ... ORIGIN serves pages, HOST media, both through the edge ...
        await cluster.drain("a")

The balancer is `wtgateway lb nftables --watch` or `wtgateway lb run`, at the edge. Pages and API come through
the edge as well, from any node that accepts: what a reverse proxy does in a real deployment
(:class:`FrontDoor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.support.gateway import Gateway
from scripts.support.processes import Program, start
from scripts.support.topology import HOST, NODES, QUIC_PORT, WEB_PORT, Topology, node_address
from wtgateway.cluster import make_secret

BALANCERS = ("nftables", "run")
_CONNECT_SECONDS = 1.0
_PIECE_BYTES = 1 << 16
# What the transparent sockets of `lb run` need of their host (wtgateway/lb/transparent.py).
_TRANSPARENT = """\
nft -f - <<'END'
table inet wtgateway_lb_run {
  chain prerouting {
    type filter hook prerouting priority mangle
    meta l4proto udp socket transparent 1 meta mark set 0x77
  }
}
END
ip rule add fwmark 0x77 lookup 119
ip route replace local default dev lo table 119
"""


def lb_file(*, client_addresses: str = "kept") -> str:
    """The LB file of gateways and balancer."""
    lines = ["configs:", "  - {rotation: 0, server_id_length: 2, nonce_length: 6}"]
    lines += [f'listen: "10.9.0.2:{QUIC_PORT}"', f"client_addresses: {client_addresses}", "nodes:"]
    for number, name in enumerate(NODES, 1):
        host = node_address(name)
        lines += [f"  - name: {name}", f'    server_id: "{number:04x}"', f'    address: "{host}:{QUIC_PORT}"']
        lines += [f'    health: "http://{host}:{WEB_PORT}/readyz"']
    return "\n".join(lines) + "\n"


class FrontDoor:
    """TCP of the edge's web port to the first node that accepts, beginning with another one each time."""

    def __init__(self, world: Topology) -> None:
        self._net, self._turn = world.net, itertools.cycle(range(len(NODES)))
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen at the edge."""
        with self._net.inside("edge"):
            sock = socket.create_server(("", WEB_PORT), family=socket.AF_INET6, dualstack_ipv6=True)
        self._server = await asyncio.start_server(self._serve, sock=sock)

    async def close(self) -> None:
        """Stop, and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = await self._to_a_node()
        if sock is None:
            return
        node_reader, node_writer = await asyncio.open_connection(sock=sock)
        try:
            both = [
                asyncio.ensure_future(_pump(*way)) for way in ((reader, node_writer), (node_reader, writer))
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in both:
                    way.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            node_writer.close()

    async def _to_a_node(self) -> socket.socket | None:
        first = next(self._turn)
        for name in (*NODES[first:], *NODES[:first]):
            with self._net.inside("edge"):
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await asyncio.get_running_loop().sock_connect(sock, (node_address(name), WEB_PORT))
            except OSError:  # TimeoutError is one
                sock.close()
            else:
                return sock
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE_BYTES):
        writer.write(data)
        await writer.drain()


class Cluster:
    """A gateway on each node, a program of its own, behind a balancer; all are given ``arguments``."""

    def __init__(
        self,
        world: Topology,
        directory: Path,
        *,
        balancer: str = "nftables",
        arguments: Sequence[str | Path] = ("test:",),
        drain_timeout: str = "20s",
    ) -> None:
        self.world, self.balancer_kind = world, balancer
        self._directory = directory
        self._lb_file, self._secret = directory / "lb.yaml", directory / "secret"
        self._arguments = (*arguments, "--drain-timeout", drain_timeout)
        self._front = FrontDoor(world)
        self._balancer: Program | None = None
        self._balancing = False
        self.states: dict[str, str] = {}  # as the balancer says
        self.nodes = {name: self._node(name) for name in NODES}

    def _node(self, name: str) -> Gateway:
        directory = self._directory / name
        directory.mkdir()
        return Gateway(
            *(*self._arguments, "--node", name, "--lb-config", self._lb_file),
            *("--cluster-secret", self._secret, "--advertise", f"{HOST}:{QUIC_PORT}"),
            directory=directory,
            prefix=self.world.net.command(name),
            host=node_address(name),
            quic_port=QUIC_PORT,
            web_port=WEB_PORT,
        )

    async def use(self, balancer: str) -> None:
        """Put that kind of balancer in the place of the one that is there."""
        if self._balancer is not None:
            await self._balancer.stop(signal.SIGKILL)
            await self._clean_edge()
        self.balancer_kind = balancer
        if balancer == "run":
            await self.world.net.run("edge", "sh", "-ec", _TRANSPARENT)
        await self.start_balancer()

    async def start_balancer(self) -> None:
        """Start it, and wait until it balances."""
        words = ("nftables", "--watch") if self.balancer_kind == "nftables" else ("run", *_RUN)
        self.states = dict.fromkeys(NODES, "up")
        self._balancing = False
        self._balancer = program = await start(
            *self.world.net.command("edge", *self._lb(*words)), env={"PYTHONUNBUFFERED": "1"}
        )
        program.on_line = self._follow
        await program.until(lambda: self._balancing, "ready line")

    def _follow(self, line: str) -> None:
        """Both kinds name a node's state when it changes; nftables also says when its rules are loaded."""
        self._balancing |= _READY.search(line) is not None
        if self.balancer_kind == "nftables":
            if loaded := _LOADED.search(line):
                self.states.update(_STATE.findall(loaded[1]))
        elif changed := _CHANGED.search(line):
            self.states[changed[1]] = changed[2]

    async def restart_balancer(self) -> None:
        """Kill it, have its machine forget all that it knew of connections, and start it again.

        Rules of nftables are another program's to load when a machine starts: they are there again at once.
        """
        assert self._balancer is not None
        run = self.world.net.run
        if self.balancer_kind == "nftables":
            rules = await run("edge", *self._lb("nftables"))
            await self._balancer.stop(signal.SIGKILL)
            await run("edge", "nft", "-f", "-", stdin=f"flush ruleset\n{rules}")
        else:
            await self._balancer.stop(signal.SIGKILL)
        await run("edge", "conntrack", "-F")
        await self.start_balancer()

    def _lb(self, *words: str) -> tuple[str | Path, ...]:
        return (sys.executable, "-m", "wtgateway", "lb", *words, "--config", self._lb_file)

    async def until_state(self, name: str, state: str, seconds: float = 20.0) -> None:
        """Wait until the balancer takes the node for ``up``, ``draining`` or ``down``."""
        assert self._balancer is not None
        await self._balancer.until(lambda: self.states[name] == state, f"{name} {state}", seconds)

    async def drain(self, name: str) -> int:
        """SIGTERM, until it has ended by itself; its exit code."""
        program = self.nodes[name].program
        program.send(signal.SIGTERM)
        async with asyncio.timeout(60):
            return await program.wait()

    async def start_missing(self) -> None:
        """Start the nodes that do not run, and wait until the balancer takes them for up."""
        missing = [name for name, node in self.nodes.items() if not node.program.running]
        await asyncio.gather(*(self.nodes[name].start() for name in missing))
        for name in missing:
            await self.until_state(name, "up")

    async def rolling_restart(self) -> None:
        """Each node in turn: drained, ended, started again, and up for the balancer before the next one."""
        for name, node in self.nodes.items():
            await self.drain(name)
            await self.until_state(name, "down")
            await node.start()
            await self.until_state(name, "up")

    async def get(self, name: str, path: str) -> Any:
        """A JSON answer of that node's API."""
        return await asyncio.to_thread(self._get, name, path)

    def _get(self, name: str, path: str) -> Any:
        with self.world.net.inside(name):
            return self.nodes[name].get(path)

    async def sessions(self) -> dict[str, list[str]]:
        """Ids of the sessions of each node that runs."""
        running = [name for name, node in self.nodes.items() if node.program.running]
        return {name: [one["id"] for one in await self.get(name, "/api/v1/sessions")] for name in running}

    async def __aenter__(self) -> Cluster:
        await asyncio.to_thread(self._write_files)
        try:
            await asyncio.gather(*(node.start() for node in self.nodes.values()))
            await self.use(self.balancer_kind)
            await self._front.open()
        except BaseException:
            await self._end()
            raise
        return self

    def _write_files(self) -> None:
        self._lb_file.write_text(lb_file())
        make_secret(self._secret)

    async def _end(self) -> None:
        await self._front.close()
        started = [node._program for node in self.nodes.values() if node._program is not None]
        if self._balancer is not None:
            started.append(self._balancer)
        await asyncio.gather(*(program.stop(signal.SIGKILL) for program in started))
        await self._clean_edge()

    async def _clean_edge(self) -> None:
        """Leave no rules to who uses the edge next."""
        run = self.world.net.run
        await run("edge", "nft", "flush ruleset")
        await run("edge", "conntrack", "-F")
        if self.balancer_kind == "run":
            await run("edge", "sh", "-c", "ip rule del fwmark 0x77; ip route flush table 119; true")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()


_RUN = ("--web", "127.0.0.1:8081")
_READY = re.compile(r"rules loaded for |wtgateway lb is ready")
_LOADED = re.compile(r"rules loaded: (.*)")
_CHANGED = re.compile(r"node (\w+) is (up|draining|down): ")
_STATE = re.compile(r"(\w+) (up|draining|down)")
