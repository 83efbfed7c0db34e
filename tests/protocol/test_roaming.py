"""When a second session is opened, and which one is kept: what holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.media import Kind
from wtgateway.protocol.roaming import BACKOFF_US, SILENT_US, Action, Roaming

FRAME_US = 40_000
KINDS = st.sampled_from([Kind.VIDEO, Kind.AUDIO])


def playing(rtt_us: int = 0, *, frames: int = 10) -> tuple[Roaming, int]:
    """A viewer with a steady picture, and the time of its last frame."""
    roaming = Roaming(live=True, rtt_us=rtt_us)
    for n in range(frames):
        assert roaming.frame(Kind.VIDEO, n * FRAME_US) == []
    return roaming, (frames - 1) * FRAME_US


def until(roaming: Roaming, action: Action) -> int:
    """Let time pass until an action is asked for; when that was."""
    while (now := roaming.next_timeout()) is not None:
        if action in roaming.advance(now):
            return now
    raise AssertionError(f"{action} never comes")


class Model:
    """Checks each answer against what sessions there are."""

    def __init__(self) -> None:
        self.roaming = Roaming(live=True)
        self.now = 0
        self.spare = False
        self.opened: list[int] = []

    def did(self, actions: list[Action], *, network: bool = False) -> None:
        if network:  # ends the back-off
            self.opened.clear()
        for action in actions:
            if action is Action.OPEN:
                assert not self.spare
                if self.opened:
                    assert self.now - self.opened[-1] >= BACKOFF_US[0]
                self.opened.append(self.now)
                self.spare = True
            elif action in (Action.CLOSE_SPARE, Action.SWITCH):
                assert self.spare
                self.spare = False
        assert self.roaming.has_spare == self.spare
        due = self.roaming.next_timeout()
        assert due is None or due > self.now, "there would be no end to it"


@settings(max_examples=60)
@given(st.data())
def test_there_is_at_most_one_spare_and_it_is_not_opened_too_often(data: st.DataObject) -> None:
    model = Model()
    inputs = (
        "frame",
        "heard",
        "drain",
        "network",
        "ended",
        "spare_heard",
        "spare_frame",
        "spare_failed",
        "time",
    )
    for _ in range(data.draw(st.integers(1, 40))):
        roaming = model.roaming
        due, step = (
            roaming.next_timeout(),
            data.draw(st.sampled_from([0, 1_000, FRAME_US, 200_000, 3_000_000])),
        )
        model.now = due if due is not None and data.draw(st.booleans()) else model.now + step
        roaming.live, roaming.visible = data.draw(st.booleans()), data.draw(st.booleans())
        what = data.draw(st.sampled_from(inputs))
        if what == "frame":
            model.did(roaming.frame(data.draw(KINDS), model.now))
        elif what == "spare_frame":
            model.did(roaming.spare_frame(data.draw(KINDS), model.now, newer=data.draw(st.booleans())))
        elif what == "network":
            model.did(roaming.network_changed(model.now), network=True)
        elif what == "spare_failed":
            model.spare = False
            model.did(roaming.spare_failed(model.now))
        elif what == "time":
            model.did(roaming.advance(model.now))
        else:
            model.did(getattr(roaming, what)(model.now))


@given(rtt_us=st.integers(0, 86_000))
def test_silence_of_a_quarter_second_opens_a_second_session(rtt_us: int) -> None:
    roaming, last = playing(rtt_us)
    assert until(roaming, Action.OPEN) == last + SILENT_US
    assert roaming.roaming


@given(pause_us=st.lists(st.integers(1, 119_999), min_size=1, max_size=60))
def test_who_hears_something_all_the_time_does_nothing(pause_us: list[int]) -> None:
    roaming, now = playing()
    for pause in pause_us:
        now += pause
        assert roaming.next_timeout() is None or roaming.next_timeout() > now
        assert roaming.heard(now) == []


@given(ahead_us=st.integers(0, 400_000), kind=KINDS)
def test_the_first_that_delivers_wins_and_the_gap_is_told(ahead_us: int, kind: Kind) -> None:
    roaming, last = playing()
    opened = until(roaming, Action.OPEN)
    assert roaming.spare_frame(kind, opened + ahead_us, newer=False) == []
    assert roaming.spare_frame(kind, opened + ahead_us) == [Action.SWITCH]
    assert roaming.roams == 1
    assert not roaming.roaming
    if kind is Kind.AUDIO:  # the gap is that of the picture
        assert roaming.gap_us is None
        roaming.frame(Kind.VIDEO, opened + ahead_us)
    assert roaming.gap_us == opened + ahead_us - last


def test_the_former_session_that_speaks_first_is_kept() -> None:
    roaming, _ = playing()
    opened = until(roaming, Action.OPEN)
    assert roaming.heard(opened + 10) == [Action.CLOSE_SPARE]
    assert roaming.roams == 0
    assert roaming.spare_frame(Kind.VIDEO, opened + 20) == []


@pytest.mark.parametrize("after_us", [0, 20_000])
def test_drain_waits_for_the_picture_of_the_other(after_us: int) -> None:
    roaming, last = playing()
    now = last + after_us
    assert roaming.drain(now) == [Action.OPEN]
    assert roaming.frame(Kind.VIDEO, now + 1) == []
    assert roaming.spare_frame(Kind.AUDIO, now + 2) == []
    assert roaming.spare_frame(Kind.VIDEO, now + 3, newer=False) == [Action.SWITCH]
    assert not roaming.draining
