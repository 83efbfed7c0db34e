"""What the web room needs to know of the gateway, as values and one Protocol.

The gateway implements :class:`GatewayView`; tests and page development use a fake one. Rule: all
methods answer at once from memory, since they are called on the event loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from wtgateway.media import BroadcastState, Catalog

_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_RESERVED = frozenset(
    {"api", "healthz", "readyz", "metrics", "certificate.sha256", "favicon.ico", "robots.txt"}
)
MAX_NAME_LENGTH = 200


def is_broadcast_name(name: str) -> bool:
    """Whether ``name`` can be the name of a broadcast, and so a page's path without its slash.

    Segments of unreserved URL characters (RFC 3986, section 2.3) joined by "/"; the first one does
    not start with "_" and is none of the gateway's own paths.
    """
    first = name.split("/", 1)[0]
    if len(name) > MAX_NAME_LENGTH or first.startswith("_") or first in _RESERVED:
        return False
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSummary:
    """What the encoder of one rendition of the pictures is to do now, and why."""

    rendition: int
    bitrate_bps: int
    nominal_bps: int  # as configured
    scale: float = 1.0  # of the configured width and height
    fps: float = 0.0  # 0: not known
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastSummary:
    """One broadcast as the API and the pages show it."""

    name: str
    state: BroadcastState
    reason: str = ""  # why it is in that state, in words; shown to anybody, so without passwords
    retry_in_ms: int = 0
    catalog: Catalog = field(default_factory=Catalog)
    viewers: int = 0
    source: str = ""  # what it is made from, without passwords
    findings: tuple[str, ...] = ()  # what in the source's own coding makes browsers hold pictures back
    uptime_s: float = 0.0  # since it last became live; 0: it is not
    frames_published: int = 0
    keyframe_requests: int = 0
    targets: tuple[TargetSummary, ...] = ()
    target_changes: int = 0
    source_counters: Mapping[str, int] = field(default_factory=dict)  # of its pipeline, by what is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """One viewer's session as the API shows it; ``address`` only to who may use the API (Action.API)."""

    id: str
    broadcast: str
    worker: int = 0
    client: str = ""  # what the viewer calls itself
    identity: str = ""  # as its access token says; empty: anybody
    transport: str = "webtransport"  # or "websocket"
    address: str = ""  # the viewer's, without its port
    age_s: float = 0.0
    frames_sent: int = 0
    frames_dropped: int = 0
    bytes_sent: int = 0
    streams_reset: int = 0
    rtt_us: int = 0
    estimate_bps: int = 0  # what its path is believed to carry; 0: not known
    loss: float = 0.0  # share of packets lost in the last seconds
    queueing_us: int = 0  # how long its path's queue is now
    wish_bps: int = 0  # what of that is left for the pictures; 0: not known
    rendition: int = -1  # of the pictures; -1: none
    rendition_reason: str = ""  # why that one
    queued_bytes: int = 0  # in the session's send queue
    stages_us: tuple[int, ...] = ()  # what the last traced frame took in each of protocol.traces.STAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSummary:
    """One transport process; with a single one it is the gateway's own. ``counters`` only ever grow."""

    worker: int = 0
    up: bool = True
    restarts: int = 0
    connections: int = 0
    sessions: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    stage_times: Mapping[str, list[list[int]]] = field(default_factory=dict)  # StageTimes.rows() by broadcast


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSummary:
    """The gateway as one of several behind a balancer. It tells no secret."""

    node: str = ""  # as configured
    server_id: str = ""  # in connection IDs, as hex digits; empty: no balancer reads them
    instance: str = ""  # made anew whenever the gateway starts
    draining: bool = False
    viewers: int = 0
    lb_config: str = ""  # fingerprint of how connection IDs are made; equal on all nodes that are right


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the gateway is, to whoever restarts it or sends viewers to it."""

    dead: str = ""  # what has ended that must not, in words: only a restart helps; empty: nothing
    unready: str = ""  # why no new viewer should be sent here; empty: they may come
    short_of: tuple[str, ...] = ()  # what is short: no reason not to come


class GatewayView(Protocol):
    """The gateway, seen from the web."""

    def broadcasts(self) -> list[BroadcastSummary]:
        """All configured broadcasts, in the order in which they are to be listed."""

    def transport_url(self, host_header: str) -> str:
        """Where WebTransport listens, as ``https://host:port`` reachable by a page from that Host.

        ``host_header`` is syntactically a host with an optional port, and still a stranger's word.
        """

    def certificate_hashes(self) -> list[dict[str, Any]]:
        """Current certificate first, then the next one, then any that another node may present.

        Each is {"algorithm": "sha-256", "value": bytes(32), "notBefore": str, "notAfter": str}.
        """

    def ready(self) -> bool:
        """Whether viewers can be served."""

    def health(self) -> Health:
        """How the gateway is."""

    def node_summary(self) -> NodeSummary:
        """The gateway as one of several."""

    def session_summaries(self) -> list[SessionSummary]:
        """All viewers' sessions, whichever worker serves them."""

    def worker_summaries(self) -> list[WorkerSummary]:
        """All workers, by their number."""
