"""Applying an ACK to aioquic's recovery state, as its ``on_ack_received`` does, at a third of the cost.

Ranges are walked against the table of packets in flight without building range sets, the congestion
controller is told once of all packets (where it has a method for that), and loss detection runs only
when something older than what was acknowledged is still in flight: else it could find nothing.
RFC 9002, sections 5 to 7 and appendix A.7. Imports aioquic's types and this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from wtgateway.transport.frame_stream import SentPacket

_ACKED = QuicDeliveryState.ACKED


def apply_ack(
    recovery: QuicPacketRecovery,
    space: QuicPacketSpace,
    ranges: Sequence[tuple[int, int]],
    delay: float,
    now: float,
) -> bool:
    """Take ``ranges`` (first and last, from the highest down) as acknowledged after ``delay`` s.

    Returns whether a callback of aioquic's own ran, after which aioquic may have something to send.
    """
    sent: dict[int, Any] = space.sent_packets
    largest = ranges[0][1]
    if largest > space.largest_acked_packet:
        space.largest_acked_packet = largest
    controller: Any = recovery._cc
    if getattr(controller, "given_up", None):
        controller.on_ranges(now=now, ranges=ranges)
    acknowledged = _take(sent, ranges)
    if not acknowledged:
        return False
    ordinary, flying, eliciting = _deliver(acknowledged)
    space.ack_eliciting_in_flight -= eliciting
    if hasattr(controller, "on_packets_acked"):
        if flying:
            controller.on_packets_acked(packets=flying, now=now)
    else:
        for packet in flying:
            controller.on_packet_acked(packet=packet, now=now)
    newest = acknowledged[-1]
    if eliciting and newest.packet_number == largest:
        _measure(recovery, now - newest.sent_time, delay, now)
    if sent and next(iter(sent)) <= space.largest_acked_packet:
        before = len(sent)
        recovery._detect_loss(now=now, space=space)
        ordinary |= len(sent) != before
    else:
        space.loss_time = None
    if recovery.peer_completed_address_validation:
        recovery._pto_count = 0
    return ordinary


def _take(sent: dict[int, Any], ranges: Sequence[tuple[int, int]]) -> list[Any]:
    """Remove what is acknowledged from the packets in flight; in the order they were sent."""
    if not sent:
        return []
    lowest = next(iter(sent))
    taken: list[Any] = []
    pop = sent.pop
    for low, high in reversed(ranges):
        if high < lowest:
            continue
        if low < lowest:
            low = lowest
        if high - low > 2 * len(sent) + 64:  # a range far wider than what is in flight
            taken += [pop(number) for number in [n for n in sent if low <= n <= high]]
            continue
        for number in range(low, high + 1):
            if number in sent:
                taken.append(pop(number))
    return taken


def _deliver(acknowledged: list[Any]) -> tuple[bool, list[Any], int]:
    """Tell streams what has arrived.

    Returns whether some packet was aioquic's own, those that were in flight, and how many wanted an ACK.
    """
    others = False
    for packet in acknowledged:
        if type(packet) is SentPacket:
            stream = packet.stream
            if stream is not None:
                stream.on_acknowledged(packet.stop - packet.start)
        else:
            others = True
            for handler, arguments in packet.delivery_handlers:
                handler(_ACKED, *arguments)
    if not others:
        return False, acknowledged, len(acknowledged)
    flying = [packet for packet in acknowledged if packet.in_flight]
    return True, flying, sum(packet.is_ack_eliciting for packet in acknowledged)


def _measure(recovery: QuicPacketRecovery, latest: float, delay: float, now: float) -> None:
    """A sample of the round trip (RFC 9002, section 5.3), in aioquic's arithmetic."""
    delay = min(delay, recovery.max_ack_delay)
    adjusted = max(latest, 0.001)
    if adjusted < recovery._rtt_min:
        recovery._rtt_min = adjusted
    if adjusted > recovery._rtt_min + delay:
        adjusted -= delay
    recovery._rtt_latest = adjusted
    if not recovery._rtt_initialized:
        recovery._rtt_first_sample_time = now
        recovery._rtt_initialized = True
        recovery._rtt_variance = latest / 2
        recovery._rtt_smoothed = latest
    else:
        variance = abs(recovery._rtt_min - adjusted)
        recovery._rtt_variance = 3 / 4 * recovery._rtt_variance + 1 / 4 * variance
        recovery._rtt_smoothed = 7 / 8 * recovery._rtt_smoothed + 1 / 8 * adjusted
    recovery._cc.on_rtt_measurement(now=now, rtt=latest)
    recovery._pacer.update_rate(
        congestion_window=recovery._cc.congestion_window, smoothed_rtt=recovery._rtt_smoothed
    )
