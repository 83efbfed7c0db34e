"""Brute force is slowed: whoever shows bad tokens waits longer and longer. Pure; ``now`` in seconds.

Counted by IPv4 address or IPv6 /64, which is what one attacker has for nothing.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass

FREE_FAILURES = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
FORGET_S = 600.0
MAX_ADDRESSES = 4096


def slowing_key(address: str) -> str:
    """What an address is counted as."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "?"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


@dataclass(slots=True)
class _Record:
    failures: int = 0
    failed_at: float = 0.0
    until: float = 0.0


class Slowing:
    """At most ``most`` addresses are remembered; the one that failed longest ago goes (``displaced``)."""

    def __init__(self, most: int = MAX_ADDRESSES) -> None:
        self.displaced = 0
        self._most = most
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def wait_s(self, address: str, now: float) -> float:
        """How long nothing of that address is looked at; 0: it may try."""
        record = self._records.get(slowing_key(address))
        return max(0.0, record.until - now) if record is not None else 0.0

    def failed(self, address: str, now: float) -> None:
        """A bad token came from there."""
        key = slowing_key(address)
        record = self._records.pop(key, None) or _Record()
        if now - record.failed_at >= FORGET_S:
            record.failures = 0
        record.failures += 1
        record.failed_at = now
        over = record.failures - FREE_FAILURES
        if over > 0:
            doubled = math.ldexp(FIRST_PAUSE_S, min(over - 1, 16))
            record.until = now + min(doubled, LONGEST_PAUSE_S)
        self._records[key] = record
        if len(self._records) > self._most:
            self._records.popitem(last=False)
            self.displaced += 1
