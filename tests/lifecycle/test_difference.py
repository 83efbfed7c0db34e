"""Any configuration becomes any other by its difference: pure, and with a manager of broadcasts in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.config import Address, BroadcastConfig, GatewayConfig, load
from wtgateway.config.model import AudioConfig, BroadcastLimits, VideoConfig
from wtgateway.config.template import Template, document_of
from wtgateway.events import Events
from wtgateway.hub import Broadcast, Hub
from wtgateway.lifecycle import broadcasts as room
from wtgateway.lifecycle.broadcasts import Broadcasts
from wtgateway.lifecycle.difference import NEEDS_RESTART, applied, difference

NAMES = st.sampled_from(["a", "b", "c/d", "e"])
VIDEO = st.none() | st.builds(
    VideoConfig,
    bitrate_bps=st.sampled_from([0, 50_000, 4_000_000]),
    fps=st.sampled_from([0.0, 24.0, 29.97]),
    width=st.sampled_from([0, 320]),
    keyframe_interval_s=st.sampled_from([10.0, 0.0, 2.5]),
    adapt=st.sampled_from(["fit-most", "off"]),
)
AUDIO = st.builds(AudioConfig, fec=st.booleans(), channels=st.sampled_from([0, 2]))
BROADCASTS = st.builds(
    BroadcastConfig,
    name=NAMES,
    source=st.sampled_from(["test:", "a.mp4", "rtsp://u:p@h/x"]),
    on_demand=st.booleans(),
    options=st.sampled_from([{}, {"rtsp_transport": "tcp"}]),
    isolate=st.sampled_from([None, True, False]),
    isolate_memory_bytes=st.sampled_from([0, 4_000_000_000]),
    limits=st.builds(BroadcastLimits, sessions=st.sampled_from([0, 7]), bitrate_bps=st.just(1_000_000)),
    video=VIDEO,
    audio=AUDIO,
)
CONFIGS = st.builds(
    GatewayConfig,
    bind=st.sampled_from([Address("localhost", 1), Address("::", 2)]),
    workers=st.integers(0, 3),
    log_level=st.sampled_from(["info", "debug"]),
    drain_timeout_s=st.none() | st.floats(0, 10),
    certs_dir=st.sampled_from([Path("a"), Path("b")]),
    broadcasts=st.lists(BROADCASTS, max_size=4, unique_by=lambda b: b.name).map(tuple),
)


@given(CONFIGS, CONFIGS)
def test_each_broadcast_has_one_fate_and_each_key_is_named_once(a: GatewayConfig, b: GatewayConfig) -> None:
    found = difference(a, b)
    fates = [*found.added, *found.removed, *found.changed, *found.kept]
    assert sorted(fates) == sorted({x.name for x in (*a.broadcasts, *b.broadcasts)})
    assert not set(found.settings) & set(found.needs_restart)
    holds = applied(a, b)
    assert difference(a, holds).needs_restart == ()
    assert difference(holds, b).needs_restart == found.needs_restart
    assert dataclasses.replace(difference(holds, b), kept=(), needs_restart=()).is_empty
    assert difference(a, a).is_empty
    assert (found.in_words() == "") == found.is_empty


def test_what_needs_a_restart_is_what_the_model_has() -> None:
    assert set(NEEDS_RESTART) <= {f.name for f in dataclasses.fields(GatewayConfig)}


class FakePipeline:
    """What the manager needs of one."""

    def __init__(self, config: BroadcastConfig, broadcast: Broadcast, processes: object) -> None:
        self.config, self.broadcast = config, broadcast
        self.running = False

    def demand_changed(self, viewers: int) -> None: ...

    def wanted_changed(self, wanted: Any) -> None: ...

    def wishes_changed(self) -> None: ...

    async def run(self) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False


class Audience:
    """Workers, as the manager sees them: what they know of."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def add_broadcast(self, broadcast: Broadcast) -> None:
        assert broadcast.name not in self.known
        self.known[broadcast.name] = broadcast.policy.name

    def change_broadcast(self, broadcast: Broadcast) -> None:
        assert broadcast.name in self.known
        self.known[broadcast.name] = broadcast.policy.name

    def remove_broadcast(self, broadcast: Broadcast) -> None:
        del self.known[broadcast.name]


async def applied_to(old: GatewayConfig, new: GatewayConfig) -> tuple[dict[str, BroadcastConfig], Audience]:
    audience = Audience()
    manager = Broadcasts(Hub(), audience, Events())
    for config in old.broadcasts:
        await manager.put(config)
    await asyncio.sleep(0)
    before = manager.pipelines
    found = difference(old, new)
    wanted = {b.name: b for b in new.broadcasts}
    for name in found.removed:
        assert await manager.remove(name)
    for name in (*found.changed, *found.added):
        assert await manager.put(wanted[name]) is (name in found.added)
    await asyncio.sleep(0)
    assert all(manager.pipelines[name] is before[name] for name in found.kept)
    assert all(p.running for p in manager.pipelines.values())  # type: ignore[attr-defined]
    assert not any(before[name].running for name in (*found.removed, *found.changed))  # type: ignore[attr-defined]
    assert manager.alive
    state = {name: pipeline.config for name, pipeline in manager.pipelines.items()}
    assert {broadcast.name for broadcast in manager.hub} == set(state)
    await manager.close()
    return state, audience


@settings(max_examples=60, deadline=None)
@given(CONFIGS, CONFIGS)
def test_a_difference_applied_is_the_same_as_having_started_with_it(
    a: GatewayConfig, b: GatewayConfig
) -> None:
    nothing = GatewayConfig(broadcasts=())
    with mock.patch.object(room, "make_pipeline", FakePipeline):
        changed, told = asyncio.run(applied_to(a, b))
        started, told_at_once = asyncio.run(applied_to(nothing, b))
    assert changed == started
    assert told.known == told_at_once.known


@given(BROADCASTS)
def test_what_is_shown_of_a_broadcast_makes_it_again(config: BroadcastConfig) -> None:
    assert Template().broadcast(config.name, document_of(config)) == config


def test_what_is_shown_says_what_defaults_would_say_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("defaults: {on_demand: true, loop: false, isolate: true, limits: {sessions: 5}}")
    template = load({}, {}, file).template
    assert template is not None
    config = BroadcastConfig(name="x", source="test:", isolate=None)
    assert template.broadcast("x", document_of(config)) == config


def test_defaults_of_the_file_hold_for_what_is_added_later(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("defaults: {on_demand: true, video: {bitrate: 2M}}\nbroadcasts: {a: 'test:'}\n")
    config = load({"fps": "25"}, {}, file)
    assert config.template is not None
    made = config.template.broadcast("x", {"source": "test:", "video": {"bitrate": "1M"}})
    assert made.on_demand
    assert made.video is not None
    assert (made.video.bitrate_bps, made.video.fps) == (1_000_000, 25)


@pytest.mark.parametrize("origin_changes", ["broadcasts: {a: 'test:', b: 'test:'}\n"])
def test_a_file_can_be_read_again(tmp_path: Path, origin_changes: str) -> None:
    file = tmp_path / "c.yml"
    file.write_text("broadcasts: {a: 'test:'}\n")
    config = load({"bind": ":1"}, {"WTG_WEB": ":2"}, file)
    file.write_text(origin_changes)
    assert config.origin is not None
    again = config.origin.load()
    assert [b.name for b in again.broadcasts] == ["a", "b"]
    assert (again.bind, again.web) == (config.bind, config.web)
    assert difference(config, again).added == ("b",)
