"""AAC headers: those of real encoders and containers, those of the standard's tables, and any other bytes."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.bitstream.aac import LC, PS, SBR, AudioConfig, parse_adts, parse_audio_config
from wtgateway.bitstream.bits import BitstreamError, BitWriter

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def encoded(rate: int, channels: int, format: str) -> tuple[bytes, list[bytes]]:
    """The description and the packets of some noise, as a container of that format gives them out."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream("aac", rate=rate)
        stream.layout = LAYOUTS[channels]
        for number in range(4):
            samples = np.random.default_rng(number).normal(0, 0.1, (channels, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", LAYOUTS[channels])
            frame.sample_rate, frame.pts = rate, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        stream = container.streams.audio[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return bytes(stream.codec_context.extradata or b""), packets


@pytest.mark.parametrize("channels", LAYOUTS)
@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050])
def test_what_an_encoder_says_is_read(rate: int, channels: int) -> None:
    description, _ = encoded(rate, channels, "mp4")
    config = parse_audio_config(description)
    assert config == AudioConfig(object_type=LC, sample_rate=rate, channels=channels)
    assert (config.codec, config.is_plain) == ("mp4a.40.2", True)
    assert config.frame_us == pytest.approx(1024e6 / rate)


@pytest.mark.parametrize("channels", LAYOUTS)
def test_a_frame_of_a_transport_stream_is_the_one_of_a_file(channels: int) -> None:
    description, packets = encoded(44_100, channels, "mp4")
    nothing, framed = encoded(44_100, channels, "mpegts")
    assert nothing == b""
    frames = [parse_adts(packet) for packet in framed]
    assert frames[0].config == parse_audio_config(description)
    assert {frame.config for frame in frames} == {parse_audio_config(frames[0].description)}
    # Who wrote it is said in the first frame, in a file alone.
    assert [frame.payload for frame in frames[1:]] == packets[1:]


def written(*fields: tuple[int, int]) -> bytes:
    """An AudioSpecificConfig of (bits, value), filled up with zeros."""
    writer = BitWriter()
    for bits, value in fields:
        writer.u(bits, value)
    return writer.aligned()


GENERAL = ((1, 0), (1, 0), (1, 0))  # long frames, no core coder, no extension


@pytest.mark.parametrize(
    ("fields", "codec", "rate"),
    [
        ([(5, SBR), (4, 6), (4, 2), (4, 3), (5, LC), *GENERAL], "mp4a.40.5", 24_000),
        ([(5, PS), (4, 6), (4, 1), (4, 3), (5, LC), *GENERAL], "mp4a.40.29", 24_000),
        ([(5, LC), (4, 6), (4, 2), *GENERAL, (11, 0x2B7), (5, SBR), (1, 1), (4, 3)], "mp4a.40.5", 24_000),
        (
            [(5, LC), (4, 6), (4, 1), *GENERAL, (11, 0x2B7), (5, SBR), (1, 1), (4, 3), (11, 0x548), (1, 1)],
            "mp4a.40.29",
            24_000,
        ),
        ([(5, LC), (4, 6), (4, 2), *GENERAL, (11, 0x2B7), (5, SBR), (1, 0)], "mp4a.40.2", 24_000),
        ([(5, 31), (6, 10), (4, 3), (4, 2)], "mp4a.40.42", 48_000),
        ([(5, LC), (4, 15), (24, 50_000), (4, 2), *GENERAL], "mp4a.40.2", 50_000),
    ],
)
def test_extensions_and_rarer_forms(fields: list[tuple[int, int]], codec: str, rate: int) -> None:
    config = parse_audio_config(written(*fields))
    assert (config.codec, config.sample_rate) == (codec, rate)
    assert config.is_plain == (codec == "mp4a.40.2")


def test_what_no_browser_was_seen_to_decode_is_not_plain() -> None:
    short = parse_audio_config(written((5, LC), (4, 3), (4, 2), (1, 1), (1, 0), (1, 0)))
    assert (short.frame_samples, short.is_plain) == (960, False)
    elsewhere = parse_audio_config(written((5, LC), (4, 3), (4, 0), *GENERAL))
    assert (elsewhere.channels, elsewhere.is_plain) == (0, False)
    assert not parse_audio_config(written((5, 1), (4, 3), (4, 2), *GENERAL)).is_plain  # AAC Main


@pytest.mark.parametrize(
    "fields", [[(5, LC), (4, 13), (4, 2), *GENERAL], [(5, LC), (4, 3), (4, 9), *GENERAL], [(5, LC)]]
)
def test_what_is_reserved_or_cut_off_is_an_error(fields: list[tuple[int, int]]) -> None:
    with pytest.raises(BitstreamError):
        parse_audio_config(written(*fields)[:2])


def adts(payload: bytes, *, size: int | None = None, checksum: bytes = b"", blocks: int = 0) -> bytes:
    length = 7 + len(checksum) + len(payload) if size is None else size
    return (
        written(
            (12, 0xFFF), (1, 0), (2, 0), (1, not checksum), (2, LC - 1), (4, 3), (1, 0), (3, 2), (4, 0),
            (13, length), (11, 0x7FF), (2, blocks),
        )
        + checksum
        + payload
    )  # fmt: skip


def test_a_checksum_is_no_part_of_the_frame() -> None:
    assert parse_adts(adts(b"frame", checksum=b"\1\2")).payload == b"frame"
    assert parse_adts(adts(b"frame")).payload == b"frame"
    assert parse_adts(adts(b"frame")).description == bytes.fromhex("1190")


@pytest.mark.parametrize(
    "data",
    [
        adts(b"frame")[:-1],
        adts(b"frame") + b"x",
        adts(b""),
        adts(b"frame", blocks=1),
        b"\xff\xe0" + adts(b"x")[2:],
        b"",
    ],
)
def test_what_is_no_whole_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        parse_adts(data)


@given(st.binary(max_size=32))
def test_any_bytes_are_a_configuration_or_an_error(data: bytes) -> None:
    try:
        config = parse_audio_config(data)
    except BitstreamError:
        return
    assert config.sample_rate > 0


@given(st.binary(max_size=32), st.binary(min_size=1, max_size=64))
def test_any_bytes_are_a_frame_or_an_error(damage: bytes, payload: bytes) -> None:
    whole = adts(payload)
    for data in (damage, damage + whole[len(damage) :], whole[: len(damage)]):
        try:
            frame = parse_adts(data)
        except BitstreamError:
            continue
        assert data.endswith(frame.payload)
        assert parse_audio_config(frame.description).sample_rate == frame.config.sample_rate
