"""`packets`: no sockets. Time per packet sealed, ACK handled and data packet opened, beside stock aioquic.

A server sends frames of 16 KiB at 30 fps in virtual time to the light receiver of the bench `fanout`,
which acknowledges 1 in 2 or 1 in 7. What is timed is the server's end alone: handing a frame over until
all its packets are there; and an ACK with what a driver does after it (ask for packets, ask for the
timer). The least of several rounds counts: everything else is the machine's noise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aioquic.quic.connection import QuicConnection

from scripts.benchmarks.fanout.audit import Audit, Frames
from scripts.benchmarks.fanout.content import FPS, FRAME_BYTES, fragments, make_frame
from scripts.benchmarks.fanout.pair import CLIENT, DELAY_S, SERVER, Stock, server_connection, shake_hands
from scripts.benchmarks.fanout.receiver import Counts, Receiver
from scripts.benchmarks.fanout.server import load_certificate
from scripts.benchmarks.fanout.servers import write_certificate
from scripts.benchmarks.fanout.viewer import client_connection
from scripts.benchmarks.report import Figure, Options
from wtgateway.transport import internals
from wtgateway.transport.congestion import NAME as MEDIA
from wtgateway.transport.endpoint import ServerCertificate
from wtgateway.transport.lane import Lane
from wtgateway.transport.pacer import MediaPacer
from wtgateway.transport.udp import Peer
from wtgateway.transport.urgency import Urgency

ROUNDS, FRAMES = 7, 150
QUICK_ROUNDS, QUICK_FRAMES = 2, 15
ACK_EVERY = (2, 7)
DATAGRAM_BYTES = 1160
_MTU = 1200
_PREAMBLE = b"\x40\x54\x00"  # of a WebTransport stream of session 0
_PACE_S = 0.0005
_PATIENCE = 60  # of those; longer than the receiver sits on an ACK
_MAX_WAITS = 600
_WARM_FRAMES = 20
_LIMITS_EVERY = 50  # frames


class StockServer(Stock):
    """aioquic's own ways."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic, CLIENT)

    def send_stream(self, frame: bytes) -> None:
        """A frame as a stream."""
        stream_id = self.quic.get_next_available_stream_id(is_unidirectional=True)
        self.quic.send_stream_data(stream_id, _PREAMBLE + frame, end_stream=True)

    def send_datagrams(self, payloads: Sequence[bytes]) -> None:
        """A frame as datagrams."""
        for payload in payloads:
            self.quic.send_datagram_frame(b"\0" + payload)

    def acknowledged(self, datagram: bytes, now: float) -> list[bytes]:
        """What a driver does for a datagram that came."""
        self.receive(datagram, now)
        out = self.transmit(now)
        self.quic.get_timer()
        return out


class LaneServer:
    """Ours, with or without its express lane."""

    def __init__(self, quic: QuicConnection, *, express: bool) -> None:
        internals.install_pacer(quic, MediaPacer(max_datagram_size=_MTU))
        self.quic = quic
        self.lane = Lane(quic, express=express)
        self._peer = Peer(CLIENT)

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram of the peer."""
        self.lane.receive(datagram, self._peer, now)

    def transmit(self, now: float) -> list[bytes]:
        """What may leave now."""
        return [datagram for run in self.lane.transmit(now) for datagram in run.packets]

    def send_stream(self, frame: bytes) -> None:
        """A frame as a stream."""
        self.lane.open_frame(_PREAMBLE, frame, Urgency.DELTA)

    def send_datagrams(self, payloads: Sequence[bytes]) -> None:
        """A frame as datagrams."""
        self.lane.send_datagrams(payloads, Urgency.DELTA, b"\0")

    def acknowledged(self, datagram: bytes, now: float) -> list[bytes]:
        """What a driver does for a datagram that came."""
        if not self.lane.receive(datagram, self._peer, now):
            return []
        out = self.transmit(now)
        self.lane.get_timer()
        return out


AnyServer = StockServer | LaneServer
SERVERS: dict[str, tuple[str, Callable[[QuicConnection], AnyServer]]] = {
    "aioquic": ("reno", StockServer),
    "ordinary": (MEDIA, lambda quic: LaneServer(quic, express=False)),
    "express": (MEDIA, lambda quic: LaneServer(quic, express=True)),
}


@dataclass(frozen=True, slots=True)
class Times:
    """Of one round, µs."""

    sealed: float
    acknowledged: float


class Round:
    """One connection and its frames."""

    def __init__(self, kind: str, mode: str, ack_every: int, certificate: ServerCertificate) -> None:
        congestion, make = SERVERS[kind]
        client = client_connection(_MTU)
        client.connect(SERVER, now=0.0)
        first = [datagram for datagram, _ in client.datagrams_to_send(0.0)]
        self._mode = mode
        self._server = make(server_connection(first[0], certificate.cert, certificate.key, congestion))
        self._now = shake_hands(Stock(client, SERVER), self._server, first, 0.0)
        self._frames, self._counts = Frames(recording=True), Counts()
        # One stream's media begins behind HTTP/3's three streams.
        audit = Audit(self._frames, assemble=True)
        self._receiver = Receiver(
            client, ack_every=ack_every, sample=1.0, audit=audit, counts=self._counts, seed=1
        )
        for _ in range(3):
            stream_id = self._server.quic.get_next_available_stream_id(is_unidirectional=True)
            self._server.quic.send_stream_data(stream_id, b"\0")
        self._sealing_ns = self._acknowledging_ns = self._packets = self._acks = 0
        self._deliver(self._server.transmit(self._now))
        for datagram in self._receiver.datagrams_to_send():
            self._server.receive(datagram, self._now)

    def _deliver(self, datagrams: list[bytes]) -> None:
        self._now += DELAY_S
        for datagram in datagrams:
            self._receiver.receive(datagram, len(datagram), self._now, self._now * 1e9)

    def run(self, frames: int) -> Times:
        """Send them all, after some that open the window. Raises RuntimeError when they do not arrive."""
        for number in range(_WARM_FRAMES):
            self._frame(number)
        self._sealing_ns = self._acknowledging_ns = self._packets = self._acks = 0
        for number in range(_WARM_FRAMES, _WARM_FRAMES + frames):
            self._frame(number)
        if self._frames.whole < frames + _WARM_FRAMES - 1 or self._frames.wrong:
            raise RuntimeError(f"{self._frames.whole} of {frames} frames came whole")
        return Times(
            self._sealing_ns / 1e3 / self._packets,
            self._acknowledging_ns / 1e3 / max(1, self._acks),
        )

    def _frame(self, number: int) -> None:
        """Hand one over, take its packets until all are there, and have them acknowledged."""
        frame = make_frame(round(self._now * 1e9) + 1)
        payloads = fragments(number, frame, DATAGRAM_BYTES)
        began = time.perf_counter_ns()
        if self._mode == "streams":
            self._server.send_stream(frame)
        else:
            self._server.send_datagrams(payloads)
        self._sealing_ns += time.perf_counter_ns() - began
        size = waits = 0
        while size < FRAME_BYTES:
            began = time.perf_counter_ns()
            more = self._server.transmit(self._now)
            self._sealing_ns += time.perf_counter_ns() - began
            self._packets += len(more)
            size += sum(map(len, more))
            self._deliver(more)
            if not more:
                self._now += _PACE_S
                waits += 1
                if waits % _PATIENCE == 0:  # the window is full
                    size += self._acknowledge()
                if waits > _MAX_WAITS:
                    raise RuntimeError("the sender does not go on")
        if number % _LIMITS_EVERY == _LIMITS_EVERY - 1:
            self._receiver.raise_limits(self._now)
        self._acknowledge()
        self._now += 1 / FPS
        self._receiver.handle_timer(self._now)

    def _acknowledge(self) -> int:
        """Hand the receiver's answers over; bytes that the server sent thereupon."""
        self._now += DELAY_S
        self._receiver.handle_timer(self._now)
        size = 0
        for answer in self._receiver.datagrams_to_send():
            began = time.perf_counter_ns()
            more = self._server.acknowledged(answer, self._now)
            self._acknowledging_ns += time.perf_counter_ns() - began
            self._acks += 1
            size += sum(map(len, more))
            self._deliver(more)
        return size


def opened_us(kind: str, certificate: ServerCertificate, frames: int) -> float:
    """µs to take in a packet of stream data, by aioquic or by ours as the receiver; its answer included."""
    client, peer = client_connection(_MTU), Peer(SERVER)
    client.connect(peer, now=0.0)
    first = [datagram for datagram, _ in client.datagrams_to_send(0.0)]
    sender = StockServer(server_connection(first[0], certificate.cert, certificate.key))
    receiving = Stock(client, peer)
    now = shake_hands(receiving, sender, first, 0.0)
    lane = Lane(client, express=kind == "express")
    spent = packets = 0
    for number in range(frames):
        sender.send_stream(make_frame(number + 1))
        size = waits = 0
        while size < FRAME_BYTES:
            waits += 1
            if waits > _MAX_WAITS:
                raise RuntimeError("the sender does not go on")
            datagrams = sender.transmit(now)
            size += sum(map(len, datagrams))
            packets += len(datagrams)
            began = time.perf_counter_ns()
            for datagram in datagrams:
                if kind == "aioquic":
                    client.receive_datagram(datagram, peer, now)
                else:
                    lane.receive(datagram, peer, now)
            while client.next_event() is not None:
                pass
            if kind == "aioquic":
                answers = [answer for answer, _ in client.datagrams_to_send(now)]
            else:
                answers = [answer for run in lane.transmit(now) for answer in run.packets]
            spent += time.perf_counter_ns() - began
            for answer in answers:
                sender.receive(answer, now)
            now += DELAY_S
    return spent / 1e3 / packets


async def run(options: Options) -> list[Figure]:
    """Every kind in every mode, rounds interleaved."""
    write_certificate(options.directory)
    certificate = load_certificate(options.directory / "cert.pem", options.directory / "key.pem")
    rounds, frames = (QUICK_ROUNDS, QUICK_FRAMES) if options.quick else (ROUNDS, FRAMES)
    best: dict[tuple[str, str, int], Times] = {}
    opened: dict[str, float] = {}
    for number in range(rounds):
        print(f"== round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for kind in SERVERS:
            for mode in ("datagrams", "streams"):
                for ack_every in ACK_EVERY:
                    key = (kind, mode, ack_every)
                    times = Round(*key, certificate).run(frames)
                    best[key] = least(best.get(key, times), times)
            taken = opened_us(kind, certificate, frames)
            opened[kind] = min(opened.get(kind, taken), taken)
    return figures_of(best, opened)


def least(a: Times, b: Times) -> Times:
    """The least of each."""
    return Times(min(a.sealed, b.sealed), min(a.acknowledged, b.acknowledged))


def figures_of(best: dict[tuple[str, str, int], Times], opened: dict[str, float]) -> list[Figure]:
    """Ours with the express lane, beside the ordinary way and stock aioquic."""
    others = [kind for kind in SERVERS if kind != "express"]
    found = []
    for mode in ("datagrams", "streams"):
        found.append(
            Figure(
                name=f"packet sealed, {mode}",
                value=round(best["express", mode, 7].sealed, 2),
                unit="µs",
                peers={kind: round(best[kind, mode, 7].sealed, 2) for kind in others},
            )
        )
        found += [
            Figure(
                name=f"ACK handled, {mode}, 1 in {ack_every}",
                value=round(best["express", mode, ack_every].acknowledged, 2),
                unit="µs",
                peers={kind: round(best[kind, mode, ack_every].acknowledged, 2) for kind in others},
            )
            for ack_every in ACK_EVERY
        ]
    found.append(
        Figure(
            name="data packet opened",
            value=round(opened["express"], 2),
            unit="µs",
            peers={kind: round(opened[kind], 2) for kind in others},
        )
    )
    return found
