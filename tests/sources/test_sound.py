"""AAC on its way through: the same sound at the same time, and samples beside it when they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from tests.sources.coded import of, read_all
from wtgateway.sources import CodedAudio, CodedVideo, RawAudio
from wtgateway.sources.base import CodedFormat
from wtgateway.sources.sound import SoundTap, SoundUnit, passable_sound

Media = Callable[..., Any]
FRAME_US = 21_333
NOISE = 0.005  # AAC has decoders make some up; one sample of the tone aside would be 0.03


def remuxed(path: Path, target: Path) -> Path:
    """The same packets in another container."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        streams = {stream.index: container.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
    return target


def heard(pieces: list[Any]) -> np.ndarray[Any, Any]:
    """One channel of what a decoder makes of coded or raw pieces."""
    if isinstance(pieces[0], RawAudio):
        return np.concatenate([piece.frame.to_ndarray()[0] for piece in pieces])
    decoder: Any = av.CodecContext.create("aac", "r")
    decoder.extradata = pieces[0].format.description
    frames = [frame for piece in pieces for frame in decoder.decode(av.Packet(piece.payload))]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def tone_hz(samples: np.ndarray[Any, Any], rate: int = 48_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_aac_is_passed_on_as_a_decoder_wants_it(
    media: Media, tools: Any, tmp_path: Path, suffix: str
) -> None:
    path = remuxed(media("mp4", 24).path, tmp_path / f"a.{suffix}")
    source = tools.make(str(path), forward=True, forward_audio=True, loop=False)
    info = source.open()
    assert (info.coded_video, info.coded_audio, info.audio_codec) == ("h264", "aac", "aac")
    pieces = read_all(source)
    video, sound = of(CodedVideo, pieces), of(CodedAudio, pieces)
    assert len(video) + len(sound) == len(pieces), "samples come when they are wanted only"
    assert len({id(piece.format) for piece in sound}) == 1
    format_ = sound[0].format
    assert (format_.codec, format_.sample_rate, format_.channels) == ("mp4a.40.2", 48_000, 2)
    assert format_.description[:2] == bytes.fromhex("1190")
    assert {piece.duration_us for piece in sound} == {FRAME_US}
    assert all(abs(b.pts_us - a.pts_us - FRAME_US) <= 1_100 for a, b in pairwise(sound))
    samples = heard(sound)
    assert np.abs(samples[2048:-4096]).max() == pytest.approx(0.25, abs=0.03)
    assert tone_hz(samples[2048:-4096]) == pytest.approx(tools.TONE_HZ, abs=5)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_each_packet_is_heard_when_its_samples_would_be(
    media: Media, tools: Any, tmp_path: Path, suffix: str
) -> None:
    path = remuxed(media("mp4", 24).path, tmp_path / f"a.{suffix}")
    passed = read_all(tools.open(str(path), forward=True, forward_audio=True, loop=False))
    decoded = read_all(tools.open(str(path), forward=True, loop=False))

    def since_first_picture(pieces: list[Any], kind: type) -> list[int]:
        first = min(piece.pts_us for piece in of(CodedVideo, pieces))
        return [piece.pts_us - first for piece in of(kind, pieces)]

    coded_us, raw_us = since_first_picture(passed, CodedAudio), since_first_picture(decoded, RawAudio)
    # What is put in front for the decoder is told by MP4 and Matroska alone.
    assert len(coded_us) == len(raw_us)
    assert all(abs(a - b) <= 1_100 for a, b in zip(coded_us, raw_us, strict=True))
    # The samples are the decoder's but for the first, which it has to begin with.
    coded, raw = heard(of(CodedAudio, passed)), heard(of(RawAudio, decoded))
    size = min(len(coded), len(raw))
    assert np.abs(coded[1024:size] - raw[1024:size]).max() < NOISE


def test_samples_come_beside_with_the_same_times_while_they_are_wanted(media: Media, tools: Any) -> None:
    source = tools.make(str(media("mp4", 30).path), forward=True, forward_audio=True, loop=False)
    source.want_sound(True)
    source.open()
    pieces = read_all(source)
    coded, raw = of(CodedAudio, pieces), of(RawAudio, pieces)
    assert [(c.pts_us, c.capture_us) for c in coded] == [(r.pts_us, r.capture_us) for r in raw]
    decoded = of(RawAudio, read_all(tools.open(str(media("mp4", 30).path), forward=True, loop=False)))
    assert np.abs(heard(raw)[: len(heard(decoded))] - heard(decoded)).max() < NOISE, "its first ones too"


def test_samples_that_are_wanted_in_the_middle_are_whole_from_the_first_on(media: Media, tools: Any) -> None:
    path = str(media("mp4", 30).path)
    source = tools.open(path, forward=True, forward_audio=True, loop=False)
    before = []
    while len(of(CodedAudio, before)) < 20:
        before.append(source.read())
    assert not of(RawAudio, before)
    source.want_sound(True)
    after = read_all(source)
    raw = of(RawAudio, after)
    whole = heard(of(RawAudio, read_all(tools.open(path, forward=True, loop=False))))
    assert np.abs(heard(raw)[:4096] - whole[20 * 1024 :][:4096]).max() < NOISE

    again = tools.open(path, forward=True, forward_audio=True, loop=False)
    again.want_sound(True)
    while not isinstance(again.read(), RawAudio):
        pass
    again.want_sound(False)
    assert not of(RawAudio, read_all(again)[1:]), "at most what was decoded already"


def test_a_loop_goes_on_without_a_seam(media: Media, tools: Any) -> None:
    source = tools.open(str(media("mp4", 15, audio_s=0.6).path), forward=True, forward_audio=True)
    pieces: list[Any] = []
    while len(of(CodedVideo, pieces)) < 45:
        pieces.append(source.read())
    sound = of(CodedAudio, pieces)
    assert all(FRAME_US - 2 <= b.pts_us - a.pts_us < 2 * FRAME_US for a, b in pairwise(sound)), (
        "none overlaps"
    )
    for start in [piece.pts_us for piece in of(CodedVideo, pieces) if piece.keyframe][1:]:
        assert min(abs(piece.pts_us - start) for piece in sound) <= 25_000


def test_sound_alone_is_passed_on(media: Media, tools: Any, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        for i in range(20):
            block = av.AudioFrame.from_ndarray(np.full((1, 1024), 0.1, np.float32), "fltp", "mono")
            block.sample_rate, block.pts = 44_100, i * 1024
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    source = tools.make(str(tmp_path / "a.m4a"), forward_audio=True, loop=False)
    assert source.open().coded_audio == "aac"
    sound = read_all(source)
    assert (sound[0].format.sample_rate, sound[0].format.channels) == (44_100, 1)
    assert all(abs(b.pts_us - a.pts_us - 23_220) <= 1 for a, b in pairwise(sound))


@dataclass
class Decoder:
    """What a container's prober says of a track."""

    extradata: bytes
    profile: str | None = "LC"
    sample_rate: int = 48_000
    channels: int = 2
    name: str = "aac"

    @property
    def layout(self) -> Any:
        return SimpleNamespace(nb_channels=self.channels)

    @property
    def codec(self) -> Any:
        return SimpleNamespace(canonical_name=self.name)


@pytest.mark.parametrize(
    ("decoder", "passed"),
    [
        (Decoder(bytes.fromhex("1190")), True),
        (Decoder(b""), True),
        (Decoder(b"", profile="HE-AAC"), False),
        (Decoder(bytes.fromhex("1310"), sample_rate=48_000), False),  # 24 kHz, and twice that comes out
        (Decoder(bytes.fromhex("2b118800")), False),  # SBR, announced
        (Decoder(bytes.fromhex("1180"), channels=2), False),  # channels told elsewhere
        (Decoder(bytes.fromhex("11b8"), channels=8), False),
        (Decoder(b"\x11"), False),
        (Decoder(b"", name="mp3"), False),
        (Decoder(b"", name="aac_latm"), False),
    ],
)
def test_what_is_passed_on_is_what_browsers_were_seen_to_decode(decoder: Decoder, passed: bool) -> None:
    from wtgateway.sources.opened import OpenTrack

    assert passable_sound(OpenTrack("audio", 0, decoder, Fraction(1, 1000))) is passed


def test_a_damaged_packet_costs_itself_alone() -> None:
    tap = SoundTap("aac")
    tap.want(True)
    format_ = CodedFormat(codec="mp4a.40.2", description=bytes.fromhex("1190"))
    encoder: Any = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "fltp"
    frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
    frame.sample_rate = 48_000
    packets = [bytes(packet) for _ in range(6) for packet in encoder.encode(frame)]
    packets[2] = b"\xff" * 40
    frames = [tap.take(SoundUnit(each, FRAME_US, format_), 0, 0) for each in packets]
    assert [len(each) for each in frames] == [1, 1, 0, 1, 1]
    assert tap.damaged == 1
