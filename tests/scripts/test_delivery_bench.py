"""The pure parts of `scripts/bench delivery`: networks and goals, figures of a run, tables."""

from __future__ import annotations

import dataclasses

import pytest

from scripts.benchmarks.__main__ import arguments
from scripts.benchmarks.delivery.bench import Run, chosen_systems
from scripts.benchmarks.delivery.figures import FIGURES, figures_of, value_of
from scripts.benchmarks.delivery.markdown import document
from scripts.benchmarks.delivery.result import Result, file_name
from scripts.benchmarks.delivery.scenarios import AUTO, BY_NAME, SCENARIOS, both_ways, run_seconds
from scripts.benchmarks.report import Options
from scripts.netsimulator.options import network
from scripts.peers.websocket.server import message

FRAME = 1000 / 30
START = 1_000_000.0
GLASS = [scenario for scenario in SCENARIOS if not scenario.sound]


# Scenarios.


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_scenario_is_a_network_and_asks_for_figures_that_exist(scenario):
    path, before = network(scenario.options), network(scenario.before)
    assert set(scenario.shown) | set(scenario.goals) <= set(FIGURES)
    assert set(scenario.goals) <= set(scenario.shown)
    assert before.down.conditions.delay == path.down.conditions.delay == path.up.conditions.delay
    assert before.down.conditions.loss == 0.0 == before.down.conditions.rate_bps
    # What is written twice is the same: figures need numbers, netsim has options.
    assert path.down.conditions.rate_bps == scenario.rate_bps
    assert path.down.competing == scenario.competing and path.up.competing == 0
    assert path.down.conditions.blackouts == scenario.blackouts == path.up.conditions.blackouts
    if scenario.step_down_s:
        assert [at for at, _ in path.down.conditions.steps] == [scenario.step_down_s, scenario.step_up_s]
    last = max([0.0, scenario.step_up_s, *(sum(span) for span in scenario.blackouts)])
    assert not last or run_seconds(scenario, 0) >= last + 5


def test_the_issue_of_each_row_is_covered():
    both = {s.name: network(s.options).down.conditions for s in SCENARIOS}
    assert both["far"].delay == 0.1 and BY_NAME["far"].deadline_ms == 300
    assert both["bloat"].queue_bytes == 6e6 * 2 / 8
    assert both["bursts"].losses.least == 5 and both["bursts"].losses.most == 20
    assert (
        both["sound"].loss == 0.1 and both["disorder"].reorder == 0.05 and both["disorder"].duplicate == 0.02
    )
    assert {s.name for s in SCENARIOS if s.sound} == {"thin-sound", "sound"}


def test_both_ways_is_the_same_network_towards_the_gateway():
    loss = network(both_ways(BY_NAME["bursts"].options))
    assert loss.up.conditions == loss.down.conditions
    bloat = network(both_ways(BY_NAME["bloat"].options))
    assert (bloat.up.competing, bloat.down.competing) == (0, 1)
    assert bloat.up.conditions.rate_bps == 6e6


# Figures.


def run(seen_after, *, scenario="loss2", seconds=10.0, **rest) -> Result:
    """A run of a 30 Hz source; ``seen_after(number)`` is when a frame was seen, ms, or None."""
    painted = [START + number * FRAME for number in range(round(seconds * 30))]
    seen = [
        (ms + late, float(round(ms))) for n, ms in enumerate(painted) if (late := seen_after(n)) is not None
    ]
    return Result(
        scenario=scenario,
        system=AUTO,
        began_ms=START,
        start_ms=START - 1,
        end_ms=START + seconds * 1000,
        sightings=sorted(seen),
        painted=painted,
        **rest,
    )


def figure(name, result, scenario="loss2"):
    return value_of(name, result, BY_NAME[scenario])


def test_all_frames_on_time():
    result = run(lambda n: 40.0)
    assert figure("on_time", result) == 100.0
    assert figure("freezes_100", result) == 0
    assert figure("latency_p50", result) == pytest.approx(40, abs=0.6)
    assert figure("painted_fps", result) == pytest.approx(29.9, abs=0.2)


def test_a_frame_that_is_seen_again_was_seen_before():
    result = run(lambda n: 40.0)
    again = [(seen + 200, painted) for seen, painted in result.sightings]
    assert figure("latency_p95", dataclasses.replace(result, sightings=result.sightings + again)) < 41


def test_late_and_missing_frames_are_not_on_time_but_latency_is_of_those_seen():
    result = run(lambda n: None if n % 10 == 0 else 200.0 if n % 10 == 1 else 40.0)
    assert figure("on_time", result) == pytest.approx(80.0, abs=0.1)
    assert figure("on_time", result, "far") == pytest.approx(90.0, abs=0.1)  # its deadline is 300 ms
    assert figure("latency_p95", result) == pytest.approx(200, abs=0.6)


def test_frames_of_the_last_second_are_not_asked_for():
    result = run(lambda n: None if n >= 271 else 40.0)
    assert figure("on_time", result) == 100.0
    assert figure("longest_pause", result) > 900  # but a picture that stands still to the end is a pause


def test_pauses_are_between_new_pictures_and_an_old_one_ends_none():
    def late(n):
        return 40.0 + (160 - (n - 100) * FRAME if 100 <= n < 104 else 0.0)

    result = run(lambda n: None if 100 <= n < 104 else 40.0)
    assert figure("freezes_100", result) == 1 and figure("freezes_200", result) == 0
    assert figure("longest_pause", result) == pytest.approx(5 * FRAME, abs=1)
    old = dataclasses.replace(result, sightings=sorted([*result.sightings, (START + 102 * FRAME, START)]))
    assert figure("longest_pause", old) == figure("longest_pause", result)
    assert figure("freezes_100", run(late)) == 1


def test_pauses_at_the_ends_count():
    assert figure("longest_pause", run(lambda n: None if n < 30 else 40.0)) > 1000
    assert figure("freezes_200", run(lambda n: None)) == 1


def test_nothing_painted_is_no_figure_and_neither_is_a_failed_run():
    empty = Result(scenario="loss2", system=AUTO)
    assert all(figure(name, empty) is None for name in FIGURES if name not in ("picture_again",))
    assert figure("on_time", dataclasses.replace(run(lambda n: 40.0), error="it broke")) is None
    assert figure("on_time", None) is None


def interval(at_s, *, mbit=3.0, queue_ms=0.0, wait_ms=0.0, packets=10, direction="down"):
    return {
        "at": START / 1000 + at_s,
        "direction": direction,
        "seconds": 0.1,
        "deliveredBytes": mbit * 1e6 / 8 * 0.1,
        "packets": packets,
        "queueMs": queue_ms,
        "waitMeanMs": wait_ms,
        "waitMaxMs": wait_ms,
    }


def through(values, **rest):
    return run(
        lambda n: 40.0,
        seconds=32.0,
        intervals=[interval(0.1 * (n + 1), **v) for n, v in enumerate(values)],
        **rest,
    )


def test_waits_are_of_the_viewers_direction_and_of_intervals_with_packets():
    values = [{"wait_ms": 20.0}] * 94 + [{"wait_ms": 90.0}] * 6 + [{"wait_ms": 500.0, "packets": 0}] * 50
    up = [{"wait_ms": 900.0, "direction": "up"}] * 50
    assert figure("wait_p95", through([*values, *up]), "bloat") == 90.0


def test_the_share_of_a_link_is_against_an_even_division():
    assert figure("fair_share", through([{"mbit": 1.5}] * 100), "bloat") == 0.5
    assert figure("fair_share", through([{"mbit": 3.0}] * 100), "bloat") == 1.0


def test_a_queue_is_back_once_it_stays_short():
    def values(back_after):
        return [{"queue_ms": 400.0 if 10.0 < 0.1 * (n + 1) <= 10.0 + back_after else 5.0} for n in range(320)]

    assert figure("queue_back", through(values(0.8)), "steps") == pytest.approx(0.8, abs=0.11)
    assert figure("queue_back", through(values(0.0)), "steps") == 0.0
    assert figure("queue_back", through(values(30.0)), "steps") is None
    again = values(0.8)
    again[115] = {"queue_ms": 300.0}  # a peak 1.6 s after the step: short for 0.8 s alone before it
    assert figure("queue_back", through(again), "steps") == pytest.approx(1.6, abs=0.11)


def test_a_link_is_used_again_when_it_is_full_for_a_second():
    def values(after):
        return [{"mbit": 7.5 if 0.1 * (n + 1) > 20.0 + after else 0.9} for n in range(320)]

    assert figure("used_again", through(values(3.0)), "steps") == pytest.approx(4.0, abs=0.2)
    assert figure("used_again", through([{"mbit": 5.0}] * 320), "steps") is None
    assert figure("used_again", through([{"mbit": 8.0}] * 320), "steps") == pytest.approx(0.9, abs=0.11)


def test_the_estimate_by_itself():
    samples = [{"atMs": START + 500 * n, "estimateBps": 7.6e6 if n > 46 or n < 5 else 2e6} for n in range(64)]
    result = through([{}] * 320, samples=samples)
    assert figure("estimate_again", result, "steps") == pytest.approx(3.5)
    assert figure("estimate", result, "steps") == 25.0
    assert figure("estimate", through([{}]), "steps") is None


def test_the_first_new_picture_after_each_blackout():
    def seen(n):
        at = n * FRAME / 1000
        if any(start <= at < start + length for start, length in BY_NAME["blackout"].blackouts):
            return None
        return 40.0 + (60.0 if 15.0 <= at < 15.2 else 0.0)

    result = run(seen, scenario="blackout", seconds=28.0)
    assert figure("picture_again", result, "blackout") == pytest.approx(100, abs=FRAME + 1)
    never = run(lambda n: seen(n) if n < 22 * 30 else None, scenario="blackout", seconds=28.0)
    assert figure("picture_again", never, "blackout") is None


def test_an_old_picture_after_a_blackout_is_none():
    result = run(lambda n: 40.0 if n < 6 * 30 or n >= 8 * 30 else None, scenario="blackout", seconds=28.0)
    old = dataclasses.replace(result, sightings=sorted([*result.sightings, (START + 7_010.0, START)]))
    assert figure("picture_again", old, "blackout") == figure("picture_again", result, "blackout") > 1000


def test_sound_is_counted_between_the_first_and_the_last_sample():
    samples = [
        {"atMs": START - 5_000, "audioFramesConcealed": 0, "audioFramesReceived": 0, "audioUnderruns": 0},
        {"atMs": START, "audioFramesConcealed": 10, "audioFramesReceived": 100, "audioUnderruns": 2},
        {"atMs": START + 5_000, "audioFramesConcealed": 12, "audioFramesReceived": 598, "audioUnderruns": 3,
         "latencyMs": {"p50": 40.0, "p95": 80.0}, "fecSharePpm": 50_000, "framesPainted": None},
    ]  # fmt: skip
    result = run(lambda n: 40.0, samples=samples)
    assert figure("concealed", result, "sound") == 0.4
    assert figure("underruns", result, "sound") == 1
    assert figure("player_latency_p95", result, "sound") == 80.0
    assert figure("fec", result, "sound") == 5.0


# Rows and tables.


def test_a_row_has_auto_first_and_its_goals():
    other = dataclasses.replace(run(lambda n: None if n % 2 else 40.0), system="websocket")
    figures = {f.name: f for f in figures_of(BY_NAME["loss2"], [other, run(lambda n: 40.0)])}
    on_time = figures["loss2_on_time"]
    assert (on_time.value, on_time.goal, on_time.at_least, on_time.met) == (100.0, 99.9, True, True)
    assert on_time.peers["websocket"] == pytest.approx(50.0, abs=0.3)


def test_a_row_without_auto_has_no_goals():
    other = dataclasses.replace(run(lambda n: 40.0), system="moq")
    figures = list(figures_of(BY_NAME["loss2"], [other]))
    assert all(f.goal is None and f.name.endswith("(moq)") for f in figures)


def test_a_run_that_failed_misses_its_goals():
    failed = Result(scenario="loss2", system=AUTO, error="RuntimeError: no browser")
    figures = {f.name: f for f in figures_of(BY_NAME["loss2"], [failed])}
    assert figures["loss2_on_time"].met is False
    assert "- loss2, wtgateway auto: RuntimeError: no browser" in document([failed])


def test_the_markdown_has_a_row_for_each_scenario_and_a_column_for_each_system():
    moq = dataclasses.replace(run(lambda n: 300.0), system="moq")
    sound = Result(scenario="sound", system=AUTO, samples=[])
    text = document([run(lambda n: 40.0), moq, sound])
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert "| 2 % random loss | on time, % | ≥ 99.9 | 100 | yes | 0 |" in text
    assert "| sound at 10 % random loss | concealed, % | ≤ 0.5 | - | **no** |" in text
    assert text.count("100 % · 0 / 0") == 1


def test_results_are_kept_as_they_were():
    result = run(lambda n: 40.0, samples=[{"atMs": 1.0}], intervals=[interval(1.0)])
    assert Result.loads(result.dumps()) == result
    with pytest.raises(ValueError, match="not the result"):
        Result.loads('{"scenario": "a", "something": 1}')
    assert file_name("loss2", AUTO) == "loss2--wtgateway-auto.json"


# What is run.


def test_systems_are_named_with_or_without_ours_in_front():
    names = [s.name for s in chosen_systems(Options(systems=("auto", "moq")))]
    assert names == [AUTO, "moq"]
    assert [s.name for s in chosen_systems(Options(systems=(AUTO,)))] == [AUTO]
    assert [s.name for s in chosen_systems(Options(quick=True))] == [AUTO]
    assert len(chosen_systems(Options())) == 6 and len(chosen_systems(Options(peers=False))) == 3
    with pytest.raises(ValueError, match="no system is called quic"):
        chosen_systems(Options(systems=("quic",)))


async def test_a_system_that_fails_is_a_result_with_an_error(tmp_path, monkeypatch):
    async def broken(self):
        raise OSError("no such program")

    monkeypatch.setattr(Run, "_measure", broken)
    options = Options(directory=tmp_path)
    result = await Run(BY_NAME["clean"], chosen_systems(options)[0], options).measure()
    assert result.error == "OSError: no such program"


def test_the_command_line_of_the_bench():
    chosen = arguments(["delivery", "--scenario", "loss2", "--scenario", "far", "--system", "auto"])
    assert (chosen.scenario, chosen.system) == (["loss2", "far"], ["auto"])
    with pytest.raises(SystemExit):
        arguments(["delivery", "--scenario", "nowhere"])


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f" + (65_536).to_bytes(8, "big")),
    ],
)
def test_messages_of_the_websocket_peer(size, head):
    made = message(bytes(size))
    assert made[: len(head)] == head and len(made) == len(head) + size
