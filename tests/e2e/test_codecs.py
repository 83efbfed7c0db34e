"""Codecs in real browsers: what is encoded arrives as pixels; what cannot be decoded is said in words."""

from __future__ import annotations

import pytest

from scripts.support.gateway import Gateway
from tests.e2e import watching
from tests.e2e.browsers import Tab
from tests.e2e.conftest import StartGateway

SMALL = ("--size", "640x360", "--fps", "30", "--video-bitrate", "1M")
CODEC_STRINGS = {"av1": "av01.0.", "vp9": "vp09.00."}


async def test_abilities_are_proven_by_decoding(tab: Tab, gateway: Gateway) -> None:
    """Debian's Chromium and Firefox decode HEVC with hardware only, which is not here."""
    await watching.watch(tab, f"{gateway.url}/test")
    able = await tab.evaluate(
        "import('/_client/worker/abilities.js')"
        ".then(async ({canDecode}) => Object.fromEntries(await Promise.all("
        "['avc1.42C01F', 'avc1.640028', 'hvc1.1.6.L93.90', 'av01.0.04M.08', 'vp09.00.31.08', 'made.up']"
        ".map(async codec => [codec.split('.')[0], await canDecode(codec)]))))"
    )
    assert able == {"avc1": True, "hvc1": False, "av01": True, "vp09": True, "made": False}


async def test_sound_is_proven_by_decoding(tab: Tab, gateway: Gateway) -> None:
    """Debian's Chromium and Firefox have a decoder for AAC; others may have none."""
    await tab.goto(f"{gateway.url}/test")
    able = await tab.evaluate(
        "import('/_client/worker/abilities.js').then(async ({canHear}) => "
        "[await canHear('opus'), await canHear('mp4a'), await canHear('made-up')])"
    )
    assert able == [True, True, False]


@pytest.mark.parametrize("codec", CODEC_STRINGS)
async def test_pictures_of_another_codec_carry_the_frame_counter(
    tab: Tab, gateways: StartGateway, codec: str
) -> None:
    gateway = await gateways("test:", "--video-codec", codec, *SMALL)
    await watching.watch(tab, f"{gateway.url}/test")
    seen = await watching.counters(tab, 5)
    assert seen == sorted(set(seen)), "the counter goes up with each frame looked at"
    stats = await watching.stats(tab)
    assert (stats["width"], stats["height"]) == (640, 360)
    assert stats["codec"].startswith(CODEC_STRINGS[codec])


async def test_what_a_browser_cannot_decode_is_said(tab: Tab, gateways: StartGateway) -> None:
    gateway = await gateways("test:", "--video-codec", "hevc", "--no-audio", *SMALL)
    await tab.goto(f"{gateway.url}/test")
    await watching.until(tab, "window.player?.state.state === 'failed'", "the player gives up")
    said = await watching.until(tab, "document.querySelector('#message[data-said]')?.innerText")
    assert "cannot decode HEVC" in said
    assert "codec: h264" in said
    assert (await watching.stats(tab))["framesReceived"] == 0, "what cannot be decoded is not sent"


async def test_sound_is_heard_where_the_picture_cannot_be_decoded(tab: Tab, gateways: StartGateway) -> None:
    gateway = await gateways("test:", "--video-codec", "hevc", *SMALL)
    await tab.goto(f"{gateway.url}/test")
    await watching.until(tab, "document.body?.innerText.includes('cannot decode HEVC')")
    await watching.until(tab, "window.player.stats().audioFramesDecoded > 20", "sound")
    assert (await watching.stats(tab))["framesReceived"] == 0
