"""Samples to Opus at 48 kHz, in frames of 20 or 10 ms.

May import media, errors, clock, av, sources.base. The rule: timestamps are counted in samples from
an anchor on the source's timeline; small differences are slewed away, gaps begin a new anchor.
"""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np

from wtgateway import clock
from wtgateway.encoders.base import AUDIO_CODECS, AudioSettings, available_encoders
from wtgateway.encoders.opus import LAYOUTS, SAMPLE_RATE, OpusCodec, Samples, open_opus
from wtgateway.errors import EncoderError
from wtgateway.media import Frame, Rendition
from wtgateway.sources.base import RawAudio

GROUP_FRAMES = 50
REANCHOR_US = 30_000  # further off than this is a gap, not a clock that drifts
_SLEW = 64  # a 64th of the difference a frame: 30 ms of error are gone after two seconds

# OpusHead of 5.1 (RFC 7845, sections 5.1 and 5.1.1.2): family 1, four streams, two of them of two channels.
_SURROUND = b"OpusHead\1\6\0\0" + SAMPLE_RATE.to_bytes(4, "little") + bytes((0, 0, 1, 4, 2, 0, 4, 1, 2, 3, 5))


class AudioEncoder:
    """One rendition of an audio track. Used by one thread; shaped like VideoEncoder."""

    def __init__(self, settings: AudioSettings, *, track: int, rendition: int, first_group: int) -> None:
        if settings.codec not in AUDIO_CODECS or "libopus" not in available_encoders():
            raise EncoderError(f"no encoder for audio codec {settings.codec!r}; use opus (libopus)")
        if settings.frame_ms not in (10, 20) or settings.channels not in (0, *LAYOUTS):
            raise EncoderError("audio frames are 10 or 20 ms long and have 1, 2 or 6 channels")
        self.rendition: Rendition | None = None
        self.next_group = first_group
        self._settings = settings
        self._track, self._rendition_id = track, rendition
        self._frame_samples = SAMPLE_RATE * settings.frame_ms // 1000
        self._index = 0
        self._codec: OpusCodec | None = None
        self._resampler: av.AudioResampler | None = None
        self._input: tuple[str, str, int] = ("", "", 0)
        self._channels = 0
        self._delay_us = 0
        self._pending: Samples = np.zeros((0, 0), np.float32)
        self._anchor: tuple[int, int] = (0, 0)  # pts and capture of the first pending sample
        self._anchored = False
        self._taken = self._given = 0  # samples into and out of the resampler, each at its rate

    def encode(self, raw: RawAudio, *, keyframe: bool = False) -> list[Frame]:
        """Encode samples of any rate, format and layout; 0 or more frames. Raises EncoderError.

        ``keyframe`` begins a new group (of audio each frame stands alone anyway).
        """
        if keyframe:
            self._index = GROUP_FRAMES
        try:
            frames = self._prepare(raw.frame)
            frames += self._align(raw)
            assert self._resampler is not None
            self._taken += raw.frame.samples
            for part in self._resampler.resample(raw.frame):
                self._append(part)
            return frames + self._drain()
        except (av.FFmpegError, ValueError) as error:
            raise EncoderError(f"libopus failed: {error}") from error

    def interrupt(self) -> None:
        """What comes next does not follow what came before, of which nothing more is to be heard."""
        self._pending = self._pending[:, :0]
        if self._codec is not None:
            self._reset_resampler()
        self._anchored = False

    def close(self) -> None:
        """Free codec and resampler; idempotent."""
        self._codec = None
        self._resampler = None
        self._input = ("", "", 0)
        self._anchored = False

    def _prepare(self, frame: av.AudioFrame) -> list[Frame]:
        """Make resampler and codec fit the input; what the old ones still held comes out."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind == self._input and self._codec is not None:
            return []
        frames = self._flush_pending() if self._codec is not None else []
        channels = _encoded_channels(self._settings, frame.layout.nb_channels)
        if channels != self._channels or self._codec is None:
            self._open(channels)
        self._input = kind
        self._reset_resampler()
        self._anchored = False
        return frames

    def _reset_resampler(self) -> None:
        self._resampler = av.AudioResampler("fltp", LAYOUTS[self._channels], SAMPLE_RATE)
        self._taken = self._given = 0

    def _held_us(self) -> int:
        """How much sound is in here: not yet encoded, and held back by the resampler's filter."""
        filtered_us = self._taken * 1_000_000 // (self._input[2] or SAMPLE_RATE)
        filtered_us -= self._given * 1_000_000 // SAMPLE_RATE
        pending_us: int = self._pending.shape[1] * 1_000_000 // SAMPLE_RATE
        return pending_us + filtered_us

    def _open(self, channels: int) -> None:
        codec = open_opus(self._settings, channels)
        self._delay_us = codec.lookahead * 1_000_000 // SAMPLE_RATE
        self._codec, self._channels = codec, channels
        self._pending = np.zeros((channels, 0), np.float32)
        # Told without the pre-skip: a viewer joins in the middle, where nothing may be cut away, and our
        # timestamps account for it.
        description = codec.head[:10] + b"\0\0" + codec.head[12:] if channels > 2 else b""
        self.rendition = replace(
            audio_rendition(self._rendition_id, self._settings, channels), description=description
        )
        self._index = GROUP_FRAMES

    def _align(self, raw: RawAudio) -> list[Frame]:
        """Hold the sample count against the source's timestamp."""
        if not self._anchored:
            self._anchor, self._anchored = (raw.pts_us, raw.capture_us), True
            return []
        held_us = self._held_us()
        error_us = raw.pts_us - held_us - self._anchor[0]
        if abs(error_us) <= REANCHOR_US:
            nudge_us = int(error_us / _SLEW)
            capture_us = raw.capture_us - held_us
            self._anchor = (
                self._anchor[0] + nudge_us,
                self._anchor[1] + int((capture_us - self._anchor[1]) / _SLEW),
            )
            return []
        frames = self._flush_pending()
        self._reset_resampler()
        self._anchor = (raw.pts_us, raw.capture_us)
        return frames

    def _append(self, part: av.AudioFrame) -> None:
        self._given += part.samples
        samples = part.to_ndarray().astype(np.float32, copy=False)
        self._pending = np.concatenate((self._pending, samples), axis=1) if self._pending.size else samples

    def _flush_pending(self) -> list[Frame]:
        """Before a gap: the last samples, filled up with silence."""
        held = self._pending.shape[1]
        if not held:
            return []
        missing = self._frame_samples - held
        self._pending = np.pad(self._pending, ((0, 0), (0, max(0, missing))))
        frames = self._drain()
        self._pending = self._pending[:, :0]
        return frames

    def _drain(self) -> list[Frame]:
        frames = []
        size, duration_us = self._frame_samples, self._settings.frame_ms * 1000
        while self._pending.shape[1] >= size:
            block, self._pending = self._pending[:, :size], self._pending[:, size:]
            frames += self._encode_block(block)
            self._anchor = (self._anchor[0] + duration_us, self._anchor[1] + duration_us)
        return frames

    def _encode_block(self, block: Samples) -> list[Frame]:
        assert self._codec is not None
        return [self._frame(payload) for payload in self._codec.encode(block)]

    def _frame(self, payload: bytes) -> Frame:
        if self._index >= GROUP_FRAMES:
            self._index = 0
            self.next_group += 1
        now_us = clock.now_us()
        frame = Frame(
            track=self._track,
            rendition=self._rendition_id,
            group=self.next_group - 1,
            index=self._index,
            keyframe=True,
            # The codec delays sound by its lookahead; what this frame decodes to is that much older.
            pts_us=self._anchor[0] - self._delay_us,
            capture_us=self._anchor[1] - self._delay_us,
            duration_us=self._settings.frame_ms * 1000,
            payload=payload,
            encoded_us=now_us,
        )
        self._index += 1
        return frame


def audio_rendition(rendition_id: int, settings: AudioSettings, source_channels: int) -> Rendition:
    """What comes out of an encoder; ``source_channels`` 0: not known, taken for stereo."""
    channels = _encoded_channels(settings, source_channels or 2)
    return Rendition(
        id=rendition_id,
        codec="opus",
        bitrate_bps=settings.bitrate_bps,
        sample_rate=SAMPLE_RATE,
        channels=channels,
        description=_SURROUND if channels > 2 else b"",
    )


def _encoded_channels(settings: AudioSettings, source_channels: int) -> int:
    """Mono and stereo as they are; three to five channels folded to stereo; the rest as 5.1."""
    if settings.channels:
        return settings.channels
    if source_channels <= 2:
        return max(1, source_channels)
    return 6 if source_channels >= 6 else 2
