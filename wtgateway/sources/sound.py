"""Coded sound on its way through: packets of a container to what WebCodecs takes, and samples beside it.

May import bitstream, av and its sister modules. The rule: every unit stands alone, so what is damaged is left
out and counted, and nothing else suffers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av

from wtgateway.bitstream import aac
from wtgateway.bitstream.bits import BitstreamError
from wtgateway.sources import opus
from wtgateway.sources.base import CodedFormat, RawAudio
from wtgateway.sources.opened import OpenTrack

_CHANNELS = frozenset({1, 2, 6})  # loudspeakers that the page and the encoder know where to put
_US = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class SoundUnit:
    """One packet. ``forwarded`` False: no browser was seen to decode such; our own decoder does."""

    payload: bytes
    duration_us: int
    format: CodedFormat
    forwarded: bool = True


class SoundUnits(Protocol):
    """What cuts the packets of one codec."""

    def take(self, data: bytes) -> SoundUnit:
        """One packet. Raises BitstreamError."""


class OpusUnits:
    """Opus packets are as WebCodecs takes them."""

    def __init__(self, track: OpenTrack) -> None:
        context = track.decoder
        channels = context.layout.nb_channels
        self._format = CodedFormat(
            codec="opus",
            sample_rate=opus.SAMPLE_RATE,
            channels=channels,
            bitrate_bps=context.bit_rate or 0,
            description=opus.description(bytes(context.extradata or b""), channels) or b"",
        )

    def take(self, data: bytes) -> SoundUnit:
        """See SoundUnits.take."""
        duration_us = opus.duration_us(data)
        if duration_us is None:
            raise BitstreamError("no Opus packet")
        return SoundUnit(data, duration_us, self._format)


class AacUnits:
    """AAC without the headers of a transport stream; what these say goes into the description."""

    def __init__(self, track: OpenTrack) -> None:
        """Raises BitstreamError when the container's description cannot be read."""
        context = track.decoder
        self._bitrate_bps = int(context.bit_rate or 0)
        self._framed = not context.extradata  # each packet has a header of its own
        self._known: tuple[bytes, aac.AudioConfig, CodedFormat] | None = None
        if not self._framed:
            description = bytes(context.extradata)
            self._know(description, aac.parse_audio_config(description))

    def take(self, data: bytes) -> SoundUnit:
        """See SoundUnits.take."""
        if self._framed:
            frame = aac.parse_adts(data)
            data = frame.payload
            if self._known is None or self._known[0] != frame.description:
                self._know(frame.description, frame.config)
        assert self._known is not None
        _, config, format_ = self._known
        return SoundUnit(data, round(config.frame_us), format_, is_forwardable(config))

    def _know(self, description: bytes, config: aac.AudioConfig) -> None:
        format_ = CodedFormat(
            codec=config.codec,
            sample_rate=config.sample_rate,
            channels=config.channels,
            bitrate_bps=self._bitrate_bps,
            description=description,
        )
        self._known = description, config, format_


def is_forwardable(config: aac.AudioConfig) -> bool:
    """Whether both browsers were seen to decode such AAC, and the page knows its channels."""
    return config.is_plain and config.channels in _CHANNELS


def passable_sound(track: OpenTrack) -> bool:
    """Whether a sound track can be passed on as it is."""
    context = track.decoder
    extradata, channels = bytes(context.extradata or b""), context.layout.nb_channels
    if track.codec == "opus":
        return opus.description(extradata, channels) is not None
    if track.codec != "aac" or context.profile not in (None, "LC") or channels not in _CHANNELS:
        return False
    try:
        config = aac.parse_audio_config(extradata) if extradata else None
    except BitstreamError:
        return False
    # SBR that is not announced doubles the rate that comes out.
    return config is None or (is_forwardable(config) and config.sample_rate == context.sample_rate)


def sound_units(track: OpenTrack) -> SoundUnits:
    """For a track that is passable."""
    return AacUnits(track) if track.codec == "aac" else OpusUnits(track)


class SoundTap:
    """Samples of a track that is forwarded, while somebody wants them.

    ``want`` from any thread, all else from the one that reads the source. Decoding a packet of sound takes
    so little that it is done on the spot.
    """

    def __init__(self, decoder: str) -> None:
        """``decoder``: FFmpeg's name of it."""
        self.damaged = 0  # units that the decoder refused
        self._name = decoder
        self._wanted = False
        self._decoder: Any = None  # av.AudioCodecContext
        self._description = b""
        self._last: SoundUnit | None = None  # what a decoder that begins with the next one has to have seen

    def want(self, wanted: bool) -> None:
        """See Source.want_sound."""
        self._wanted = wanted

    def prime(self, unit: SoundUnit) -> None:
        """A unit of which nothing is to be heard, but which the next one builds on."""
        if self._decoder is not None:
            self._decode(unit)
        self._last = unit

    def take(self, unit: SoundUnit, pts_us: int, capture_us: int) -> list[RawAudio]:
        """The samples of the next unit, if they are wanted."""
        last, self._last = self._last, unit
        if not self._wanted:
            self._decoder = None
            return []
        if self._decoder is None or self._description != unit.format.description:
            self._open(unit.format)
            if last is not None and last.format is unit.format:
                self._decode(last)
        return [RawAudio(frame, pts_us, capture_us, unit.duration_us) for frame in self._decode(unit)]

    def _open(self, format_: CodedFormat) -> None:
        context: Any = av.CodecContext.create(self._name, "r")
        if format_.description:
            context.extradata = format_.description
        self._decoder, self._description = context, format_.description

    def _decode(self, unit: SoundUnit) -> list[Any]:
        packet = av.Packet(unit.payload)
        packet.time_base = _US
        try:
            return list(self._decoder.decode(packet))
        except (av.FFmpegError, ValueError):
            self.damaged += 1
            return []
