"""Opus at 48 kHz: frame lengths, layouts, tone, and timestamps that hold over gaps and drift."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest

from wtgateway.encoders import AudioEncoder, AudioSettings, opus
from wtgateway.encoders.audio import GROUP_FRAMES, audio_rendition
from wtgateway.errors import EncoderError
from wtgateway.media import Frame
from wtgateway.sources import RawAudio

START_US = 1_700_000_000_000_000
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 6: "5.1", 8: "7.1"}


def encoder(**settings: Any) -> AudioEncoder:
    return AudioEncoder(AudioSettings(**settings), track=4, rendition=2, first_group=5)


def tone(
    seconds: float, *, rate: int = 48_000, channels: int = 2, block: int = 1024, hz: float = 1000
) -> list[RawAudio]:
    """A sine in blocks, stamped by its own sample count."""
    wave = (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
    made = []
    for start in range(0, wave.size - block + 1, block):
        samples = np.ascontiguousarray(np.stack((wave[start : start + block],) * channels))
        if channels > 6:  # PyAV makes no planar frame of more channels
            packed = np.ascontiguousarray(samples.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, "flt", LAYOUTS[channels])
        else:
            frame = av.AudioFrame.from_ndarray(samples, "fltp", LAYOUTS[channels])
        frame.sample_rate = rate
        at_us = START_US + start * 1_000_000 // rate
        made.append(RawAudio(frame, at_us, at_us, block * 1_000_000 // rate))
    return made


def encode(audio: AudioEncoder, raws: list[RawAudio]) -> list[Frame]:
    return [frame for raw in raws for frame in audio.encode(raw)]


def shifted(raw: RawAudio, by_us: int) -> RawAudio:
    return RawAudio(raw.frame, raw.pts_us + by_us, raw.capture_us + by_us, raw.duration_us)


def decode(frames: list[Frame], channels: int = 2) -> np.ndarray[Any, Any]:
    context = av.CodecContext.create("libopus", "r")
    context.sample_rate, context.layout = 48_000, LAYOUTS[channels]
    parts = [f.to_ndarray() for frame in frames for f in context.decode(av.Packet(frame.payload))]
    joined = np.concatenate(parts, axis=1).astype(np.float64)
    return joined.reshape(-1, channels).T if joined.shape[0] == 1 else joined


@pytest.mark.parametrize("frame_ms", [10, 20])
@pytest.mark.parametrize("rate", [48_000, 44_100, 8_000])
def test_frames_of_one_length_whatever_comes_in(frame_ms: int, rate: int) -> None:
    frames = encode(encoder(frame_ms=frame_ms), tone(1.0, rate=rate))
    assert {f.duration_us for f in frames} == {frame_ms * 1000}
    assert all(abs(b.pts_us - a.pts_us - frame_ms * 1000) <= 20 for a, b in pairwise(frames))
    assert abs(len(frames) * frame_ms - 1000) <= 2 * frame_ms + 150 * (rate == 8_000)
    assert all(f.keyframe and type(f.payload) is bytes for f in frames)


def test_it_is_the_tone_and_in_time() -> None:
    frames = encode(encoder(), tone(1.0))
    heard = decode(frames)[0]
    part = heard[9_600:28_800]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(part.size)))
    assert np.argmax(spectrum) * 48_000 / part.size == pytest.approx(1000, abs=3)


def test_what_a_frame_decodes_to_belongs_to_its_timestamp() -> None:
    raws = tone(0.6, block=960)
    silent = np.zeros((2, 960), np.float32)
    loud = np.concatenate([raw.frame.to_ndarray() for raw in raws[:5]], axis=1)
    parts = [silent] * 10 + list(np.split(loud, 5, axis=1)) + [silent] * 5
    made = []
    for i, samples in enumerate(parts):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "stereo")
        frame.sample_rate = 48_000
        made.append(RawAudio(frame, START_US + i * 20_000, START_US + i * 20_000, 20_000))
    frames = encode(encoder(), made)
    heard = decode(frames)[0]
    onset = int(np.argmax(np.abs(heard) > 0.1 * np.abs(heard).max()))
    onset_us = frames[0].pts_us + onset * 1_000_000 / 48_000
    assert onset_us == pytest.approx(START_US + 200_000, abs=1_500)


@pytest.mark.parametrize(("given", "encoded"), [(1, 1), (2, 2), (3, 2), (6, 6), (8, 6)])
def test_layouts(given: int, encoded: int) -> None:
    audio = encoder(bitrate_bps=256_000)
    frames = encode(audio, tone(0.2, channels=given))
    assert audio.rendition is not None
    assert (audio.rendition.codec, audio.rendition.channels) == ("opus", encoded)
    assert (audio.rendition.sample_rate, audio.rendition.id) == (48_000, 2)
    if encoded <= 2:
        assert audio.rendition.description == b""
        assert decode(frames, encoded).shape[0] == encoded
    else:
        head = audio.rendition.description
        assert head[:8] == b"OpusHead"
        assert (head[9], head[10:12], head[18]) == (6, b"\0\0", 1), "six channels, no pre-skip, family 1"


def test_surround_can_be_folded_to_stereo() -> None:
    audio = encoder(channels=2)
    assert decode(encode(audio, tone(0.2, channels=6))).shape[0] == 2


def test_a_group_is_a_second() -> None:
    frames = encode(encoder(), tone(2.5))
    assert GROUP_FRAMES == 50
    assert [(f.group, f.index) for f in frames[:52:50]] == [(5, 0), (6, 0)]
    assert [(f.group - 5, f.index) for f in frames] == [divmod(i, 50) for i in range(len(frames))]
    assert {(f.track, f.rendition) for f in frames} == {(4, 2)}


def test_a_gap_is_taken_over() -> None:
    raws = tone(1.0, block=960)
    frames = encode(encoder(), raws[:20] + [shifted(raw, 500_000) for raw in raws[20:]])
    jumps = [b.pts_us - a.pts_us for a, b in pairwise(frames)]
    assert jumps.count(20_000) == len(jumps) - 1
    assert jumps[19] == 520_000
    assert all(f.capture_us == f.pts_us for f in frames)


def test_before_a_gap_the_rest_is_filled_up_with_silence() -> None:
    raws = tone(1.0, block=1000)
    frames = encode(encoder(), [raws[0], shifted(raws[1], 500_000)])
    assert [f.pts_us - frames[0].pts_us for f in frames] == [0, 20_000, 520_833]


def test_drift_of_the_source_is_followed_without_a_jump() -> None:
    raws = [shifted(raw, i * 2) for i, raw in enumerate(tone(40.0, block=960))]  # 100 ppm slow
    frames = encode(encoder(), raws)
    steps = [b.pts_us - a.pts_us for a, b in pairwise(frames)]
    assert max(steps) <= 20_005
    assert frames[-1].pts_us - frames[0].pts_us == pytest.approx((len(frames) - 1) * 20_002, abs=300)


def test_jitter_of_timestamps_is_smoothed() -> None:
    raws = [shifted(raw, (i * 7919) % 9_000) for i, raw in enumerate(tone(4.0, block=960))]
    steps = [b.pts_us - a.pts_us for a, b in pairwise(encode(encoder(), raws))]
    assert all(abs(step - 20_000) < 300 for step in steps)


def test_another_format_in_the_middle_goes_on() -> None:
    audio = encoder()
    first = encode(audio, tone(0.4, block=960))
    second = encode(audio, [shifted(raw, 400_000) for raw in tone(0.4, rate=44_100, channels=1, block=441)])
    assert audio.rendition is not None
    assert audio.rendition.channels == 1
    assert second[0].group > first[-1].group
    assert 0 < second[0].pts_us - first[-1].pts_us <= 25_000


def test_what_cannot_be_is_told() -> None:
    for settings in ({"codec": "mp3"}, {"frame_ms": 15}, {"channels": 3}):
        with pytest.raises(EncoderError):
            encoder(**settings)
    audio = encoder()
    audio.close()
    audio.close()


def has_copy_of_the_one_before(payload: bytes) -> bool:
    """The LBRR flag of a mono packet of 20 ms (RFC 6716, section 4.2.3)."""
    return payload[0] & 0x80 == 0 and bool(payload[1] >> 6 & 1)


@pytest.mark.parametrize("fec", [False, True])
def test_frames_carry_a_copy_of_the_one_before_when_asked_to(fec: bool) -> None:
    audio = encoder(bitrate_bps=32_000, channels=1, fec=fec)
    random = np.random.default_rng(1)
    time = np.arange(960) / 48_000
    packets = []
    for number in range(50):  # something like a voice, which swells: of what is steady there are no copies
        wave = np.sin(2 * np.pi * 220 * (time + number * 0.02)) * (1 + np.sin(number))
        samples = (0.3 * wave + random.normal(0, 0.01, 960)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
        frame.sample_rate = 48_000
        packets += audio.encode(RawAudio(frame, number * 20_000, number * 20_000, 20_000))
    copies = sum(has_copy_of_the_one_before(packet.payload) for packet in packets[5:])
    assert copies > 10 if fec else copies == 0


@pytest.mark.parametrize("channels", LAYOUTS)
def test_what_comes_out_is_known_before_it_runs(channels: int) -> None:
    audio = encoder(bitrate_bps=96_000)
    audio.encode(tone(0.1, channels=channels)[0])
    assert audio.rendition == audio_rendition(2, AudioSettings(bitrate_bps=96_000), channels)


def test_after_an_interruption_nothing_of_before_is_heard() -> None:
    audio = encoder()
    encode(audio, tone(0.1)[:3])  # 64 ms: four of them wait for the rest of their frame
    audio.interrupt()
    frames = encode(audio, [shifted(raw, 10_000_000) for raw in tone(0.1)])
    assert frames[0].capture_us == pytest.approx(START_US + 10_000_000, abs=7_000)
    assert [b.pts_us - a.pts_us for a, b in pairwise(frames)] == [20_000] * (len(frames) - 1)


def heard(frames: list[Frame], channels: int = 2) -> np.ndarray[Any, Any]:
    """What another decoder than libopus, FFmpeg's own, makes of it."""
    context: Any = av.CodecContext.create("opus", "r")
    context.sample_rate, context.layout = 48_000, LAYOUTS[channels]
    return np.concatenate(
        [f.to_ndarray() for frame in frames for f in context.decode(av.Packet(frame.payload))], axis=1
    )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bitrate_bps", [24_000, 128_000])
@pytest.mark.parametrize("fec", [False, True])
def test_with_dtx_silence_takes_a_byte_a_frame_and_its_time(
    channels: int, bitrate_bps: int, fec: bool
) -> None:
    audio = encoder(dtx=True, bitrate_bps=bitrate_bps, fec=fec)
    sound = tone(0.96, channels=channels, block=960)
    silence = tone(1.92, channels=channels, block=960, hz=0.0)
    again = tone(0.96, channels=channels, block=960)
    raws = [
        shifted(raw, i * 20_000 - (raw.pts_us - START_US)) for i, raw in enumerate([*sound, *silence, *again])
    ]
    frames = encode(audio, raws)
    assert len(frames) == len(raws), "one for each, silent or not"
    assert all(b.pts_us - a.pts_us == 20_000 for a, b in pairwise(frames))
    sizes = [len(frame.payload) for frame in frames]
    assert sizes[65:140].count(1) > 65, "but for a frame now and then that keeps the noise right"
    assert min(sizes[5:45]) > 20 and min(sizes[150:]) > 20
    samples = heard(frames, channels)
    assert samples.shape[1] == len(frames) * 960
    level = [float(np.sqrt(np.mean(samples[0, i * 960 : (i + 1) * 960] ** 2))) for i in range(len(frames))]
    assert min(level[5:45]) > 0.25 and max(level[60:140]) < 0.01 and min(level[152:190]) > 0.25
    peak = np.argmax(np.abs(np.fft.rfft(samples[0, 960 * 155 : 960 * 185])))
    assert peak * 48_000 / (960 * 30) == pytest.approx(1000, abs=5)


def test_dtx_changes_no_time() -> None:
    made = [encode(encoder(dtx=dtx), tone(0.5)) for dtx in (False, True)]
    assert [(f.pts_us, f.capture_us) for f in made[0]] == [(f.pts_us, f.capture_us) for f in made[1]]


def test_surround_goes_without_dtx() -> None:
    frames = encode(encoder(dtx=True), tone(0.5, channels=6, hz=0.0))
    assert min(len(frame.payload) for frame in frames) > 1


def test_a_machine_without_libopus_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "_candidates", lambda: iter(["libnothing.so"]))
    monkeypatch.setattr(opus, "libopus", opus.libopus.__wrapped__)
    with pytest.raises(EncoderError, match="apt install libopus0"):
        encode(encoder(dtx=True), tone(0.1))
