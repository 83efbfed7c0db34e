"""A viewer loses its network and gets another: the picture goes on, on whatever connection works."""

from __future__ import annotations

from scripts.support.gateway import Gateway
from scripts.support.topology import ORIGIN, Topology
from tests.e2e import watching
from tests.e2e.browsers import Tab
from tests.e2e.worlds import needs_networks, note_states, states

pytestmark = needs_networks
PAGE = f"{ORIGIN}/test"


async def test_a_viewer_moves_to_other_networks(viewer: Tab, world: Topology, edge: Gateway) -> None:
    """From one of IPv4 to another one, to one of IPv6, and back to IPv4."""
    await watching.watch(viewer, PAGE, sound=True)
    await note_states(viewer)
    await watching.counters(
        viewer, 1
    )  # loads what reads pixels: HTTP of the old address hangs in Firefox later
    for link in ("mobile", "six", "wifi"):
        await watching.more_frames(viewer, 30)
        await world.move(link)
        await watching.more_frames(viewer, 30)
        await watching.counters(viewer, 1)
    after = await watching.stats(viewer)
    assert after["reconnects"] == 0, "nothing broke off for good: another session took over"
    assert after["roams"] >= 2, "no browser takes a connection from IPv4 to IPv6"
    assert await states(viewer) <= {"playing", "roaming"}, "the picture stayed"
    assert after["decoderErrors"] == 0
    received = await watching.received_frames(viewer)
    assert len(set(received)) == len(received), "no frame twice"
    assert received == sorted(received), "none out of order"
