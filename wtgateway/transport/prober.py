"""Path MTU discovery of one connection: probes through its lane, and what is found into its packets.

:mod:`pmtu` decides; here its probes are sealed and sent, the answers come back, the size that was found is
given to aioquic, congestion control and pacer, and a change of the path (a viewer who moves to another
network) begins the search anew, before anything large is sent there. Congestion control tells of large
packets that are lost (:class:`~wtgateway.transport.congestion.MediaCongestionControl`'s ``sizes``). Costs
nothing while there is nothing to probe. Imports aioquic and this package.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from aioquic.quic.connection import QuicNetworkPath

from wtgateway.transport import internals
from wtgateway.transport.lane import Lane
from wtgateway.transport.pmtu import BASE, PathMtu, is_ipv4
from wtgateway.transport.udp import Peer

NEVER = math.inf


class Fits(Protocol):
    """Sends one datagram: True sent, False larger than the interface takes, None: not now."""

    def __call__(self, data: bytes, peer: Peer) -> bool | None:
        """Send it."""


class PathProber:
    """``due`` is when :meth:`act` is to be called, in s; :data:`NEVER` while there is nothing to do."""

    __slots__ = ("_counters", "_lane", "_paths", "due", "mtu")

    def __init__(self, lane: Lane, counters: Counter[str]) -> None:
        self._lane, self._counters = lane, counters
        self._paths: list[QuicNetworkPath] = []
        self.mtu: PathMtu | None = None  # until the handshake is confirmed
        self.due = NEVER

    def look(self) -> None:
        """The connection took in something that was no media: has it moved, or begun?"""
        quic = self._lane.quic
        if quic._network_paths == self._paths or not internals.handshake_confirmed(quic):
            return
        self._paths = internals.paths(quic)
        peer: Peer = self._paths[0].addr
        self.mtu = PathMtu(ipv4=is_ipv4(peer.address), ceiling=internals.max_udp_payload_size(quic))
        internals.watch_sizes(quic, self)
        self._apply()
        self.due = 0.0

    def act(self, now: float, send: Fits) -> None:
        """Take over what was found, and send a probe if it is time for one."""
        mtu = self.mtu
        if mtu is None or internals.is_closing(self._lane.quic):
            self.due = NEVER
            return
        self._apply()
        while (size := mtu.next_probe(now)) is not None and not self._probe(mtu, size, now, send):
            pass
        timer = mtu.next_timer()
        self.due = NEVER if timer is None else timer

    def refused(self, size: int) -> None:
        """The interface takes ``size`` bytes no more, though it did: it need not be found out by losses."""
        if self.mtu is not None and size <= self.mtu.size:
            self.mtu.on_too_big(size)
            self.due = 0.0

    def _probe(self, mtu: PathMtu, size: int, now: float, send: Fits) -> bool:
        """Whether the search has to wait now: for an answer, or for a better moment."""
        made = self._lane.send_probe(size, now, self._answer(mtu, size))
        if made is None:
            mtu.on_unsent(size, now)
            return True
        sent = send(*made)
        if sent:
            self._counters["mtu_probes"] += 1
            return True
        self._lane.withdraw_probe(size)
        if sent is None:
            mtu.on_unsent(size, now)
            return True
        mtu.on_too_big(size)
        return False

    def _answer(self, mtu: PathMtu, size: int) -> Callable[[bool], None]:
        def on_result(acked: bool) -> None:
            mtu.on_probe(size, acked)
            self.due = 0.0

        return on_result

    def _apply(self) -> None:
        assert self.mtu is not None
        quic, size = self._lane.quic, self.mtu.size
        if quic._max_datagram_size != size:
            dropped = internals.set_max_datagram_size(quic, size)
            self._counters["datagrams_too_large"] += dropped

    # --- what congestion control tells -------------------------------------------------------------

    @property
    def suspicious(self) -> bool:
        """Whether :meth:`acked` has anything to learn."""
        return self.mtu is not None and self.mtu.suspicious

    def acked(self, size: int) -> None:
        """A packet of ``size`` bytes arrived."""
        assert self.mtu is not None
        self.mtu.on_packet_acked(size)

    def lost(self, largest: int) -> None:
        """Packets were given up together, the largest of ``largest`` bytes."""
        if largest > BASE and self.mtu is not None:
            holes = self.mtu.black_holes
            self.mtu.on_packets_lost(largest)
            if self.mtu.black_holes != holes:
                self._counters["mtu_black_holes"] += 1
                self.due = 0.0
