"""What `wtgateway probe` says of a source's bits."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from wtgateway.bitstream.linter import Code, Severity
from wtgateway.media import Kind
from wtgateway.sources import SourceOptions, probe
from wtgateway.sources.inspect import Inspector


def movie(path: Path, encoder: str, options: dict[str, str]) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(encoder, rate=30, options=options)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for number in range(45):
            image = np.full((144, 128), 16 + number * 4, np.uint8)
            image[: 2 * number] = 235 - number
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(("encoder", "string"), [("libx264", "avc1."), ("libx265", "hvc1.1.")])
def test_frames_out_of_order_are_found(tmp_path: Path, suffix: str, encoder: str, string: str) -> None:
    ordered = {"preset": "veryfast", "tune": "zerolatency"}
    reordered = {"preset": "veryfast", "x264-params": "bframes=3:b-adapt=0:scenecut=0"}
    reordered["x265-params"] = "bframes=3:b-adapt=0:scenecut=0:log-level=none"
    results = [
        probe(str(movie(tmp_path / f"{name}.{suffix}", encoder, options)), SourceOptions()).tracks[0]
        for name, options in (("ordered", ordered), ("reordered", reordered))
    ]
    assert [track.kind for track in results] == [Kind.VIDEO] * 2
    assert all(track.codec_string.startswith(string) for track in results)
    plain, late = ({f.code: f.severity for f in track.findings} for track in results)
    assert Code.B_FRAMES not in plain
    assert late[Code.B_FRAMES] is Severity.ERROR


def test_other_codecs_have_no_findings(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
    track = probe(str(path), SourceOptions()).tracks[0]
    assert (track.codec, track.codec_string, track.findings) == ("vp9", "", ())


@pytest.mark.parametrize("extradata", [b"", b"\1", b"\1\2\3\4\5\6\7\10", b"\0\0\0\1\x67"])
def test_what_cannot_be_read_is_no_error(extradata: bytes) -> None:
    for codec in ("h264", "hevc"):
        inspector = Inspector(codec, extradata)
        for data in (b"", b"\0", b"\0\0\0\1", bytes(range(256)), b"\0\0\0\7abc"):
            inspector.add(data, None)
        assert inspector.pictures == 5
        assert inspector.result().codec_string == ""
