"""What happens to a viewer, to a node, to the balancer: each once per measurement."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scripts.support.cluster import Cluster
from scripts.support.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEvent:
    """Of the viewer's own network. ``begins`` is the link on which it has to be before."""

    name: str
    title: str
    begins: str
    act: Callable[[Topology], Awaitable[None]]
    goal_ms: float | None = None
    goal_late: int | None = None  # frames lost or late


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEvent:
    """Of a node or the balancer. ``act`` gets the node that has the viewer."""

    name: str
    title: str
    act: Callable[[Cluster, str], Awaitable[object]]
    goal_ms: float | None = None
    goal_late: int | None = None


INTERFACE_MS = 400.0
KILLED_MS = 1000.0
ROLLING_MS = 1000.0


async def _nothing(world: Topology) -> None:
    """To see what the machine does to pictures by itself."""


PATH_EVENTS = (
    PathEvent(name="nothing", title="nothing", begins="wifi", act=_nothing),
    PathEvent(
        name="rebinding",
        title="NAT rebinding",
        begins="wifi",
        act=lambda world: world.rebind(),
        goal_late=0,
    ),
    PathEvent(
        name="interface",
        title="interface down, then the other up",
        begins="wifi",
        act=lambda world: world.move("mobile"),
        goal_ms=INTERFACE_MS,
    ),
    PathEvent(
        name="overlapping",
        title="other interface up, then the first down",
        begins="wifi",
        act=lambda world: world.move("mobile", overlapping=True),
        goal_ms=INTERFACE_MS,
    ),
    PathEvent(
        name="four-to-six",
        title="IPv4 to IPv6",
        begins="wifi",
        act=lambda world: world.move("six"),
        goal_ms=INTERFACE_MS,
    ),
    PathEvent(
        name="six-to-four",
        title="IPv6 to IPv4",
        begins="six",
        act=lambda world: world.move("wifi"),
        goal_ms=INTERFACE_MS,
    ),
)

SERVICE_EVENTS = (
    ServiceEvent(
        name="killed",
        title="node killed (-9)",
        act=lambda cluster, name: cluster.nodes[name].stop(signal.SIGKILL),
        goal_ms=KILLED_MS,
    ),
    ServiceEvent(name="drain", title="node drained", act=lambda cluster, name: cluster.drain(name)),
    ServiceEvent(
        name="balancer", title="balancer restarted", act=lambda cluster, name: cluster.restart_balancer()
    ),
)
ROLLING = "rolling"  # all nodes restarted in turn, under many viewers
NAMES = [*(event.name for event in (*PATH_EVENTS, *SERVICE_EVENTS)), ROLLING]
