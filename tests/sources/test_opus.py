"""Opus packets: their durations as libopus decodes them, and nothing that is no Opus packet."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.sources import opus


def encode(frame_ms: str, application: str, rate: int) -> list[bytes]:
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "flt"
    encoder.bit_rate = rate
    encoder.options = {"frame_duration": frame_ms, "application": application}
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 2 * 48_000)).astype(np.float32)
    block = av.AudioFrame.from_ndarray(noise, "flt", "stereo")
    block.sample_rate, block.pts = 48_000, 0
    encoder.open()
    frames = av.AudioFifo()
    frames.write(block)
    packets = []
    while (part := frames.read(encoder.frame_size)) is not None:
        packets += encoder.encode(part)
    return [bytes(packet) for packet in packets]


@pytest.mark.parametrize("frame_ms", ["2.5", "5", "10", "20", "40", "60", "80", "100", "120"])
@pytest.mark.parametrize(("application", "rate"), [("audio", 128_000), ("voip", 12_000), ("voip", 30_000)])
def test_durations(frame_ms: str, application: str, rate: int) -> None:
    packets = encode(frame_ms, application, rate)
    decoder: Any = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48_000, "stereo"
    assert packets
    for packet in packets:
        (frame,) = decoder.decode(av.Packet(packet))
        assert opus.duration_us(packet) == float(frame_ms) * 1000
        assert opus.duration_us(packet) == frame.samples * 1_000_000 // 48_000


@pytest.mark.parametrize("packet", [b"", b"\x03", b"\x03\x00", b"\x1b\x3f", bytes(70_000)])
def test_what_is_no_packet(packet: bytes) -> None:
    assert opus.duration_us(packet) is None


@given(st.binary(max_size=40))
def test_any_bytes_have_a_plausible_duration_or_none(data: bytes) -> None:
    assert opus.duration_us(data) is None or 2_500 <= (opus.duration_us(data) or 0) <= 120_000


def test_descriptions() -> None:
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "5.1", "flt"
    encoder.open()
    head = bytes(encoder.extradata)
    assert opus.description(head + b"more", 6) == head
    assert opus.description(b"", 1) == opus.description(b"", 2) == opus.description(head, 2) == b""
    for broken in (b"", head[:-1], b"opus" + head[4:], head[:18] + b"\xff" + head[19:]):
        assert opus.description(broken, 6) is None
    assert opus.description(head, 8) is None
