"""The same scenario with stock aioquic, the ordinary way and express: each whole, legal and alike."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest

from tests.transport.equivalence.harness import DRIVERS
from tests.transport.equivalence.ledger import Violation
from tests.transport.equivalence.play import Play
from tests.transport.equivalence.scenarios import SCENARIOS

ORDINARY = {  # where the lane's ordinary way is tried as well: it hands everything to aioquic
    "calm, as client",
    "bad",
    "key updates by both",
    "migration",
    "MTU",
    "all limits",
    "resets",
    "STOP_SENDING",
    "probe timeouts",
    "a full window and an upload",
}
RUNS = [
    (name, driver) for name in SCENARIOS for driver in DRIVERS if driver != "ordinary" or name in ORDINARY
]
ALIKE = [name for name, scenario in SCENARIOS.items() if not scenario.breaks_aioquic]
MORE_BYTES, MORE_PACKETS = 1.15, 30  # express may send so much more than stock: it fills packets otherwise


@functools.cache
def run(name: str, driver: str, cid_bytes: int = 8) -> tuple[dict[str, Any], int]:
    """The outcome of a scenario, and the bytes that it took."""
    scenario = SCENARIOS[name]
    play = Play(dataclasses.replace(scenario.setup, cid_bytes=cid_bytes), driver)
    scenario.script(play)
    play.finish()
    scenario.proof(play)
    return play.outcome(), sum(packet.size for packet in play.world.witness.sent(play.lane.name))


@pytest.mark.parametrize(("name", "driver"), RUNS)
def test_every_packet_is_legal_and_every_byte_arrives(name: str, driver: str) -> None:
    broken = SCENARIOS[name].breaks_aioquic
    if broken and driver != "express":
        with pytest.raises(Violation, match=broken):
            run(name, driver)
    else:
        run(name, driver)


@pytest.mark.parametrize("name", ALIKE)
def test_express_comes_to_the_same_as_stock_aioquic(name: str) -> None:
    outcome, size = run(name, "express")
    expected, expected_size = run(name, "stock")
    assert outcome == expected
    assert size <= MORE_BYTES * expected_size + MORE_PACKETS * 1200


@pytest.mark.parametrize(
    ("name", "cid_bytes"), [("migration", 11), ("connection IDs", 18), ("key updates by both", 20)]
)
def test_it_makes_no_difference_how_long_connection_ids_are(name: str, cid_bytes: int) -> None:
    """As a node behind a balancer has them."""
    assert run(name, "express", cid_bytes)[0] == run(name, "express")[0]
