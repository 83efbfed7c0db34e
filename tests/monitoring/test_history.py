"""Samples: bounded, in order, and rates that are right whatever the age of what was read."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.monitoring import sampler as sampling
from wtgateway.monitoring.history import SAMPLES, Ring, SessionHistory
from wtgateway.monitoring.loop_lag import EVERY_S, LoopLag, histogram_of
from wtgateway.monitoring.processes import Processes, parse_stat
from wtgateway.monitoring.sampler import Sampler
from wtgateway.web.control import ProcessFigures
from wtgateway.web.schemas import COMPONENTS
from wtgateway.web.view import SessionSummary

SESSION = SessionSummary(id="a", broadcast="cam", age_s=10.0)


def fits(schema: str, value: Any) -> None:
    root = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": dict(COMPONENTS)}}
    jsonschema.Draft202012Validator(root).validate(value)


@given(st.lists(st.integers(0, 1000)), st.integers(1, 7))
def test_a_ring_keeps_the_last_rows_in_their_order(values: list[int], size: int) -> None:
    ring = Ring(struct.Struct("<I"), size)
    for value in values:
        ring.add(value)
    assert [value for (value,) in ring] == values[-size:]
    assert len(ring) == min(len(values), size)


@given(
    st.fixed_dictionaries(
        {name: st.integers(-5, 1 << 40) for name in ("rtt_us", "queueing_us", "queued_bytes")}
        | {"frames_sent": st.integers(-5, 1 << 40), "frames_dropped": st.integers(0, 9)}
        | {"rate_bps": st.integers(-5, 1 << 60), "loss": st.floats(0, 1)}
        | {"stages_us": st.just(()) | st.tuples(*[st.integers(0, 60_000_000)] * 9)}
    )
)
def test_whatever_is_sampled_is_shown_as_the_api_says(sample: dict[str, Any]) -> None:
    history = SessionHistory()
    history.add(1_800_000_000_000, **sample)
    (value,) = history.values()
    fits("SessionSample", value)
    assert bool(value["latencyMs"]) == bool(sample["stages_us"])


class Machine:
    """What a sampler looks at, as a test sets it."""

    def __init__(self) -> None:
        self.sessions: list[SessionSummary] = []
        self.broadcasts: dict[str, tuple[int, int]] = {}
        self.sampler = Sampler(
            sessions=lambda: self.sessions,
            sources=lambda: self.broadcasts,
            pids=lambda: {"main": 1},
            lags=lambda: {"main": 7},
            look=self.look,
        )

    def look(self, pids: Mapping[str, int], lags: Mapping[str, int]) -> list[ProcessFigures]:
        return [ProcessFigures(name=n, rss_bytes=5, cpu_share=0.25, loop_lag_us=lags[n]) for n in pids]


async def test_rates_are_bytes_over_the_time_between_two_readings() -> None:
    machine = Machine()
    machine.broadcasts = {"cam": (1, 900)}
    sampler = machine.sampler
    machine.sessions = [replace(SESSION, bytes_sent=1000, frames_sent=5)]
    await sampler.sample(1)
    assert sampler.of_sessions == {}
    machine.sessions = [replace(SESSION, age_s=10.5, bytes_sent=2000, frames_sent=8, stages_us=(2000,) * 9)]
    await sampler.sample(2)
    await sampler.sample(3)  # nothing new was read
    (value,) = sampler.of_sessions["a"].values()
    assert (value["at"], value["rateBps"], value["framesSent"]) == (2, 16_000, 3)
    assert value["latencyMs"]["capture"] == 2.0
    of_broadcast = sampler.of_broadcasts["cam"].values()
    assert [v["rateBps"] for v in of_broadcast] == [0, 16_000, 16_000]
    assert [v["sourceBps"] for v in of_broadcast] == [900] * 3
    of_gateway = sampler.of_gateway.values()
    assert of_gateway[-1] | {"at": 0} == {
        "at": 0, "rateBps": 16_000, "sessions": 1, "rssBytes": 5, "cpuShare": 0.25, "loopLagUs": 7,
    }  # fmt: skip
    for schema, values in (
        ("SessionSample", sampler.of_sessions["a"].values()),
        ("BroadcastSample", of_broadcast),
        ("GatewaySample", of_gateway),
    ):
        for value in values:
            fits(schema, value)


async def test_who_is_gone_is_forgotten_and_nothing_grows() -> None:
    machine = Machine()
    machine.broadcasts = {"cam": (2, 0), "door": (0, 0)}
    for number in range(SAMPLES + 30):
        machine.sessions = [
            replace(SESSION, id=name, age_s=10.0 + number, bytes_sent=1000 * number) for name in ("a", "b")
        ]
        await machine.sampler.sample(number)
    assert len(machine.sampler.of_sessions["a"].values()) == SAMPLES
    machine.sessions, machine.broadcasts = machine.sessions[:1], {"cam": (1, 0)}
    await machine.sampler.sample(999)
    assert set(machine.sampler.of_sessions) == {"a"}
    assert set(machine.sampler.of_broadcasts) == {"cam"}
    assert machine.sampler.of_gateway.values()[-1]["rateBps"] == 8000


async def test_many_sessions_leave_the_loop_to_others() -> None:
    machine = Machine()
    machine.sessions = [replace(SESSION, id=f"{n}") for n in range(10 * sampling.SESSIONS_PER_TURN)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await machine.sampler.sample(1)
    task.cancel()
    assert turns >= 10


async def test_how_late_a_loop_is_is_measured() -> None:
    lag = LoopLag(asyncio.get_running_loop())
    lag.start()
    import time

    await asyncio.sleep(0)
    time.sleep(2 * EVERY_S)  # the loop stands still
    while not sum(lag.histogram.counts):
        await asyncio.sleep(0.001)
    lag.stop()
    assert lag.take_worst_us() >= EVERY_S * 0.9e6
    assert lag.take_worst_us() == 0
    again = histogram_of(lag.rows())
    assert (again.counts, again.sum_us) == (lag.histogram.counts, lag.histogram.sum_us)


def test_this_process_is_seen_and_one_that_is_gone_is_not() -> None:
    processes = Processes()
    (figures,) = processes.look({"main": os.getpid(), "gone": 1 << 22}, {"main": 5})
    assert figures.name == "main"
    assert figures.rss_bytes > 1 << 20
    assert figures.open_fds > 2
    assert figures.threads >= 1
    assert figures.loop_lag_us == 5
    sum(n * n for n in range(300_000))
    (again,) = processes.look({"main": os.getpid()})
    assert again.cpu_s >= figures.cpu_s > 0
    assert again.cpu_share >= 0


def test_a_name_with_brackets_does_not_shift_the_fields() -> None:
    fields = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 99 4096 77 rest"
    stat = parse_stat(f"42 (a ) b) {fields}")
    assert (stat.cpu_s, stat.threads) == (300 / os.sysconf("SC_CLK_TCK"), 3)
    assert stat.rss_bytes == 77 * os.sysconf("SC_PAGE_SIZE")


@given(st.text(max_size=60))
def test_what_is_no_such_line_is_refused(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_stat(text)
