"""The sounds by which a browser proves its decoders are what they are said to be."""

from __future__ import annotations

import base64
import re
from typing import Any

import av
import numpy as np
import pytest

from scripts.support.probe_sounds import LEVEL, PACKETS, PROBES, RATE, TARGET, TONE_HZ, Probe
from wtgateway.bitstream.aac import parse_audio_config
from wtgateway.protocol.abilities import ability_name


def written(name: str) -> tuple[str, bytes, list[bytes]]:
    """Codec string, description and packets that the browser's module holds under a name."""
    found = re.search(rf"^  {name}: {{(.*?)^  }},", TARGET.read_text(), re.M | re.S)
    assert found
    codec, description, *packets = re.findall(r"'([^']*)'", found[1])
    return codec, base64.b64decode(description), [base64.b64decode(packet) for packet in packets]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_decodes_to_a_tone_on_the_left_alone(probe: Probe) -> None:
    codec, description, packets = written(probe.name)
    assert (codec, len(packets)) == (probe.codec, PACKETS)
    decoder: Any = av.CodecContext.create(probe.encoder, "r")
    decoder.sample_rate = RATE
    if description:
        decoder.extradata = description
    resampler = av.AudioResampler("fltp", "stereo", RATE)
    frames = [part for p in packets for f in decoder.decode(av.Packet(p)) for part in resampler.resample(f)]
    left, right = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[:, probe.block :]
    assert np.sqrt(np.mean(left**2)) == pytest.approx(LEVEL / np.sqrt(2), abs=0.05)
    assert np.sqrt(np.mean(right**2)) < 0.01
    spectrum = np.abs(np.fft.rfft(left * np.hanning(len(left))))
    assert np.argmax(spectrum) * RATE / len(left) == pytest.approx(TONE_HZ, abs=RATE / len(left))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_stands_under_the_name_that_the_gateway_reads_from_its_codec(probe: Probe) -> None:
    assert ability_name(probe.codec) == probe.name


def test_the_description_is_that_of_the_codec_string() -> None:
    codec, description, _ = written("mp4a")
    assert parse_audio_config(description).codec == codec
    assert parse_audio_config(description).is_plain
