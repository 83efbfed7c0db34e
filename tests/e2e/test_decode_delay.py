"""What the linter is for: how many pictures real decoders hold back, before and after a rewrite."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable

import pytest

from scripts.support.gateway import Gateway
from tests.bitstream import streams
from tests.e2e.browsers import Tab
from wtgateway.bitstream import h264

# Chunks are fed one by one, each when the one before has been digested; no flush. What has come out when
# the decoder has nothing more to do is what a viewer would see.
_FEED_JS = """(async (codec, units) => {
  const times = [];
  const decoder = new VideoDecoder({
    output: picture => { times.push(picture.timestamp); picture.close(); },
    error: error => { times.push(String(error)); },
  });
  decoder.configure({codec, optimizeForLatency: true});
  const digested = async () => {
    for (let calm = 0; calm < 3; calm = decoder.decodeQueueSize ? 0 : calm + 1) {
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  };
  const behind = [];
  for (const [index, [text, pts, type]] of units.entries()) {
    const data = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    decoder.decode(new EncodedVideoChunk({type, timestamp: pts, data}));
    await digested();
    behind.push(index + 1 - times.length);
  }
  decoder.close();
  return {behind, times};
})(%s, %s)"""


async def held(tab: Tab, stream: Iterable[streams.Coded]) -> list[int]:
    """Pictures inside the decoder after each chunk."""
    coded = list(stream)
    sps = next(unit for unit in coded[0].units if h264.nal_type(unit) == h264.SPS)
    units = [
        (
            base64.b64encode(each.data).decode(),
            each.pts * 33_333,
            "key" if h264.facts(each.units).keyframe else "delta",
        )
        for each in coded
    ]
    told = await tab.evaluate(_FEED_JS % (json.dumps(h264.parse_sps(sps).codec), json.dumps(units)))
    assert all(isinstance(time, int) for time in told["times"]), told["times"]
    behind: list[int] = told["behind"]
    return behind


def rewritten(unit: bytes) -> bytes:
    return h264.declare_no_reordering(unit) if h264.nal_type(unit) == h264.SPS else unit


async def test_an_sps_that_announces_reordering_costs_it_and_the_rewritten_one_does_not(
    tab: Tab, gateway: Gateway
) -> None:
    """Without B-frames in fact: pictures wait for an order that never comes."""
    await tab.goto(f"{gateway.url}/")
    stream = streams.x264(only_p=True, bf="3", b_strategy="0")
    assert max(await held(tab, stream)) == 2
    assert max(await held(tab, streams.map_units(stream, rewritten))) == 0


@pytest.mark.parametrize("strip", [streams.without_restriction, streams.without_vui])
async def test_a_silent_sps_is_taken_at_its_best_by_software(
    tab: Tab, gateway: Gateway, strip: Callable[[bytes], bytes]
) -> None:
    """What hardware does by the letter of H.264 C.4.5.3 cannot be seen here; rewriting harms nobody."""
    await tab.goto(f"{gateway.url}/")
    stream = streams.map_units(streams.x264(only_p=True, bf="0"), strip)
    assert max(await held(tab, stream)) == 0
    assert max(await held(tab, streams.map_units(stream, rewritten))) == 0


async def test_b_frames_are_held_as_long_as_reordering_needs(tab: Tab, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/")
    behind = await held(tab, streams.x264())
    assert behind[-1] == 2
