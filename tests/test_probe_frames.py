"""The pictures by which a browser proves its decoders are what they are said to be."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from scripts.support.probe_frames import BRIGHT, DARK, PROBES, SIDE, TARGET
from wtgateway.media import Frame, Kind, Rendition
from wtgateway.viewer.decode import Decoded, Decoder, Encoded


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.encoder)
def test_a_probe_decodes_to_a_dark_and_a_bright_half(probe) -> None:
    match = re.search(rf"codec: '{probe.codec}',\s+data: '([^']+)'", TARGET.read_text())
    assert match
    frame = Frame(
        track=0, rendition=0, group=0, index=0, keyframe=True, pts_us=0, capture_us=0, duration_us=0,
        payload=base64.b64decode(match[1]),
    )  # fmt: skip
    decoded: list[Decoded] = []
    decoder = Decoder(decoded.append, lambda track, words: pytest.fail(words))
    decoder.decode(Encoded(frame, Kind.VIDEO, Rendition(id=0, codec=probe.codec, width=SIDE, height=SIDE)))
    decoder.close()
    (picture,) = decoded
    luma = picture.media.to_ndarray()[:SIDE].astype(int)
    assert luma.shape == (SIDE, SIDE)
    assert np.median(luma[:, : SIDE // 2]) == pytest.approx(DARK, abs=6)
    assert np.median(luma[:, SIDE // 2 :]) == pytest.approx(BRIGHT, abs=6)
