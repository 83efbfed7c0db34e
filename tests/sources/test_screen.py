"""Screens under Xvfb: pixels, damage, rate, a still screen, a killed server, the polled way."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from wtgateway.errors import SourceError
from wtgateway.sources import RawVideo, SourceOptions, probe
from wtgateway.sources.damage import Cadence

pytestmark = pytest.mark.peer
Screens = Callable[..., Any]


def colour_at(raw: RawVideo, x: int, y: int) -> int:
    pixels: np.ndarray[Any, Any] = np.asarray(raw.frame.reformat(format="rgb24").to_ndarray())
    r, g, b = (int(value) for value in pixels[y, x])
    return r << 16 | g << 8 | b


@pytest.mark.parametrize("capture", ["damage", "poll"])
def test_what_is_painted_is_seen(screens: Screens, tools: Any, capture: str) -> None:
    screen = screens()
    source = tools.make(f"x11:{screen.name}", capture=capture)
    info = source.open()
    assert (info.width, info.height, info.fps) == (320, 240, 30)
    for rgb in (0xC81E28, 0x1450A0, 0x0A9632):
        screen.painter.fill(rgb, 100, 80, 40, 40)
        raw = tools.wait_for(lambda rgb=rgb: _showing(source, rgb))
        assert colour_at(raw, 10, 10) == 0
        assert raw.capture_us <= raw.grabbed_us
        assert raw.pts_us == raw.capture_us


def _showing(source: Any, rgb: int) -> RawVideo | None:
    raw: RawVideo = source.read()
    return raw if colour_at(raw, 120, 100) == rgb else None


@pytest.mark.parametrize("capture", ["damage", "poll"])
def test_a_region(screens: Screens, tools: Any, capture: str) -> None:
    screen = screens()
    screen.painter.fill(0x00FF00, 100, 80, 40, 40)
    source = tools.make(f"x11:{screen.name}+90,70?size=64x48", capture=capture)
    info = source.open()
    raw = source.read()
    assert (info.width, info.height) == (raw.frame.width, raw.frame.height) == (64, 48)
    assert (colour_at(raw, 9, 9), colour_at(raw, 10, 10)) == (0, 0x00FF00)


def test_each_change_is_one_picture_and_its_memory_is_not_written_again(screens: Screens, tools: Any) -> None:
    screen = screens()
    source = tools.open(f"x11:{screen.name}", capture="damage", fps=200)
    held = [source.read()]
    for level in range(1, 5):
        screen.painter.fill(level, 0, 0, 8, 8)
        held.append(source.read())
    assert [colour_at(raw, 2, 2) for raw in held] == [0, 1, 2, 3, 4]


def test_memory_is_used_again_once_it_is_let_go(screens: Screens, tools: Any) -> None:
    screen = screens()
    source = tools.open(f"x11:{screen.name}", capture="damage", fps=200)
    for level in range(1, 60):
        screen.painter.fill(level, 0, 0, 8, 8)
        raw = source.read()
        assert colour_at(raw, 2, 2) == level
    assert len(source._damage._images) <= 3


def test_frames_outlive_their_source(screens: Screens, tools: Any) -> None:
    screen = screens()
    screen.painter.fill(0x123456, 0, 0, 8, 8)
    source = tools.open(f"x11:{screen.name}", capture="damage")
    raw = source.read()
    source.close()
    del source
    tools.opened.clear()
    gc.collect()
    assert colour_at(raw, 2, 2) == 0x123456


def test_a_still_screen_is_shown_again_once_a_second_or_on_demand(screens: Screens, tools: Any) -> None:
    source = tools.open(f"x11:{screens().name}", capture="damage")
    first = source.read()
    again = source.read()
    assert again.pts_us - first.pts_us >= 1_000_000
    source.refresh()
    asked = source.read()
    assert 0 < asked.pts_us - again.pts_us < 1_000_000


@pytest.mark.parametrize("capture", ["damage", "poll"])
def test_a_killed_server_is_an_error_and_a_new_one_is_found(
    screens: Screens, tools: Any, capture: str
) -> None:
    screen = screens()
    uri = f"x11:{screen.name}"
    source = tools.open(uri, capture=capture)
    source.read()
    screen.kill()
    error = tools.read_until_error(source)
    assert uri in str(error)
    source.close()
    with pytest.raises(SourceError):
        tools.open(uri, capture=capture)

    fresh = screens(number=screen.name[1:])
    fresh.painter.fill(0x00FF00, 100, 80, 40, 40)
    assert _showing(tools.open(uri, capture=capture), 0x00FF00)


def test_without_damage_the_screen_is_polled(
    screens: Screens, tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    screen = screens(320, 240, "-extension", "DAMAGE")
    with caplog.at_level(logging.WARNING):
        source = tools.open(f"x11:{screen.name}")
    assert "polling" in caplog.text
    screen.painter.fill(0xFF, 100, 80, 40, 40)
    assert tools.wait_for(lambda: _showing(source, 0xFF))
    with pytest.raises(SourceError, match="DAMAGE"):
        tools.open(f"x11:{screen.name}", capture="damage")


def test_a_region_outside_is_told(screens: Screens, tools: Any) -> None:
    with pytest.raises(SourceError, match="outside"):
        tools.open(f"x11:{screens().name}+5000,10", capture="damage")


def test_closed_while_waiting(screens: Screens, tools: Any) -> None:
    source = tools.open(f"x11:{screens().name}")
    source.close()
    source.close()
    with pytest.raises(SourceError, match="closed"):
        source.read()


def test_probe_of_a_screen(screens: Screens) -> None:
    track = probe(f"x11:{screens().name}", SourceOptions()).tracks[0]
    assert (track.width, track.height) == (320, 240)


def test_cadence_allows_jitter_but_not_a_higher_rate() -> None:
    cadence = Cadence(50)
    grabbed = []
    for at_us in range(1_000_000, 2_000_000, 1_000):  # painted at 1000 Hz
        if at_us >= cadence.earliest_us():
            cadence.grabbed(at_us)
            grabbed.append(at_us)
    assert 50 <= len(grabbed) <= 51
    jittered = [3_000_000 + i * 20_000 + (7_000 if i % 2 else 0) for i in range(50)]
    cadence = Cadence(50)
    for at_us in jittered:
        assert at_us >= cadence.earliest_us()
        cadence.grabbed(at_us)
