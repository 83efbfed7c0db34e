"""The last two minutes of each session, each broadcast and the gateway: rows of numbers in rings of bytes.

A sample of a session takes 77 bytes and there are at most 120 of each: 9 MB for a thousand sessions, taken
as they come. Pure; imports the protocol's stages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from wtgateway.protocol.traces import STAGES

SAMPLES: Final = 120
MAX_SESSIONS: Final = 4096  # of whom samples are kept


class Ring:
    """The last ``samples`` rows of one format."""

    def __init__(self, row: struct.Struct, samples: int = SAMPLES) -> None:
        self._row, self._samples = row, samples
        self._bytes = bytearray()
        self._next = 0  # row to write, once all rows are there

    def add(self, *values: float) -> None:
        """One more row; the oldest goes where there are as many as there may be."""
        if len(self._bytes) < self._samples * self._row.size:
            self._bytes += self._row.pack(*values)
        else:
            self._row.pack_into(self._bytes, self._next * self._row.size, *values)
            self._next = (self._next + 1) % self._samples

    def __len__(self) -> int:
        return len(self._bytes) // self._row.size

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """All rows, the oldest first."""
        rows = list(self._row.iter_unpack(self._bytes))
        yield from (*rows[self._next :], *rows[: self._next])


_STAGES = len(STAGES)
_SESSION = struct.Struct(f"<Q Q f I I I I I {_STAGES}f ?")
_BROADCAST = struct.Struct("<Q Q Q I")
_GATEWAY = struct.Struct("<Q Q I Q f I")
_MOST = (1 << 32) - 1


class SessionHistory:
    """Of one session."""

    def __init__(self) -> None:
        self._ring = Ring(_SESSION)

    def add(
        self,
        at_ms: int,
        *,
        rate_bps: int,
        loss: float,
        rtt_us: int,
        queueing_us: int,
        queued_bytes: int,
        frames_sent: int,
        frames_dropped: int,
        stages_us: Sequence[int],
    ) -> None:
        """One sample; ``stages_us`` empty: nothing is known of any."""
        stages = [time_us / 1000 for time_us in stages_us[:_STAGES]] if stages_us else [0.0] * _STAGES
        counts = (rtt_us, queueing_us, queued_bytes, frames_sent, frames_dropped)
        self._ring.add(
            at_ms, max(0, rate_bps), loss, *(_fitting(count) for count in counts), *stages, bool(stages_us)
        )

    def values(self) -> list[Mapping[str, Any]]:
        """As the API shows them, the oldest first."""
        return [
            {
                "at": at,
                "rateBps": rate,
                "loss": round(loss, 4),
                "rttUs": rtt,
                "queueingUs": queueing,
                "queuedBytes": queued,
                "framesSent": sent,
                "framesDropped": dropped,
                "latencyMs": {s: round(v, 3) for s, v in zip(STAGES, stages, strict=True)} if known else {},
            }
            for at, rate, loss, rtt, queueing, queued, sent, dropped, *stages, known in self._ring
        ]


class BroadcastHistory:
    """Of one broadcast."""

    def __init__(self) -> None:
        self._ring = Ring(_BROADCAST)

    def add(self, at_ms: int, *, rate_bps: int, source_bps: int, viewers: int) -> None:
        """One sample."""
        self._ring.add(at_ms, max(0, rate_bps), max(0, source_bps), _fitting(viewers))

    def values(self) -> list[Mapping[str, Any]]:
        """As the API shows them, the oldest first."""
        names = ("at", "rateBps", "sourceBps", "viewers")
        return [dict(zip(names, row, strict=True)) for row in self._ring]


class GatewayHistory:
    """Of the gateway as a whole."""

    def __init__(self) -> None:
        self._ring = Ring(_GATEWAY)

    def add(
        self, at_ms: int, *, rate_bps: int, sessions: int, rss_bytes: int, cpu_share: float, loop_lag_us: int
    ) -> None:
        """One sample."""
        self._ring.add(
            at_ms, max(0, rate_bps), _fitting(sessions), rss_bytes, cpu_share, _fitting(loop_lag_us)
        )

    def values(self) -> list[Mapping[str, Any]]:
        """As the API shows them, the oldest first."""
        names = ("at", "rateBps", "sessions", "rssBytes", "cpuShare", "loopLagUs")
        return [dict(zip(names, row, strict=True)) | {"cpuShare": round(row[4], 3)} for row in self._ring]


def keep_only(kept: dict[str, Any], alive: Iterable[str]) -> None:
    """Forget all that are not alive any more."""
    for name in kept.keys() - set(alive):
        del kept[name]


def _fitting(value: int) -> int:
    return min(max(0, value), _MOST)
