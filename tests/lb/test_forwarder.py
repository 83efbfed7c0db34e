"""The reference forwarder over loopback: there and back, bounds, refusals, starting again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.support.processes import Program, free_port, running
from tests.lb.files import PLAIN, lb_path, lb_text, long_header, short_header
from wtgateway.errors import ConfigError
from wtgateway.lb import transparent
from wtgateway.lb.checks import NodeChecks
from wtgateway.lb.forwarder import Forwarder
from wtgateway.lb.inherited import inherited_sockets
from wtgateway.lb.routing import Node, NodeState, Router
from wtgateway.lb.web import create_app, families
from wtgateway.web.metrics import exposition

HOST = "127.0.0.1"
IDS = {"a": b"\0\1", "b": b"\0\2"}


class Echo(asyncio.DatagramProtocol):
    """A node: sends all back with its name in front, and notes where it came from."""

    def __init__(self, name: str) -> None:
        self.name, self.sources = name.encode(), list[tuple[str, int]]()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.sources.append(addr)
        self.transport.sendto(self.name + data, addr)


class Viewer(asyncio.DatagramProtocol):
    """A client with a queue of what it gets."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.got.put_nowait(data)

    async def ask(self, data: bytes) -> bytes:
        """Send, and what comes back."""
        self.transport.sendto(data)
        async with asyncio.timeout(10):
            return await self.got.get()


class Stage:
    """Nodes that echo, and what to forward to them."""

    def __init__(self) -> None:
        self.echoes: dict[str, Echo] = {}
        self.nodes: list[Node] = []
        self.transports: list[asyncio.BaseTransport] = []
        self.forwarders: list[Forwarder] = []
        self.port = 0
        self.refused: list[str] = []

    async def start(self) -> None:
        for name, server_id in IDS.items():
            transport, echo = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda name=name: Echo(name), (HOST, 0)
            )
            self.transports.append(transport)
            self.echoes[name] = echo
            self.nodes.append(Node(name, {0: server_id}, transport.get_extra_info("sockname")))

    async def forward(
        self, most_flows: int = 10, idle_s: float = 60.0, port: int = 0, host: str = HOST
    ) -> Forwarder:
        made = Forwarder(
            Router({0: PLAIN}, self.nodes),
            most_flows=most_flows,
            idle_s=idle_s,
            on_refused=lambda node: self.refused.append(node.name),
        )
        self.forwarders.append(made)
        ((_, self.port),) = await made.start(host, port)
        return made

    async def viewer(self, host: str = HOST) -> Viewer:
        transport, viewer = await asyncio.get_running_loop().create_datagram_endpoint(
            Viewer, remote_addr=(host, self.port)
        )
        self.transports.append(transport)
        return viewer

    def close(self) -> None:
        for forwarder in self.forwarders:
            forwarder.close()
        for transport in self.transports:
            transport.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    await made.start()
    yield made
    made.close()
    await asyncio.sleep(0)


def packet(name: str, nonce: int = 0) -> bytes:
    return short_header(PLAIN, IDS[name], nonce.to_bytes(6, "big"))


async def test_datagrams_go_there_and_come_back(stage: Stage) -> None:
    forwarder = await stage.forward()
    one, other = await stage.viewer(), await stage.viewer()
    for viewer in (one, other):
        for name in ("a", "b", "a"):
            assert await viewer.ask(packet(name)) == name.encode() + packet(name)
    initial = long_header(b"\xff" * 8)
    answers = {await one.ask(initial) for _ in range(3)}
    assert len(answers) == 1  # a new connection's datagrams stay together
    assert answers.pop()[1:] == initial
    # each viewer's address has a port of its own at each node, and keeps it
    assert [len(set(echo.sources)) for echo in stage.echoes.values()] == [2, 2]
    assert forwarder.flows == 4


async def test_answers_come_from_the_address_that_was_written_to(stage: Stage) -> None:
    """On all addresses of both versions; a connected socket takes answers from nowhere else."""
    forwarder = await stage.forward(host="::")
    for host in (HOST, "127.0.0.2", "::1"):
        viewer = await stage.viewer(host)
        assert await viewer.ask(packet("b")) == b"b" + packet("b")
        assert (await viewer.ask(long_header(b"\xff" * 8)))[1:] == long_header(b"\xff" * 8)
    assert forwarder.counters["routed_by_server_id"] == 3


async def test_started_again_it_goes_on_with_every_connection(stage: Stage) -> None:
    first = await stage.forward()
    viewer = await stage.viewer()
    await viewer.ask(packet("b"))
    first.close()
    await stage.forward(port=stage.port)
    assert await viewer.ask(packet("b")) == b"b" + packet("b")


async def test_flows_have_a_bound_and_come_back(stage: Stage) -> None:
    forwarder = await stage.forward(most_flows=3)
    viewers = [await stage.viewer() for _ in range(6)]
    for _ in range(2):
        for viewer in viewers:
            assert (await viewer.ask(packet("a")))[:1] == b"a"
            assert forwarder.flows <= 3
    assert forwarder.counters["flows_displaced"] == 9
    assert forwarder.counters["flows_opened"] == 12


async def test_the_flow_that_was_unused_for_longest_goes_first(stage: Stage) -> None:
    await stage.forward(most_flows=3)
    viewers = [await stage.viewer() for _ in range(4)]
    ports = []
    for number in (0, 1, 2, 0, 3, 0, 1):
        await viewers[number].ask(packet("a"))
        ports.append(stage.echoes["a"].sources[-1])
    first, second, _, again, _, still, new = ports
    assert first == again == still  # it was used in between
    assert new != second


async def test_a_node_that_moved_is_written_to_at_its_new_address(stage: Stage) -> None:
    forwarder = await stage.forward()
    viewer = await stage.viewer()
    await viewer.ask(packet("a"))
    await viewer.ask(packet("b"))
    stage.nodes[0].address = stage.nodes[1].address
    assert await viewer.ask(packet("a")) == b"a" + packet("a")  # the flow is as it was
    forwarder.moved(stage.nodes[0])
    assert forwarder.flows == 1
    assert await viewer.ask(packet("a")) == b"b" + packet("a")


async def test_idle_flows_are_closed(stage: Stage) -> None:
    forwarder = await stage.forward(idle_s=0.05)
    await (await stage.viewer()).ask(packet("a"))
    async with asyncio.timeout(10):
        while forwarder.flows:
            await asyncio.sleep(0.005)
    assert forwarder.counters["flows_idle"] == 1


async def test_a_closed_port_is_told_of_and_stops_nothing(stage: Stage) -> None:
    forwarder = await stage.forward()
    viewer = await stage.viewer()
    await viewer.ask(packet("a"))
    stage.transports[0].close()
    async with asyncio.timeout(10):
        while "a" not in stage.refused:
            viewer.transport.sendto(packet("a"))
            await asyncio.sleep(0.005)
    for _ in range(3):
        viewer.transport.sendto(packet("a"))
        assert await viewer.ask(packet("b")) == b"b" + packet("b")
    assert forwarder.counters["refused"] + forwarder.counters["send_errors"] >= 1


async def test_packets_for_a_dead_node_and_rubbish_go_nowhere(stage: Stage) -> None:
    forwarder = await stage.forward()
    stage.nodes[0].state = NodeState.DOWN
    viewer = await stage.viewer()
    for data in (b"x", bytes(1200), packet("a"), short_header(PLAIN, b"\7\7")):
        viewer.transport.sendto(data)
    assert (await viewer.ask(packet("b")))[:1] == b"b"
    assert not stage.echoes["a"].sources
    assert len(stage.echoes["b"].sources) == 1
    expected = {"dropped_malformed": 1, "dropped_unknown_server": 2, "dropped_node_down": 1}
    assert {name: forwarder.counters[name] for name in expected} == expected


async def test_figures_name_states_and_losses(stage: Stage) -> None:
    forwarder = await stage.forward()
    checks = [NodeChecks(node, "") for node in stage.nodes]
    stage.nodes[1].state = NodeState.DRAINING
    viewer = await stage.viewer()
    await viewer.ask(packet("a"))
    text = exposition(families(forwarder, checks))
    for line in (
        'wtgateway_lb_node_state{node="b",state="draining"} 1',
        'wtgateway_lb_node_state{node="b",state="up"} 0',
        "wtgateway_lb_routed_by_server_id_total 1",
        "wtgateway_lb_flows 1",
        "wtgateway_lb_server_id_conflicts 0",
    ):
        assert line in text.splitlines(), text
    app = create_app(forwarder, checks)
    assert [await status_of(app, path) for path in ("/healthz", "/readyz", "/metrics", "/x")] == [
        200,
        200,
        200,
        404,
    ]
    stage.nodes[0].state = NodeState.DOWN
    assert await status_of(app, "/readyz") == 503


async def status_of(app: object, path: str) -> int:
    sent: list[dict[str, int]] = []

    async def send(message: dict[str, int]) -> None:
        sent.append(message)

    await app({"type": "http", "path": path, "method": "GET"}, None, send)  # type: ignore[operator]
    return sent[0]["status"]


# --- the program ------------------------------------------------------------------------------------


def command(path: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "wtgateway", "lb", "run", "-c", str(path), "--json-log", *more]


async def ready(program: Program) -> dict[str, object]:
    facts: list[dict[str, object]] = []

    def on_line(line: str) -> None:
        if line.startswith('{"event": "ready"'):
            facts.append(json.loads(line))

    program.on_line = on_line
    await program.until(lambda: bool(facts), "ready line")
    return facts[0]


async def test_the_program_forwards_says_so_and_ends_in_order(tmp_path: Path, stage: Stage) -> None:
    nodes = {node.name: "{}:{}".format(*node.address) for node in stage.nodes}
    stage.port = free_port(socket.SOCK_DGRAM)
    path = lb_path(
        tmp_path,
        lb_text(nodes=nodes, listen=f"{HOST}:{stage.port}", client_addresses="hidden", health=False),
    )
    async with running(*command(path, "--web", f"{HOST}:0")) as program:
        facts = await ready(program)
        assert facts["listen"] == [f"{HOST}:{stage.port}"]
        assert "reference" in str(facts["note"])
        viewer = await stage.viewer()
        assert await viewer.ask(packet("b")) == b"b" + packet("b")
        status, text = await asyncio.to_thread(get, f"{facts['web']}metrics")
        assert (status, "wtgateway_lb_routed_by_server_id_total 1" in text) == (200, True)
        assert await program.stop(signal.SIGTERM) == 0, program.output()


async def test_a_port_that_is_passed_on_loses_nothing_while_the_process_is_replaced(
    tmp_path: Path, stage: Stage
) -> None:
    """As systemd does it: descriptor 3, which outlives who reads it."""
    nodes = {node.name: "{}:{}".format(*node.address) for node in stage.nodes}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind((HOST, 0))
        stage.port = port.getsockname()[1]
        listen = f"{HOST}:{stage.port}"
        path = lb_path(tmp_path, lb_text(nodes=nodes, listen=listen, client_addresses="hidden", health=False))
        script = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        words = [sys.executable, "-c", script, str(port.fileno()), *command(path, "--web", "none")]

        async def start() -> asyncio.subprocess.Process:
            started = await asyncio.create_subprocess_exec(
                *words, pass_fds=[port.fileno()], stdout=asyncio.subprocess.PIPE
            )
            assert started.stdout is not None
            facts = json.loads(await asyncio.wait_for(started.stdout.readline(), 30))
            assert facts["listen"] == [listen]
            return started

        viewer = await stage.viewer()
        first = await start()
        assert await viewer.ask(packet("b", 1)) == b"b" + packet("b", 1)
        first.kill()
        await first.wait()
        viewer.transport.sendto(packet("b", 2))  # nobody reads now
        second = await start()
        async with asyncio.timeout(10):
            assert await viewer.got.get() == b"b" + packet("b", 2)
        second.terminate()
        assert await second.wait() == 0


@pytest.mark.parametrize("count", ["", "x", "0", "65", "99999"])
def test_a_wrong_number_of_sockets_is_said(count: str) -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        inherited_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


def test_sockets_for_somebody_else_are_left_alone() -> None:
    assert inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert inherited_sockets({}) == []


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-flows", "0"], "--max-flows: '0' is not usable; expected a whole number from 1"),
        (["--idle", "0"], "--idle: '0' is not usable; expected a duration longer than 0"),
        (["--interval", "soon"], "--interval: 'soon' is not usable; expected a duration"),
        (["--web", "nowhere"], "--web: 'nowhere' is not usable; expected HOST:PORT"),
        (["--fall", "x"], "--fall: 'x' is not usable"),
    ],
)
def test_wrong_settings_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    from wtgateway.cli import main

    path = lb_path(tmp_path, lb_text(client_addresses="hidden"))
    assert main(["lb", "run", "-c", str(path), *arguments]) == 2
    assert expected in capsys.readouterr().err


async def test_kept_addresses_need_a_right_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from wtgateway.cli import main

    monkeypatch.setattr(transparent, "why_not", lambda: "IP_TRANSPARENT needs root")
    path = lb_path(tmp_path, lb_text(nodes={"a": f"{HOST}:1"}))
    assert await asyncio.to_thread(main, ["lb", "run", "-c", str(path)]) == 2
    assert "client_addresses: 'kept' is not usable; expected hidden" in capsys.readouterr().err


def test_a_viewer_of_the_other_ip_version_cannot_be_shown() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock, pytest.raises(transparent.OtherFamily):
        transparent.bind_as(sock, ("192.0.2.1", 7))
