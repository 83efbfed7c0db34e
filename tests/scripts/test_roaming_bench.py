"""The gap table: what a page noted becomes milliseconds without picture and sound, then figures."""

from __future__ import annotations

import pytest

from scripts.benchmarks.__main__ import arguments
from scripts.benchmarks.roaming.bench import rolling_figures
from scripts.benchmarks.roaming.events import NAMES, PATH_EVENTS, SERVICE_EVENTS
from scripts.benchmarks.roaming.figures import OURS, figures_of
from scripts.benchmarks.roaming.gaps import Gap, Noted, gap, picture_gap, sound_gap, usual_distance

STEADY = [float(at) for at in range(0, 10_000, 40)]


def test_steady_pictures_have_no_gap() -> None:
    assert usual_distance(STEADY, 5000.0) == 40.0
    assert picture_gap(STEADY, 5000.0, 9990.0) == 0.0


def test_a_gap_is_what_is_beyond_the_usual_distance() -> None:
    paints = [at for at in STEADY if not 5000 < at < 5400]
    assert picture_gap(paints, 5010.0, 9990.0) == 400.0 - 40.0


def test_the_last_picture_before_the_event_begins_the_gap_and_an_older_gap_is_not_its() -> None:
    paints = [at for at in STEADY if not 1000 < at < 3000 and not 5000 < at < 5200]
    assert picture_gap(paints, 5100.0, 9990.0) == 200.0 - 40.0


def test_who_does_not_come_back_was_away_until_the_end() -> None:
    paints = [at for at in STEADY if at <= 5000]
    assert picture_gap(paints, 5020.0, 20_000.0) == 15_000.0 - 40.0
    assert picture_gap([], 5000.0, 20_000.0) == 15_000.0


def test_of_silences_the_longest_after_the_event_counts() -> None:
    silences = [(900.0, 500.0), (1300.0, 120.0), (1500.0, 80.0), (9000.0, 900.0)]
    assert sound_gap(silences, 1000.0, 2000.0) == 120.0
    assert sound_gap([], 1000.0, 2000.0) == 0.0
    assert sound_gap([(2500.0, 1400.0)], 1000.0, 2000.0) == 1400.0, "one that is not over yet"


def test_what_a_system_does_not_have_is_not_zero() -> None:
    before = Noted(STEADY, None, None)
    assert gap(before, before, 5000.0, 9990.0) == Gap(0.0, None, None)
    with_both = gap(Noted(STEADY, [], 3), Noted(STEADY, [(6000.0, 200.0)], 5), 5000.0, 9990.0)
    assert with_both == Gap(0.0, 200.0, 2)


def test_figures_name_event_browser_and_medium_and_have_goals_for_the_worst_picture() -> None:
    gaps = {
        ("interface", OURS["Chromium"]): [Gap(100.0, 0.0, 0), Gap(500.0, 40.0, 1), Gap(200.0, 20.0, 0)],
        ("interface", OURS["Firefox"]): [Gap(120.0, 10.0, 0)],
        ("interface", "WebSocket"): [Gap(3000.0, None), Gap(1000.0, None)],
    }
    figures = {figure.name: figure for figure in figures_of(gaps)}
    title = next(event.title for event in PATH_EVENTS if event.name == "interface")
    worst = figures[f"{title}, Chromium: picture max"]
    assert (worst.value, worst.goal, worst.met) == (500.0, 400.0, False)
    assert worst.peers == {"WebSocket": 3000.0}
    assert figures[f"{title}, Chromium: picture p50"].value == 200.0
    assert figures[f"{title}, Chromium: sound max"].peers == {"WebSocket": None}
    assert figures[f"{title}, Firefox: picture max"].met is True
    assert figures[f"{title}, Firefox: picture max"].peers == {}
    assert figures[f"{title}, Chromium: frames lost or late max"].value == 1
    assert not any(name.startswith(SERVICE_EVENTS[0].title) for name in figures), "it was not measured"


def test_peers_alone_meet_and_miss_no_goals() -> None:
    figures = figures_of({("interface", "WebSocket"): [Gap(3000.0, None)]})
    assert figures
    assert {figure.met for figure in figures} == {None}


def test_a_rebinding_may_cost_no_frame() -> None:
    figures = figures_of({("rebinding", OURS["Firefox"]): [Gap(10.0, 0.0, 1)]})
    assert [(figure.goal, figure.met) for figure in figures if figure.goal is not None] == [(0, False)]


def test_of_a_crowd_the_worst_counts() -> None:
    report = [{"longest_ms": 80, "reconnects": 0}, {"longest_ms": 1200, "reconnects": 1}]
    figures = rolling_figures(report)
    assert [figure.met for figure in figures] == [None, False, None]
    assert figures[2].value == 1
    assert rolling_figures([]) == []


def test_the_command_knows_the_events() -> None:
    assert arguments(["roaming", "--event", "killed", "--event", "rolling"]).event == ["killed", "rolling"]
    assert len(set(NAMES)) == len(NAMES)
    with pytest.raises(SystemExit):
        arguments(["roaming", "--event", "nonsense"])
