"""Both ends joined over a seeded network: what a viewer gets under which conditions."""

from __future__ import annotations

import pytest

from tests.netsim import BAD, LAN, MOBILE, THIN, WIFI, Conditions
from tests.protocol.pair import (
    AUDIO,
    CATALOG,
    GATEWAY_AHEAD_US,
    VIDEO,
    Camera,
    Pair,
    assert_decodable,
    make_frame,
)
from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog
from wtgateway.protocol import client_events as ce
from wtgateway.protocol import messages as m
from wtgateway.protocol.client_session import ClientLimits
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import FeedbackReceived, KeyframeNeeded
from wtgateway.protocol.wire import encode_frame


def joined(conditions: Conditions, seconds: float = 10.0, **options: int) -> tuple[Pair, Camera]:
    pair = Pair(conditions, seed=options.pop("seed", 1))
    pair.open()
    camera = Camera(pair, **options)
    camera.shoot(seconds)
    pair.time.run(seconds + 2.0)
    return pair, camera


@pytest.mark.parametrize("conditions", [LAN, WIFI, Conditions(delay=0.02, jitter=0.01)])
def test_every_frame_arrives_in_order_when_the_path_is_fair(conditions: Conditions) -> None:
    pair, camera = joined(conditions, group=60)
    assert pair.positions(VIDEO) == camera.sent
    assert pair.positions(AUDIO) == camera.sent_audio
    assert pair.server.queue.dropped == 0
    assert not [e for e in pair.server_events if isinstance(e, KeyframeNeeded)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("conditions", [MOBILE, BAD, THIN], ids=["mobile", "bad", "thin"])
def test_what_arrives_can_be_decoded_and_goes_on_to_the_end(conditions: Conditions, seed: int) -> None:
    pair, camera = joined(conditions, seed=seed)
    positions = pair.positions(VIDEO)
    assert_decodable(positions)
    assert positions[-1][0] == camera.group
    sound = pair.positions(AUDIO)
    assert sound == sorted(set(sound))
    assert len(sound) > 0.9 * len(camera.sent_audio)


def test_a_thin_path_costs_frames_not_time() -> None:
    """Four times the rate of the path: what does arrive is never much older than the deadline."""
    pair, camera = joined(THIN, size=16_000)
    assert pair.server.queue.dropped > 50
    ages = [e.arrived_at * 1e6 + GATEWAY_AHEAD_US - e.frame.capture_us for e in _ready(pair)]
    assert max(ages) < 1_500_000
    assert 0 < len(pair.positions(VIDEO)) < len(camera.sent)


def _ready(pair: Pair) -> list[ce.FrameReady]:
    return [event for event in pair.client_events if isinstance(event, ce.FrameReady)]


def test_a_stream_given_up_is_followed_by_a_keyframe() -> None:
    pair = Pair(Conditions(delay=0.02, rate_bps=4e6))
    pair.open()
    camera = Camera(pair)
    camera.shoot(2.0)
    # The keyframe and the frame after it leave in one burst; the frame is reset in the middle of it.
    pair.time.run(0.034)
    pair.give_up(VIDEO, 0, 1)
    pair.time.run(4.0)
    positions = pair.positions(VIDEO)
    assert_decodable(positions)
    assert (0, 1) not in positions
    assert (1, 0) in positions
    assert positions[-1] == camera.sent[-1]


def test_the_clock_is_known_to_half_the_asymmetry_of_the_path() -> None:
    pair, _ = joined(Conditions(delay=0.02, jitter=0.03), seconds=3.0)
    assert pair.client.clock.ready
    assert abs(pair.client.clock.offset_us - GATEWAY_AHEAD_US) < 15_000


def test_the_viewer_reports_what_it_gets() -> None:
    pair, camera = joined(LAN, seconds=2.0)
    reports = [e.feedback for e in pair.server_events if isinstance(e, FeedbackReceived)]
    last = [report for report in reports if report.track == VIDEO][-1]
    assert last.frames_received == len(camera.sent)
    assert (last.group, last.index) == camera.sent[-1]
    assert last.frames_dropped == 0


def test_state_and_statistics_reach_the_viewer() -> None:
    pair, _ = joined(LAN, seconds=3.0)
    kinds = [type(event) for event in pair.client_events]
    assert kinds[:3] == [ce.Welcomed, ce.StateChanged, ce.CatalogChanged]
    statistics = [e.statistics for e in pair.client_events if isinstance(e, ce.StatisticsReceived)]
    assert len(statistics) >= 3
    assert statistics[-1].rtt_us == 40_000
    assert statistics[-1].frames_sent == pair.server.frames_sent


def test_media_that_overtakes_the_catalog_waits_for_it() -> None:
    pair = Pair(LAN)
    pair.client.receive_stream(20, encode_frame(make_frame(VIDEO, 0, 0)), True, pair.time.now)
    assert pair.client.poll_events() == []
    events = pair.client.receive_control(m.pack(m.catalog_message(CATALOG)), pair.time.now)
    assert [type(event) for event in events] == [ce.CatalogChanged, ce.FrameReady]


def test_a_track_that_comes_later_is_subscribed_by_itself() -> None:
    pair = Pair(LAN)
    pair.open(Catalog())
    camera = Camera(pair)
    pair.server.set_catalog(CATALOG)
    pair.settle()
    camera.shoot(1.0)
    pair.time.run(2.0)
    assert pair.positions(VIDEO) == camera.sent


def test_a_silent_gateway_is_noticed() -> None:
    pair = Pair(LAN, client_limits=ClientLimits(silence=3.0))
    pair.client.handle_timeout(pair.time.now)
    assert pair.client.next_timeout() == pair.time.now + 3.0
    pair.client.handle_timeout(pair.time.now + 3.0)
    assert [type(event) for event in pair.client.poll_events()] == [ce.GatewaySilent]


def test_unfinished_frames_are_bounded() -> None:
    pair = Pair(LAN, client_limits=ClientLimits(buffered_bytes=1_000))
    frame = make_frame(VIDEO, 0, 0, size=4_000)
    with pytest.raises(ProtocolError) as caught:
        pair.client.receive_stream(20, encode_frame(frame)[:3_000], False, 0.0)
    assert caught.value.code == CloseCode.TOO_LARGE


def test_a_goodbye_says_when_to_come_back() -> None:
    pair = Pair(LAN)
    pair.open()
    pair.server.say_goodbye(CloseCode.GOING_AWAY, "the gateway restarts", 500)
    pair.settle()
    pair.time.run(1.0)
    assert ce.GatewayGoodbye(1, "the gateway restarts", 500) in pair.client_events
