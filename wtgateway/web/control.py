"""What the web room needs of the gateway beyond looking at it: as values and one Protocol.

The gateway implements :class:`GatewayControl`; tests use a fake one. What is asked and answered at once comes
from memory; all else is awaited. Imports events and errors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wtgateway.events import Events

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """One process of the gateway. Zero: not known on this system."""

    name: str = "main"  # or worker-N
    rss_bytes: int = 0
    open_fds: int = 0
    max_fds: int = 0
    cpu_s: float = 0.0  # user and system, since it began
    cpu_share: float = 0.0  # of one core, over the last second
    threads: int = 0
    loop_lag_us: int = 0  # how late a timer of its event loop was at worst in the last second


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """One certificate of the QUIC endpoint. Times are RFC 3339."""

    sha256: str  # hex digits, of the whole certificate
    not_before: str
    not_after: str
    current: bool  # whether new connections get it


class Unavailable(Exception):
    """What was asked for cannot be done here or now; the words are for whoever asked."""


class GatewayControl(Protocol):
    """The gateway, to whoever runs it.

    Methods that return bool: False where there is no such broadcast or session (any more).
    """

    @property
    def events(self) -> Events:
        """What happens."""

    # --- figures -----------------------------------------------------------------------------------

    def uptime_s(self) -> float:
        """Since the gateway was started."""

    def processes(self) -> list[ProcessFigures]:
        """This process first, then workers and others."""

    def loop_lags(self) -> Mapping[str, list[int]]:
        """How late event loops are, by process: the sum in µs, and counts as of histograms.Histogram."""

    def tasks(self) -> Mapping[str, int]:
        """asyncio's tasks, by process; to be asked on the loop."""

    def session_history(self, session_id: str) -> list[Mapping[str, Any]]:
        """Samples of a session as the API shows them, the oldest first; see monitoring.history."""

    def broadcast_history(self, name: str) -> list[Mapping[str, Any]]:
        """The same of a broadcast."""

    def gateway_history(self) -> list[Mapping[str, Any]]:
        """The same of the gateway as a whole."""

    def counters(self) -> Mapping[str, Mapping[tuple[tuple[str, str], ...], int]]:
        """What the main process counts for /metrics: values by name, and by labels. They only grow."""

    # --- broadcasts --------------------------------------------------------------------------------

    def broadcast_document(self, name: str) -> Mapping[str, Any] | None:
        """A broadcast's settings as `put_broadcast` takes them, passwords included: never to be shown."""

    async def put_broadcast(self, name: str, document: Mapping[str, Any]) -> bool:
        """Add a broadcast (True), or give it other settings. Raises ConfigError; nothing has changed then."""

    async def remove_broadcast(self, name: str) -> bool:
        """End it, after its viewers were told."""

    async def restart_broadcast(self, name: str) -> bool:
        """Open its source anew."""

    # --- sessions ----------------------------------------------------------------------------------

    async def kick(self, session_id: str, code: int, reason: str) -> bool:
        """Close a viewer's session with that code, after it was told the reason."""

    async def request_keyframe(self, session_id: str) -> bool:
        """Ask for a keyframe of the pictures that a session gets."""

    async def start_qlog(self, session_id: str) -> bool:
        """Begin to note what a session's connection does. Raises Unavailable where that cannot be."""

    async def qlog(self, session_id: str) -> bytes | None:
        """What was noted so far, as a qlog file (JSON-SEQ); None: nothing is. Ends nothing."""

    async def stop_qlog(self, session_id: str) -> bool:
        """Note nothing more; what was noted is forgotten."""

    # --- the gateway -------------------------------------------------------------------------------

    def certificates(self) -> list[CertificateFacts]:
        """The current one and those that will follow."""

    async def rotate_certificates(self) -> None:
        """Make one that follows the current one soon. Raises Unavailable where they cannot be made here."""

    def log_level(self) -> str:
        """One of LOG_LEVELS."""

    async def set_log_level(self, level: str) -> None:
        """In all processes, until the next start."""

    def config_document(self) -> Mapping[str, Any]:
        """All settings that hold, without any secret."""
