"""What a viewer's session needs of whatever carries it: a WebTransport session or a WebSocket.

Imports errors, protocol and this package's values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import PathStats, SessionRequest


class SessionLink(Protocol):
    """One carried session. It never blocks and never raises for what a peer does, but where that is said."""

    @property
    def request(self) -> SessionRequest:
        """What the viewer asked for, and who it is."""

    @property
    def waiting(self) -> int:
        """Bytes that wait here to be sent."""

    @property
    def max_datagram_bytes(self) -> int:
        """The greatest datagram that can be sent now; 0: none."""

    def open_bidi(self) -> int:
        """The control stream; raises TransportError after the session's end."""

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        """Queue bytes of the control stream."""

    def send_frame(self, data: bytes, urgency: Urgency) -> int:
        """Queue a whole media frame, which is shared and not changed; a number for it.

        Raises TransportError after the session's end.
        """

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        """Queue datagrams; how many were taken, from the first on."""

    def reset(self, stream_id: int, code: int) -> None:
        """Give up sending what has not left of a frame."""

    def stop(self, stream_id: int, code: int) -> None:
        """Refuse to read a stream."""

    def unsent(self, stream_id: int) -> int:
        """Bytes of a frame, or of the control stream, that have not left and can be given up."""

    def unacknowledged(self, stream_id: int) -> int:
        """Bytes of it that the viewer is not known to have."""

    def room(self, urgency: Urgency | None = None) -> int:
        """Bytes that may be handed over now, of that class if one is named; may be <= 0."""

    def await_room(self, waiting: bool) -> None:
        """Whether ``handler.writable`` is wanted as soon as there may be room."""

    def flush(self) -> None:
        """Call ``handler.writable`` at the end of this turn of the loop, and send."""

    def path(self) -> PathStats:
        """What is known of the path."""

    def note_arrival(self, sent_s: float, arrived_us: int, size: int) -> None:
        """The viewer says when something came, which is taken for no more than a hint."""

    def note_progress(self, octets: int, waited_us: int) -> None:
        """The viewer says how much came. Raises ProtocolError for what cannot be."""

    def set_wanted_rate(self, bits_per_second: int) -> None:
        """What could be used if the path carried it."""

    def probe_bytes(self, now: float) -> int:
        """Bytes of padding that should be sent now to find out what the path carries; mostly 0."""

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the session; ``handler.closed`` follows later."""
