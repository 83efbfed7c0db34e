"""Sees every datagram of both sides, opens every packet with keys of its own and checks it.

``emitted`` is called with each UDP payload as it leaves a side, ``delivered`` when it reaches the
other. Whatever breaks a rule of RFC 9000, 9001 or 9221 raises :class:`Violation`: packet numbers,
nonces, key phases, connection IDs, spin bit, frames and where they may stand, acknowledgements of what
never arrived, coalescing, sizes, and what :mod:`ledger` and :mod:`paths` watch over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.transport.equivalence import handshake
from tests.transport.equivalence.frames import (
    NOT_ELICITING,
    NOT_IN_FLIGHT,
    Ack,
    ConnectionClose,
    Crypto,
    Datagram,
    Frame,
    FrameError,
    HandshakeDone,
    NewConnectionId,
    NewToken,
    Padding,
    Ping,
    RetireConnectionId,
    parse,
)
from tests.transport.equivalence.handshake import CryptoReader
from tests.transport.equivalence.ledger import CLIENT, SERVER, Ledger, Violation, rule
from tests.transport.equivalence.packets import (
    AES_128,
    HeaderMask,
    Kind,
    PacketError,
    PacketKey,
    Protected,
    expand_number,
    initial_secret,
    number_bytes_needed,
    split,
)
from tests.transport.equivalence.paths import Paths

OTHER = {CLIENT: SERVER, SERVER: CLIENT}
MIN_INITIAL_BYTES = 1200  # RFC 9000 section 14.1
ACK_SLACK_S = 0.001  # a timer's rounding, and an ACK that waits for the flush of its turn
WINDOW_PACKETS = 100  # aioquic takes what is 128 packets older than the newest for a duplicate
_EARLY_FRAMES = (Padding, Ping, Ack, Crypto, ConnectionClose)


@dataclass(slots=True)
class Packet:
    """One opened packet."""

    sender: str
    kind: Kind
    number: int
    generation: int
    spin: int
    destination: bytes
    frames: list[Frame]
    size: int
    at: float
    datagram: Emission = field(repr=False)

    @property
    def eliciting(self) -> bool:
        return any(not isinstance(frame, NOT_ELICITING) for frame in self.frames)

    @property
    def in_flight(self) -> bool:
        return any(not isinstance(frame, NOT_IN_FLIGHT) for frame in self.frames)

    def frames_of(self, kind: type[Frame]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


class Emission(bytes):
    """A UDP payload on its way, with what the witness found in it."""

    sender: str
    destination: Any
    source: Any
    packets: list[Packet]


class KeyLog:
    """What aioquic writes to ``secrets_log_file``; shared by both ends, which have to agree."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}

    def write(self, line: str) -> None:
        label, _, secret = line.split()
        assert self.secrets.setdefault(label, bytes.fromhex(secret)) == bytes.fromhex(secret)

    def flush(self) -> None:
        pass


@dataclass
class _Space:
    """One packet number space of one sender."""

    sent: dict[int, Packet] = field(default_factory=dict)
    largest: int = -1
    arrived: dict[int, float] = field(default_factory=dict)  # the peer's packets, and when
    largest_acknowledged: int = -1
    accepted: set[int] = field(default_factory=set)  # those of them that the side had to accept
    owed: dict[int, float] = field(default_factory=dict)  # eliciting packets without ACK: deadline
    crypto: CryptoReader = field(default_factory=CryptoReader)


class _Side:
    """One sender as the witness knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spaces = {kind: _Space() for kind in Kind}
        self.ledger = Ledger(name)
        self.keys: dict[Kind, PacketKey] = {}
        self.masks: dict[Kind, HeaderMask] = {}
        self.generation = 0  # of what it sends
        self.peer_generation = 0  # of what has reached it
        self.issued: dict[bytes, int | None] = {}  # its own connection IDs and their sequence numbers
        self.usable: set[bytes] = set()  # the peer's connection IDs that have reached it
        self.given_up: set[int] = set()  # sequence numbers that it has retired
        self.withdrawn: set[int | None] = set()  # its own that the peer has retired, as far as it knows
        self.used: tuple[bytes, bool] | None = None  # connection ID of its last packet; on the path in use?
        self.spins: set[int] = {0}
        self.spin_number = 0
        self.closed = False


class Witness:
    """Both sides of one connection."""

    def __init__(self, keylog: KeyLog) -> None:
        self._keylog = keylog
        self.sides = {name: _Side(name) for name in (CLIENT, SERVER)}
        self.paths = Paths()
        self.confirmed = False
        self._suite: int | None = None
        self._version = 0
        self._nonces: set[tuple[bytes, bytes]] = set()
        self._first_destination: bytes | None = None

    # --- leaving ----------------------------------------------------------------------------------

    def emitted(
        self, name: str, data: bytes, destination: Any, source: Any, now: float, mtu: int
    ) -> Emission:
        """A side sends a datagram; ``mtu`` is the greatest UDP payload that it may send now."""
        side, emission = self.sides[name], Emission(data)
        emission.sender, emission.destination, emission.source = name, destination, source
        rule(len(data) <= mtu, f"{name}: a datagram of {len(data)} bytes where {mtu} are allowed")
        try:
            emission.packets = list(self._open_all(side, emission, now))
        except (PacketError, FrameError) as error:
            raise Violation(f"{name}: {error}") from error
        kinds = {packet.kind for packet in emission.packets}
        rule(bool(kinds), f"{name}: a datagram without a packet")
        initial = [packet for packet in emission.packets if packet.kind is Kind.INITIAL]
        if any(name == CLIENT or packet.eliciting for packet in initial):
            rule(len(data) >= MIN_INITIAL_BYTES, f"{name}: an Initial in {len(data)} bytes")
        self.paths.emitted(name, emission)
        self._check_overdue(now)
        return emission

    def _open_all(self, side: _Side, emission: Emission, now: float) -> Iterable[Packet]:
        cid_bytes = len(next(iter(self.sides[OTHER[side.name]].issued), b""))
        last: Protected | None = None
        for part in split(bytes(emission), cid_bytes):
            if isinstance(part, bytes):
                rule(
                    last is not None and last.kind is not Kind.ONE_RTT and not any(part),
                    f"{side.name}: {len(part)} bytes behind the last packet",
                )
                return
            rule(
                last is None or (last.kind is not Kind.ONE_RTT and last.destination == part.destination),
                f"{side.name}: packets that must not share a datagram (RFC 9000 section 12.2)",
            )
            last = part
            yield self._open(side, part, emission, now)

    def _open(self, side: _Side, part: Protected, emission: Emission, now: float) -> Packet:
        if part.kind is not Kind.ONE_RTT:
            self._learn_long(side, part)
        mask = self._mask(side, part)
        header, number_bytes = part.unmask(mask)
        space = side.spaces[part.kind]
        truncated = int.from_bytes(header[-number_bytes:], "big")
        number = expand_number(truncated, number_bytes, space.largest)
        where = f"{side.name} {part.kind.name} {number}"
        reserved = 0x18 if part.kind is Kind.ONE_RTT else 0x0C
        rule(header[0] & reserved == 0, f"{where}: reserved bits are set")
        rule(number > space.largest, f"{where}: packet number reused, or not the next ({space.largest})")
        rule(
            number_bytes >= number_bytes_needed(number, space.largest_acknowledged),
            f"{where}: {number_bytes} bytes of packet number are too few (RFC 9000 section A.2)",
        )
        key, generation = self._key(side, part, header, where)
        payload = key.open(header, number, part.data[part.number_at + number_bytes :])
        nonce = (key.key, key.nonce(number))
        rule(nonce not in self._nonces, f"{where}: nonce reused with the same key")
        self._nonces.add(nonce)
        side.keys[part.kind], side.generation = key, max(side.generation, generation)
        packet = Packet(
            sender=side.name,
            kind=part.kind,
            number=number,
            generation=generation,
            spin=header[0] >> 5 & 1,
            destination=part.destination,
            frames=list(parse(payload)),
            size=len(part.data),
            at=now,
            datagram=emission,
        )
        space.largest = number
        space.sent[number] = packet
        self._check_header(side, packet, where)
        self._check_frames(side, packet, where)
        return packet

    def _learn_long(self, side: _Side, part: Protected) -> None:
        assert part.version is not None
        self._version = part.version
        if self._first_destination is None:
            self._first_destination = part.destination
        if part.source is not None:
            side.issued.setdefault(part.source, 0)

    def _mask(self, side: _Side, part: Protected) -> HeaderMask:
        kind = part.kind
        if kind is Kind.INITIAL:
            version = part.version
            assert version is not None and self._first_destination is not None
            secret = initial_secret(self._first_destination, version, client=side.name == CLIENT)
            side.keys[kind] = PacketKey(AES_128, secret, version)
            side.masks[kind] = HeaderMask(AES_128, secret, version)
        elif kind not in side.masks:
            stage = "HANDSHAKE_TRAFFIC_SECRET" if kind is Kind.HANDSHAKE else "TRAFFIC_SECRET_0"
            secret = self._keylog.secrets[f"{side.name.upper()}_{stage}"]
            assert self._suite is not None
            side.keys[kind] = PacketKey(self._suite, secret, self._version)
            side.masks[kind] = HeaderMask(self._suite, secret, self._version)
        return side.masks[kind]

    def _key(self, side: _Side, part: Protected, header: bytes, where: str) -> tuple[PacketKey, int]:
        """The key of the packet's phase (RFC 9001 section 6)."""
        key = side.keys[part.kind]
        if part.kind is not Kind.ONE_RTT:
            return key, 0
        if (header[0] >> 2 & 1) == side.generation & 1:
            rule(side.generation >= side.peer_generation, f"{where}: did not follow a key update")
            return key, side.generation
        rule(self.confirmed, f"{where}: a key update before the handshake was confirmed")
        following = side.generation + 1
        if following > side.peer_generation:  # its own initiative
            acknowledged = any(
                packet.generation == side.generation
                and number <= side.spaces[Kind.ONE_RTT].largest_acknowledged
                for number, packet in side.spaces[Kind.ONE_RTT].sent.items()
            )
            rule(acknowledged, f"{where}: key update before the last was acknowledged (RFC 9001 section 6.1)")
        return key.next, following

    def _check_header(self, side: _Side, packet: Packet, where: str) -> None:
        if packet.kind is not Kind.ONE_RTT:
            return
        rule(packet.destination in side.usable, f"{where}: to a connection ID that was not given to it")
        sequence = self.sides[OTHER[side.name]].issued.get(packet.destination)
        rule(sequence not in side.given_up, f"{where}: to a connection ID that it has retired")
        # RFC 9000 section 17.4: it begins anew, at 0, with a connection ID that is new to a path.
        used = (packet.destination, self.paths.is_active(side.name, packet.datagram.destination))
        if used != side.used:
            side.spins = side.spins | {0} if side.used else side.spins
            side.used = used
        if self.confirmed:
            # When a path that was probed becomes the one in use is the side's to say: it begins at 0 then.
            spins = side.spins | {0} if len(self.paths.paths) > 1 else side.spins
            rule(packet.spin in spins, f"{where}: spin bit {packet.spin}, expected {spins}")

    def _check_frames(self, side: _Side, packet: Packet, where: str) -> None:
        space, peer = side.spaces[packet.kind], self.sides[OTHER[side.name]]
        for frame in packet.frames:
            if packet.kind in (Kind.INITIAL, Kind.HANDSHAKE):
                rule(isinstance(frame, _EARLY_FRAMES), f"{where}: {frame} is not allowed here")
            match frame:
                case Ack():
                    self._check_ack(side, packet, frame, where)
                case Crypto():
                    space.crypto.feed(frame)
                    self._suite = self._suite or space.crypto.suite
                    if space.crypto.parameters is not None and not peer.ledger.limits:
                        peer.ledger.grant(space.crypto.parameters)
                case HandshakeDone() | NewToken():
                    rule(side.name == SERVER, f"{where}: only a server sends {frame}")
                case NewConnectionId(sequence, _, cid, _):
                    rule(side.issued.setdefault(cid, sequence) == sequence, f"{where}: a connection ID twice")
                case RetireConnectionId(sequence):
                    rule(sequence in peer.issued.values(), f"{where}: retires what was never issued")
                    rule(
                        peer.issued[packet.destination] != sequence,
                        f"{where}: retires the connection ID it is sent to",
                    )
                    side.given_up.add(sequence)
                case ConnectionClose():
                    side.closed = True
            side.ledger.emitted(frame)

    def _check_ack(self, side: _Side, packet: Packet, ack: Ack, where: str) -> None:
        space = side.spaces[packet.kind]
        theirs = self.sides[OTHER[side.name]].spaces[packet.kind].sent
        for first, last in ack.ranges:
            for number in range(first, last + 1):
                # Both sides number over all spaces, so a range may span numbers of another space.
                rule(
                    number in space.arrived or number not in theirs,
                    f"{where}: acknowledges {number}, which never reached it",
                )
                rule(number in space.arrived, f"{where}: acknowledges {number}, which was never sent")
                rule(
                    theirs[number].generation <= packet.generation,
                    f"{where}: acknowledges a packet of newer keys with old ones (RFC 9001 section 6.2)",
                )
                space.owed.pop(number, None)
        if packet.kind is Kind.ONE_RTT and side.ledger.limits:
            exponent = self.sides[OTHER[side.name]].ledger.limits.get(handshake.ACK_DELAY_EXPONENT, 3)
            held = packet.at - space.arrived[ack.largest]
            rule(
                ack.delay << exponent <= held * 1e6 + 8, f"{where}: an ACK delay of {ack.delay} after {held}"
            )

    # --- arriving ---------------------------------------------------------------------------------

    def delivered(self, emission: Emission, now: float) -> list[Packet]:
        """A datagram reaches the other side; the packets that are new to it and that it has to accept."""
        sender, side = self.sides[emission.sender], self.sides[OTHER[emission.sender]]
        self._check_overdue(now)
        self.paths.delivered(side.name, emission)
        if side.closed:
            return []
        return [packet for packet in emission.packets if self._arrive(sender, side, packet, now)]

    def _arrive(self, sender: _Side, side: _Side, packet: Packet, now: float) -> bool:
        space = side.spaces[packet.kind]
        side.usable.update(cid for cid, sequence in sender.issued.items() if sequence == 0)
        if packet.number in space.arrived:
            return False
        recent = packet.number > max(space.arrived, default=-1) - WINDOW_PACKETS
        space.arrived[packet.number] = now
        # A stock receiver keeps neither old keys nor connection IDs that were retired.
        # A 1-RTT packet that overtakes the handshake finds no keys.
        certain = self.confirmed or packet.kind is not Kind.ONE_RTT
        certain &= packet.generation >= max(side.peer_generation, side.generation)
        certain &= (
            packet.destination not in side.issued or side.issued[packet.destination] not in side.withdrawn
        )
        if side.name == SERVER:
            self.paths.heard(packet, certain=certain)
        if packet.kind is Kind.ONE_RTT:
            side.peer_generation = max(side.peer_generation, packet.generation)
            if packet.number > side.spin_number:
                value = packet.spin if side.name == SERVER else 1 - packet.spin
                side.spins = {value} if certain else side.spins | {value}
                side.spin_number = packet.number if certain else side.spin_number
            if packet.eliciting and certain and recent and self.confirmed:
                space.owed[packet.number] = now + self._promised(side)
        for frame in packet.frames:
            match frame:
                case Ack():
                    space.largest_acknowledged = max(space.largest_acknowledged, frame.largest)
                    self._forget_owed(space, frame)
                case NewConnectionId():
                    side.usable.add(frame.cid)
                case RetireConnectionId():
                    side.withdrawn.add(frame.sequence)
                case HandshakeDone():
                    self.confirmed = True
                case ConnectionClose():
                    side.closed = True
            side.ledger.delivered(frame)
        if certain and recent:
            space.accepted.add(packet.number)
        return certain and recent

    @staticmethod
    def _forget_owed(space: _Space, ack: Ack) -> None:
        """aioquic takes an ACK that has arrived for one of all before it, also of what came later than it."""
        if space.owed:
            recent = (space.sent[number] for number in list(space.sent)[-WINDOW_PACKETS:] if number in ack)
            largest = max((own.largest for packet in recent for own in packet.frames_of(Ack)), default=-1)
            for number in [number for number in space.owed if number <= largest]:
                del space.owed[number]

    def _promised(self, side: _Side) -> float:
        """Within what time a side acknowledges, in s: its max_ack_delay, and a little."""
        theirs = self.sides[OTHER[side.name]].ledger.limits  # what it has told the other
        return theirs.get(handshake.MAX_ACK_DELAY, 25) / 1000 + ACK_SLACK_S

    def _check_overdue(self, now: float) -> None:
        """Whether some packet waits for its ACK for longer than was promised (RFC 9000 section 13.2.1)."""
        for side in self.sides.values():
            owed = side.spaces[Kind.ONE_RTT].owed
            if not owed or side.closed:
                continue
            if not self.paths.is_open(side.name):  # it may have to wait for the address to be validated
                owed.update(dict.fromkeys(owed, now + self._promised(side)))
                continue
            number, deadline = next(iter(owed.items()))
            rule(now <= deadline, f"{side.name}: no ACK of {number} within the delay it promised")

    # --- for tests ---------------------------------------------------------------------------------

    def sent(self, name: str, kind: Kind = Kind.ONE_RTT) -> list[Packet]:
        """All packets of one side, in the order they left."""
        return list(self.sides[name].spaces[kind].sent.values())

    def arrived(self, name: str) -> set[int]:
        """Numbers of the 1-RTT packets that reached a side."""
        return set(self.sides[name].spaces[Kind.ONE_RTT].arrived)

    def datagrams(self, name: str) -> tuple[set[bytes], set[bytes]]:
        """DATAGRAM payloads that a side had to accept, and all that reached it."""
        space, theirs = (
            self.sides[name].spaces[Kind.ONE_RTT],
            self.sides[OTHER[name]].spaces[Kind.ONE_RTT].sent,
        )
        arrived = {
            number: [frame.data for frame in theirs[number].frames_of(Datagram)] for number in space.arrived
        }
        certain = {data for number in space.accepted for data in arrived[number]}
        return certain, {data for payloads in arrived.values() for data in payloads}

    def may_update_key(self, name: str) -> bool:
        """Whether a side may begin another key update (RFC 9001 section 6.1)."""
        side = self.sides[name]
        space = side.spaces[Kind.ONE_RTT]
        newest = space.sent.get(space.largest_acknowledged)
        return self.confirmed and newest is not None and newest.generation == side.generation

    def keys_are_known(self, name: str) -> bool:
        """Whether a side's newest keys have reached the other."""
        return self.sides[OTHER[name]].peer_generation == self.sides[name].generation
