"""What a :class:`~wtgateway.protocol.client_session.ClientSession` tells a viewer: frozen dataclasses.

Imports media and the messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wtgateway.media import Catalog, Frame
from wtgateway.protocol import messages
from wtgateway.protocol.codes import CloseCode


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """Base of what a viewer's session tells the viewer."""


@dataclass(frozen=True, slots=True)
class Welcomed(ClientEvent):
    """The gateway's first words; the control stream is usable."""

    welcome: messages.Welcome


@dataclass(frozen=True, slots=True)
class CatalogChanged(ClientEvent):
    """The broadcast offers this now."""

    catalog: Catalog


@dataclass(frozen=True, slots=True)
class StateChanged(ClientEvent):
    """The broadcast's state."""

    state: messages.State


@dataclass(frozen=True, slots=True)
class CertificatesChanged(ClientEvent):
    """The hashes to connect again with, current first."""

    hashes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RenditionChanged(ClientEvent):
    """The gateway sends this rendition of the track from its next keyframe on."""

    track: int
    rendition: int
    delivery: str


@dataclass(frozen=True, slots=True)
class FrameReady(ClientEvent):
    """The track's next frame in order; ``arrived_at`` is when its last byte came, in seconds."""

    frame: Frame
    arrived_at: float


@dataclass(frozen=True, slots=True)
class StatisticsReceived(ClientEvent):
    """The gateway's side of the figures."""

    statistics: messages.Statistics


@dataclass(frozen=True, slots=True)
class AccessChanged(ClientEvent):
    """What the viewer may do now, and for how long (``access.expires_in_ms``)."""

    access: messages.Access


@dataclass(frozen=True, slots=True)
class GatewayError(ClientEvent):
    """Something asked for cannot be had; a close follows if it is serious."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class GatewayDrains(ClientEvent):
    """The gateway is gone in ``within_ms``: open another session, and close this one when that delivers."""

    within_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class GatewayGoodbye(ClientEvent):
    """The gateway is about to close; ``retry_after_ms`` -1: do not come back."""

    code: int
    reason: str
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class GatewaySilent(ClientEvent):
    """Nothing has come for too long; close with ``code`` and connect again."""

    code: CloseCode
    reason: str
