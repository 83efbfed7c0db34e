"""The clock estimate beyond the golden scenarios."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wtgateway.protocol.clock_sync import MAX_SAMPLES, ClockSync

TRIP = st.tuples(st.integers(0, 500_000), st.integers(0, 5_000), st.integers(0, 500_000))


@given(st.integers(-(10**15), 10**15), st.lists(TRIP, min_size=1, max_size=40))
def test_the_error_is_at_most_half_the_round_trip(offset: int, trips: list[tuple[int, int, int]]) -> None:
    sync = ClockSync()
    for n, (there, held, back) in enumerate(trips):
        sent = n * 300_000
        assert sync.add(sent, sent + there + offset, sent + there + held + offset, sent + there + held + back)
    assert abs(sync.offset_us - offset) <= sync.rtt_us / 2 + 1
    assert sync.to_gateway(7) == 7 + sync.offset_us


@given(st.lists(st.tuples(*[st.integers(-(2**63), 2**63)] * 4), max_size=200))
def test_nonsense_does_no_harm(samples: list[tuple[int, int, int, int]]) -> None:
    sync = ClockSync()
    accepted = [sync.add(*sample) for sample in samples]
    assert sync.ready == any(accepted)
    assert sync.rejected == accepted.count(False)
    assert len(sync._samples) <= MAX_SAMPLES
    assert sync.rtt_us >= 0
