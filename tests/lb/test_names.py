"""Nodes by name: looked up, and again when a name comes to mean another address."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.lb.files import lb_file, lb_text
from wtgateway.config.balancing import LbFile, LbNode
from wtgateway.errors import ConfigError
from wtgateway.lb.resolved import addresses_of, follow_names, has_name, of_version, resolve

NODES = {"a": "gateway-a.test:4433", "b": "10.0.0.12:4434", "c": "[fd00::13]:4433"}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the system knows, by name."""
    asked: list[str] = []
    known = {"gateway-a.test": ["10.0.0.11"], "asked": asked}

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = known.get(host, [host] if not host.endswith(".test") else [])
        if not found:
            raise socket.gaierror(-2, "Name or service not known")
        return [(None, None, None, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.fixture
def lb(tmp_path: Path) -> LbFile:
    return lb_file(tmp_path, lb_text(nodes=NODES))


def test_nodes_have_their_first_address(lb: LbFile, names: dict[str, list[str]]) -> None:
    names["gateway-a.test"] = ["10.0.0.21", "fd00::21", "10.0.0.21"]
    assert [node.address for node in resolve(lb)] == [
        ("10.0.0.21", 4433),
        ("10.0.0.12", 4434),
        ("fd00::13", 4433),
    ]
    found = addresses_of(lb.nodes[0])
    assert found == ("10.0.0.21", "fd00::21")
    assert (of_version(found, 4), of_version(found, 6), of_version(found[:1], 6)) == (
        "10.0.0.21",
        "fd00::21",
        "",
    )
    assert [has_name(node) for node in lb.nodes] == [True, False, False]


def test_an_unknown_name_is_said(lb: LbFile, names: dict[str, list[str]]) -> None:
    names.clear()
    with pytest.raises(ConfigError, match=r"nodes\.a\.address: 'gateway-a\.test:4433'"):
        resolve(lb)


async def test_a_name_that_means_another_address_is_followed(lb: LbFile, names: dict[str, list[str]]) -> None:
    known = {"a": ("10.0.0.11",)}
    moves: asyncio.Queue[tuple[str, tuple[str, ...]]] = asyncio.Queue()

    def moved(node: LbNode, found: tuple[str, ...]) -> None:
        known[node.name] = found
        moves.put_nowait((node.name, found))

    async def looked_up_twice() -> None:
        enough = len(names["asked"]) + 2
        while len(names["asked"]) < enough:
            await asyncio.sleep(0.001)

    following = asyncio.create_task(
        follow_names(lb.nodes, lambda node: known[node.name], moved, every_s=0.001)
    )
    async with asyncio.timeout(10):
        names["gateway-a.test"] = ["10.0.0.99", "10.0.0.11"]  # one more
        await looked_up_twice()
        names["gateway-a.test"] = []  # nobody knows it for a while
        await looked_up_twice()
        assert moves.empty()
        names["gateway-a.test"] = ["10.0.0.31"]
        assert await moves.get() == ("a", ("10.0.0.31",))
        await looked_up_twice()
    assert moves.empty()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_without_names_there_is_nothing_to_follow(tmp_path: Path) -> None:
    lb = lb_file(tmp_path, lb_text())
    await follow_names(lb.nodes, lambda node: (), lambda node, found: None)
