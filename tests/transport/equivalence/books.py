"""One side's recovery state against what was seen on the wire (RFC 9002).

Reads aioquic's private attributes, to compare each with a count of the witness's: what is in flight,
what was acknowledged, what was given up as lost and whether it had a right to, how much left at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch

from tests.transport.equivalence.frames import Ack
from tests.transport.equivalence.ledger import rule
from tests.transport.equivalence.packets import Kind

if TYPE_CHECKING:
    from tests.transport.equivalence.witness import Packet, Witness

PACKET_THRESHOLD = 3  # RFC 9002 section 6.1.1
TIME_THRESHOLD = 9 / 8  # section 6.1.2
MINIMUM_WINDOW = 2 * 1200  # section 7.2, for the datagram size a connection begins with
MAXIMUM_WINDOW = 16 << 20
_EPOCHS = {Epoch.INITIAL: Kind.INITIAL, Epoch.HANDSHAKE: Kind.HANDSHAKE, Epoch.ONE_RTT: Kind.ONE_RTT}


class Books:
    """Audits one QuicConnection."""

    def __init__(self, name: str, quic: QuicConnection, witness: Witness) -> None:
        self.name, self.quic, self.witness = name, quic, witness
        self.path_probes: set[int] = set()  # packet numbers that congestion control does not see
        self.least_window = self.greatest_window = quic._loss.congestion_window
        self.acknowledged: set[int] = set()  # 1-RTT packets the side was told of
        self.lost: set[int] = set()  # 1-RTT packets it gave up, rightly or not
        self.pto_count = 0  # timeouts, not in a row but in all

    # --- balance ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Everything counted agrees with everything seen."""
        quic, flight = self.quic, 0
        controller = quic._loss._cc
        for epoch, space in quic._spaces.items():
            seen = self.witness.sides[self.name].spaces[_EPOCHS[epoch]].sent
            numbers = list(space.sent_packets)
            rule(numbers == sorted(numbers), f"{self.name}: packets in flight out of order")
            eliciting = 0
            for number, packet in space.sent_packets.items():
                wire = seen.get(number)
                where = f"{self.name} {epoch.name} {number}"
                rule(wire is not None, f"{where}: in flight, but never left")
                assert wire is not None
                rule(packet.packet_number == number, f"{where}: filed as {packet.packet_number}")
                rule(packet.sent_bytes == wire.size, f"{where}: {packet.sent_bytes} bytes, {wire.size} seen")
                rule(packet.sent_time == wire.at, f"{where}: another sending time")
                rule(packet.is_ack_eliciting == wire.eliciting, f"{where}: ack-eliciting or not")
                rule(
                    packet.in_flight == (wire.in_flight and number not in self.path_probes),
                    f"{where}: in flight or not",
                )
                eliciting += packet.is_ack_eliciting
                flight += packet.sent_bytes if packet.in_flight else 0
            rule(
                space.ack_eliciting_in_flight == eliciting,
                f"{self.name} {epoch.name}: {space.ack_eliciting_in_flight} eliciting, counted {eliciting}",
            )
        rule(
            controller.bytes_in_flight == flight,
            f"{self.name}: {controller.bytes_in_flight} bytes in flight, counted {flight}",
        )
        window = controller.congestion_window
        self.least_window = min(self.least_window, window)
        self.greatest_window = max(self.greatest_window, window)
        rule(
            MINIMUM_WINDOW <= window <= MAXIMUM_WINDOW,
            f"{self.name}: a congestion window of {window}",
        )

    def sent(self, before: int, *, probing: bool) -> None:
        """What a flush sent is within the window (RFC 9002 section 7); a probe may exceed it.

        ``before``: bytes that were in flight; ``probing``: a PTO had expired.
        """
        controller = self.quic._loss._cc
        allowed = self.quic._max_datagram_size if probing else 0
        over = controller.bytes_in_flight - controller.congestion_window
        if self.quic._handshake_confirmed and before < controller.bytes_in_flight:
            new = controller.bytes_in_flight - before
            rule(
                over <= 0 or new <= allowed, f"{self.name}: {over} bytes beyond the window, {new} of them new"
            )
        self.check()

    # --- what goes out of flight ------------------------------------------------------------------

    def in_flight(self) -> set[int]:
        """1-RTT packets that are waited for."""
        space = self.quic._spaces.get(Epoch.ONE_RTT)
        return set(space.sent_packets) if space is not None else set()

    def received(self, before: set[int], packets: list[Packet], now: float) -> None:
        """A datagram was taken in; ``packets`` are those in it that the side must have accepted."""
        after = self.in_flight()
        acks = [ack for packet in packets if packet.kind is Kind.ONE_RTT for ack in packet.frames_of(Ack)]
        acked = {number for number in before if any(number in ack for ack in acks)}
        gone = before - after
        rule(acked <= gone, f"{self.name}: {sorted(acked - gone)} acknowledged, but still waited for")
        self.acknowledged |= acked
        self._lose(gone - acked, now, "")
        if acked:
            largest = self.quic._spaces[Epoch.ONE_RTT].largest_acked_packet
            late = {number for number in after if number <= largest - PACKET_THRESHOLD}
            rule(not late, f"{self.name}: {sorted(late)} should be given up as lost")
        self.check()

    def timed_out(self, before: set[int], now: float) -> None:
        """A timer was handled."""
        if self.quic._spaces[Epoch.ONE_RTT].discarded:
            return  # the connection is over
        gone = before - self.in_flight()
        if self.quic._handshake_confirmed:
            unexpected = {number for number in gone if not self._may_be_lost(number, now)}
            rule(len(unexpected) <= 1, f"{self.name}: a timeout gave up {sorted(unexpected)}")
        self.pto_count += self.quic._probe_pending
        self.lost |= gone
        self.check()

    def _lose(self, numbers: set[int], now: float, text: str) -> None:
        wrong = {number for number in numbers if not self._may_be_lost(number, now)}
        rule(
            not wrong or not self.quic._handshake_confirmed,
            f"{self.name}: {sorted(wrong)} given up without a reason {text}",
        )
        self.lost |= numbers

    def _may_be_lost(self, number: int, now: float) -> bool:
        recovery = self.quic._loss
        largest = self.quic._spaces[Epoch.ONE_RTT].largest_acked_packet
        wire = self.witness.sides[self.name].spaces[Kind.ONE_RTT].sent[number]
        delay = TIME_THRESHOLD * max(recovery._rtt_latest, recovery._rtt_smoothed)
        return number <= largest and (number <= largest - PACKET_THRESHOLD or wire.at <= now - delay)
