"""One session's adaptation: what it does to subscriptions, and what it lets the encoders know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocol.pair import AUDIO, VIDEO, make_frame
from wtgateway.errors import ProtocolError
from wtgateway.media import Catalog, Kind, Rendition, Track
from wtgateway.protocol import messages
from wtgateway.protocol.adaptation import HIDDEN_S, UP_MARGIN, PathState
from wtgateway.protocol.choices import Choices
from wtgateway.protocol.fitting import LOOK_S, Fitting
from wtgateway.protocol.session_events import Event, RenditionAwaited, SubscriptionChanged
from wtgateway.protocol.subscribe_query import parse_connect_path
from wtgateway.protocol.subscriptions import Subscriptions
from wtgateway.protocol.switching import Verdict
from wtgateway.protocol.targets import Policy, Wish

HIGH = Rendition(id=0, codec="avc1.42C028", bitrate_bps=6_000_000, width=1920, height=1080, fps=30)
LOW = Rendition(id=1, codec="avc1.42C01E", bitrate_bps=1_000_000, width=640, height=360, fps=30)
OPUS = Rendition(id=0, codec="opus", bitrate_bps=100_000, sample_rate=48_000, channels=2)
PICTURES = Track(id=VIDEO, kind=Kind.VIDEO, renditions=(HIGH, LOW))
SOUND = Track(id=AUDIO, kind=Kind.AUDIO, renditions=(OPUS,))
CATALOG = Catalog(revision=1, tracks=(PICTURES, SOUND))
AMPLE = PathState(estimate_bps=50_000_000)
NARROW = PathState(estimate_bps=1_500_000)


class Viewer:
    """A session's choices and their fitting."""

    def __init__(self, policy: Policy | None = None, catalog: Catalog = CATALOG) -> None:
        self.said: list[messages.Message] = []
        self.events: list[Event] = []
        self.restarted: list[int] = []
        self.measured: dict[tuple[int, int], int] = {}
        self.now, self.shared, self.catalog = 10.0, True, catalog
        query = parse_connect_path("/cam?subscribe=video,audio")
        self.choices = Choices(
            Subscriptions(query, 0.5),
            say=self.said.append,
            tell=self.events.append,
            restart=self.restarted.append,
            forget_held=lambda track: None,
        )
        self.fitting = Fitting(self.choices, policy)
        self.choices.follow(catalog)
        self.clear()

    def clear(self) -> None:
        for each in (self.said, self.events, self.restarted):
            each.clear()

    def tick(self, path: PathState, seconds: float = 0.25) -> None:
        self.now += seconds
        self.fitting.update(
            path,
            self.catalog,
            lambda track, rendition: self.measured.get((track, rendition), 0),
            shared=self.shared,
            now=self.now,
        )

    def viewport(self, **fields: int) -> None:
        self.fitting.viewport(messages.Viewport(**fields), self.catalog, self.now)

    def send(self, rendition: int, group: int, index: int) -> Verdict:
        return self.choices.judge(make_frame(VIDEO, group, index, rendition=rendition))

    @property
    def rendition(self) -> int | None:
        subscription = self.choices.of(VIDEO)
        return subscription.rendition if subscription is not None else None


def test_down_is_a_soft_switch_at_the_next_group() -> None:
    viewer = Viewer()
    assert viewer.send(0, 0, 0) is Verdict.PASS
    viewer.tick(NARROW)
    assert viewer.events == [RenditionAwaited(VIDEO, 1)]
    assert viewer.send(0, 0, 1) is Verdict.PASS, "until there is something to go on with"
    assert viewer.send(1, 1, 0) is Verdict.HOLD
    assert viewer.send(0, 1, 0) is Verdict.RELEASE
    assert viewer.said == [messages.Subscribed(track=VIDEO, rendition=1, delivery="stream")]
    viewer.tick(NARROW)
    assert viewer.restarted == []


def test_up_again_after_a_while() -> None:
    viewer = Viewer()
    viewer.send(0, 0, 0)
    viewer.tick(NARROW)
    for _ in range(16):
        viewer.tick(AMPLE)
    assert viewer.events == [RenditionAwaited(VIDEO, 1)], "it never began, and is left for what goes on"
    assert viewer.rendition == 0


def test_a_wish_is_the_part_of_the_path_that_is_left_for_the_rendition() -> None:
    viewer = Viewer()
    viewer.tick(NARROW)
    expected = round(1_500_000 * 0.9 - 1.2 * 100_000)
    assert viewer.fitting.state.wish == Wish(VIDEO, 1, expected)
    assert viewer.fitting.state.choice.reason == "the path has 1.2 Mbit/s for pictures"
    viewer.measured[AUDIO, 0] = 300_000
    viewer.tick(NARROW, LOOK_S)
    assert viewer.fitting.state.wish == Wish(VIDEO, 1, expected - round(1.2 * 200_000))


def test_nothing_known_is_a_wish_without_a_rate() -> None:
    viewer = Viewer()
    viewer.tick(PathState())
    assert viewer.fitting.state.wish == Wish(VIDEO, 0)
    viewer.viewport(width=1000, height=700)
    assert viewer.fitting.state.wish == Wish(VIDEO, 0, 0, 1000, 700)


def test_a_cap_counts_for_encoders_of_ones_own_only() -> None:
    viewer = Viewer()
    viewer.viewport(bitrate_bps=1)
    viewer.tick(AMPLE)
    assert viewer.rendition == 1, "it gets the least there is"
    wish = viewer.fitting.state.wish
    assert wish is not None and wish.bitrate_bps > 40_000_000, "but others keep theirs"
    viewer.shared = False
    viewer.tick(AMPLE, LOOK_S)
    assert viewer.fitting.state.wish == Wish(VIDEO, 1, 1)


def test_an_estimate_worth_probing_for_is_that_of_the_best_rendition() -> None:
    viewer = Viewer()
    viewer.tick(NARROW)
    useful = viewer.fitting.state.useful_bps
    assert (6_000_000 * UP_MARGIN + 1.2 * 100_000) / 0.9 <= useful < 8_000_000, "and is gone to then"
    viewer.viewport(visible=0)
    viewer.tick(AMPLE)
    viewer.tick(AMPLE, HIDDEN_S)
    assert viewer.fitting.state.useful_bps < 200_000, "sound alone"
    viewer.choices.decline(VIDEO)
    viewer.tick(AMPLE)
    assert 0 < viewer.fitting.state.useful_bps < 200_000


def test_pictures_that_lie_on_their_side_are_shown_the_other_way_round() -> None:
    turned = replace(HIGH, rotation=90)
    catalog = replace(CATALOG, tracks=(replace(PICTURES, renditions=(turned,)),))
    viewer = Viewer(catalog=catalog)
    viewer.viewport(width=300, height=500)
    assert viewer.fitting.state.wish == Wish(VIDEO, 0, 0, 500, 300)


def test_a_hidden_page_is_told_that_it_gets_none_and_resumes_when_it_is_seen() -> None:
    viewer = Viewer()
    viewer.send(0, 0, 0)
    viewer.viewport(width=1920, height=1080, visible=0)
    viewer.tick(AMPLE, HIDDEN_S - 0.1)
    assert viewer.events == []
    viewer.tick(AMPLE, 0.2)
    assert viewer.events == [SubscriptionChanged(VIDEO, None)]
    assert viewer.said == [messages.Subscribed(track=VIDEO, rendition=-1, delivery="stream")]
    assert viewer.send(0, 0, 1) is Verdict.DROP
    assert viewer.choices.wanted() == {(AUDIO, 0)}
    assert viewer.fitting.state.wish is None
    viewer.clear()
    viewer.tick(AMPLE, 100)
    assert (viewer.events, viewer.said) == ([], [])
    viewer.viewport(width=1920, height=1080)
    assert viewer.events == [SubscriptionChanged(VIDEO, 0)], "at once, without waiting for the next tick"
    assert viewer.said == [messages.Subscribed(track=VIDEO, rendition=0, delivery="stream")]


def test_a_page_that_was_hidden_goes_on_with_what_its_path_carries() -> None:
    viewer = Viewer()
    viewer.viewport(visible=0)
    viewer.tick(AMPLE)
    viewer.tick(NARROW, HIDDEN_S)
    viewer.viewport(visible=1)
    assert viewer.rendition == 1


def test_a_wish_of_a_hidden_page_is_answered_and_holds_when_it_is_seen() -> None:
    viewer = Viewer()
    viewer.viewport(visible=0)
    viewer.tick(AMPLE)
    viewer.tick(AMPLE, HIDDEN_S)
    viewer.clear()
    assert viewer.choices.wish(messages.Subscribe(track=VIDEO, rendition=1)) == ""
    assert viewer.said == [messages.Subscribed(track=VIDEO, rendition=-1, delivery="stream")]
    viewer.viewport()
    assert viewer.rendition == 1
    viewer.tick(AMPLE, 60)
    assert viewer.rendition == 1, "the path would carry more, but this is what was wished for"


def test_a_viewer_that_wants_no_pictures_is_left_alone() -> None:
    viewer = Viewer()
    viewer.choices.decline(VIDEO)
    viewer.clear()
    viewer.viewport(visible=0)
    viewer.tick(NARROW, 60)
    viewer.viewport(visible=1)
    assert (viewer.events, viewer.said, viewer.fitting.state.wish) == ([], [], None)
    viewer.choices.wish(messages.Subscribe(track=VIDEO))
    assert viewer.rendition == 0


def test_a_hidden_viewer_that_gives_up_pictures_and_wants_them_again_gets_them() -> None:
    viewer = Viewer()
    viewer.viewport(visible=0)
    viewer.tick(AMPLE)
    viewer.tick(AMPLE, HIDDEN_S)
    viewer.choices.decline(VIDEO)
    viewer.viewport(visible=1)
    assert viewer.rendition is None
    viewer.choices.wish(messages.Subscribe(track=VIDEO))
    assert viewer.rendition == 0


def test_without_adaptation_only_being_hidden_counts() -> None:
    viewer = Viewer(Policy("off"))
    viewer.viewport(width=64, height=64)
    viewer.tick(NARROW, 60)
    assert (viewer.rendition, viewer.fitting.state.wish) == (0, None)
    viewer.viewport(visible=0)
    viewer.tick(NARROW, HIDDEN_S)
    assert viewer.rendition is None
    viewer.viewport(visible=1)
    assert viewer.rendition == 0


def test_new_abilities_are_chosen_from_anew() -> None:
    from wtgateway.protocol.abilities import parse_abilities

    viewer = Viewer()
    viewer.tick(NARROW)
    assert viewer.rendition == 1
    viewer.choices.learn(parse_abilities("avc1,opus"))
    viewer.tick(NARROW)
    assert viewer.rendition == 1


def test_a_catalog_without_the_rendition_leaves_a_choice_that_can_be_had() -> None:
    viewer = Viewer()
    viewer.tick(NARROW)
    viewer.catalog = Catalog(revision=2, tracks=(replace(PICTURES, renditions=(HIGH,)), SOUND))
    viewer.choices.follow(viewer.catalog)
    viewer.tick(NARROW)
    assert viewer.rendition == 0


def test_without_news_it_is_looked_at_once_a_second_only(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, looks = Viewer(), []
    choose = viewer.fitting._choose
    monkeypatch.setattr(viewer.fitting, "_choose", lambda *given: (looks.append(viewer.now), choose(*given)))
    for _ in range(40):
        viewer.tick(AMPLE, 0.25)
    assert len(looks) == 10
    viewer.tick(replace(AMPLE, estimate_bps=1_000_000), 0.01)
    viewer.tick(replace(AMPLE, estimate_bps=1_000_000, queueing_us=200_000), 0.01)
    viewer.choices.wish(messages.Subscribe(track=VIDEO, rendition=1))
    viewer.tick(replace(AMPLE, estimate_bps=1_000_000, queueing_us=200_000), 0.01)
    assert len(looks) == 13, "but news at once"


@pytest.mark.parametrize(
    "fields",
    [
        {"width": -1},
        {"height": 65_536},
        {"width": 1 << 62},
        {"visible": 2},
        {"visible": -1},
        {"bitrate_bps": -1},
        {"bitrate_bps": 1 << 62},
    ],
)
def test_viewports_that_cannot_be_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ProtocolError):
        Viewer().viewport(**fields)
