"""Addresses: where packets may go, and how much of them before the peer has shown that it is there.

RFC 9000 sections 8.1 (anti-amplification), 8.2 (path validation) and 9 (migration). Only the client
moves, so only the server's view is kept; the client has one server address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.transport.equivalence.frames import (
    NewConnectionId,
    Padding,
    PathChallenge,
    PathResponse,
)
from tests.transport.equivalence.ledger import SERVER, rule
from tests.transport.equivalence.packets import Kind

if TYPE_CHECKING:
    from tests.transport.equivalence.witness import Emission, Packet

AMPLIFICATION = 3
_PROBING = (Padding, NewConnectionId, PathChallenge, PathResponse)


@dataclass
class Path:
    """What the server knows of one address of the client."""

    received: int = 0
    sent: int = 0
    validated: bool = False
    challenges: set[bytes] = field(default_factory=set)


def is_probing(packet: Packet) -> bool:
    return all(isinstance(frame, _PROBING) for frame in packet.frames)


class Paths:
    """The server's paths, by the client's address."""

    def __init__(self) -> None:
        self.paths: dict[Any, Path] = {}
        self.active: Any = None
        self._newest = -1
        self._possible: set[Any] = set()  # where the client may be as well, for all that the server knows

    def is_active(self, name: str, address: Any) -> bool:
        """Whether packets to that address are on the path in use."""
        return name != SERVER or address == self.active

    def is_open(self, name: str) -> bool:
        """Whether a side may send without asking how much."""
        path = self.paths.get(self.active)
        return name != SERVER or (path is not None and path.validated)

    def emitted(self, name: str, emission: Emission) -> None:
        """A datagram leaves."""
        for packet in emission.packets:
            if packet.frames_of(PathChallenge) and name == SERVER:
                path = self.paths[emission.destination]
                path.challenges |= {frame.data for frame in packet.frames_of(PathChallenge)}
        if name != SERVER:
            return
        path = self.paths.get(emission.destination, Path())
        rule(path.received > 0, f"a datagram to {emission.destination}, from which nothing came")
        left = AMPLIFICATION * path.received - path.sent
        path.sent += len(emission)
        if not path.validated:
            rule(
                len(emission) <= left, f"{len(emission)} bytes to an unvalidated address that may get {left}"
            )
        if any(not is_probing(packet) for packet in emission.packets):
            rule(
                path.validated or emission.destination in {self.active, *self._possible},
                f"media to {emission.destination} while the client is at {self.active}",
            )

    def delivered(self, name: str, emission: Emission) -> None:
        """A datagram reaches a side."""
        if name != SERVER:
            return
        path = self.paths.setdefault(emission.source, Path())
        path.received += len(emission)
        for packet in emission.packets:
            if packet.kind is Kind.HANDSHAKE:
                path.validated = True
            for response in packet.frames_of(PathResponse):
                for other in self.paths.values():
                    other.validated |= response.data in other.challenges

    def heard(self, packet: Packet, *, certain: bool) -> None:
        """The server may take a packet of the client, or (``certain``) has to: it follows the newest."""
        source = packet.datagram.source
        if is_probing(packet) or packet.number <= self._newest:
            return
        if certain:
            self._newest, self.active = packet.number, source
            self._possible = set()
        else:
            self._possible.add(source)
