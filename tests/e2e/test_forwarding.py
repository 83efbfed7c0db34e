"""What is coded already is forwarded, in real browsers: pixels, sound, and the change of renditions."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from scripts.support.gateway import Gateway
from tests.e2e import files, watching
from tests.e2e.browsers import Tab
from tests.e2e.conftest import StartGateway
from tests.e2e.watching import Json

FRAMES = 150  # of a coded file, before it begins again
AAC = [(48_000, "stereo"), (44_100, "stereo"), (48_000, "5.1")]
BROWSERS_DECODE = {
    "h264": "avc1.64",
    "vp9": "vp09.00",
    "av1": "av01.0",
    "av1-10": "av01.0.",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """All films of this file, named after them; each runs while somebody watches."""
    folder = tmp_path_factory.mktemp("films")
    films = [files.write_coded(folder, codec) for codec in (*files.CODED, *files.DEEP)]
    for rate, layout in AAC:
        films.append(folder / f"aac-{rate}-{layout}.mp4")
        files.write_movie(films[-1], seconds=20, layout=layout, rate=rate)
    for name, pix_fmt in (("full", "yuv444p"), ("half", "yuv420p")):
        films.append(folder / f"{name}.webm")
        files.write_text(films[-1], pix_fmt)
    async with Gateway(*films, "--on-demand", directory=folder) as shared:
        yield shared


def renditions(gateway: Gateway, name: str) -> list[dict[str, Json]]:
    """Of the broadcast's video, as the API has them."""
    (broadcast,) = [b for b in gateway.get("/api/v1/broadcasts") if b["name"] == name]
    (video,) = [track for track in broadcast["tracks"] if track["kind"] == "video"]
    found: list[dict[str, Json]] = video["renditions"]
    return found


def steps(counters: list[int]) -> list[int]:
    """How far each counter is from the one before; the file begins again after its last."""
    return [(b - a) % FRAMES for a, b in itertools.pairwise(counters)]


@pytest.mark.parametrize("codec", BROWSERS_DECODE)
async def test_a_file_is_forwarded_with_its_pixels_and_its_sound(
    tab: Tab, gateway: Gateway, codec: str
) -> None:
    await watching.watch(tab, f"{gateway.url}/{codec}", sound=True)
    begins = BROWSERS_DECODE[codec]  # what needs a proof comes after what every browser decodes
    await watching.until(tab, f"window.player.stats().codec.startsWith({begins!r})", "what is forwarded")
    before = await watching.stats(tab)
    seen = await watching.counters(tab, 8)
    assert all(0 < step < FRAMES / 2 for step in steps(seen)), f"in the order in which they are shown: {seen}"
    stats = await watching.stats(tab)
    assert (stats["codec"].split(".")[3:4] == ["10"]) == codec.endswith("-10")
    assert stats["framesOutOfOrder"] == before["framesOutOfOrder"]
    listed = renditions(gateway, codec)
    assert [r.get("forwarded", False) for r in listed] == [True, False]
    assert await tab.evaluate("window.player.rendition") == 0
    tone = watching.loudest(await watching.sound(tab))
    assert watching.frequency(tone) == pytest.approx(440, abs=10)


def sounds(gateway: Gateway, name: str) -> list[tuple[bool, str]]:
    """Of the broadcast's sound: whether it is forwarded, and its codec."""
    (broadcast,) = [b for b in gateway.get("/api/v1/broadcasts") if b["name"] == name]
    (audio,) = [track for track in broadcast["tracks"] if track["kind"] == "audio"]
    return [(r.get("forwarded", False), r["codec"]) for r in audio["renditions"]]


@pytest.mark.parametrize(("rate", "layout"), AAC)
async def test_aac_is_forwarded_once_the_browser_has_proven_it_and_nothing_is_lost_on_the_way_over(
    tab: Tab, gateway: Gateway, rate: int, layout: str
) -> None:
    name = f"aac-{rate}-{layout}"
    await watching.watch(tab, f"{gateway.url}/{name}", sound=True)
    await watching.until(tab, "window.player.stats().audioCodec === 'mp4a.40.2'", "the source's own sound")
    assert sounds(gateway, name) == [(True, "mp4a.40.2"), (False, "opus")]
    before = await watching.stats(tab)
    await watching.until(
        tab, f"window.player.stats().audioFramesDecoded > {before['audioFramesDecoded'] + 100}", "two seconds"
    )
    after = await watching.stats(tab)
    names = ("audioFramesDropped", "decoderErrors", "framesLost")
    assert {name: after[name] - before[name] for name in names} == dict.fromkeys(names, 0)
    received = await tab.evaluate("window.player.debug.received()")
    assert (received["audio"]["lost"], received["audio"]["outOfOrder"]) == (0, 0)
    # Of 5.1 it is in the centre, which two loudspeakers share.
    heard = await (watching.track_sound(tab, 0) if layout == "5.1" else watching.sound(tab))
    tone = watching.loudest(heard)
    assert watching.frequency(tone) == pytest.approx(440, abs=10)


async def test_who_does_not_decode_aac_hears_opus(tab: Tab, gateway: Gateway) -> None:
    movie = f"{gateway.url}/aac-48000-stereo"
    await tab.goto(movie)
    known = "{proof: 2, browser: navigator.userAgent, codecs: 'avc1,opus', atMs: Date.now()}"
    await tab.evaluate(f"localStorage.setItem('wtgateway.abilities', JSON.stringify({known}))")
    await watching.watch(tab, movie, sound=True)
    stats = await watching.stats(tab)
    assert (stats["audioCodec"], stats["audioFramesDropped"]) == ("opus", 0)
    assert watching.frequency(watching.loudest(await watching.sound(tab))) == pytest.approx(440, abs=10)


async def test_who_cannot_decode_the_source_gets_what_is_encoded_for_him(tab: Tab, gateway: Gateway) -> None:
    """Debian's Chromium and Firefox decode no HEVC without hardware, which is not here."""
    await watching.watch(tab, f"{gateway.url}/hevc")
    seen = await watching.counters(tab, 5)
    assert all(0 < step < FRAMES / 2 for step in steps(seen)), seen
    assert [(r.get("forwarded", False), r["codec"][:4]) for r in renditions(gateway, "hevc")] == [
        (True, "hvc1"),
        (False, "avc1"),
    ]
    assert (await watching.stats(tab))["codec"].startswith("avc1")
    assert await tab.evaluate("window.player.rendition") == 1


# Two neighbours in the middle of the picture, as RGB.
_NEIGHBOURS_JS = """(async () => {
  const {width, height, data} = await window.player.debug.grab();
  const at = 4 * (width * (height >> 1) + (width >> 1));
  return [[...data.subarray(at, at + 3)], [...data.subarray(at + 4, at + 7)]];
})()"""


async def test_coloured_text_is_legible_where_the_source_has_all_its_colour(
    tab: Tab, gateway: Gateway
) -> None:
    """Lines of one pixel: 4:4:4 keeps them apart, and 4:2:0 makes one colour of two."""
    seen = {}
    for name in ("full", "half"):
        await watching.watch(tab, f"{gateway.url}/{name}")
        await watching.until(tab, "window.player.rendition === 0", "what is forwarded")
        await watching.more_frames(tab, 3)
        seen[name] = await tab.evaluate(_NEIGHBOURS_JS)
        assert (await watching.stats(tab))["codec"].startswith("vp09.0" + "10"[name == "half"])
    red, blue = seen["full"]
    assert red[0] - blue[0] > 150 and blue[2] - red[2] > 150, "red beside blue"
    one, other = seen["half"]
    assert abs(one[0] - other[0]) < 100, "in between"


async def test_a_viewer_changes_renditions_without_a_gap(
    tab: Tab, gateways: StartGateway, tmp_path: Path
) -> None:
    """Every frame that was painted is looked at: none is missing around the changes."""
    config = tmp_path / "wtgateway.yml"
    ladder = [{"height": 360, "bitrate": "1M"}, {"height": 180, "bitrate": "300k"}, "audio-only"]
    broadcast = {"source": "test:", "video": {"size": "640x360", "fps": 30, "renditions": ladder}}
    config.write_text(yaml.safe_dump({"broadcasts": {"ladder": broadcast}}))
    gateway = await gateways("-c", config)
    await watching.watch(tab, f"{gateway.url}/ladder")
    assert [(r["width"], r["height"]) for r in renditions(gateway, "ladder")] == [(640, 360), (320, 180)]
    before = await watching.stats(tab)
    for wished, height in ((1, 180), (0, 360), (1, 180)):
        await tab.evaluate(f"window.player.setRendition({wished})")
        await watching.until(tab, f"window.player.rendition === {wished}", f"rendition {wished}")
        await watching.until(tab, f"window.player.stats().height === {height}", f"{height} lines")
        (picture,) = [await watching.picture(tab)]
        assert (picture["height"], picture["counter"] is not None) == (height, True)
    after = await watching.stats(tab)
    for name in ("framesLost", "decoderErrors", "reconnects", "framesOutOfOrder"):
        assert after[name] == before[name], name
