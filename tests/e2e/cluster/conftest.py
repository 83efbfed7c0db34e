"""A cluster of three nodes behind a balancer, and viewers of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from scripts.support.cluster import Cluster
from scripts.support.topology import ORIGIN, Topology
from tests.e2e import watching
from tests.e2e.browsers import BROWSERS, Browser, Tab
from tests.e2e.worlds import note_states

PAGE = f"{ORIGIN}/test"
SOURCE = ("test:", "--size", "640x360", "--fps", "20", "--no-audio")
Tabs = dict[str, Tab]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def only_cluster(
    only_world: Topology, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    """Behind nftables, for all tests: to start three nodes takes seconds."""
    async with Cluster(only_world, tmp_path_factory.mktemp("cluster"), arguments=SOURCE) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(only_cluster: Cluster) -> Cluster:
    """The same with all nodes up."""
    await only_cluster.start_missing()
    return only_cluster


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(
    world: Topology, cluster: Cluster, launched_inside: Callable[[str], Awaitable[Browser]]
) -> AsyncIterator[Tabs]:
    """Both browsers watch, side by side: what happens to a node happens to all of its viewers."""
    opened: Tabs = {}
    async with contextlib.AsyncExitStack() as stack:
        for name in BROWSERS:
            opened[name] = await (await launched_inside(name)).open()
            stack.push_async_callback(opened[name].close)
            await watching.watch(opened[name], PAGE)
            await note_states(opened[name])
        yield opened
