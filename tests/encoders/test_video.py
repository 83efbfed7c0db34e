"""H.264 that browsers decode without delay: one in, one out, keyframes on demand, in-band parameters."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from tests.encoders.pictures import START_US, STEP_US, decode, encoder, noise, pictures, raw
from wtgateway.bitstream.nal import split_annexb
from wtgateway.encoders import available_encoders
from wtgateway.errors import EncoderError
from wtgateway.media import Frame
from wtgateway.sources.barcode import decode_barcode
from wtgateway.sources.testpicture import TestPicture


class Bits:
    """Reads an RBSP (ITU-T H.264 7.2)."""

    def __init__(self, unit: bytes) -> None:
        rbsp = unit.replace(b"\0\0\3", b"\0\0")
        self._bits = "".join(f"{byte:08b}" for byte in rbsp)
        self._at = 0

    def u(self, count: int) -> int:
        self._at += count
        return int(self._bits[self._at - count : self._at] or "0", 2)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + (self.u(zeros) if zeros else 0)


def parse_sps(unit: bytes) -> dict[str, Any]:
    """Of a baseline SPS: what matters to latency and colour (7.3.2.1.1, E.1.1)."""
    bits, sps = Bits(unit[1:]), {}
    sps["profile"], sps["constraints"], sps["level"] = bits.u(8), bits.u(8), bits.u(8)
    bits.ue(), bits.ue()  # id, log2_max_frame_num
    poc = bits.ue()
    if poc == 0:
        bits.ue()
    sps["poc_type"], sps["ref_frames"] = poc, bits.ue()
    bits.u(1)
    sps["width"], sps["height"] = (bits.ue() + 1) * 16, (bits.ue() + 1) * 16
    assert bits.u(1), "progressive"
    bits.u(1)
    if bits.u(1):
        for _ in range(4):
            bits.ue()
    assert bits.u(1), "VUI"
    if bits.u(1):
        assert bits.u(8) != 255
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(3)
        sps["full_range"] = bits.u(1)
        assert bits.u(1)
        sps["colour"] = (bits.u(8), bits.u(8), bits.u(8))
    if bits.u(1):
        bits.ue(), bits.ue()
    if bits.u(1):
        bits.u(32), bits.u(32), bits.u(1)
    assert not bits.u(1) and not bits.u(1), "no HRD"
    bits.u(1)
    assert bits.u(1), "bitstream_restriction"
    bits.u(1), bits.ue(), bits.ue(), bits.ue(), bits.ue()
    sps["reorder"], sps["dpb"] = bits.ue(), bits.ue()
    return sps


def sps_of(frame: Frame) -> dict[str, Any]:
    return parse_sps(next(unit for unit in split_annexb(frame.payload) if unit[0] & 31 == 7))


def test_one_in_one_out_and_each_decodes_at_once() -> None:
    video = encoder()
    frames = [frame for picture in pictures(20) for frame in video.encode(picture)]
    assert len(frames) == 20
    assert [(f.group, f.index, f.keyframe) for f in frames] == [(7, i, i == 0) for i in range(20)]
    assert {(f.track, f.rendition) for f in frames} == {(3, 1)}
    assert all(type(f.payload) is bytes for f in frames)
    assert video.borders.next_group == 8
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    for i, frame in enumerate(frames):
        (shown,) = context.decode(av.Packet(frame.payload))
        assert decode_barcode(shown.to_ndarray()[:180]) == i + 1


def test_times_are_the_pictures_and_the_stages_follow() -> None:
    (frame,) = encoder().encode(pictures(1)[0])
    assert (frame.pts_us, frame.capture_us, frame.grabbed_us) == (START_US, START_US - 500, START_US - 200)
    assert frame.grabbed_us < frame.converted_us <= frame.encoded_us
    assert frame.duration_us == STEP_US


def test_the_parameter_sets_promise_no_reordering_and_say_the_colour() -> None:
    video = encoder()
    (frame,) = video.encode(noise(0))
    sps = sps_of(frame)
    assert (sps["reorder"], sps["poc_type"], sps["ref_frames"]) == (0, 2, 1)
    assert sps["dpb"] == 1
    assert (sps["profile"], sps["constraints"] & 0xC0) == (66, 0xC0), "constrained baseline"
    assert (sps["colour"], sps["full_range"]) == ((1, 1, 1), 0)
    assert video.rendition is not None
    assert video.rendition.codec == f"avc1.42C0{sps['level']:02X}"
    assert (video.rendition.width, video.rendition.height, video.rendition.id) == (640, 360, 1)
    assert video.rendition.description == b""


def test_keyframes_come_on_demand_with_parameter_sets_in_band() -> None:
    video = encoder()
    frames = [
        frame for i, picture in enumerate(pictures(12)) for frame in video.encode(picture, keyframe=i == 5)
    ]
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == [0, 5]
    assert [(f.group, f.index) for f in frames[4:7]] == [(7, 4), (8, 0), (8, 1)]
    kinds = [unit[0] & 31 for unit in split_annexb(frames[5].payload)]
    assert (7 in kinds, 8 in kinds, 5 in kinds, 1 in kinds) == (True, True, True, False)
    assert [decode_barcode(f.to_ndarray()[:180]) for f in decode(frames[5:])] == list(range(6, 13))


def test_no_keyframe_that_nobody_asked_for() -> None:
    video = encoder(keyframe_interval_s=0, preset="superfast")
    frames = [frame for i in range(40) for frame in video.encode(noise(i // 10))]  # scene cuts
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == [0]


def test_the_interval_is_one_of_time() -> None:
    video = encoder(keyframe_interval_s=1.0)
    drawing = TestPicture(64, 64)
    frames = [
        frame
        for i in range(30)
        for frame in video.encode(raw(drawing.draw(i + 1, 0), 0, at_us=START_US + i * 250_000))
    ]
    assert [i for i, frame in enumerate(frames) if frame.keyframe] == list(range(0, 30, 4))


def test_another_size_begins_a_new_group_with_another_rendition() -> None:
    video = encoder()
    (first,) = video.encode(pictures(1)[0])
    before = video.rendition
    (second,) = video.encode(pictures(2, 640, 360)[1])
    assert (first.group, second.group, second.index, second.keyframe) == (7, 8, 0, True)
    assert before is not None and video.rendition is not None
    assert (before.width, video.rendition.width) == (320, 640)


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((321, 181), {}, (320, 180)),
        ((640, 360), {"width": 320}, (320, 180)),
        ((640, 360), {"height": 90}, (160, 90)),
        ((640, 360), {"width": 101, "height": 99}, (100, 98)),
    ],
)
def test_sizes_are_even(size: tuple[int, int], settings: dict[str, int], expected: tuple[int, int]) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 4), 90, np.uint8), format="bgra")
    (shown,) = decode(encoder(**settings).encode(raw(frame, 0)))
    assert (shown.width, shown.height) == expected


@pytest.mark.parametrize("colour", [(200, 30, 40), (20, 80, 160), (255, 255, 255), (0, 0, 0)])
def test_rgb_comes_back_as_it_was(colour: tuple[int, int, int]) -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., :3] = colour[::-1]
    (shown,) = decode(encoder().encode(raw(av.VideoFrame.from_ndarray(pixels, format="bgra"), 0)))
    middle = shown.to_ndarray(format="rgb24", src_colorspace="ITU709")[32, 32]
    assert np.abs(middle.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("form", ["yuv422p", "yuvj420p", "nv12", "yuv420p10le", "gray", "rgb24", "yuyv422"])
def test_any_pixel_format_is_taken(form: str) -> None:
    frame = TestPicture(320, 180).draw(9, 0).reformat(format=form)
    (shown,) = decode(encoder().encode(raw(frame, 0)))
    assert decode_barcode(shown.to_ndarray()[:180]) == 9


def test_unlabelled_small_pictures_are_bt601() -> None:
    frame = TestPicture(320, 180).draw(1, 0)
    frame.colorspace = frame.color_primaries = frame.color_trc = 2
    (encoded,) = encoder().encode(raw(frame, 0))
    assert sps_of(encoded)["colour"] == (6, 6, 6)


def test_a_decoded_b_picture_is_not_encoded_as_one() -> None:
    video = encoder()
    for picture in pictures(4):
        picture.frame.pict_type = 3
        (frame,) = video.encode(picture)
    assert not frame.keyframe


def test_the_bit_rate_is_kept_and_followed_down_without_a_keyframe() -> None:
    video = encoder(bitrate_bps=2_000_000)
    sizes = []
    for i in range(150):
        if i == 90:
            video.set_bitrate(1_000_000)
        (frame,) = video.encode(noise(i // 3))
        sizes.append(len(frame.payload))
        assert frame.keyframe == (i == 0)
    assert sum(sizes[30:90]) * 8 / (60 * STEP_US / 1e6) < 2_600_000
    assert sum(sizes[110:]) * 8 / (40 * STEP_US / 1e6) < 1_300_000


def test_a_keyframe_is_no_more_than_a_tenth_of_a_second_of_rate() -> None:
    video = encoder(bitrate_bps=1_000_000)
    sizes = [len(video.encode(noise(i), keyframe=i % 10 == 0)[0].payload) for i in range(41)]
    assert max(sizes[::10]) * 8 < 1_000_000 * 0.1 * 1.5


def test_more_than_it_was_opened_with_begins_a_group() -> None:
    video = encoder(bitrate_bps=500_000)
    video.encode(noise(0))
    video.set_bitrate(2_000_000)
    (frame,) = video.encode(noise(1))
    assert (frame.group, frame.keyframe) == (8, True)
    assert video.rendition is not None
    assert video.rendition.bitrate_bps == 2_000_000


def test_time_that_stands_still_or_goes_back_is_survived() -> None:
    video = encoder()
    drawing = TestPicture(64, 64)
    frames = [
        frame
        for at in (0, 40_000, 40_000, 20_000, 90_000)
        for frame in video.encode(raw(drawing.draw(1, 0), 0, at_us=START_US + at))
    ]
    assert len(frames) == 5
    assert len(decode(frames)) == 5


def test_closed_and_used_again_begins_a_group() -> None:
    video = encoder()
    first, second = pictures(2)
    video.encode(first)
    video.close()
    video.close()
    (frame,) = video.encode(second)
    assert (frame.group, frame.index, frame.keyframe) == (8, 0, True)


def test_large_pictures_are_cut_into_slices_for_all_cores() -> None:
    video = encoder(threads=4)
    frames = [f for picture in pictures(3, 1920, 1080) for f in video.encode(picture)]
    assert sum(unit[0] & 31 == 5 for unit in split_annexb(frames[0].payload)) == 4
    assert [decode_barcode(f.to_ndarray()[:1080]) for f in decode(frames)] == [1, 2, 3]


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(EncoderError, match="use h264"):
        encoder(codec="theora")
    with pytest.raises(EncoderError, match="libx264 failed"):
        encoder(preset="warp").encode(pictures(1)[0])
    assert {"libx264", "libopus"} <= set(available_encoders())
