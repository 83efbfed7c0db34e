"""A limited bit rate lowers quality first: the choice of rendition, and what encoders are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.test_fitting import AMPLE, HIGH, LOW, NARROW, VIDEO, Viewer
from wtgateway.errors import ProtocolError
from wtgateway.protocol.adaptation import PathState, within_limit
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.limiter import MessageLimiter
from wtgateway.protocol.messages import Ping, pack
from wtgateway.protocol.session import ServerSession, SessionLimits, parse_connect_path
from wtgateway.protocol.targets import Policy, Wish
from wtgateway.transport.capsules import MAX_IDLE, CapsuleParser, encode_drain
from wtgateway.transport.patience import MOST_UNEXPECTED, STALLED_S, Patience


def test_a_limit_takes_the_lower_rendition_on_the_best_of_paths() -> None:
    viewer = Viewer()
    viewer.send(0, 0, 0)
    viewer.tick(AMPLE)
    assert viewer.rendition == HIGH.id
    viewer.tick(replace(AMPLE, limit_bps=1_500_000))
    wish = viewer.fitting.state.wish
    assert viewer.fitting.state.choice.rendition == LOW.id
    assert viewer.fitting.state.choice.reason == "a limit leaves 1.2 Mbit/s for pictures"
    assert wish == Wish(VIDEO, LOW.id, round(1_500_000 * 0.9 - 1.2 * 100_000))


def test_a_limit_holds_before_anything_is_known_of_the_path() -> None:
    viewer = Viewer()
    viewer.tick(PathState(limit_bps=1_500_000))
    assert viewer.fitting.state.choice.rendition == LOW.id


def test_the_narrower_of_path_and_limit_counts() -> None:
    viewer = Viewer()
    viewer.tick(replace(NARROW, limit_bps=40_000_000))
    assert viewer.fitting.state.choice.reason == "the path has 1.2 Mbit/s for pictures"


def test_a_calm_path_does_not_lead_beyond_a_limit() -> None:
    viewer = Viewer(Policy(name="fit-all"))
    for _ in range(400):
        viewer.tick(replace(AMPLE, limit_bps=700_000))
        wish = viewer.fitting.state.wish
        assert wish is not None
        assert 0 < wish.bitrate_bps <= 700_000
    assert viewer.fitting.state.choice.rendition == LOW.id


def test_a_limit_that_is_taken_away_is_forgotten() -> None:
    viewer = Viewer()
    viewer.tick(replace(AMPLE, limit_bps=1_500_000))
    for _ in range(60):
        viewer.tick(AMPLE)
    assert viewer.fitting.state.choice.rendition == HIGH.id


@given(st.none() | st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6))
def test_a_limit_never_gives_more(budget: int | None, limit: int, audio: int) -> None:
    found = within_limit(budget, PathState(limit_bps=limit), audio)
    if not limit:
        assert found == budget
        return
    assert found is not None
    assert found <= limit
    assert budget is None or found <= budget


# --- what a viewer may say and leave unread ---------------------------------------------------------------


def session(**limits: float) -> ServerSession:
    return ServerSession(
        session_id="s",
        broadcast="cam",
        query=parse_connect_path("/cam?v=1"),
        limits=SessionLimits(**limits),  # type: ignore[arg-type]
        now_us=0,
    )


def test_messages_a_second_are_as_configured() -> None:
    core, ping = session(messages_per_second=10, messages_burst=40), pack(Ping(id=1, client_us=1))
    core.receive_control(ping * 40, 0.0, 0)
    core.receive_control(ping * 10, 1.0, 0)
    with pytest.raises(ProtocolError) as caught:
        core.receive_control(ping, 1.0, 0)
    assert caught.value.code == CloseCode.FLOOD


def test_bytes_of_control_data_are_bounded_whole_messages_or_not() -> None:
    core = session(control_bytes_per_second=1000, control_bytes_burst=5000)
    head = (60_000).to_bytes(4, "big")
    core.receive_control(head + bytes(4996), 0.0, 0)
    core.receive_control(bytes(1000), 1.0, 0)
    with pytest.raises(ProtocolError, match="bytes of control data") as caught:
        core.receive_control(bytes(1000), 1.5, 0)
    assert caught.value.code == CloseCode.FLOOD


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 3000)), max_size=50))
def test_no_more_passes_than_rate_and_burst(amounts: list[tuple[float, int]]) -> None:
    limiter, now, passed = MessageLimiter(1000, 4000, "bytes"), 5.0, 0
    for pause, amount in amounts:
        now += pause
        try:
            limiter.count(now, amount)
        except ProtocolError:
            continue
        passed += amount
    assert passed <= 4000 + 1000 * (now - 5.0) + 1e-6


def test_capsules_that_say_nothing_are_counted() -> None:
    parser = CapsuleParser()
    assert len(parser.feed(encode_drain() * MAX_IDLE)) == MAX_IDLE
    with pytest.raises(ProtocolError) as caught:
        parser.feed(b"\x21\x00")
    assert caught.value.code == CloseCode.FLOOD


# --- patience ----------------------------------------------------------------------------------------------


def test_patience_ends_when_nothing_has_come_whole_for_long() -> None:
    patience = Patience()
    assert not patience.exhausted(True, 100.0)
    assert not patience.exhausted(True, 100.0 + STALLED_S - 0.1)
    assert patience.exhausted(True, 100.0 + STALLED_S)


def test_patience_begins_anew_with_each_delivery_and_where_nothing_waits() -> None:
    patience = Patience()
    for second in range(200):
        assert not patience.exhausted(True, float(second))
        if second % 20 == 0:
            patience.delivered()
    assert not patience.exhausted(False, 1000.0)
    assert not patience.exhausted(True, 1000.0)
    assert not patience.exhausted(True, 1000.0 + STALLED_S / 2)


def test_streams_that_nobody_asked_for() -> None:
    patience = Patience()
    for stream_id in range(MOST_UNEXPECTED):
        assert not patience.unexpected(stream_id)
        assert not patience.unexpected(stream_id), "its next piece"
    assert patience.unexpected(MOST_UNEXPECTED)
