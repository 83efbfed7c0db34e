"""Sequences of steps that hypothesis makes up: the lane express, and stock aioquic for comparison.

Both run the same steps under the same seed of the network. Every packet of both is opened and checked
on the way (:mod:`witness`), every count audited (:mod:`books`).
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.netsim import Conditions
from tests.transport.equivalence.harness import Setup
from tests.transport.equivalence.ledger import CLIENT, SERVER, Violation
from tests.transport.equivalence.packets import AES_128, AES_256, CHACHA20, VERSION_1, VERSION_2
from tests.transport.equivalence.play import Play
from tests.transport.equivalence.scenarios import BROKEN_BY_AIOQUIC
from wtgateway.transport.urgency import Urgency

# Without shrinking, which takes minutes here: a script says what it does, and can be cut by hand.
SOME = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)

Step = tuple[Any, ...]

urgencies = st.sampled_from(list(Urgency))
sides = st.sampled_from(["lane", "peer"])
short_waits = st.floats(0.0, 0.06)
probabilities = st.sampled_from([0.0, 0.0, 0.03, 0.1, 0.25])

conditions = st.builds(
    Conditions,
    delay=st.sampled_from([0.001, 0.01, 0.04]),
    jitter=st.sampled_from([0.0, 0.003]),
    loss=probabilities,
    burst=st.sampled_from([0.0, 0.5]),
    reorder=probabilities,
    reorder_by=st.sampled_from([0.002, 0.02]),
    duplicate=probabilities,
)

setups = st.builds(
    Setup,
    lane=st.sampled_from([SERVER, SERVER, CLIENT]),
    suite=st.sampled_from([AES_128, AES_128, AES_256, CHACHA20]),
    version=st.sampled_from([VERSION_1, VERSION_1, VERSION_2]),
    congestion=st.sampled_from(["reno", "media"]),
    conditions=conditions,
    seed=st.integers(0, 1 << 16),
    peer_max_data=st.sampled_from([3_000, 40_000, 1 << 24]),
    peer_max_stream_data=st.sampled_from([700, 20_000, 1 << 24]),
    peer_max_streams=st.sampled_from([2, 6, 128]),
    peer_ack_delay=st.sampled_from([0.001, 0.024]),
)

steps = st.one_of(
    st.tuples(st.just("frame"), st.integers(1, 30_000), urgencies),
    st.tuples(st.just("frame"), st.integers(1, 3_000), urgencies),
    st.tuples(st.just("datagrams_of"), st.integers(1, 20), st.integers(4, 1_100), urgencies),
    st.tuples(st.just("wait"), short_waits),
    st.tuples(st.just("wait"), st.sampled_from([0.2, 1.0])),
    st.tuples(st.just("reset"), st.integers(0, 50)),
    st.tuples(st.just("stop"), st.integers(0, 50)),
    st.tuples(st.just("control"), sides, st.integers(1, 5_000)),
    st.tuples(st.just("upload"), st.integers(1, 40_000)),
    st.tuples(st.just("peer_reset")),
    st.tuples(st.just("update_key"), sides),
    st.tuples(st.just("change_cid"), sides),
    st.tuples(st.just("ping"), sides),
    st.tuples(st.just("set_mtu"), st.sampled_from([1_200, 1_300, 1_452])),
    st.tuples(st.just("probe"), st.sampled_from([1_280, 1_452])),
    st.tuples(st.just("rebind")),
    st.tuples(st.just("migrate")),
    st.tuples(st.just("darkness"), st.sampled_from([0.05, 0.5, 2.0])),
    st.tuples(st.just("darkness"), st.sampled_from([0.05, 0.5]), st.sampled_from([CLIENT, SERVER])),
    st.tuples(st.just("weather"), conditions),
)


def perform(setup: Setup, script: list[Step], driver: str) -> Play:
    play = Play(setup, driver)
    for name, *arguments in script:
        if name in ("rebind", "migrate"):
            # A stock server that has just changed its keys cannot read what the client says from its new
            # address, and the client does not hear of the new keys at its old one: that would be the end.
            gone = name == "rebind" and play.world.witness.keys_are_known(SERVER)
            play.move(keep_old=not gone, change_cid=name == "migrate")
            play.ping("peer" if setup.lane == SERVER else "lane")  # the client, or nobody hears of it
        elif name == "update_key" and not play.world.server_knows_address:
            continue
        else:
            getattr(play, name)(*arguments)
    play.finish()
    return play


@SOME
@given(setups, st.lists(steps, min_size=1, max_size=25))
def test_any_sequence_comes_to_the_same(setup: Setup, script: list[Step]) -> None:
    express = perform(setup, script, "express")
    try:
        stock = perform(setup, script, "stock")
    except Violation as broken:
        if BROKEN_BY_AIOQUIC not in str(broken):
            raise
    else:
        assert express.outcome() == stock.outcome()
