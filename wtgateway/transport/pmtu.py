"""Path MTU discovery by probe packets (DPLPMTUD: RFC 8899, RFC 9000 section 14.3) for one path.

All sizes are bytes of UDP payload. Searching begins at 1200, which the handshake has confirmed, with the
size that nearly every path takes: Ethernet's. Where that arrives, larger ones are tried upward, one
after the other, until one does not; a path beyond Ethernet's MTU is one of a few kinds. Where it does not
arrive, the likely sizes below it (tunnels, PPPoE, IPv6's minimum) are bisected, then the bytes between
two of them, until the rest is not worth a probe. A size is given up after ``MAX_PROBES`` lost probes, or
at once when the kernel refuses it.

When the search is over, nothing happens for ``RAISE_S``; then larger sizes are tried again. Packets of
more than 1200 bytes that are lost time after time, with none as large acknowledged in between, mean that
the path has changed (a black hole): back to 1200, and a search below what is lost.

Pure: ``now`` is an argument, in s. Whoever owns it asks :meth:`PathMtu.next_probe`, sends that probe, and
tells what became of it. Imports nothing.
"""

from __future__ import annotations

import functools
from typing import Any

BASE = 1200  # RFC 9000, section 14.1: every path of QUIC takes it
# aioquic writes the lengths of STREAM and DATAGRAM frames into two bytes, of which a variable-length integer
# has 14 bits: 16383. No larger packet is filled, so none is looked for, even where the path would take it.
HIGHEST = 16_000
MAX_PROBES = 3  # RFC 8899, section 5.1.2
PROBE_TIMER_S = 3.0  # loss detection tells sooner; this is for a probe of which nothing is ever heard
WAIT_S = 0.05  # until a probe that could not be sent is tried again
RAISE_S = 600.0  # RFC 8899, section 5.1.1: PMTU_RAISE_TIMER
BLACK_HOLE_LOSSES = 3  # times that large packets were lost since the last one that arrived
WORTHWHILE = 8  # bytes; a smaller gain is not searched for

_IPV4_OVERHEAD, _IPV6_OVERHEAD = 28, 48  # IP and UDP headers
_ETHERNET = 1500
# IPv6's least; L2TP and GRE over IPsec; usual tunnels; WireGuard; GRE and LTE; IPsec; 6in4; PPPoE
_BELOW = (1280, 1340, 1400, 1420, 1440, 1460, 1480, 1492)
_ABOVE = (4096, 9000, 16_384)  # FDDI and InfiniBand; jumbo frames; loopback


def is_ipv4(address: tuple[Any, ...]) -> bool:
    """Whether packets to a socket address are IPv4's: also in IPv6's notation (``::ffff:192.0.2.1``)."""
    return "." in str(address[0])


@functools.lru_cache(maxsize=64)
def _likely(overhead: int, ceiling: int) -> tuple[int, ...]:
    """The sizes to try, in order; shared by all paths of a kind."""
    sizes = {mtu - overhead for mtu in (*_BELOW, _ETHERNET, *_ABOVE)} | {ceiling}
    return tuple(sorted(size for size in sizes if BASE < size <= ceiling))


class PathMtu:
    """What one path takes. ``ceiling`` is the most that the peer takes (its max_udp_payload_size)."""

    __slots__ = (
        "_attempts",
        "_ceiling",
        "_deadline",
        "_ethernet",
        "_failed",
        "_losses",
        "_not_before",
        "_pending",
        "_raise_at",
        "_sizes",
        "_suspect",
        "black_holes",
        "size",
    )

    def __init__(self, *, ipv4: bool, ceiling: int = HIGHEST) -> None:
        overhead = _IPV4_OVERHEAD if ipv4 else _IPV6_OVERHEAD
        self.size = BASE  # what may be sent
        self.black_holes = 0
        self._ceiling = max(BASE, min(ceiling, HIGHEST))
        self._sizes = _likely(overhead, self._ceiling)
        self._ethernet = min(_ETHERNET - overhead, self._ceiling)
        self._failed = self._ceiling + 1  # the least size known not to arrive
        self._pending = 0  # the probe under way; 0: none
        self._attempts = 0  # lost probes of the size that is being tried
        self._deadline = 0.0
        self._not_before = 0.0
        self._raise_at: float | None = None  # when searching goes on
        self._losses = 0  # of large packets, since one arrived
        self._suspect = 0

    @property
    def searching(self) -> bool:
        """Whether there is a size to try now."""
        return self._raise_at is None and self._candidate() is not None

    @property
    def suspicious(self) -> bool:
        """Whether :meth:`on_packet_acked` has anything to learn: cheap to ask before each call."""
        return self._losses > 0

    # --- probing -----------------------------------------------------------------------------------

    def next_probe(self, now: float) -> int | None:
        """The size of a probe to send now, which then counts as under way; None: nothing to do now."""
        if self._pending:
            if now < self._deadline:
                return None
            self._lost()
        if now < self._not_before:
            return None
        if self._raise_at is not None:
            if now < self._raise_at:
                return None
            self._raise_at, self._failed = None, self._ceiling + 1
        candidate = self._candidate()
        if candidate is None:
            if self.size < self._ceiling:
                self._raise_at = now + RAISE_S
            return None
        self._pending, self._deadline = candidate, now + PROBE_TIMER_S
        return candidate

    def next_timer(self) -> float | None:
        """When to ask :meth:`next_probe` again, if nothing else happens; None: never."""
        if self._pending:
            return self._deadline
        if self._raise_at is not None:
            return self._raise_at
        return self._not_before if self._candidate() is not None else None

    def on_probe(self, size: int, acked: bool) -> None:
        """The probe of ``size`` bytes was acknowledged, or lost. An answer may come late, or not at all."""
        if acked and self.size < size <= self._ceiling:
            self._confirm(size)
        elif not acked and size == self._pending:
            self._lost()

    def on_unsent(self, size: int, now: float) -> None:
        """The probe could not be sent for reasons that have nothing to do with its size."""
        if size == self._pending:
            self._pending, self._not_before = 0, now + WAIT_S

    def on_too_big(self, size: int) -> None:
        """The kernel refused a packet of ``size`` bytes (EMSGSIZE): our own interface takes less."""
        if size <= BASE:
            return
        if size <= self.size:
            self._fall_back(size)
        else:
            self._give_up(size)

    def _candidate(self) -> int | None:
        """The next size to try: above ``size``, below what failed. RFC 8899, section 5.3."""
        low, high = self.size, self._failed
        if low < self._ethernet < high:
            return self._ethernet
        known = [size for size in self._sizes if low < size < high]
        if low >= self._ethernet:
            return known[0] if known else None
        if known:
            return known[len(known) // 2]
        return (low + high) // 2 if high - low > WORTHWHILE else None

    def _confirm(self, size: int) -> None:
        self.size = size
        self._pending = self._attempts = 0
        self._failed = max(self._failed, size + 1)

    def _lost(self) -> None:
        size, self._pending = self._pending, 0
        self._attempts += 1
        if self._attempts >= MAX_PROBES:
            self._give_up(size)

    def _give_up(self, size: int) -> None:
        self._failed = min(self._failed, size)
        self._pending = self._attempts = 0

    # --- what becomes of other packets -------------------------------------------------------------

    def on_packet_acked(self, size: int) -> None:
        """A packet of ``size`` bytes arrived. Needed only while :attr:`suspicious`."""
        if size >= self._suspect:
            self._losses = 0

    def on_packets_lost(self, largest: int) -> None:
        """Loss detection or a probe timeout gave up packets, the largest of ``largest`` bytes.

        To be called once for all packets that are given up together, however many: a burst that
        overflows a queue is no black hole.
        """
        if largest <= BASE or largest > self.size:  # sent before the size was lowered: no news
            return
        self._suspect = largest if not self._losses else min(self._suspect, largest)
        self._losses += 1
        if self._losses >= BLACK_HOLE_LOSSES:
            self.black_holes += 1
            self._fall_back(self._suspect)

    def _fall_back(self, failed: int) -> None:
        """``failed`` bytes, which used to arrive, do so no more: RFC 8899, section 4.3."""
        self.size, self._failed = BASE, failed
        self._pending = self._attempts = self._losses = 0
        self._raise_at, self._not_before = None, 0.0
