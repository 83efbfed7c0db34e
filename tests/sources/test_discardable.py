"""What is forwarded says of itself whether it can be left out, and that is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.sources.coded import KINDS, decode, passage, write

SUFFIX = {"h264": "mp4", "hevc": "mp4", "av1": "mkv", "vp9": "webm"}
HAVE_SOME = {"h264 B-frames", "hevc B-frames", "hevc open", "av1 hidden frames"}


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_discardable_frames_the_rest_is_shown_as_ever(tmp_path: Path, kind: str) -> None:
    found = passage(write(tmp_path / f"a.{SUFFIX[kind.split()[0]]}", kind, 24))
    kept = [piece for piece in found.video if not piece.discardable]
    assert not any(piece.keyframe and piece.discardable for piece in found.video)
    if kind in HAVE_SOME:
        assert len(kept) < len(found.video)
    whole, rest = decode(found.video), decode(kept)
    assert sorted(rest) == sorted(piece.pts_us for piece in kept)
    assert all(np.array_equal(whole[pts], picture) for pts, picture in rest.items())
