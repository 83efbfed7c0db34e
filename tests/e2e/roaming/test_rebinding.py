"""A viewer's address changes while it plays, because a router forgets what it had translated."""

from __future__ import annotations

from scripts.support.gateway import Gateway
from scripts.support.topology import ORIGIN, QUIC_PORT, Topology
from tests.e2e import watching
from tests.e2e.browsers import Tab
from tests.e2e.roaming.capture import Capture, Passed, capturing
from tests.e2e.worlds import needs_networks

pytestmark = needs_networks
PAGE = f"{ORIGIN}/test?deadline=1000"  # what a busy machine delays is not late for that
AMPLIFICATION = 3  # bytes for each that came from an address that is not validated (RFC 9000, section 9.3)


def sessions(world: Topology, gateway: Gateway) -> set[str]:
    """The ids of the gateway's sessions, those of earlier tests among them."""
    with world.net.inside("edge"):
        return {session["id"] for session in gateway.get("/api/v1/sessions")}


def before_validation(passed: list[Passed]) -> list[Passed]:
    """What passed before an answer to the first packet sent there can have come."""
    sent = next((i for i, one in enumerate(passed) if one.sent), len(passed))
    answered = next((i for i, one in enumerate(passed) if i > sent and not one.sent), len(passed))
    return passed[:answered]


async def to_new_port(tab: Tab, capture: Capture, ports: tuple[int, int]) -> list[Passed]:
    """What has passed between the gateway and one of ``ports``, once media goes there at full rate."""

    async def validated() -> list[Passed]:
        there = [one for one in capture.passed if ports[0] <= one.port <= ports[1]]
        received = sum(one.size for one in there if not one.sent)
        sent = sum(one.size for one in there if one.sent)
        return there if sent > 2 * AMPLIFICATION * received > 0 else []

    return await watching.poll(validated, "media at the new port, beyond the limit of one not validated", tab)


async def test_a_router_forgets_its_mappings(viewer: Tab, world: Topology, edge: Gateway) -> None:
    await watching.watch(viewer, PAGE, sound=True)
    await watching.more_frames(viewer, 30)
    told, before = sessions(world, edge), await watching.stats(viewer)
    with capturing(world.net, "edge", "router", QUIC_PORT) as capture:
        await world.rebind()
        there = await to_new_port(viewer, capture, world.mapped_ports())
    assert len({one.port for one in there}) == 1
    received = 0
    sent = 0
    for one in before_validation(there):
        received += 0 if one.sent else one.size
        sent += one.size if one.sent else 0
        assert sent <= AMPLIFICATION * received, there[:10]
    await watching.more_frames(viewer, 60)
    after = await watching.stats(viewer)
    assert sessions(world, edge) <= told, "no other session was opened"
    assert (after["reconnects"], after["roams"]) == (before["reconnects"], before["roams"])
    for lost in ("framesLost", "framesExpired"):
        assert after[lost] == before[lost], lost
    assert watching.breaks(await watching.received_frames(viewer)) == []
    await watching.counters(viewer, 2)
