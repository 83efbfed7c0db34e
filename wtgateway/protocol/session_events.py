"""What a :class:`~wtgateway.protocol.session.ServerSession` tells the gateway: frozen dataclasses.

Imports nothing but the messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wtgateway.protocol import messages
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.traces import TracedFrame


@dataclass(frozen=True, slots=True)
class Event:
    """Base of what a session tells the gateway."""


@dataclass(frozen=True, slots=True)
class SubscriptionChanged(Event):
    """The viewer now gets ``rendition`` of the track from its next keyframe on; None: nothing."""

    track_id: int
    rendition: int | None


@dataclass(frozen=True, slots=True)
class RenditionAwaited(Event):
    """Another rendition is to follow the one being sent, at the next group that begins in both."""

    track_id: int
    rendition: int


@dataclass(frozen=True, slots=True)
class RenditionSwitched(Event):
    """It has: the former rendition is not needed any more."""

    track_id: int
    rendition: int


@dataclass(frozen=True, slots=True)
class KeyframeNeeded(Event):
    """The viewer cannot go on without a keyframe; already limited in rate for this session."""

    track_id: int
    rendition: int


@dataclass(frozen=True, slots=True)
class FeedbackReceived(Event):
    """The viewer's report on a track."""

    feedback: messages.Feedback


@dataclass(frozen=True, slots=True)
class Arrived(Event):
    """The first byte of a frame came to the viewer.

    ``sent_at`` is s of the gateway's clock, ``arrived_us`` µs of the viewer's, ``size`` bytes that came.
    """

    sent_at: float
    arrived_us: int
    size: int


@dataclass(frozen=True, slots=True)
class ProgressMade(Event):
    """So many octets of frames came over a WebSocket since its beginning, the newest ``waited_us`` ago."""

    octets: int
    waited_us: int


@dataclass(frozen=True, slots=True)
class TraceReceived(Event):
    """Where the time of some frames went, as the viewer measured; a few times a second at most."""

    frames: tuple[TracedFrame, ...]


@dataclass(frozen=True, slots=True)
class TokenShown(Event):
    """The viewer brings an access token; answer with ``grant_access`` or ``refuse_access``."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerGoodbye(Event):
    """The viewer leaves in order; close the session with NORMAL."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class StatisticsDue(Event):
    """Time for :meth:`ServerSession.queue_statistics` with the path's figures."""


@dataclass(frozen=True, slots=True)
class SessionExpired(Event):
    """The viewer is gone or does not read; close the session with ``code``."""

    code: CloseCode
    reason: str
