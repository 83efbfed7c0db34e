"""What the applications of both ends do, as single steps, and what must be true at the end.

The end under test sends media (frames as streams, datagrams) and writes on a stream of aioquic's own;
the peer uploads, stops, moves, changes keys and connection IDs. Every byte handed over is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.netsim import Conditions
from tests.transport.equivalence.frames import Datagram, ResetStream
from tests.transport.equivalence.harness import End, Setup, World
from tests.transport.equivalence.ledger import CLIENT, SERVER
from wtgateway.transport.urgency import Urgency

_MOST_IDLE_S = 0.5


def pattern(tag: int, size: int) -> bytes:
    """Bytes that differ from place to place and from tag to tag."""
    block = b"".join((tag * 65_537 + n).to_bytes(4, "big") for n in range(64))
    return (block * (size // len(block) + 1))[:size]


class Play:
    """One connection and the steps that can be done with it."""

    def __init__(self, setup: Setup, driver: str, *, handshake: bool = True) -> None:
        self.world = World(setup, driver)
        if handshake:
            self.world.shake_hands()
        self.lane, self.peer = self.world.lane, self.world.peer
        self.sent: dict[str, dict[int, bytearray]] = {CLIENT: {}, SERVER: {}}
        self.ended: dict[str, set[int]] = {CLIENT: set(), SERVER: set()}
        self.reset_wanted: set[int] = set()
        self.datagrams: set[bytes] = set()
        self.frames: list[int] = []
        self.uploads: list[int] = []
        self.probe_results: list[bool] = []
        self._count = 0
        self._pings = 0  # apart: whether keys are updated, with a PING, may depend on the driver
        self._control: dict[str, int] = {}

    def _tag(self) -> int:
        self._count += 1
        return self._count

    # --- media ------------------------------------------------------------------------------------

    def frame(self, size: int, urgency: Urgency = Urgency.DELTA) -> int:
        """A media frame of ``size`` bytes, its header included, as a stream."""
        data = pattern(self._tag(), size)
        head = min(23, size)
        made: list[int] = []
        self.lane.do(
            lambda: made.append(self.lane.driver.open_frame(data[:head], data[head:], urgency)), touch=False
        )
        self.sent[self.lane.name][made[0]] = bytearray(data)
        self.ended[self.lane.name].add(made[0])
        self.frames.append(made[0])
        return made[0]

    def datagrams_of(self, count: int, size: int, urgency: Urgency = Urgency.DELTA) -> int:
        """A batch of DATAGRAMs, no two alike; how many were taken."""
        payloads = [self._tag().to_bytes(4, "big") + pattern(n, max(0, size - 4)) for n in range(count)]
        taken: list[int] = []
        self.lane.do(lambda: taken.append(self.lane.driver.send_datagrams(payloads, urgency)), touch=False)
        self.datagrams.update(payloads[: taken[0]])
        return taken[0]

    def reset(self, index: int, code: int = 7) -> None:
        """Give up one of the last frames, if it is not through."""
        if self.frames:
            stream_id = self.frames[index % len(self.frames)]
            self.reset_wanted.add(stream_id)
            self.lane.do(lambda: self.lane.quic.reset_stream(stream_id, code))

    def stop(self, index: int, code: int = 9) -> None:
        """The peer wants no more of a stream, if it has reached it."""
        if self.frames:
            stream_id = self.frames[index % len(self.frames)]
            self.reset_wanted.add(stream_id)
            if stream_id in self.peer.quic._streams:
                self.peer.do(lambda: self.peer.quic.stop_stream(stream_id, code))

    # --- streams of aioquic's own -------------------------------------------------------------------

    def control(self, side: str, size: int) -> None:
        """More bytes on a bidirectional stream that stays open."""
        end = self._end(side)
        stream_id = self._control.get(side)
        if stream_id is None:
            stream_id = self._control[side] = end.quic.get_next_available_stream_id()
        self._write(end, stream_id, size, end_stream=False)

    def upload(self, size: int) -> None:
        """A whole stream from the peer."""
        stream_id = self.peer.quic.get_next_available_stream_id(is_unidirectional=True)
        self.uploads.append(stream_id)
        self._write(self.peer, stream_id, size, end_stream=True)

    def peer_reset(self, code: int = 5) -> None:
        """The peer gives its last upload up."""
        if self.uploads:
            self.reset_wanted.add(self.uploads[-1])
            self.peer.do(lambda: self.peer.quic.reset_stream(self.uploads[-1], code))

    def _write(self, end: End, stream_id: int, size: int, *, end_stream: bool) -> None:
        data = pattern(self._tag(), size)
        self.sent[end.name].setdefault(stream_id, bytearray()).extend(data)
        if end_stream:
            self.ended[end.name].add(stream_id)
        end.do(lambda: end.quic.send_stream_data(stream_id, data, end_stream))

    def _end(self, side: str) -> End:
        return self.lane if side == "lane" else self.peer

    # --- the connection ------------------------------------------------------------------------------

    def update_key(self, side: str) -> bool:
        """Ask for new keys, where the RFC allows it now; with a PING, so that the other side must hear of it.

        A stock peer keeps no old keys: were its new ones announced in lost ACKs only, neither side could
        read the other.
        """
        end = self._end(side)
        allowed = self.world.witness.may_update_key(end.name)
        if allowed:
            end.quic.request_key_update()
            self.ping(side)
        return allowed

    def change_cid(self, side: str) -> None:
        end = self._end(side)
        end.do(end.quic.change_connection_id)

    def ping(self, side: str) -> None:
        end = self._end(side)
        self._pings += 1
        end.do(lambda: end.quic.send_ping(self._pings))

    def move(self, *, keep_old: bool, change_cid: bool) -> None:
        """The client's address changes: on purpose with a new connection ID, or by a NAT without."""
        self.world.move_client(keep_old=keep_old)
        if change_cid:
            self.world.client.do(self.world.client.quic.change_connection_id)

    def set_mtu(self, size: int, *, path: int = 65_535) -> None:
        """The end under test uses datagrams of ``size`` bytes from now on; the path carries ``path``."""
        self.world.path_mtu = path
        self.lane.quic._max_datagram_size = size

    def probe(self, size: int) -> None:
        """A path MTU probe of the lane's."""
        send_probe = getattr(self.lane.driver, "send_probe", None)
        if send_probe is None:
            return
        number = self.lane.quic._packet_number
        made = send_probe(size, self.world.time.now, self.probe_results.append)
        if made is not None:
            self.lane.books.path_probes.add(number)
            self.world.extra_mtu = size
            self.world.emit(self.lane, *made)
            self.world.extra_mtu = 0
            self.lane.books.check()
            self.lane.flush()  # in the engine it is a timer that brings the next probe

    # --- time and network ------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    def darkness(self, seconds: float, *sides: str) -> None:
        """Nothing of these senders arrives for so long; without a name: of both."""
        self.world.dark = set(sides or (CLIENT, SERVER))
        self.world.run(seconds)
        self.world.dark = set()

    def weather(self, conditions: Conditions) -> None:
        self.world.weather(conditions)

    # --- the end -----------------------------------------------------------------------------------------

    def finish(self, seconds: float = 60.0) -> None:
        """Let everything arrive, then check what both sides have."""
        assert self.world.settle(seconds), "the connection does not come to rest"
        for end in (self.lane, self.peer):  # aioquic forgets streams that are over when it sends
            end.flush()
        self._check_streams()
        self._check_datagrams()
        self._check_state()

    def _check_streams(self) -> None:
        for name, other in ((self.lane.name, self.peer), (self.peer.name, self.lane)):
            received = other.received
            assert set(received.streams) <= set(self.sent[name]), "a stream that nobody opened"
            for stream_id, data in self.sent[name].items():
                got = received.streams.get(stream_id, bytearray())
                if stream_id in self.reset_wanted and stream_id in received.resets:
                    assert data.startswith(got), f"{name} {stream_id}: other bytes before the reset"
                    continue
                assert got == data, f"{name} {stream_id}: {len(got)} bytes of {len(data)}, or others"
                assert (stream_id in received.finished) == (stream_id in self.ended[name])
                assert stream_id not in received.resets

    def _check_datagrams(self) -> None:
        received = self.peer.received.datagrams
        assert len(received) == len(set(received)), "a datagram twice"
        certain, arrived = self.world.witness.datagrams(self.peer.name)
        assert certain <= set(received) <= arrived <= self.datagrams
        sent = {
            frame.data
            for packet in self.world.witness.sent(self.lane.name)
            for frame in packet.frames_of(Datagram)
        }
        assert sent == self.datagrams, "datagrams that were taken, but never left"

    def _check_state(self) -> None:
        lane, witness = self.lane, self.world.witness
        space = internals_space(lane)
        assert lane.received.ended is None and self.peer.received.ended is None, lane.received.ended
        assert space.ack_eliciting_in_flight == 0 and not lane.books.in_flight() & {
            packet.number for packet in witness.sent(lane.name) if packet.eliciting
        }
        assert lane.books.acknowledged <= witness.arrived(self.peer.name), "acknowledged, but never arrived"
        over = {packet.number for packet in witness.sent(lane.name) if packet.eliciting}
        assert over <= lane.books.acknowledged | lane.books.lost, "neither acknowledged nor lost"
        for stream_id in self.frames:
            assert lane.driver.unsent_bytes(stream_id) == lane.driver.unacknowledged_bytes(stream_id) == 0
            assert stream_id not in lane.quic._streams, f"state of stream {stream_id} is kept for ever"
        assert getattr(lane.driver, "waiting", 0) == 0
        assert lane.quic._remote_max_data_used == sum(
            stream.highest for stream in witness.sides[lane.name].ledger.streams.values()
        ), "connection flow control has lost count"

    # --- for comparing runs ------------------------------------------------------------------------------

    def outcome(self) -> dict[str, Any]:
        """What must not depend on the driver."""
        streams = {
            stream_id: bytes(data)
            for stream_id, data in self.peer.received.streams.items()
            if stream_id not in self.reset_wanted
        }
        return {
            "streams": streams,
            "finished": self.peer.received.finished - self.reset_wanted,
            "whole or reset": self.peer.received.finished | set(self.peer.received.resets),
            "uploads": {
                stream_id: bytes(data)
                for stream_id, data in self.lane.received.streams.items()
                if stream_id not in self.reset_wanted
            },
            "datagrams taken": self.datagrams,
        }

    def resets_on_the_wire(self) -> list[ResetStream]:
        return [
            frame
            for packet in self.world.witness.sent(self.lane.name)
            for frame in packet.frames_of(ResetStream)
        ]


def internals_space(end: End) -> Any:
    """The 1-RTT packet number space."""
    return next(space for epoch, space in end.quic._spaces.items() if epoch.name == "ONE_RTT")


Script = Callable[[Play], None]
