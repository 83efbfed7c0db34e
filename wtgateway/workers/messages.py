"""What the main process and its workers say to each other, as values, and as msgpack.

All that is not media: certificates and keys (which never touch a disk or a command line on this way),
wishes, figures, the end. Both ends are ours, so what does not parse is a defect. Pure; imports the values
of hub, protocol and web.
"""

from __future__ import annotations

import dataclasses
import operator
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import msgpack

from wtgateway.hub import Audience
from wtgateway.protocol.targets import Wish
from wtgateway.web.view import SessionSummary

MAX_MESSAGE_BYTES = 8 << 20
LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Message:
    """Base of all messages."""

    kind: ClassVar[str] = ""


# --- from the main process -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Certificate(Message):
    """What new connections are shown (DER), and the hashes that viewers are told."""

    kind: ClassVar[str] = "certificate"
    certificate: bytes
    key: bytes
    hashes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Snapshot(Message):
    """See :class:`wtgateway.workers.bus.Snapshot`."""

    kind: ClassVar[str] = "snapshot"
    position: int
    states: list[bytes]


@dataclass(frozen=True, slots=True)
class Assign(Message):
    """Be worker ``worker``. Beside it travel, in this order: the ring, the board, the eventfd, the inbox
    of connections handed over, the ``workers`` ends that lead to the others' inboxes, and the sockets.
    """

    kind: ClassVar[str] = "assign"
    worker: int
    workers: int
    identity: list[Any]  # row of wtgateway.transport.identity.Identity
    epoch_offset_ns: int
    start: list[int]
    admit: bool
    json_log: bool
    log_level: str
    settings: dict[str, Any] = field(default_factory=dict)
    member: list[Any] = field(default_factory=list)  # row of wtgateway.workers.resuming.Member
    used: list[list[Any]] = field(default_factory=list)  # resume tokens: numbers, and when they expire
    access: list[Any] = field(default_factory=list)  # wtgateway.workers.authority.AuthorityDesk.row


@dataclass(frozen=True, slots=True)
class Admit(Message):
    """Take viewers in from now on."""

    kind: ClassVar[str] = "admit"


@dataclass(frozen=True, slots=True)
class Limits(Message):
    """The limits that hold from now on (:func:`wtgateway.workers.limiting.limits_to_row`)."""

    kind: ClassVar[str] = "limits"
    row: list[Any]


@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Take nobody in any more, and send the viewers elsewhere."""

    kind: ClassVar[str] = "drain"
    within_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class LogLevel(Message):
    """How much is logged from now on."""

    kind: ClassVar[str] = "log-level"
    level: str


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Tell the viewers, close, and end."""

    kind: ClassVar[str] = "stop"
    code: int
    reason: str
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Ask(Message):
    """Something is wanted of a session (:mod:`wtgateway.workers.desk`); answered with :class:`Told`."""

    kind: ClassVar[str] = "ask"
    number: int
    what: str
    session: str
    arguments: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AccessChanged(Message):
    """Others are asked who may watch: what :meth:`wtgateway.workers.authority.AuthorityDesk.row` gives."""

    kind: ClassVar[str] = "access-changed"
    row: list[Any]


@dataclass(frozen=True, slots=True)
class AccessAnswered(Message):
    """The answer to :class:`AccessAsked`: a Grant's row, or status, words and seconds of a Refused."""

    kind: ClassVar[str] = "access-answered"
    number: int
    grant: list[Any]
    refusal: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Revoked(Message):
    """A token or an identity was taken back: the row of a Revocation."""

    kind: ClassVar[str] = "revoked"
    row: list[Any]


# --- from either ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenUsed(Message):
    """A resume token was used: nobody takes it any more. The main process tells the other workers."""

    kind: ClassVar[str] = "token-used"
    number: bytes
    expires_us: int


@dataclass(frozen=True, slots=True)
class Occupied(Message):
    """A row of :class:`wtgateway.limits.Occupancy`: of a worker, or of all but the one that is told."""

    kind: ClassVar[str] = "occupied"
    row: list[Any]


# --- from a worker -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Warm(Message):
    """All modules are loaded: it can be assigned."""

    kind: ClassVar[str] = "warm"


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """Viewers are served."""

    kind: ClassVar[str] = "ready"


@dataclass(frozen=True, slots=True)
class Wishes(Message):
    """A broadcast's audience here: the number of viewers, the (track, rendition) they want, and what they can
    take: the values of a :class:`wtgateway.protocol.targets.Wish` and how many have it.
    """

    kind: ClassVar[str] = "wishes"
    broadcast: int
    viewers: int
    wanted: list[list[int]]
    wishes: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Keyframe(Message):
    """A keyframe is needed."""

    kind: ClassVar[str] = "keyframe"
    broadcast: int
    track: int
    rendition: int


@dataclass(frozen=True, slots=True)
class Overtaken(Message):
    """Something of the bus was missed: a snapshot, please."""

    kind: ClassVar[str] = "overtaken"


class Figures(NamedTuple):
    """What a worker counts, its sessions as the values of SessionSummary, and stage times by broadcast."""

    counters: dict[str, int]
    sessions: list[list[Any]]
    stage_times: dict[str, list[list[int]]]


@dataclass(frozen=True, slots=True)
class Report(Message):
    """A sign of life, several times a second; ``figures`` (a Figures) None: as they were before."""

    kind: ClassVar[str] = "report"
    connections: int
    sessions: int
    figures: list[Any] | None


@dataclass(frozen=True, slots=True)
class Told(Message):
    """The answer to an :class:`Ask`: a value, or in words why there is none."""

    kind: ClassVar[str] = "told"
    number: int
    value: Any
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Happened(Message):
    """An event for all who listen (:mod:`wtgateway.events`)."""

    kind: ClassVar[str] = "happened"
    event: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lag(Message):
    """How late the worker's loop was at worst since it last said so, in µs, LoopLag.rows(), and its tasks."""

    kind: ClassVar[str] = "lag"
    worst_us: int
    rows: list[int]
    tasks: int


@dataclass(frozen=True, slots=True)
class AccessAsked(Message):
    """May somebody do something? The row of Credentials."""

    kind: ClassVar[str] = "access-asked"
    number: int
    row: list[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stopped(Message):
    """All viewers were told, all connections are closed."""

    kind: ClassVar[str] = "stopped"


_SESSION_FIELDS = tuple(f.name for f in dataclasses.fields(SessionSummary))
_values = operator.attrgetter(*_SESSION_FIELDS)


def row(summary: SessionSummary) -> list[Any]:
    """A session as it travels; ``dataclasses.asdict`` takes ten times as long."""
    return list(_values(summary))


def from_row(values: list[Any]) -> SessionSummary:
    """The session of a row."""
    return SessionSummary(**dict(zip(_SESSION_FIELDS, values, strict=True)))


def from_audience(number: int, audience: Audience) -> Wishes:
    """The viewers of a broadcast as they travel."""
    wanted = [list(pair) for pair in sorted(audience.wanted)]
    return Wishes(number, audience.viewers, wanted, [[*_wish(w), count] for w, count in audience.wishes])


def to_audience(message: Wishes) -> Audience:
    """The same when they have arrived."""
    return Audience(
        message.viewers,
        frozenset((track, rendition) for track, rendition in message.wanted),
        tuple((Wish(*values), count) for *values, count in message.wishes),
    )


_wish = operator.attrgetter(*(f.name for f in dataclasses.fields(Wish)))


_MESSAGES: dict[str, type[Message]] = {
    m.kind: m
    for m in (
        Certificate, Snapshot, Assign, Admit, Drain, LogLevel, Stop, TokenUsed, Warm, Ready, Wishes, Keyframe,
        Ask, Told, Happened, Lag,
        AccessAsked, AccessAnswered, AccessChanged, Revoked, Overtaken, Report, Stopped, Limits, Occupied,
    )
}  # fmt: skip


def encode(message: Message) -> bytes:
    """A message with its length before it. Raises ValueError for one that is too long."""
    values = [getattr(message, f.name) for f in dataclasses.fields(message)]
    data: bytes = msgpack.packb([message.kind, *values])
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a {message.kind} message of {len(data)} bytes is over the limit")
    return LENGTH.pack(len(data)) + data


def decoder(types: Iterable[type[Message]]) -> Callable[[bytes], Message]:
    """What makes a message of these types of its bytes, without their length.

    It raises ValueError for what is none.
    """
    known = {each.kind: each for each in types}

    def decode(data: bytes) -> Message:
        try:
            kind, *values = msgpack.unpackb(data, strict_map_key=False)
            return known[kind](*values)
        except Exception as error:  # msgpack raises a dozen unrelated types
            raise ValueError("what came over the control channel is no message") from error

    return decode


decode = decoder(_MESSAGES.values())
