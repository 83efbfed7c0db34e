"""AAC: what a decoder must be told (AudioSpecificConfig), and the headers that MPEG-TS puts before frames.

Pure. Source: ISO/IEC 14496-3 clauses 1.6.2.1 (AudioSpecificConfig), 1.6.5 (SBR and PS announced in it), 4.4.1
(GASpecificConfig), 1.A.2.2 (ADTS); RFC 6381 section 3.3 (codec strings).
"""

from __future__ import annotations

from dataclasses import dataclass

from wtgateway.bitstream.bits import BitReader, BitstreamError

LC = 2  # audio object types
SBR = 5
PS = 29
FRAME_SAMPLES = 1024  # a channel, of a frame that is not of the short kind
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)  # by channel configuration; 0: told elsewhere
_ESCAPE = 31  # of an audio object type; 15 of a frequency index
_EXTENSION_SYNC = 0x2B7  # clause 1.6.5: what follows says whether there is SBR
_PS_SYNC = 0x548
# What ends in a GASpecificConfig (table 1.15), without those for error resilience.
_GENERAL = frozenset({1, 2, 3, 4, 6, 7})
_ADTS_SYNC = 0xFFF
_ADTS_BYTES = 7  # of the header, without a checksum
_CHECKSUM_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """What an AudioSpecificConfig says. ``channels`` 0: it is told inside of the stream.

    ``object_type`` is the one of the core; ``extension`` is SBR or PS where these are announced, else 0.
    ``sample_rate`` is the core's, half of what comes out of SBR.
    """

    object_type: int
    sample_rate: int
    channels: int
    extension: int = 0
    frame_samples: int = FRAME_SAMPLES

    @property
    def codec(self) -> str:
        """As WebCodecs names it."""
        return f"mp4a.40.{self.extension or self.object_type}"

    @property
    def is_plain(self) -> bool:
        """Whether it is AAC-LC in frames of 1024 samples, with channels that its header tells."""
        plain = self.object_type == LC and not self.extension and self.frame_samples == FRAME_SAMPLES
        return plain and self.channels > 0

    @property
    def frame_us(self) -> float:
        """The duration of a frame."""
        return self.frame_samples * 1e6 / self.sample_rate


def parse_audio_config(data: bytes) -> AudioConfig:
    """An AudioSpecificConfig, as MP4, Matroska, FLV and SDP carry it. Raises BitstreamError."""
    reader = BitReader(data)
    object_type = _object_type(reader)
    sample_rate = _sample_rate(reader)
    configuration = reader.u(4)
    if configuration >= len(_CHANNELS):
        raise BitstreamError(f"an AAC channel configuration of {configuration}, which is not known")
    extension = 0
    if object_type in (SBR, PS):  # announced in front: what follows is the core's
        extension = object_type
        _sample_rate(reader)
        object_type = _object_type(reader)
    frame_samples = FRAME_SAMPLES
    if object_type in _GENERAL:
        frame_samples = 960 if reader.flag() else FRAME_SAMPLES
        if reader.flag():  # dependsOnCoreCoder
            reader.skip(14)
        reader.skip(1)  # extensionFlag
        if not extension and configuration:
            extension = _extension(reader)
    return AudioConfig(
        object_type=object_type,
        sample_rate=sample_rate,
        channels=_CHANNELS[configuration],
        extension=extension,
        frame_samples=frame_samples,
    )


def _object_type(reader: BitReader) -> int:
    object_type = reader.u(5)
    return 32 + reader.u(6) if object_type == _ESCAPE else object_type


def _sample_rate(reader: BitReader) -> int:
    index = reader.u(4)
    rate = reader.u(24) if index == 15 else _RATES[index] if index < len(_RATES) else 0
    if not rate:
        raise BitstreamError(f"an AAC sample rate of index {index}, which is reserved")
    return rate


def _extension(reader: BitReader) -> int:
    """SBR or PS that is announced behind the core's configuration; 0: neither."""
    if (
        reader.left < 16
        or reader.u(11) != _EXTENSION_SYNC
        or _object_type(reader) != SBR
        or not reader.flag()
    ):
        return 0
    _sample_rate(reader)
    return PS if reader.left >= 12 and reader.u(11) == _PS_SYNC and reader.flag() else SBR


@dataclass(frozen=True, slots=True)
class AdtsFrame:
    """One frame without its header. ``description`` is the AudioSpecificConfig that the header amounts to."""

    config: AudioConfig
    description: bytes
    payload: bytes


def parse_adts(data: bytes) -> AdtsFrame:
    """An ADTS frame as MPEG-TS and HLS carry it: whole, of one raw data block. Raises BitstreamError."""
    reader = BitReader(data)
    if reader.u(12) != _ADTS_SYNC:
        raise BitstreamError("AAC that does not begin with an ADTS header")
    reader.skip(1)  # MPEG-4 or MPEG-2, which differ in nothing that matters here
    if reader.u(2):
        raise BitstreamError("an ADTS header of another layer")
    unprotected = reader.flag()
    object_type = reader.u(2) + 1
    index = reader.u(4)
    if index >= len(_RATES):
        raise BitstreamError(f"an AAC sample rate of index {index}, which ADTS cannot have")
    reader.skip(1)  # private
    configuration = reader.u(3)
    reader.skip(4)  # original, home, copyright
    size = reader.u(13)
    reader.skip(11)  # how full the buffer is
    if reader.u(2):
        raise BitstreamError("an ADTS frame of several raw data blocks")
    begins = _ADTS_BYTES if unprotected else _ADTS_BYTES + _CHECKSUM_BYTES
    if size != len(data) or size <= begins:
        raise BitstreamError(f"an ADTS frame of {size} bytes in a packet of {len(data)}")
    config = AudioConfig(
        object_type=object_type, sample_rate=_RATES[index], channels=_CHANNELS[configuration]
    )
    description = (object_type << 11 | index << 7 | configuration << 3).to_bytes(2, "big")
    return AdtsFrame(config, description, data[begins:])
