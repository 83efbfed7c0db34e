"""What one live connection does, noted on demand as a qlog (draft-ietf-quic-qlog-main-schema, version 0.3).

aioquic notes for itself once it has somebody to tell; packets of the lane, which it never sees, are told by
the lane, and acknowledgements go aioquic's way while somebody listens. Bounded in events, bytes and time:
what comes later is left out. Tokens, reset tokens and paths of requests are never written. Imports aioquic
and this package.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.logger import QLOG_VERSION, QuicLogger, QuicLoggerTrace

from wtgateway.log import redact_url
from wtgateway.transport import internals
from wtgateway.transport.frame_stream import FrameStream

if TYPE_CHECKING:
    from wtgateway.transport.lane import Lane

MAX_EVENTS: Final = 50_000
MAX_BYTES: Final = 4 << 20
MAX_S: Final = 60.0
_SETTLING = 512  # the last events, whose lists of frames aioquic may still be filling
_SECRET = frozenset({"token", "reset_token", "stateless_reset_token", "raw", "headers", "path"})
_NEEDED = {"connection": "_configuration _quic_logger _loss", "recovery": "_quic_logger"}


class Trace(QuicLoggerTrace):
    """The events of one connection. ``full``: nothing is noted any more."""

    def __init__(self, *, is_client: bool, odcid: bytes, clock: Any = time.monotonic) -> None:
        super().__init__(is_client=is_client, odcid=odcid)
        self.full = False
        self.left_out = 0
        self._clock, self._until = clock, clock() + MAX_S
        self._settling: deque[dict[str, Any]] = deque()
        self._lines: list[bytes] = []
        self._bytes = 0

    def log_event(self, *, category: str, event: str, data: dict[str, Any]) -> None:
        """As aioquic calls it; ``data`` may still be filled afterwards."""
        self.full = self.full or self._clock() > self._until
        if self.full:
            self.left_out += 1
            return
        at = self.encode_time(time.time())
        self._settling.append({"time": at, "name": f"{category}:{event}", "data": data})
        if len(self._settling) > _SETTLING:
            self._write(self._settling.popleft())

    def packets_sent(
        self,
        first: int,
        packets: Sequence[bytes],
        contents: Iterable[tuple[FrameStream | None, int, int]],
    ) -> None:
        """Packets of the lane: their numbers begin with ``first``; what is in each."""
        for number, (packet, content) in enumerate(zip(packets, contents, strict=True), first):
            header = {"packet_number": number, "packet_type": "1RTT"}
            data = {"frames": [_frame(content, len(packet))], "header": header}
            self.log_event(category="transport", event="packet_sent", data=data | {"raw_length": len(packet)})

    def probe_sent(self, number: int, packet: bytes) -> None:
        """A packet that finds out what size the path takes."""
        frames = [self.encode_ping_frame(), self.encode_padding_frame()]
        data = {"frames": frames, "header": {"packet_number": number, "packet_type": "1RTT"}}
        self.log_event(category="transport", event="packet_sent", data=data | {"raw_length": len(packet)})

    def text(self) -> bytes:
        """All of it as JSON text sequence (RFC 7464): a header, then an event each."""
        header = {
            "qlog_format": "JSON-SEQ",
            "qlog_version": QLOG_VERSION,
            "title": "wtgateway",
            "trace": {
                "common_fields": {
                    "ODCID": self._odcid.hex(), "protocol_type": ["QUIC", "HTTP3"], "time_format": "absolute",
                },
                "vantage_point": {"name": "wtgateway", "type": self._vantage_point["type"]},
            },
        }  # fmt: skip
        lines = [_line(header), *self._lines, *map(_line, self._settling)]
        if self.left_out:
            at = self.encode_time(time.time())
            message = f"{self.left_out} events were left out"
            lines.append(_line({"time": at, "name": "generic:info", "data": {"message": message}}))
        return b"".join(lines)

    def _write(self, event: dict[str, Any]) -> None:
        line = _line(event)
        self._lines.append(line)
        self._bytes += len(line)
        self.full = self._bytes >= MAX_BYTES or len(self._lines) >= MAX_EVENTS


class _Taking(QuicLogger):
    """What aioquic tells at the end of the connection; it would ask its configuration for one."""

    def end_trace(self, trace: QuicLoggerTrace) -> None:
        """The trace stays with whoever began it."""


def begin(lane: Lane) -> Trace | None:
    """Begin to note; None: this aioquic is not known, or all is noted already for somebody else."""
    quic = lane.quic
    if internals.missing_attributes(_NEEDED) or quic._quic_logger is not None:
        return None
    odcid = quic.original_destination_connection_id
    trace = Trace(is_client=quic.configuration.is_client, odcid=odcid)
    # A copy, for the configuration is that of all connections.
    quic._configuration = _copied(quic.configuration, _Taking())
    quic._quic_logger = quic._loss._quic_logger = lane.qlog = trace
    lane.touch()
    return trace


def end(lane: Lane) -> None:
    """Note no more; the lane goes its express way again."""
    if lane.qlog is not None:
        quic, lane.qlog = lane.quic, None
        quic._quic_logger = quic._loss._quic_logger = None
        quic._configuration = _copied(quic.configuration, None)


def _copied(configuration: QuicConfiguration, logger: QuicLogger | None) -> QuicConfiguration:
    return dataclasses.replace(configuration, quic_logger=logger)


def _frame(content: tuple[FrameStream | None, int, int], length: int) -> dict[str, Any]:
    stream, start, stop = content
    if stream is None:
        return {"frame_type": "datagram", "packet_length": length}
    return {
        "frame_type": "stream",
        "stream_id": stream.stream_id,
        "offset": start,
        "length": stop - start,
        "fin": stop == stream.size,
    }


def _line(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(_redacted(value), separators=(",", ":"), default=str)
    return b"\x1e" + text.encode() + b"\n"


def _redacted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: "***" if name in _SECRET else _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return redact_url(value) if isinstance(value, str) else value
