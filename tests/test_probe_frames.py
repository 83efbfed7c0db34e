"""The pictures by which a browser proves its decoders are what they are said to be."""

from __future__ import annotations

import base64
import re

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from scripts.support.probe_frames import BRIGHT, DARK, PROBES, SIDE, TARGET
from wtgateway.bitstream import h264, nal
from wtgateway.protocol.abilities import ability_name

DECODERS = {"avc1": "h264", "hvc1": "hevc", "av01": "libdav1d", "vp09": "vp9"}


def written(name: str) -> tuple[str, bytes]:
    """Codec string and keyframe that the browser's module holds under a name."""
    quoted = f"'{name}'" if "." in name else name
    found = re.search(
        rf"^  {re.escape(quoted)}: {{\s+codec: '([^']+)',\s+data: '([^']+)'", TARGET.read_text(), re.M
    )
    assert found
    return found[1], base64.b64decode(found[2])


def luma(picture: VideoFrame, bits: int) -> np.ndarray:
    """The picture's first plane, as 8-bit values."""
    plane = picture.planes[0]
    sample = "<u2" if bits > 8 else "u1"
    values = np.frombuffer(plane, dtype=sample).reshape(plane.height, -1)[:, : plane.width]
    return values.astype(int) >> (bits - 8)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_decodes_to_a_dark_and_a_bright_half(probe) -> None:
    codec, data = written(probe.name)
    decoder = av.CodecContext.create(DECODERS[probe.name.split(".")[0]], "r")
    assert isinstance(decoder, VideoCodecContext)
    (picture,) = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    assert (codec, picture.format.name, picture.width, picture.height) == (
        probe.codec,
        probe.pix_fmt,
        SIDE,
        SIDE,
    )
    halves = luma(picture, probe.bits)
    assert np.median(halves[:, : SIDE // 2]) == pytest.approx(DARK, abs=6)
    assert np.median(halves[:, SIDE // 2 :]) == pytest.approx(BRIGHT, abs=6)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_stands_under_the_name_that_the_gateway_reads_from_its_codec(probe) -> None:
    assert ability_name(probe.codec) == probe.name


@pytest.mark.parametrize("probe", [p for p in PROBES if p.encoder == "libx264"], ids=lambda probe: probe.name)
def test_a_probe_of_h264_says_in_its_parameters_what_its_codec_string_says(probe) -> None:
    _, data = written(probe.name)
    (sps,) = [unit for unit in nal.split_annexb(data) if h264.nal_type(unit) == 7]
    assert f"avc1.{sps[1:4].hex().upper()}" == probe.codec
