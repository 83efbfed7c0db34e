"""What passes an interface of a namespace: sizes, directions and ports of UDP, without opening anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.support.namespaces import Network

_EVERYTHING = 0x0003  # ETH_P_ALL
_IPV4, _UDP, _ETHERNET = 0x0800, 17, 14
_READS_PER_TURN = 256


@dataclass(frozen=True, slots=True)
class Passed:
    """One UDP datagram, or several that left in one segment offload: all their payload bytes."""

    port: int  # of the client's side
    sent: bool  # by us
    size: int


class Capture:
    """IPv4 datagrams of one port of ours, in their order."""

    def __init__(self, sock: socket.socket, port: int) -> None:
        self._sock, self._port = sock, port
        self.passed: list[Passed] = []

    def read(self) -> None:
        """Take what the kernel has; bounded, so that nobody waits."""
        for _ in range(_READS_PER_TURN):
            try:
                data, (_, protocol, kind, *_) = self._sock.recvfrom(256)
            except BlockingIOError:
                return
            if protocol == _IPV4 and data[_ETHERNET + 9] == _UDP:
                self._take(data[_ETHERNET:], kind == socket.PACKET_OUTGOING)

    def _take(self, packet: bytes, sent: bool) -> None:
        source, target, length = struct.unpack_from("!HHH", packet, 4 * (packet[0] & 15))
        ours, theirs = (source, target) if sent else (target, source)
        if ours == self._port:
            self.passed.append(Passed(theirs, sent, length - 8))


@contextlib.contextmanager
def capturing(net: Network, name: str, interface: str, port: int) -> Iterator[Capture]:
    """Note what passes until the end of the block."""
    with net.inside(name):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
    with sock:
        sock.bind((interface, _EVERYTHING))
        sock.setblocking(False)
        capture = Capture(sock, port)
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), capture.read)
        try:
            yield capture
        finally:
            loop.remove_reader(sock.fileno())
