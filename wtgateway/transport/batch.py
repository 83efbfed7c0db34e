"""What goes into a batch of packets: pieces of frame streams and datagrams, cut to the path's size.

Pure: bytes in, payloads and what they hold out; sealing and recording are the lane's. Imports
aioquic's encoding of integers and this package.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from aioquic.buffer import encode_uint_var

from wtgateway.transport.frame_stream import FrameStream
from wtgateway.transport.sealing import LEAST_PAYLOAD
from wtgateway.transport.udp import Peer

_DATAGRAM, _DATAGRAM_WITH_LENGTH = b"\x30", b"\x31"


class Run(NamedTuple):
    """Packets for one peer, all of one size but the last, which may be shorter: one segmented send."""

    peer: Peer
    packets: list[bytes]


class Datagrams:
    """Payloads with a common ``prefix`` that wait to be sent."""

    __slots__ = ("next", "payloads", "prefix")

    def __init__(self, prefix: bytes, payloads: Sequence[bytes]) -> None:
        self.prefix = prefix
        self.payloads = list(payloads)
        self.next = 0

    def pack(self, room: int) -> tuple[bytes, int]:
        """DATAGRAM frames for one packet of at most ``room`` bytes, and how many payloads they hold.

        The last has no length, it ends with the packet (RFC 9221, section 4); at least one is packed.
        """
        prefix, payloads, at = self.prefix, self.payloads, self.next
        last = payloads[at]
        at += 1
        used = 1 + len(prefix) + len(last)
        if at == len(payloads) or used + 4 + 2 * len(prefix) + len(payloads[at]) > room:
            return _DATAGRAM + prefix + last, 1
        frames: list[bytes] = []
        while at < len(payloads):
            framed = encode_uint_var(len(prefix) + len(last))
            if used + len(framed) + 1 + len(prefix) + len(payloads[at]) > room:
                break
            frames += (_DATAGRAM_WITH_LENGTH, framed, prefix, last)
            used += len(framed) + 1 + len(prefix) + len(payloads[at])
            last = payloads[at]
            at += 1
        return b"".join((*frames, _DATAGRAM, prefix, last)), at - self.next


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
        if len(payload) < LEAST_PAYLOAD:
            payload = bytes(LEAST_PAYLOAD - len(payload)) + payload  # PADDING
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
