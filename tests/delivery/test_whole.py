"""Hub, session, QUIC and the viewer's core together: also where a keyframe takes longer than its deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.delivery.whole import Whole
from tests.netsim import Conditions
from tests.netsim_losses import LossBursts
from tests.netsim_tcp import TcpFlow
from tests.protocol.pair import GATEWAY_AHEAD_US
from wtgateway.transport import internals

pytestmark = pytest.mark.skipif(not internals.EXPRESS, reason="urgency within a connection is the lane's")
NEAR = Conditions(delay=0.020, rate_bps=20e6)


def test_a_clean_path(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Whole(NEAR, monkeypatch=monkeypatch)
    outcome = whole.play(5)
    assert outcome.video_on_time == outcome.audio_on_time == 1.0
    assert whole.outgoing["parity_sent"] == 0


def test_reordering_and_duplicates_are_as_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Whole(replace(NEAR, reorder=0.05, duplicate=0.02), monkeypatch=monkeypatch)
    outcome = whole.play(8)
    assert outcome.video_settled == 1.0
    assert whole.outgoing["parity_sent"] <= 0.02 * whole.outgoing["fragments_sent"]


def test_pictures_go_on_where_keyframes_come_after_their_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And sound does not wait for it: it overtakes what QUIC was given of the picture."""
    whole = Whole(Conditions(delay=0.020, rate_bps=0.5e6), monkeypatch=monkeypatch)
    whole.play(10)
    pictures, sounds = whole.delivered(0, since=4.0), whole.delivered(1, since=3.0)
    assert sum(delay < 1.0 for delay in pictures) >= 0.9 * len(pictures)
    assert sum(delay < 0.15 for delay in sounds) >= 0.98 * len(sounds)


def test_a_narrow_path_is_kept_free_of_padding_and_of_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue is neither loss nor distance: pictures stay on streams, and probes become rare."""
    for rate_bps, share in ((0.5e6, 0.95), (1e6, 0.9)):
        whole = Whole(Conditions(delay=0.020, rate_bps=rate_bps), monkeypatch=monkeypatch)
        whole.play(10)
        pictures, sounds = whole.delivered(0, since=4.0), whole.delivered(1, since=4.0)
        assert sum(delay < 0.15 for delay in pictures) >= share * len(pictures)
        assert sum(delay < 0.15 for delay in sounds) >= 0.99 * len(sounds)


def test_beside_a_tcp_flow_little_is_sent_twice_and_groups_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """CoDel takes 1 % of packets there, and others' bursts make pauses of 40 ms that are none of ours."""
    path = Conditions(delay=0.020, rate_bps=6e6, queue_bytes=1_500_000, codel=True)
    whole = Whole(path, up=Conditions(delay=0.020), monkeypatch=monkeypatch)
    TcpFlow(whole.time, path, whole.ends.down.bottleneck).start()
    whole.play(15)
    pictures, sounds = whole.delivered(0, since=6.0), whole.delivered(1, since=6.0)
    assert sum(delay < 0.15 for delay in pictures) >= 0.7 * len(pictures)
    assert sum(delay < 1.0 for delay in pictures) >= 0.9 * len(pictures)
    assert sum(delay < 0.15 for delay in sounds) >= 0.98 * len(sounds)
    assert whole.outgoing["nacks_answered"] <= 0.1 * whole.outgoing["fragments_sent"]
    assert whole.broadcast.keyframe_requests <= 6


def test_a_burst_of_losses_does_not_cost_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others need is waited for beyond its deadline: a keyframe in its place would come later."""
    path = Conditions(delay=0.020, losses=LossBursts(0.1))
    whole = Whole(path, up=Conditions(delay=0.020), deadline=0.125, monkeypatch=monkeypatch)
    whole.play(15)
    pictures = whole.delivered(0, since=3.0)
    assert sum(delay < 0.125 for delay in pictures) >= 0.99 * len(pictures)
    assert max(pictures) < 0.3
    assert whole.broadcast.keyframe_requests <= 1


def test_what_was_made_while_the_rate_fell_is_late_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Whole(replace(NEAR, rate_bps=8e6, steps=((3.0, 1e6), (8.0, 8e6))), monkeypatch=monkeypatch)
    whole.play(10)
    thin = whole.delivered(0, since=4.0, until=7.5)
    assert sum(delay < 1.2 for delay in thin) >= 0.7 * len(thin)
    assert all(delay < 0.15 for delay in whole.delivered(1, since=4.0))


@pytest.mark.parametrize("seed", [3, 20, 23])
def test_a_link_that_has_become_slower_is_not_taken_for_a_shared_one(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who competes holds its window, and its estimate with it: two to three seconds of pictures were lost."""
    slower = replace(NEAR, rate_bps=8e6, queue_bytes=250_000, steps=((4.0 + seed * 0.037, 1e6),))
    whole = Whole(slower, bps=9e6, seed=seed, monkeypatch=monkeypatch)
    whole.play(4.0 + seed * 0.037 + 1.5)
    assert whole.session is not None
    assert whole.session.core.path.estimate_bps < 1.2e6
    assert whole.camera.bps < 1.1e6


def test_where_a_link_with_a_short_queue_becomes_slower_pictures_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What overflowed before the cut is no reason to keep the window below what the link takes."""
    pictures = []
    for seed in (3, 7, 9, 18, 21):
        step = 4.0 + seed * 0.037
        slower = replace(NEAR, rate_bps=8e6, queue_bytes=31_250, steps=((step, 1e6),))
        whole = Whole(slower, bps=9e6, seed=seed, monkeypatch=monkeypatch)
        whole.play(step + 4.0)
        pictures += whole.delivered(0, since=step + 1.5)
    assert sum(delay < 0.15 for delay in pictures) >= 0.4 * len(pictures), "none, where the window is held"
    assert sum(delay < 1.0 for delay in pictures) >= 0.85 * len(pictures)


def test_a_second_without_any_network_costs_little_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    hole = ((4.0, 1.0),)
    up = Conditions(delay=0.020, blackouts=hole)
    whole = Whole(replace(NEAR, rate_bps=8e6, blackouts=hole), up=up, monkeypatch=monkeypatch)
    outcome = whole.play(8)
    assert outcome.longest_freeze < 1.45
    assert all(delay < 0.15 for delay in whole.delivered(0, since=6.0))


@pytest.mark.parametrize("phase", [0.0, 0.008, 0.016, 0.024])
def test_after_a_hole_a_picture_comes_within_a_round_trip_and_two_frames(
    phase: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a path whose rate nothing has bounded, the keyframe of 75 KB leaves as fast as any at the start."""
    hole = ((4.0 + phase, 1.0),)
    path = Conditions(delay=0.020, blackouts=hole)
    whole = Whole(path, up=path, monkeypatch=monkeypatch)
    began = whole.time.now
    whole.play(6)
    shown = [
        (frame.capture_us - GATEWAY_AHEAD_US) / 1e6 + whole.audience.delays[name]
        for name, frame in whole.camera.sent.items()
        if name[0] == 0 and name in whole.audience.delays
    ]
    again = min(at for at in shown if at > began + 5.0 + phase) - (began + 5.0 + phase)
    assert again <= 0.040 + 2 / 30
