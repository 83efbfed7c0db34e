"""What tests ask of a player page. Nothing sleeps: a condition is polled until it holds or time is up."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.e2e.browsers import Tab

Json = Any
PATIENCE_S = 30.0  # for what takes a second on an idle machine
_POLL_S = 0.05
SAMPLE_RATE = 48_000

# The 32 blocks in the top sixteenth of the picture: a 24-bit counter and its CRC-8; null when unreadable.
_COUNTER_JS = """(async () => {
  const {width, height, data} = await window.player.debug.grab();
  const row = Math.floor(height / 32);
  const bit = i => data[4 * (row * width + Math.floor((i + 0.5) * width / 32))] > 127 ? 1 : 0;
  let value = 0, told = 0, crc = 0;
  for (let i = 0; i < 24; i++) value = value * 2 + bit(i);
  for (let i = 24; i < 32; i++) told = told * 2 + bit(i);
  for (const byte of [value >> 16, value >> 8 & 255, value & 255]) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc & 128 ? crc << 1 ^ 7 : crc << 1) & 255;
  }
  return {counter: crc === told ? value : null, width, height};
})()"""
_AUDIO_JS = """(async count => {
  const samples = await window.player.debug.audio(count);
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
})(%d)"""


# What a listener with two speakers hears: the player's MediaStreamTrack, in one of two channels.
_TRACK_JS = """(async side => {
  const context = new AudioContext({sampleRate: 48000});
  const split = new ChannelSplitterNode(context, {numberOfOutputs: 2});
  const analyser = new AnalyserNode(context, {fftSize: 16384});
  const samples = new Float32Array(16384);
  context.createMediaStreamSource(new MediaStream([window.player.getAudioTrack()])).connect(split);
  split.connect(analyser, side).connect(context.destination);
  await context.resume();
  const filled = () => samples.subarray(0, 200).some(Boolean) && samples.subarray(-200).some(Boolean);
  for (let i = 0; i < 400 && !filled(); i++) {
    await new Promise(resolve => setTimeout(resolve, 50));
    analyser.getFloatTimeDomainData(samples);
  }
  await context.close();
  return btoa(String.fromCharCode(...new Uint8Array(samples.buffer.slice(0, 32768))));
})(SIDE)"""


async def situation(tab: Tab) -> str:
    """All that the page can tell, for the message of a failure."""
    try:
        told = await tab.evaluate(
            "({url: location.href, state: window.player?.state, stats: window.player?.stats(),"
            " text: document.body?.innerText?.slice(0, 600)})"
        )
    except Exception as error:  # the page may be anything now, even gone
        told = f"the page does not answer: {error}"
    console = "\n".join((await tab.console())[-15:])
    return f"{tab.browser}: {json.dumps(told, indent=1, ensure_ascii=False)}\nconsole:\n{console}"


async def poll(
    check: Callable[[], Awaitable[Json]], what: str, tab: Tab | None = None, seconds: float = PATIENCE_S
) -> Json:
    """The first truthy answer of ``check``; fails with the page's situation when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := await check():
            return answer
        if time.monotonic() > deadline:
            about = f"\n{await situation(tab)}" if tab else ""
            raise AssertionError(f"{what}: not within {seconds:g} s{about}")
        await asyncio.sleep(_POLL_S)


async def until(tab: Tab, condition: str, what: str = "", seconds: float = PATIENCE_S) -> Json:
    """Poll a JavaScript expression in the page; its first truthy value."""
    return await poll(lambda: tab.evaluate(condition), what or condition, tab, seconds)


async def stats(tab: Tab) -> dict[str, Json]:
    """``player.stats()``."""
    answer: dict[str, Json] = await tab.evaluate("window.player.stats()")
    return answer


async def watch(tab: Tab, url: str, *, sound: bool = False) -> None:
    """Open a player page and wait for moving pictures; with ``sound``, for sound too."""
    await tab.goto(url)
    await until(tab, "window.player?.stats().state === 'playing'", "playing")
    # controls are loaded once the player runs: a key pressed before is nobody's
    await until(tab, "document.querySelector('#live').dataset.state === 'playing'", "the page says so")
    await more_frames(tab, 3)
    if sound:
        await tab.evaluate("window.player.setMuted(false)")
        await until(tab, "window.player.stats().audioPlayedMs > 500", "sound")


async def more_frames(tab: Tab, count: int, seconds: float = PATIENCE_S) -> None:
    """Wait until so many more frames were painted."""
    painted = (await stats(tab))["framesPainted"]
    await until(
        tab, f"window.player.stats().framesPainted >= {painted + count}", f"{count} more frames", seconds
    )


async def picture(tab: Tab) -> dict[str, Json]:
    """``{counter, width, height}`` read from the decoded pixels of one frame."""
    answer: dict[str, Json] = await tab.evaluate(_COUNTER_JS)
    return answer


async def counters(tab: Tab, count: int) -> list[int]:
    """Counters read from the pixels of ``count`` frames, each painted after the one before; all readable."""
    pictures = []
    for number in range(count):
        if number:  # on a busy machine the same one would be seen twice
            await more_frames(tab, 1)
        pictures.append(await picture(tab))
    assert all(p["counter"] is not None for p in pictures), pictures
    return [p["counter"] for p in pictures]


async def sound(tab: Tab, seconds: float = 1.2) -> npt.NDArray[np.float32]:
    """The samples that the player puts out in the next ``seconds`` (first channel, before mute)."""
    async with asyncio.timeout(PATIENCE_S):
        text = await tab.evaluate(_AUDIO_JS % int(seconds * SAMPLE_RATE))
    return np.frombuffer(base64.b64decode(text), "<f4")


async def track_sound(tab: Tab, side: int) -> npt.NDArray[np.float32]:
    """Samples of one channel of ``player.getAudioTrack()``, mixed down to two."""
    return np.frombuffer(
        base64.b64decode(await tab.evaluate(_TRACK_JS.replace("SIDE", str(side)))), np.float32
    )


def loudest(samples: npt.NDArray[np.float32], seconds: float = 0.08) -> npt.NDArray[np.float32]:
    """The window of that length with the most energy."""
    length = int(seconds * SAMPLE_RATE)
    energy = np.convolve(samples.astype(np.float64) ** 2, np.ones(length), "valid")
    start = int(energy.argmax())
    return samples[start : start + length]


def rms(samples: npt.NDArray[np.float32]) -> float:
    """Root mean square, 1.0 is full scale."""
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def frequency(samples: npt.NDArray[np.float32]) -> float:
    """The strongest frequency in Hz, to about 1 Hz."""
    windowed = samples * np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(windowed, 1 << 17))
    return float(spectrum.argmax()) * SAMPLE_RATE / (1 << 17)


async def received_frames(tab: Tab) -> list[tuple[int, int]]:
    """(group, index) of the last 4096 video frames received, oldest first."""
    frames = await tab.evaluate("window.player.debug.received().then(r => r.frames)")
    return [(int(group), int(index)) for group, _, index in (text.partition(":") for text in frames)]


def breaks(frames: list[tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Neighbours of which the second does not follow the first: lost, repeated or out of order."""
    return [
        (one, two)
        for one, two in itertools.pairwise(frames)
        if two != (one[0], one[1] + 1) and not (two[0] > one[0] and two[1] == 0)
    ]
