"""A node's state by its checks, and the checks against servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.lb.checks import CheckSettings, NodeChecks, claims, http_get, parse_answer
from wtgateway.lb.health import CheckResult, NodeHealth, Outcome
from wtgateway.lb.routing import Node, NodeState

READY, NOT_READY = CheckResult(Outcome.READY), CheckResult(Outcome.NOT_READY, draining=True)
SILENT, CLOSED = CheckResult(Outcome.SILENT), CheckResult(Outcome.CLOSED)
UP, DRAINING, DOWN = NodeState.UP, NodeState.DRAINING, NodeState.DOWN


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([], UP),
        ([SILENT], UP),
        ([SILENT, SILENT], DOWN),
        ([SILENT, READY, SILENT], UP),
        ([CLOSED], DOWN),
        ([NOT_READY], DRAINING),
        ([NOT_READY, READY], UP),
        ([NOT_READY, SILENT], DRAINING),
        ([NOT_READY, CLOSED], DOWN),
        ([CLOSED, READY], DOWN),
        ([CLOSED, READY, READY], UP),
        ([CLOSED, READY, SILENT, READY], DOWN),
        ([CLOSED, NOT_READY, READY], UP),
        ([CLOSED, NOT_READY, NOT_READY], DRAINING),
    ],
)
def test_states(results: list[CheckResult], state: NodeState) -> None:
    health = NodeHealth([b"\1"])
    before, changes = UP, 0
    for result in results:
        assert health.apply(result) == (health.state is not before)
        changes += health.state is not before
        before = health.state
    assert health.state is state
    assert bool(changes) or state is UP


def test_a_node_that_says_another_server_id_gets_nobody_new() -> None:
    health = NodeHealth([b"\0\1", b"\xaa"])
    for claimed, state in (("0001", UP), ("0002", DRAINING), ("aa", UP), ("", DRAINING)):
        health.apply(CheckResult(Outcome.READY, server_id=claimed))
        assert health.state is state
    assert health.reason == "says that its server ID is none"
    health.apply(READY)  # it was not asked again
    assert health.state is DRAINING


@pytest.mark.parametrize(("rise", "fall"), [(0, 1), (1, 0)])
def test_counts_are_at_least_one(rise: int, fall: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        NodeHealth([], rise=rise, fall=fall)


# --- over HTTP --------------------------------------------------------------------------------------


class Answers:
    """A server that says what it is told to, by path; ``None``: nothing, for ever."""

    def __init__(self) -> None:
        self.by_path: dict[str, bytes | None] = {}
        self.asked: list[str] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            answer = self.by_path.get(path, b"HTTP/1.1 404 Not Found\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


def answer(status: int, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def node_answer(**facts: object) -> bytes:
    return answer(200, json.dumps(facts).encode())


@pytest.fixture
async def server() -> AsyncIterator[Answers]:
    answers = Answers()
    listening = await asyncio.start_server(answers.handle, "127.0.0.1", 0)
    answers.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/readyz"
    yield answers
    listening.close()
    await listening.wait_closed()


def checks_of(url: str, changed: list[str] | None = None) -> NodeChecks:
    node = Node("a", {0: b"\0\1"}, ("127.0.0.1", 1))
    seen = changed if changed is not None else []
    settings = CheckSettings(timeout_s=0.2, rise=1)
    return NodeChecks(
        node, url, lb_config="ours", settings=settings, on_change=lambda n: seen.append(n.state.value)
    )


async def test_a_node_comes_drains_and_goes(server: Answers) -> None:
    changed: list[str] = []
    checks = checks_of(server.url, changed)
    server.by_path = {"/readyz": answer(200), "/api/v1/node": node_answer(serverId="0001", lbConfig="ours")}
    await checks.check()
    assert (checks.node.state, checks.health.claimed, changed) == (UP, "0001", [])
    server.by_path = {"/readyz": answer(503), "/api/v1/node": node_answer(draining=True, serverId="0001")}
    await checks.check()
    assert (checks.node.state, checks.health.reason) == (DRAINING, "draining")
    server.by_path = {"/readyz": answer(500)}
    await checks.check()
    await checks.check()
    assert checks.node.state is DOWN
    server.by_path = {"/readyz": None}  # does not answer in time
    await checks.check()
    server.by_path = {"/readyz": answer(204)}
    await checks.check()
    assert changed == ["draining", "down", "up"]
    assert not checks.foreign_config
    assert checks.counters == {"checks_ready": 2, "checks_not_ready": 1, "checks_silent": 3}


async def test_a_closed_port_is_believed_at_once(server: Answers) -> None:
    with contextlib.closing(await asyncio.start_server(server.handle, "127.0.0.1", 0)) as gone:
        port = gone.sockets[0].getsockname()[1]
    await gone.wait_closed()
    checks = checks_of(f"http://127.0.0.1:{port}/readyz")
    await checks.check()
    assert checks.node.state is DOWN


async def test_two_nodes_with_one_server_id_are_found_and_said(
    server: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    server.by_path = {"/readyz": answer(200), "/api/v1/node": node_answer(serverId="0001", lbConfig="theirs")}
    right, wrong = checks_of(server.url), checks_of(server.url)
    wrong.node.name = wrong.node.name + "2"
    wrong.health = NodeHealth([b"\0\2"])
    with caplog.at_level(logging.WARNING, "wtgateway.lb"):
        await right.check()
        await wrong.check()
        await wrong.check()
    assert claims([right, wrong]) == {"0001": ["a", "a2"]}
    assert (right.node.state, wrong.node.state) == (UP, DRAINING)
    said = [record.getMessage() for record in caplog.records]
    assert sum("its server ID is 0001" in line and "a2" in line for line in said) == 2  # error, and state
    assert sum("another LB file" in line for line in said) == 2  # once for each
    assert right.foreign_config


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', b"{", b"[" * 5000, b'{"serverId": 7, "lbConfig": [], "draining": "yes"}']
)
async def test_a_node_that_talks_nonsense_is_judged_by_readyz(server: Answers, body: bytes) -> None:
    server.by_path = {"/readyz": answer(503), "/api/v1/node": answer(200, body)}
    checks = checks_of(server.url)
    await checks.check()
    assert (checks.node.state, checks.health.reason) == (DRAINING, "not ready")


async def test_an_endless_answer_ends(server: Answers) -> None:
    server.by_path = {"/readyz": answer(200, bytes(1 << 20))}
    status, body = await http_get(server.url)
    assert status == 200
    assert len(body) <= 1 << 17


async def test_checks_go_on_and_can_be_hurried(server: Answers) -> None:
    server.by_path = {"/readyz": answer(200)}
    changed = asyncio.Event()
    node = Node("a", {0: b"\0\1"}, ("127.0.0.1", 1))
    settings = CheckSettings(interval_s=3600)
    checks = NodeChecks(node, server.url, settings=settings, on_change=lambda node: changed.set())
    running = asyncio.create_task(checks.run())
    async with asyncio.timeout(10):
        while not server.asked:
            await asyncio.sleep(0.001)
        server.by_path = {"/readyz": answer(503)}
        while not changed.is_set():
            checks.hurry()
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert node.state is DRAINING


async def test_without_a_health_url_a_node_is_up() -> None:
    checks = checks_of("")
    await checks.run()
    assert (checks.node.state, checks.counters) == (UP, {})


@given(
    st.binary(max_size=80)
    | st.builds(lambda a, b: b"HTTP/1.1 " + a + b"\r\n\r\n" + b, *[st.binary(max_size=9)] * 2)
)
def test_any_answer_is_understood_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        status, body = parse_answer(data)
        assert 0 <= status <= 999
        assert data.endswith(body)
