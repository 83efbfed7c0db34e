"""The rows of the table: a network, a source, and the goals of `auto`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

FPS = 30
FRAME_MS = 1000 / FPS
NEAR = ("--delay", "20ms")
NEAR_RTT_MS = 40.0
AUTO = "wtgateway auto"
_SMOOTH = ("on_time", "freezes_100", "freezes_200", "longest_pause", "latency_p50", "latency_p95")


@dataclass(frozen=True, slots=True)
class Goal:
    """``limit`` is the most that the figure may be; ``at_least``: the least."""

    limit: float
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row. ``options`` are those of ``scripts/netsim``; the path is ``before`` until the picture plays.

    ``rate_bps`` is what the link has towards the viewer, 0 without limit. ``at_least_s``: a run is no shorter
    than its schedule needs. ``ours_only``: what no peer here has (sound). ``shown`` are the figures of the
    row, in order, whether they have a goal or not.
    """

    name: str
    title: str
    options: tuple[str, ...]
    shown: tuple[str, ...] = _SMOOTH
    goals: dict[str, Goal] = field(default_factory=dict)
    before: tuple[str, ...] = NEAR
    deadline_ms: float = 150.0
    bitrate_bps: int = 3_000_000
    rate_bps: float = 0.0
    warm_s: float = 5.0
    at_least_s: float = 0.0
    blackouts: tuple[tuple[float, float], ...] = ()  # as in the options, of which they are a copy
    step_down_s: float = 0.0
    step_up_s: float = 0.0
    competing: int = 0
    sound: bool = False  # the source is the test picture with its beep, and not the painted screen

    @property
    def ours_only(self) -> bool:
        """No peer here has sound."""
        return self.sound


def _least(limit: float) -> Goal:
    return Goal(limit, at_least=True)


_SOUND = ("concealed", "underruns", "player_latency_p50", "player_latency_p95", "painted_fps")

SCENARIOS = (
    Scenario(
        name="clean",
        title="no loss, 8 Mbit/s",
        options=(*NEAR, "--down-rate", "8M", "--down-queue", "250ms"),
        rate_bps=8e6,
        shown=(*_SMOOTH, "fec", "estimate"),
        goals={"on_time": _least(100.0), "fec": Goal(0.0), "estimate": _least(90.0)},
    ),
    Scenario(
        name="loss2",
        title="2 % random loss",
        options=(*NEAR, "--down-loss", "2%"),
        shown=(*_SMOOTH, "fec"),
        goals={"on_time": _least(99.9), "freezes_100": Goal(0)},
    ),
    Scenario(
        name="loss5",
        title="5 % random loss",
        options=(*NEAR, "--down-loss", "5%"),
        shown=(*_SMOOTH, "fec"),
        goals={"on_time": _least(99.5), "freezes_200": Goal(0)},
    ),
    Scenario(
        name="bursts",
        title="10 % loss in bursts of 5-20 packets",
        options=(*NEAR, "--down-loss", "10%", "--down-burst", "5-20"),
        shown=(*_SMOOTH, "fec"),
        # A burst takes up to two frames; then a round trip, a frame, and the usual time between two.
        goals={"on_time": _least(97.0), "longest_pause": Goal(round(NEAR_RTT_MS + 4 * FRAME_MS))},
    ),
    Scenario(
        name="far",
        title="RTT 200 ms, 2 % random loss, deadline 300 ms",
        options=("--delay", "100ms", "--down-loss", "2%"),
        before=("--delay", "100ms"),
        deadline_ms=300.0,
        shown=(*_SMOOTH, "fec"),
        goals={"on_time": _least(99.5)},
    ),
    Scenario(
        name="steps",
        title="8, 1 and 8 Mbit/s, 10 s each",
        options=(*NEAR, "--down-rate", "8M@0,1M@10,8M@20", "--down-queue", "250ms"),
        rate_bps=8e6,
        bitrate_bps=9_000_000,
        warm_s=0.0,
        at_least_s=32.0,
        step_down_s=10.0,
        step_up_s=20.0,
        shown=("queue_back", "used_again", "estimate_again", "wait_p95", *_SMOOTH),
        goals={"queue_back": Goal(1.0), "used_again": Goal(5.0)},
    ),
    Scenario(
        name="thin",
        title="0.5 Mbit/s",
        options=(*NEAR, "--down-rate", "500k", "--down-queue", "2s"),
        rate_bps=5e5,
        warm_s=10.0,
        shown=("latency_p50", "latency_p95", "painted_fps", "wait_p95", "on_time"),
        goals={"latency_p95": Goal(300.0)},
    ),
    Scenario(
        name="thin-sound",
        title="0.5 Mbit/s, with sound",
        options=(*NEAR, "--down-rate", "500k", "--down-queue", "2s"),
        rate_bps=5e5,
        warm_s=10.0,
        sound=True,
        shown=(*_SOUND, "wait_p95"),
        goals={"concealed": Goal(0.0), "underruns": Goal(0), "player_latency_p95": Goal(300.0)},
    ),
    Scenario(
        name="blackout",
        title="blackouts of 1 s",
        options=(*NEAR, "--blackout", "6s+1s,14s+1s,22s+1s"),
        blackouts=((6.0, 1.0), (14.0, 1.0), (22.0, 1.0)),
        warm_s=0.0,
        at_least_s=28.0,
        shown=("picture_again", "on_time", "freezes_100", "latency_p50", "latency_p95"),
        goals={"picture_again": Goal(round(NEAR_RTT_MS + 2 * FRAME_MS))},
    ),
    Scenario(
        name="bloat",
        title="6 Mbit/s behind 2 s of queue, a TCP-like flow beside",
        options=(*NEAR, "--down-rate", "6M", "--down-queue", "2s", "--down-competing", "1"),
        rate_bps=6e6,
        competing=1,
        warm_s=10.0,
        shown=("wait_p95", "fair_share", "painted_fps", *_SMOOTH),
        goals={"wait_p95": Goal(150.0), "fair_share": _least(0.5)},
    ),
    Scenario(
        name="bloat-alone",
        title="6 Mbit/s behind 2 s of queue, nobody beside",
        options=(*NEAR, "--down-rate", "6M", "--down-queue", "2s"),
        rate_bps=6e6,
        bitrate_bps=8_000_000,
        shown=("wait_p95", "fair_share", *_SMOOTH),
        goals={"wait_p95": Goal(150.0)},
    ),
    Scenario(
        name="codel",
        title="6 Mbit/s behind CoDel, a TCP-like flow beside",
        options=(*NEAR, "--down-rate", "6M", "--down-queue", "2s", "--down-discipline", "codel",
                 "--down-competing", "1"),
        rate_bps=6e6,
        competing=1,
        warm_s=10.0,
        shown=("wait_p95", "fair_share", "painted_fps", *_SMOOTH),
        goals={"wait_p95": Goal(150.0), "fair_share": _least(0.5)},
    ),
    Scenario(
        name="disorder",
        title="reordering 5 %, duplication 2 %",
        options=(*NEAR, "--down-reorder", "5%", "--down-duplicate", "2%"),
        shown=(*_SMOOTH, "fec"),
        goals={"on_time": _least(100.0), "fec": Goal(0.0)},
    ),
    Scenario(
        name="sound",
        title="sound at 10 % random loss",
        options=(*NEAR, "--down-loss", "10%"),
        sound=True,
        shown=_SOUND,
        goals={"concealed": Goal(0.5)},
    ),
)  # fmt: skip
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def both_ways(options: tuple[str, ...]) -> tuple[str, ...]:
    """The same network towards the gateway, but for what competes."""
    return tuple(
        f"--{word.removeprefix('--down-')}"
        if word.startswith("--down-") and word != "--down-competing"
        else word
        for word in options
    )


def run_seconds(scenario: Scenario, asked: float) -> float:
    """How long it is measured."""
    return max(asked, scenario.at_least_s)
