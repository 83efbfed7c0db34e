"""Playing: what reaches the eye and the ear is what the source made, all of it, together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from scripts.benchmarks.glass.barcode import crc8
from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Browser, Tab
from tests.e2e.conftest import StartGateway
from tests.e2e.files import write_movie

FPS = 30
RecordProperty = Callable[[str, object], None]


async def test_decoded_pixels_carry_the_frame_counter(tab: Tab, gateway: Gateway) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    seen = await watching.counters(tab, 5)
    assert seen == sorted(set(seen)), "the counter goes up with each frame looked at"
    stats = await watching.stats(tab)
    assert (stats["width"], stats["height"]) == (1280, 720)
    assert stats["codec"].startswith("avc1.")


async def test_a_screenshot_shows_the_counter_to_the_eye(tab: Tab, gateway: Gateway, tmp_path: Path) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    box = await tab.evaluate(
        "(({x, y, width, height}) => ({x, y, width, height}))"
        "(document.querySelector('.wtgateway-picture').getBoundingClientRect())"
    )

    async def seen() -> tuple[int, int, int] | None:
        before = (await watching.picture(tab))["counter"]
        await tab.screenshot(tmp_path / "player.png")
        after = (await watching.picture(tab))["counter"]
        shown = read_screenshot(tmp_path / "player.png", box)
        return (before, shown, after) if shown else None  # black: the page was drawn, the picture not yet

    before, shown, after = await watching.poll(seen, "a picture on the screen", tab)
    assert before - FPS <= shown <= after, f"{shown} is not between {before} and {after}"


async def test_sound_has_the_tone_of_the_source(tab: Tab, gateways: StartGateway) -> None:
    gateway = await gateways("test:?tone=1000")
    await watching.watch(tab, f"{gateway.url}/test", sound=True)
    beep = watching.loudest(await watching.sound(tab))
    assert 0.05 < watching.rms(beep) < 0.5
    assert watching.frequency(beep) == pytest.approx(1000, abs=15)


@pytest.mark.parametrize("source", ["test:", "movie.mp4"])
async def test_sound_and_picture_are_together(
    tab: Tab, gateways: StartGateway, record_property: RecordProperty, tmp_path: Path, source: str
) -> None:
    """In ``sync``, where that is the promise; ``asap`` shows a picture before its sound is due.

    Of the film, H.264 with B-frames and AAC are forwarded as they are.
    """
    if source != "test:":
        write_movie(tmp_path / source, seconds=30)
        source = str(tmp_path / source)
    gateway = await gateways(source, "--name", "seen")
    await watching.watch(tab, f"{gateway.url}/seen", sound=True)
    if source != "test:":
        await watching.until(
            tab, "window.player.stats().audioCodec === 'mp4a.40.2'", "the source's own sound"
        )
    await tab.evaluate("window.player.setLatencyMode('sync')")
    await watching.more_frames(tab, 3 * FPS)  # the mode has settled
    await tab.evaluate(
        "window.skews = [],"
        "window.player.addEventListener('stats', e => window.skews.push(e.detail.avSkewMs)), 0"
    )
    await watching.until(tab, "window.skews.length >= 60", "60 samples of skew", 60)
    skews = np.abs(await tab.evaluate("window.skews"))
    record_property("skew_p95_ms", float(np.percentile(skews, 95)))
    assert np.percentile(skews, 95) <= 40, f"{np.sort(skews)}\n{await watching.situation(tab)}"


@pytest.mark.timeout(240)
async def test_every_frame_of_a_minute_is_received_and_decoded(
    tab: Tab, gateway: Gateway, record_property: RecordProperty
) -> None:
    await watching.watch(tab, f"{gateway.url}/test")
    before = await watching.stats(tab)
    wanted = before["framesReceived"] + 60 * FPS
    await watching.until(
        tab, f"window.player.stats().framesReceived >= {wanted}", "a minute of frames", seconds=120
    )
    frames = (await watching.received_frames(tab))[-60 * FPS :]
    assert len(frames) == 60 * FPS
    assert watching.breaks(frames) == []
    decoded = before["framesDecoded"] + 60 * FPS - before["decodeQueue"]
    await watching.until(tab, f"window.player.stats().framesDecoded >= {decoded}", "all of them decoded")
    after = await watching.stats(tab)
    record_property("painted", after["framesPainted"] - before["framesPainted"])
    told = [after[name] - before[name] for name in ("framesLost", "framesOutOfOrder", "decoderErrors")]
    assert told == [0, 0, 0], await watching.situation(tab)


async def test_a_file_plays_in_order_and_begins_again(
    tab: Tab, gateways: StartGateway, tmp_path: Path
) -> None:
    movie = tmp_path / "movie.mp4"
    write_movie(movie, seconds=6, fps=25, tone_hz=440)
    gateway = await gateways(movie)
    await watching.watch(tab, f"{gateway.url}/movie", sound=True)
    seen: list[int] = []

    async def wrapped() -> bool:
        seen.extend(await watching.counters(tab, 1))
        return any(later < earlier for earlier, later in itertools.pairwise(seen))

    await watching.poll(wrapped, "the file begins again", tab)
    assert sum(later < earlier for earlier, later in itertools.pairwise(seen)) == 1, seen
    assert max(seen) < 150
    assert watching.frequency(watching.loudest(await watching.sound(tab))) == pytest.approx(440, abs=10)
    assert (await watching.stats(tab))["width"] == 640


async def test_surround_sound_is_heard_where_there_are_two_speakers(
    tab: Tab, gateways: StartGateway, tmp_path: Path
) -> None:
    movie = tmp_path / "surround.mkv"
    write_movie(movie, seconds=6, tone_hz=440, layout="5.1")
    gateway = await gateways(movie)
    await watching.watch(tab, f"{gateway.url}/surround", sound=True)
    tracks = (await tab.evaluate("fetch('/api/v1/broadcasts').then(r => r.json())"))[0]["tracks"]
    assert [r["channels"] for t in tracks if t["kind"] == "audio" for r in t["renditions"]] == [6, 6]
    for side in (0, 1):
        tone = await watching.track_sound(tab, side)
        assert watching.frequency(tone) == pytest.approx(440, abs=10), f"channel {side}"
        assert 0.05 < watching.rms(tone) < 0.3, "the centre's, at -3 dB"


async def test_viewers_are_counted_and_share_the_broadcast(
    tab: Tab, browser: Browser, gateways: StartGateway
) -> None:
    gateway = await gateways("test:")
    other = await browser.open()
    await watching.watch(tab, f"{gateway.url}/test")
    await watching.watch(other, f"{gateway.url}/test")
    (broadcast,) = gateway.get("/api/v1/broadcasts")
    assert broadcast["viewers"] == 2
    assert [track["kind"] for track in broadcast["tracks"]] == ["video", "audio"]
    assert all(len(track["renditions"]) == 1 for track in broadcast["tracks"])
    await other.close()
    await watching.more_frames(tab, 10)


async def test_a_page_of_another_origin_can_embed_the_player(
    tab: Tab, gateway: Gateway, http_page: str, tmp_path: Path
) -> None:
    transport = gateway.get("/api/v1/transport")
    (tmp_path / "embed.html").write_text(
        f"""<!doctype html><title>embeds</title><div id="screen"></div><script type="module">
        import {{ Player }} from '{gateway.url}/_client/player.js';
        window.player = new Player({{
          transportUrl: {json.dumps(transport["url"])},
          certificateHashes: {json.dumps(transport["certificateHashes"])},
          broadcast: 'test', container: document.getElementById('screen'),
        }});
        window.player.start();
        </script>"""
    )
    await tab.goto(f"{http_page}embed.html")
    await watching.until(tab, "window.player?.stats().framesPainted > 10", "pictures in another page")
    assert min(await watching.counters(tab, 3)) > 0


def read_screenshot(path: Path, box: dict[str, float]) -> int:
    """The counter in a screenshot's pixels; ``box`` is the element, the picture is centred in it as 16:9."""
    with av.open(str(path)) as image:
        pixels = next(image.decode(video=0)).to_ndarray(format="gray")
    width = min(box["width"], box["height"] * 16 / 9)
    height = width * 9 / 16
    left = box["x"] + (box["width"] - width) / 2
    top = box["y"] + (box["height"] - height) / 2
    columns = (left + (np.arange(32) + 0.5) * width / 32).astype(int)
    bits = pixels[int(top + height / 32), columns] > 127
    word = int("".join("1" if bit else "0" for bit in bits), 2)
    assert crc8(word >> 8) == word & 0xFF, "the barcode in the screenshot cannot be read"
    return word >> 8


async def test_silence_of_one_byte_a_frame_is_no_loss(
    tab: Tab, gateways: StartGateway, tmp_path: Path
) -> None:
    """The test picture beeps once a second, and is silent for long enough in between."""
    config = tmp_path / "wtgateway.yml"
    config.write_text("broadcasts: {beep: {source: 'test:', audio: {dtx: true}}}")
    gateway = await gateways("-c", config)
    await watching.watch(tab, f"{gateway.url}/beep", sound=True)
    before = await watching.stats(tab)
    # Of what was before it joined a viewer is sent some in any order: it begins with what comes first.
    joined = (await tab.evaluate("window.player.debug.received()"))["audio"]
    await watching.until(
        tab,
        f"window.player.stats().audioFramesDecoded > {before['audioFramesDecoded'] + 150}",
        "three seconds",
    )
    after = await watching.stats(tab)
    # No underruns are asserted: they tell of a machine that had no time for the page, not of frames.
    names = ("audioFramesDropped", "decoderErrors")
    assert {name: after[name] - before[name] for name in names} == dict.fromkeys(names, 0)
    received = (await tab.evaluate("window.player.debug.received()"))["audio"]
    assert (received["lost"] - joined["lost"], received["outOfOrder"]) == (0, 0)
    # A busy decoder has some still to come; what it never gives would be missing for ever.
    await watching.until(
        tab,
        "window.player.debug.received().then(({ audio }) => "
        f"audio.framesReceived - audio.before - audio.framesDecoded - {joined['dropped']} <= 2)",
        "every frame of sound decoded",
    )
    heard = await watching.sound(tab, 2.2)
    assert watching.rms(watching.loudest(heard)) > 0.05
    assert float(np.median(np.abs(heard))) < 0.001, "silent most of the time"
