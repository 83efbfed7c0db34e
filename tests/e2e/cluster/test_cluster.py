"""Nodes and balancers go away under viewers who keep playing."""

from __future__ import annotations

import signal

from scripts.support.cluster import Cluster
from scripts.support.crowd import crowd
from scripts.support.topology import NODES, Topology
from tests.e2e import watching
from tests.e2e.cluster.conftest import PAGE, Tabs
from tests.e2e.worlds import needs_networks, states

pytestmark = needs_networks
CROWD = 8


async def busy(cluster: Cluster) -> list[str]:
    """The nodes that have sessions, by name."""
    return sorted(name for name, ids in (await cluster.sessions()).items() if ids)


async def all_play_on(tabs: Tabs, count: int = 25) -> None:
    """More pictures everywhere, readable ones."""
    for tab in tabs.values():
        await watching.more_frames(tab, count)
        await watching.counters(tab, 1)


async def figure(tabs: Tabs, name: str) -> dict[str, int]:
    """One of the statistics, by browser."""
    return {browser: (await watching.stats(tab))[name] for browser, tab in tabs.items()}


async def outlives_its_balancer(cluster: Cluster) -> None:
    """Ports are new, and nothing is known of any connection: its ID says where a datagram belongs."""
    async with crowd(cluster.world.net.command("client"), PAGE, CROWD, stay=True) as viewers:
        before = await cluster.sessions()
        assert sum(map(len, before.values())) == CROWD
        await cluster.world.rebind()
        await cluster.restart_balancer()
        await viewers.more_frames(25)
        assert await cluster.sessions() == before, "the same sessions, on the same nodes"


async def test_sessions_outlive_rules_of_nftables(world: Topology, cluster: Cluster) -> None:
    await outlives_its_balancer(cluster)


async def test_a_node_that_ends_hands_its_viewers_over(cluster: Cluster, tabs: Tabs) -> None:
    name = (await busy(cluster))[0]
    leaving = len((await cluster.sessions())[name])
    assert await cluster.drain(name) == 0
    await all_play_on(tabs)
    assert name not in await busy(cluster)
    assert set((await figure(tabs, "reconnects")).values()) == {0}, "nothing broke off"
    assert sum((await figure(tabs, "roams")).values()) >= leaving
    for browser, tab in tabs.items():
        assert await states(tab) <= {"playing", "roaming"}, f"{browser}: the picture stays"


async def test_a_node_is_killed(cluster: Cluster, tabs: Tabs) -> None:
    name = (await busy(cluster))[0]
    await cluster.nodes[name].stop(signal.SIGKILL)
    await all_play_on(tabs)
    assert name not in await busy(cluster)
    assert set((await figure(tabs, "decoderErrors")).values()) == {0}


async def test_all_nodes_are_restarted_in_turn_under_many_viewers(world: Topology, cluster: Cluster) -> None:
    async with crowd(world.net.command("client"), PAGE, CROWD) as viewers:
        await cluster.rolling_restart()
        await viewers.more_frames(25)
        told = await viewers.report()
        assert [viewer["reconnects"] for viewer in told] == [0] * CROWD, viewers.output()
        assert min(viewer["roams"] for viewer in told) >= 1, "no node is the one of before"
        ids = await cluster.sessions()
        assert set(ids) == set(NODES)
        assert sum(map(len, ids.values())) == CROWD, "nobody keeps two sessions"


async def test_the_reference_forwarder_does_the_same(world: Topology, cluster: Cluster) -> None:
    await cluster.use("run")
    try:
        await outlives_its_balancer(cluster)
        async with crowd(world.net.command("client"), PAGE, CROWD) as viewers:
            name = (await busy(cluster))[0]
            await cluster.nodes[name].stop(signal.SIGKILL)
            await viewers.more_frames(25)
            assert name not in await busy(cluster)
    finally:
        await cluster.use("nftables")
