"""Opus packets that never came: recovered from the next one, made up, and counted; on real packets."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
import pytest

from wtgateway.encoders.base import AudioSettings
from wtgateway.encoders.opus import open_opus
from wtgateway.media import Frame, Kind, Rendition
from wtgateway.viewer import opus
from wtgateway.viewer.decode import Decoded, Decoder, Encoded
from wtgateway.viewer.opus import ConcealingOpus

RATE, BLOCK, BLOCK_US = 48_000, 960, 20_000
Samples = npt.NDArray[np.float32]


def voice(at: int, count: int) -> Samples:
    """Syllables that differ: what is made up is not what was said."""
    time = (at + np.arange(count)) / RATE
    phase = 2 * np.pi * 150 * time - 15 * np.cos(2 * np.pi * 4 * time)  # 90 to 210 Hz
    loud = 0.12 + 0.1 * np.sin(2 * np.pi * 5 * time)
    return np.asarray(loud * sum(np.sin(n * phase) / n for n in range(1, 6)), np.float32)


def packets(*, fec: bool, channels: int = 1, count: int = 100) -> list[bytes]:
    settings = AudioSettings(bitrate_bps=32_000, fec=fec)
    encoder = open_opus(settings, channels)
    out = []
    for n in range(count):
        block = np.repeat(voice(n * BLOCK, BLOCK)[None], channels, axis=0)
        out += encoder.encode(block)
    return out


def heard(encoded: list[bytes], missing: set[int], channels: int = 1) -> tuple[list[Decoded], list[str]]:
    rendition = Rendition(id=0, codec="opus", sample_rate=RATE, channels=channels)
    decoded: list[Decoded] = []
    troubles: list[str] = []
    decoder = Decoder(decoded.append, lambda _, words: troubles.append(words))
    for n, payload in enumerate(encoded):
        if n not in missing:
            frame = Frame(
                track=1, rendition=0, group=0, index=n, keyframe=True, pts_us=n * BLOCK_US, capture_us=0,
                duration_us=BLOCK_US, payload=payload,
            )  # fmt: skip
            decoder.decode(Encoded(frame, Kind.AUDIO, rendition))
    decoder.close()
    return decoded, troubles


def joined(decoded: list[Decoded]) -> Samples:
    return np.concatenate([d.media.to_ndarray()[0] for d in decoded])


@pytest.mark.parametrize("channels", [1, 2])
def test_nothing_is_made_up_where_nothing_is_missing(channels: int) -> None:
    encoded = packets(fec=False, channels=channels)
    decoded, troubles = heard(encoded, set(), channels)
    assert [d.concealed for d in decoded] == [False] * 100
    assert troubles == []
    reference = av.CodecContext.create("libopus", "r")
    assert isinstance(reference, av.audio.codeccontext.AudioCodecContext)
    reference.sample_rate, reference.layout = RATE, {1: "mono", 2: "stereo"}[channels]
    frames = [f.to_ndarray() for packet in encoded for f in reference.decode(av.Packet(packet))]
    ours = np.concatenate([d.media.to_ndarray().T.reshape(-1) for d in decoded])
    theirs = np.concatenate([f.reshape(-1) for f in frames])
    theirs = theirs / np.float32(32768) if theirs.dtype == np.int16 else theirs
    assert np.abs(ours - theirs).max() < 1e-3


def test_every_moment_is_there_whatever_is_lost_and_it_is_told_what_was_made_up() -> None:
    missing = {20, 41, 42, 60, 61, 62, 63}
    decoded, _ = heard(packets(fec=False), missing)
    assert [d.media.pts for d in decoded] == [n * BLOCK_US for n in range(100)]
    assert {n for n, d in enumerate(decoded) if d.concealed} == missing
    assert {d.media.samples for d in decoded} == {BLOCK}
    sound = joined(decoded)
    own = joined(heard(packets(fec=False), set())[0])
    assert np.abs(np.diff(sound)).max() < 2 * np.abs(np.diff(own)).max()
    assert np.abs(sound[20 * BLOCK : 21 * BLOCK]).max() > 0.02, "not silence"


def test_a_copy_in_the_next_packet_is_used_and_is_closer_to_what_was_said() -> None:
    missing = set(range(15, 95, 7))

    def spectra(encoded: list[bytes], lost: set[int]) -> Samples:
        sound = joined(heard(encoded, lost)[0])
        blocks = np.stack([sound[n * BLOCK : (n + 1) * BLOCK] for n in missing])
        return np.abs(np.fft.rfft(blocks * np.hanning(BLOCK)))

    def error(fec: bool) -> float:
        encoded = packets(fec=fec)
        complete = spectra(encoded, set())
        return float(np.sum((complete - spectra(encoded, missing)) ** 2) / np.sum(complete**2))

    assert error(fec=True) < 0.05 < 0.2 < error(fec=False)


def test_a_pause_is_no_loss() -> None:
    decoded, _ = heard(packets(fec=False), set(range(30, 60)))
    assert not any(d.concealed for d in decoded)
    assert len(decoded) == 70


def test_what_is_no_packet_is_an_error_in_words_and_the_next_one_is_heard() -> None:
    encoded = packets(fec=False, count=20)
    encoded[7] = b"\xff\xff\xff"
    decoded, troubles = heard(encoded, set())
    assert len(troubles) == 1
    assert "libopus refuses" in troubles[0]
    assert decoded[-1].media.pts == 19 * BLOCK_US


def test_without_libopus_ffmpeg_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    from wtgateway.encoders import opus as encoders_opus

    encoded = packets(fec=False, count=20)
    opus._library.cache_clear()
    monkeypatch.setattr(encoders_opus, "_candidates", lambda: iter(["libnothing.so"]))
    monkeypatch.setattr(opus, "libopus", encoders_opus.libopus.__wrapped__)
    decoded, troubles = heard(encoded, {10})
    opus._library.cache_clear()
    assert (len(decoded), troubles) == (19, [])
    assert not any(d.concealed for d in decoded)


def test_a_decoder_is_given_back() -> None:
    decoder = ConcealingOpus(2)
    del decoder
