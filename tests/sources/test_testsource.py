"""The test picture: readable by machine, exact in time, flash and beep together."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway import clock
from wtgateway.errors import SourceError
from wtgateway.sources import RawAudio, RawVideo, SourceOptions
from wtgateway.sources.barcode import barcode_bits, crc8, decode_barcode
from wtgateway.sources.testpicture import TestPicture
from wtgateway.sources.testsource import SAMPLE_RATE, TestSource, make_beep


def luma(raw: RawVideo) -> np.ndarray[Any, Any]:
    return np.asarray(raw.frame.to_ndarray()[: raw.frame.height])


def disc_level(raw: RawVideo) -> float:
    """How bright the disc's middle is."""
    plane = luma(raw)
    height, width = plane.shape
    y, x = height * 9 // 16, width - width // 16 - height // 10
    return float(plane[y - 2 : y + 2, x - 2 : x + 2].mean())


def samples(raw: RawAudio) -> np.ndarray[Any, Any]:
    return np.asarray(raw.frame.to_ndarray()).reshape(-1, 2)[:, 0] / 32768


def test_crc_is_the_one_written_down() -> None:
    assert crc8(b"123456789") == 0xF4  # the check value of CRC-8/SMBUS
    assert barcode_bits(1).nonzero()[0].tolist() == [23, 29, 30, 31]


@given(st.integers(1, 2**24 - 1), st.sampled_from([(64, 64), (320, 180), (1280, 720), (1000, 562)]))
def test_a_barcode_is_read_at_any_size(counter: int, size: tuple[int, int]) -> None:
    width, height = size
    plane = np.zeros((height, width), np.uint8)
    edges = np.arange(33) * width // 32
    plane[: height // 16] = np.repeat(barcode_bits(counter) * 219 + 16, np.diff(edges))
    assert decode_barcode(plane) == counter
    assert decode_barcode(np.clip(plane // 2 + 30, 0, 255)) == counter  # faded


@given(st.binary(min_size=4, max_size=4))
def test_a_damaged_barcode_is_none(noise: bytes) -> None:
    bits = np.unpackbits(np.frombuffer(noise, np.uint8))
    plane = np.repeat(np.repeat(bits[None, :] * 255, 64, axis=0), 4, axis=1)
    expected = int.from_bytes(noise[:3], "big") if crc8(noise[:3]) == noise[3] else None
    assert decode_barcode(plane) == (expected if 0 < bits.sum() < 32 else None)


@pytest.mark.parametrize("shape", [(0, 0), (720, 16), (8, 1280), (64, 64)])
def test_a_picture_without_a_barcode_is_none(shape: tuple[int, int]) -> None:
    assert decode_barcode(np.full(shape, 40, np.uint8)) is None


@pytest.mark.parametrize("size", [(64, 64), (160, 120), (1280, 720), (1920, 1080), (720, 1280)])
def test_every_size_is_drawn(size: tuple[int, int]) -> None:
    frame = TestPicture(*size).draw(77, 1_700_000_000_050_000)
    assert (frame.width, frame.height, frame.format.name) == (*size, "yuv420p")
    assert decode_barcode(frame.to_ndarray()[: size[1]]) == 77


def test_two_seconds_of_it() -> None:
    source = TestSource("test:?size=320x180&fps=25", SourceOptions())
    info = source.open()
    assert (info.width, info.height, info.fps, info.sample_rate, info.channels) == (320, 180, 25, 48_000, 2)
    video: list[RawVideo] = []
    audio: list[RawAudio] = []
    while len(video) < 50:
        raw = source.read()
        assert clock.now_us() >= raw.pts_us - 1_000, "never before its time"
        video.append(raw) if isinstance(raw, RawVideo) else audio.append(raw)
    source.close()

    assert [decode_barcode(luma(raw)) for raw in video] == list(range(1, 51))
    assert {b.pts_us - a.pts_us for a, b in itertools.pairwise(video)} == {40_000}
    assert {b.pts_us - a.pts_us for a, b in itertools.pairwise(audio)} == {10_000}
    assert all(raw.pts_us == raw.capture_us for raw in (*video, *audio))

    flashing = [raw.pts_us for raw in video if disc_level(raw) > 200]
    beeping = [raw.pts_us for raw in audio if np.abs(samples(raw)).max() > 0.01]
    assert {pts % 1_000_000 for pts in flashing} == {0, 40_000, 80_000}
    assert {pts % 1_000_000 for pts in beeping} == {10_000 * i for i in range(10)}
    flash_starts = {pts for pts in flashing if pts % 1_000_000 == 0}
    assert flash_starts
    assert flash_starts == {pts for pts in beeping if pts % 1_000_000 == 0}


def test_the_beep_is_one_kilohertz_at_minus_twelve_decibels() -> None:
    second = np.concatenate([block.reshape(-1, 2)[:, 0] for block in make_beep(1000)]) / 32768
    assert second.size == SAMPLE_RATE
    assert not second[4800:].any()
    spectrum = np.abs(np.fft.rfft(second[:4800]))
    assert np.argmax(spectrum) * SAMPLE_RATE / 4800 == 1000
    assert 20 * np.log10(second.max()) == pytest.approx(-12, abs=0.1)
    assert np.abs(second[:24]).max() < 0.03, "it begins with a ramp"


def test_silent_when_asked() -> None:
    source = TestSource("test:?tone=0&fps=200", SourceOptions())
    assert not source.open().has_audio
    assert all(isinstance(source.read(), RawVideo) for _ in range(20))
    source.close()


def test_fractional_rates_do_not_drift() -> None:
    source = TestSource("test:?tone=0&size=64x64&fps=239.76", SourceOptions())
    source.open()
    raws = [source.read() for _ in range(48)]
    source.close()
    assert raws[-1].pts_us - raws[0].pts_us == pytest.approx(47 * 1e6 / 239.76, abs=2)


def test_closed_is_an_error_not_a_wait() -> None:
    source = TestSource("test:?fps=1&tone=0", SourceOptions())
    with pytest.raises(SourceError, match="not open"):
        source.read()
    source.open()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="closed"):
        source.read()
