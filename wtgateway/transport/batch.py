"""What goes into a batch of packets: pieces of frame streams and datagrams, cut to the path's size.

Pure: bytes in, payloads and what they hold out; sealing and recording are the lane's. Imports
aioquic's encoding of integers and this package.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from aioquic.buffer import encode_uint_var

from wtgateway.transport.frame_stream import FRAMES_REMEMBERED, FrameStream
from wtgateway.transport.sealing import LEAST_PAYLOAD
from wtgateway.transport.udp import Peer

_DATAGRAM, _DATAGRAM_WITH_LENGTH = b"\x30", b"\x31"


class Run(NamedTuple):
    """Packets for one peer, all of one size but the last, which may be shorter: one segmented send."""

    peer: Peer
    packets: list[bytes]


Packed = tuple[bytes, int, int]
"""DATAGRAM frames for one packet, how many payloads they hold, and the bytes of those."""


@functools.lru_cache(maxsize=FRAMES_REMEMBERED)
def _pack(prefix: bytes, payloads: tuple[bytes, ...], room: int) -> list[Packed]:
    """Packets of at most ``room`` bytes of frames; a payload that does not fit has one to itself.

    The last frame of a packet has no length, it ends with the packet (RFC 9221, section 4). Packed once
    for all viewers whose paths are alike: they are sent the same payloads within one turn.
    """
    packed: list[Packed] = []
    at = 0
    while at < len(payloads):
        last, begun, frames = payloads[at], at, b""
        size = len(last)
        at += 1
        while at < len(payloads):
            framed = encode_uint_var(len(prefix) + len(last))
            longer = len(frames) + len(framed) + 2 + 2 * len(prefix) + len(last) + len(payloads[at])
            if longer > room:
                break
            frames += _DATAGRAM_WITH_LENGTH + framed + prefix + last
            last = payloads[at]
            size += len(last)
            at += 1
        frames += _DATAGRAM + prefix + last
        frames = bytes(max(0, LEAST_PAYLOAD - len(frames))) + frames  # PADDING
        packed.append((frames, at - begun, size))
    return packed


class Datagrams:
    """Payloads with a common ``prefix`` that wait to be sent."""

    __slots__ = ("_packed", "_packed_at", "_payloads", "_room", "_sent", "prefix")

    def __init__(self, prefix: bytes, payloads: Sequence[bytes]) -> None:
        self.prefix = prefix
        self._payloads = tuple(payloads)
        self._sent = 0  # payloads
        self._packed: list[Packed] = []
        self._packed_at = 0
        self._room = 0

    def __len__(self) -> int:
        return len(self._payloads) - self._sent

    @property
    def unsent(self) -> int:
        """Bytes of the payloads that wait."""
        return sum(map(len, self._payloads[self._sent :]))

    def extend(self, payloads: Sequence[bytes]) -> None:
        """More of the kind."""
        self._payloads, self._sent = (*self._payloads[self._sent :], *payloads), 0
        self._room = 0

    def next(self, room: int) -> Packed:
        """What the next packet holds, of at most ``room`` bytes unless a payload is larger than that."""
        if room != self._room:
            self._payloads, self._sent = self._payloads[self._sent :], 0
            self._packed, self._packed_at, self._room = _pack(self.prefix, self._payloads, room), 0, room
        return self._packed[self._packed_at]

    def took(self, count: int) -> None:
        """The packet of :meth:`next`, of ``count`` payloads, was taken."""
        self._packed_at += 1
        self._sent += count


class Batch:
    """A batch of packets' contents that is being put together."""

    __slots__ = ("_bytes_left", "_overhead", "_packets_left", "contents", "payload_bytes", "payloads")

    def __init__(self, packets: int, room: int, payload_bytes: int, overhead_bytes: int) -> None:
        self.payload_bytes = payload_bytes
        self.payloads: list[bytes] = []
        self.contents: list[tuple[FrameStream | None, int, int]] = []
        self._packets_left = packets
        self._bytes_left = room
        self._overhead = overhead_bytes

    @property
    def open(self) -> bool:
        """Whether another packet fits."""
        return self._packets_left > 0 and self._bytes_left > self._overhead

    def add(self, payload: bytes, content: tuple[FrameStream | None, int, int]) -> bool:
        """A packet with that payload, if it fits."""
        size = len(payload) + self._overhead
        if self._packets_left <= 0 or size > self._bytes_left:
            return False
        self._packets_left -= 1
        self._bytes_left -= size
        self.payloads.append(payload)
        self.contents.append(content)
        return True

    def stream(self, stream: FrameStream, start: int, stop: int) -> int:
        """STREAM frames for bytes ``start`` to ``stop``; how far it got. Each ends with its packet.

        Not cut smaller than a packet for the window's sake: a full one can leave soon.
        """
        name = encode_uint_var(stream.stream_id)
        pieces, first = stream.pieces(self.payload_bytes - len(name))
        at = first.get(start, len(pieces))
        payloads, contents = self.payloads, self.contents
        packets_left, bytes_left = self._packets_left, self._bytes_left - self._overhead
        while start < stop and packets_left > 0:
            if at < len(pieces) and pieces[at][3] <= stop:
                kind, rest, _, end = pieces[at]
                at += 1
            else:  # what flow control stops at, or was lost from packets of another size
                kind, rest, _, end = stream.piece(start, stop, self.payload_bytes - len(name))
            size = len(kind) + len(name) + len(rest)
            if size > bytes_left:
                break
            bytes_left -= size + self._overhead
            packets_left -= 1
            payloads.append(kind + name + rest)
            contents.append((stream, start, end))
            start = end
        self._packets_left, self._bytes_left = packets_left, bytes_left + self._overhead
        return start


def run_of(peer: Peer, packets: list[bytes]) -> list[Run]:
    """Runs for packets to one peer: cut before a packet that is larger, and behind one that is shorter."""
    size = len(packets[0])
    if len(packets[-1]) <= size and all(len(packet) == size for packet in packets[:-1]):
        return [Run(peer, packets)]
    runs = [Run(peer, [packets[0]])]
    for packet in packets[1:]:
        run = runs[-1].packets
        if len(packet) > len(run[0]) or len(run[-1]) < len(run[0]):
            runs.append(Run(peer, [packet]))
        else:
            run.append(packet)
    return runs


def runs_of(datagrams: Sequence[tuple[bytes, Any]]) -> list[Run]:
    """Runs for what aioquic made, as (packet, peer)."""
    runs: list[Run] = []
    for peer, group in itertools.groupby(datagrams, key=lambda datagram: datagram[1]):
        runs += run_of(peer, [data for data, _ in group])
    return runs
