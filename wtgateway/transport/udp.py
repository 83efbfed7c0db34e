"""UDP sockets for QUIC: non-blocking, drained and filled in batches, segmented by the kernel (GSO).

A datagram's address is a :class:`Peer`: where it came from and, on a socket bound to all addresses,
which of ours it came to, so that the answer leaves from there (a host has several addresses, and
IPv6 privacy ones would be preferred). Whatever the kernel refuses is counted and left to QUIC's loss
recovery. Imports errors only.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wtgateway.errors import TransportError

log = logging.getLogger("wtgateway.transport")

SOCKET_BUFFER_BYTES = 4 << 20
MAX_BACKLOG_BYTES = 1 << 20  # datagrams kept while the kernel's buffer is full
_MAX_DATAGRAM_BYTES = 65535
_MOST_PEERS = 1024
_MAX_SEGMENTS = 64
_MAX_SEGMENTED_BYTES = 65000
_ALWAYS_FITS = 1200  # RFC 9000, section 14: a path that takes less is none for QUIC

_SOL_UDP, _UDP_SEGMENT = 17, 103
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3
_IP_PKTINFO = 8
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_OLDEST_S = 1.0
_LINUX = sys.platform == "linux"
_BUSY = (errno.EAGAIN, errno.EWOULDBLOCK)
_NO_OFFLOAD = (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT)


class Peer(NamedTuple):
    """One end of a path: the peer's socket address, and our own as ancillary data (or nothing)."""

    address: tuple[Any, ...]
    local: tuple[tuple[int, int, bytes], ...] = ()


Datagram = tuple[bytes, Peer]
Received = tuple[bytes, Peer, float]  # with the time it arrived, as the kernel stamped it, by time.monotonic


def plain_address(address: tuple[Any, ...]) -> tuple[Any, ...]:
    """(host, port), an IPv4 address mapped into IPv6 written as IPv4."""
    host = str(address[0])
    return (host.removeprefix("::ffff:") if "." in host else host, address[1])


class UdpSocket:
    """A bound (server) or connected (client) socket."""

    def __init__(self, sock: socket.socket, *, counters: Counter[str], segmented: bool | None = None) -> None:
        self.sock = sock
        self.counters = counters
        self.segmented = _probe_segmentation(sock) if segmented is None else segmented
        self.on_blocked: Callable[[], None] = lambda: None
        self.refused_bytes = 0  # size of a datagram just now that is larger than the interface takes
        self._connected_to: tuple[Any, ...] | None = None
        self._with_local = False
        self._peers: dict[tuple[Any, ...], Peer] = {}  # one value for all datagrams of one path
        self._backlog: deque[tuple[Sequence[bytes], Peer]] = deque()
        self._backlog_bytes = 0
        sock.setblocking(False)
        _grow(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE)
        _grow(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE)
        _never_fragment(sock)
        _stamp(sock)

    @classmethod
    def bind(cls, family: int, address: tuple[Any, ...], *, counters: Counter[str]) -> UdpSocket:
        """A bound socket; ``::`` takes both families. Raises OSError."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
            sock.bind(address)
            return cls.adopt(sock, counters=counters)
        except BaseException:
            sock.close()
            raise

    @classmethod
    def adopt(cls, sock: socket.socket, *, counters: Counter[str]) -> UdpSocket:
        """Around a socket that is bound already. Raises OSError."""
        udp = cls(sock, counters=counters)
        if udp.address[0] in ("::", "0.0.0.0"):  # noqa: S104 - a comparison
            udp._tell_local_address()
        return udp

    @classmethod
    def connect(
        cls,
        family: int,
        address: tuple[Any, ...],
        *,
        counters: Counter[str],
        prepare: Callable[[socket.socket], None] = lambda sock: None,
    ) -> UdpSocket:
        """A socket that talks to one address only, and hears of refusals. Raises OSError.

        ``prepare`` is given it before (to bind it).
        """
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            prepare(sock)
            sock.connect(address)
            udp = cls(sock, counters=counters)
        except BaseException:
            sock.close()
            raise
        udp._connected_to = address
        return udp

    @property
    def address(self) -> tuple[Any, ...]:
        """Where it is bound."""
        return tuple(self.sock.getsockname())

    @property
    def blocked(self) -> bool:
        """Whether datagrams wait for the kernel."""
        return bool(self._backlog)

    def fileno(self) -> int:
        """For the event loop."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close it; what waits is dropped."""
        self._backlog.clear()
        self._backlog_bytes = 0
        self.sock.close()

    # --- in --------------------------------------------------------------------------------------

    def receive(self, limit: int) -> list[Received]:
        """At most ``limit`` datagrams that are there now.

        Raises TransportError on a connected socket whose peer has no such port.
        """
        datagrams: list[Received] = []
        now = time.monotonic()
        shift = now - time.time()  # from the clock of the kernel's stamps to ours
        for _ in range(limit):
            try:
                datagrams.append(self._receive_one(now, shift))
            except BlockingIOError:
                break
            except OSError as error:  # an ICMP error of an earlier send
                self.counters["receive_errors"] += 1
                if self._connected_to is not None and error.errno == errno.ECONNREFUSED:
                    raise TransportError("nothing listens on that UDP port: check host and port") from None
        self.counters["datagrams_in"] += len(datagrams)
        return datagrams

    def _receive_one(self, now: float, shift: float) -> Received:
        data, ancillary, _, address = self.sock.recvmsg(_MAX_DATAGRAM_BYTES, 128)
        if ancillary and ancillary[0][1] == _SO_TIMESTAMPNS:  # comes before what IP has to say
            seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
            stamped = seconds + nanoseconds * 1e-9 + shift
            if now - _OLDEST_S < stamped < now:  # or somebody has set the clock
                now = stamped
            local = ancillary[1:]
        else:
            local = ancillary
        key = (address, *local) if local else address
        peer = self._peers.get(key)
        if peer is None:
            answer = tuple(_answer_from(item) for item in local if _is_local(item))
            peer = Peer(self._connected_to or address, answer)
            if len(self._peers) >= _MOST_PEERS:
                self._peers.clear()  # it only saves work
            self._peers[key] = peer
        return data, peer, now

    # --- out -------------------------------------------------------------------------------------

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send all, segmented where that saves calls; what cannot be sent now waits or is dropped."""
        self.counters["datagrams_out"] += len(datagrams)
        start = 0
        while start < len(datagrams):
            end = self._batch_end(datagrams, start)
            batch = [data for data, _ in datagrams[start:end]]
            self._send_or_keep(batch, datagrams[start][1])
            start = end

    def send_run(self, packets: Sequence[bytes], peer: Peer) -> None:
        """Send packets of one size, the last perhaps shorter, to one peer: one call where that can be."""
        self.counters["datagrams_out"] += len(packets)
        self._send_or_keep(packets, peer)

    def send_probe(self, data: bytes, peer: Peer) -> bool | None:
        """Send a datagram at once or not at all: False if it is too large for the interface, None if busy."""
        if self._backlog:
            return None
        try:
            self._send_message([data], peer, ())
        except OSError as error:
            return False if error.errno == errno.EMSGSIZE else None
        self.counters["datagrams_out"] += 1
        return True

    def resume(self) -> None:
        """The kernel has room again."""
        while self._backlog:
            batch, peer = self._backlog[0]
            if not self._send_batch(batch, peer):
                return
            self._backlog.popleft()
            self._backlog_bytes -= sum(map(len, batch))
        self.refused_bytes = 0

    def _batch_end(self, datagrams: Sequence[Datagram], start: int) -> int:
        """The end of the run that one segmented call can take: same peer, same size, a shorter last."""
        end = start + 1
        if not self.segmented:
            return end
        first, peer = datagrams[start]
        size = total = len(first)
        limit = min(len(datagrams), start + _MAX_SEGMENTS)
        while end < limit:
            data, to = datagrams[end]
            total += len(data)
            if (to is not peer and to != peer) or len(data) > size or total > _MAX_SEGMENTED_BYTES:
                break
            end += 1
            if len(data) < size:
                break
        return end

    def _send_or_keep(self, batch: Sequence[bytes], peer: Peer) -> None:
        if not self._backlog and self._send_batch(batch, peer):
            return
        size = sum(map(len, batch))
        if self._backlog_bytes + size > MAX_BACKLOG_BYTES:
            self.counters["send_dropped"] += len(batch)
            return
        if not self._backlog:
            self.counters["send_blocked"] += 1
            self.on_blocked()
        self._backlog.append((batch, peer))
        self._backlog_bytes += size

    def _send_batch(self, batch: Sequence[bytes], peer: Peer) -> bool:
        """False: the kernel's buffer is full. All other refusals are counted, and the datagram is lost."""
        if len(batch) > 1:
            sent = self._send_segmented(batch, peer) if self.segmented else None
            if sent is not None:
                return sent
            for index, data in enumerate(batch):
                if not self._send_batch([data], peer):
                    if index:  # the rest waits; what left must not leave twice
                        self._send_or_keep(batch[index:], peer)
                        return True
                    return False
            return True
        try:
            self._send_message(batch, peer, ())
        except OSError as error:
            if error.errno in _BUSY:
                return False
            if error.errno == errno.EMSGSIZE:
                self.counters["send_too_big"] += 1
                self.refused_bytes = len(batch[0])
            else:
                self.counters["send_errors"] += 1
        return True

    def _send_segmented(self, batch: Sequence[bytes], peer: Peer) -> bool | None:
        """True sent, False buffer full, None: send them one by one."""
        size = ((_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", len(batch[0]))),)
        try:
            self._send_message(batch, peer, size)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            # Linux before 6.13 says EINVAL where a segment is larger than the interface takes.
            too_big = error.errno == errno.EINVAL and len(batch[0]) > _ALWAYS_FITS
            if error.errno in _NO_OFFLOAD and not too_big:
                self.segmented = False
                log.info(
                    "the kernel or a network card cannot segment UDP (%s): datagrams leave singly", error
                )
            return None
        self.counters["gso_batches"] += 1
        return True

    def _send_message(
        self, buffers: Sequence[bytes], peer: Peer, extra: tuple[tuple[int, int, bytes], ...]
    ) -> None:
        if self._connected_to is not None:
            self.sock.sendmsg(buffers, extra)
        elif extra or peer.local:
            self.sock.sendmsg(buffers, (*peer.local, *extra), 0, peer.address)
        else:
            self.sock.sendto(buffers[0], peer.address)

    def _tell_local_address(self) -> None:
        if not _LINUX:
            return
        if self.sock.family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self.sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._with_local = True


def _is_local(item: tuple[int, int, bytes]) -> bool:
    return item[:2] in ((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO), (socket.IPPROTO_IP, _IP_PKTINFO))


def _answer_from(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """The ancillary data that makes an answer leave from the address a datagram came to.

    The interface is left to routing, except for link-local addresses, which mean nothing without it.
    """
    level, kind, data = item
    if level == socket.IPPROTO_IP:  # struct in_pktinfo: interface, local address, destination
        return level, kind, bytes(4) + data[4:8] + bytes(4)
    if data[0] == 0xFE and data[1] & 0xC0 == 0x80:
        return item
    return level, kind, data[:16] + bytes(4)


def _probe_segmentation(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return _LINUX


def _grow(sock: socket.socket, option: int, force: int) -> None:
    """Ask for a large buffer; only root may pass the system's limit."""
    try:
        if _LINUX:
            sock.setsockopt(socket.SOL_SOCKET, force, SOCKET_BUFFER_BYTES)
            return
    except OSError:
        pass
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
    except OSError as error:
        log.debug("the socket buffer keeps its size: %s", error)


def _never_fragment(sock: socket.socket) -> None:
    """RFC 9000 section 14: no IP fragments."""
    if not _LINUX:
        return
    options = [(socket.IPPROTO_IP, _IP_MTU_DISCOVER)]
    if sock.family == socket.AF_INET6:
        options.append((socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER))
    for level, option in options:
        try:
            sock.setsockopt(level, option, _PMTUDISC_PROBE)
        except OSError as error:
            log.debug("path MTU discovery stays as it is: %s", error)


def _stamp(sock: socket.socket) -> None:
    """Have the kernel say when a datagram arrived: a busy loop must not take its own delay for the path's."""
    try:
        if _LINUX:
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError as error:
        log.debug("the kernel does not stamp datagrams: %s", error)
