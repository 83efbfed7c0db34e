"""What the coded pictures of a source say to a decoder: their codec string, and what makes browsers wait.

May import bitstream, media, av. The rule: bytes come from a stranger; what cannot be read is a finding,
never an error.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wtgateway.bitstream.bits import BitstreamError
from wtgateway.bitstream.linter import Finding, Observer, lint
from wtgateway.bitstream.nal import split_annexb, split_length_prefixed
from wtgateway.bitstream.records import DecoderConfiguration, parse_avcc, parse_hvcc
from wtgateway.errors import SourceEnded, SourceError
from wtgateway.sources.opened import OpenTrack
from wtgateway.sources.reader import PacketReader

PICTURES = 120  # two groups of most cameras
PATIENCE_S = 4.0  # for a source that sends in real time
_PARSERS: dict[str, Callable[[bytes], DecoderConfiguration]] = {"h264": parse_avcc, "hevc": parse_hvcc}


@dataclass(frozen=True, slots=True)
class Inspection:
    """``codec_string`` as WebCodecs names it (empty: no parameter sets were seen)."""

    codec_string: str = ""
    findings: tuple[Finding, ...] = ()


class Inspector:
    """Watches the packets of one H.264 or HEVC track as a container has them."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        """``extradata`` is an avcC or hvcC record, or parameter sets in Annex B, or empty."""
        self.pictures = 0
        self._observer = Observer(codec)
        self._length_size = 0  # 0: Annex B
        # A record that cannot be read leaves packets that cannot either: those are found to be broken.
        with contextlib.suppress(BitstreamError):
            if extradata[:1] == b"\1":
                record = _PARSERS[codec](extradata)
                self._length_size = record.length_size
                self._observer.add(record.parameter_sets)
            elif extradata:
                self._observer.add(split_annexb(extradata))

    def add(self, data: bytes, pts: int | None) -> None:
        """One packet, in decoding order."""
        self.pictures += 1
        try:
            size = self._length_size
            units = split_length_prefixed(data, size) if size else split_annexb(data)
        except BitstreamError:
            units = (data[:1],)  # an empty unit: the observer counts it as broken
        self._observer.observe(units, pts)

    def result(self) -> Inspection:
        """What was found so far."""
        if not self._observer.sps:
            return Inspection()
        sps = self._observer.sps[-1]
        return Inspection(sps.codec, lint(sps, self._observer.observation))


def inspector_of(track: OpenTrack) -> Inspector | None:
    """None for a codec that the linter does not know."""
    codec = track.codec
    return Inspector(codec, bytes(track.decoder.extradata or b"")) if codec in _PARSERS else None


def inspect(reader: PacketReader, track: OpenTrack) -> Inspection:
    """Read some pictures of an open source; blocks for at most some seconds."""
    inspector = inspector_of(track)
    if inspector is None:
        return Inspection()
    until = time.monotonic() + PATIENCE_S
    while inspector.pictures < PICTURES and time.monotonic() < until:
        try:
            packet: Any = reader.next().packet
        except (SourceEnded, SourceError):
            break  # it opened; that it does not go on is for whoever plays it
        if packet is None:
            break  # a file's end
        if packet.stream_index == track.index and packet.size:
            inspector.add(bytes(packet), packet.pts)
    return inspector.result()
