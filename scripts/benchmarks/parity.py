"""When parity pays: frames on time and bytes added, with and without, over a seeded network in virtual time.

The gateway's own sender (protocol.outgoing) and receiver (protocol.reassembly) over tests/netsim.py: 30
pictures a second at 3 Mbit/s in datagrams. No sockets and no clock: the same figures on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scripts.benchmarks.report import Figure, Options
from tests.netsim import Conditions, Link, VirtualTime
from tests.netsim_losses import LossBursts
from wtgateway.media import Frame, Kind
from wtgateway.protocol.delivery import Path, Plan, plan_frame
from wtgateway.protocol.fragments import decode_fragment
from wtgateway.protocol.nacks import decode_nacks, encode_nacks
from wtgateway.protocol.outgoing import Outgoing, Whole
from wtgateway.protocol.reassembly import Reassembly
from wtgateway.protocol.send_queue import QueuedFrame, SendQueue
from wtgateway.protocol.wire import encode_frame

FPS = 30
FRAME_BYTES = 12_500
DATAGRAM_BYTES = 1_200
AHEAD_US = 1_000_000_000  # of the viewer's clock is the gateway's

Policy = Callable[[str, Kind, int, float, float, Path, int], Plan]


def without(*arguments: object) -> Plan:
    """Answers alone."""
    return replace(plan_frame(*arguments), parity=0)  # type: ignore[arg-type]


def fixed(*arguments: object) -> Plan:
    """A fifth of the data, whatever the path."""
    plan = plan_frame(*arguments)  # type: ignore[arg-type]
    return replace(plan, parity=2) if plan.datagrams else plan


POLICIES: dict[str, Policy] = {"planned": plan_frame, "none": without, "a fifth": fixed}


@dataclass(frozen=True, slots=True)
class Case:
    """A path and what a picture is worth."""

    name: str
    rtt: float
    deadline: float
    conditions: Conditions
    loss: float  # as a gateway would measure it


@dataclass(frozen=True, slots=True)
class Outcome:
    """``on_time``: share of pictures whole before their deadline; ``added``: bytes over the pictures'."""

    on_time: float
    added: float
    parity: float


def cases() -> list[Case]:
    """Losses by round trips, and one in bursts."""
    listed = [
        Case(f"{loss:.0%} loss, {rtt * 1000:.0f} ms, {deadline * 1000:.0f} ms deadline", rtt, deadline,
             Conditions(delay=rtt / 2, loss=loss), loss)
        for rtt, deadline in ((0.01, 0.15), (0.04, 0.15), (0.1, 0.15), (0.2, 0.3))
        for loss in (0.0, 0.01, 0.02, 0.05, 0.1)
    ]  # fmt: skip
    bursts = Conditions(delay=0.02, losses=LossBursts(0.1))
    return [*listed, Case("10% in bursts of 5 to 20, 40 ms, 150 ms deadline", 0.04, 0.15, bursts, 0.1)]


def simulate(case: Case, policy: Policy, seconds: float, seed: int) -> Outcome:
    """One viewer for so long."""
    time = VirtualTime(start=0.0)
    out = Outgoing(SendQueue(), plan=policy)
    path = Path(
        rtt=case.rtt,
        base_rtt=case.rtt,
        loss=case.loss,
        datagram_bytes=DATAGRAM_BYTES,
        estimate_bps=20_000_000,
    )
    reassembly = Reassembly(deadline_us=round(case.deadline * 1e6), clock_offset_us=AHEAD_US)
    reassembly.set_path(round(case.rtt * 1e6))
    on_time = data = 0

    def us() -> int:
        return round(time.now * 1e6)

    def at_viewer(datagram: bytes) -> None:
        nonlocal on_time
        frame = reassembly.push(decode_fragment(datagram), us())
        if frame is not None and us() - (frame.capture_us - AHEAD_US) <= case.deadline * 1e6:
            on_time += 1
        ask()

    def ask() -> None:
        if entries := reassembly.nacks(us()):
            up.send(encode_nacks(entries[:64]))
        if (due := reassembly.next_timeout()) is not None:
            time.at(max(due / 1e6, time.now + 0.0005), ask)

    def at_gateway(datagram: bytes) -> None:
        out.asked(decode_nacks(datagram), time.now, path)
        send()

    def send() -> None:
        while (item := out.next(time.now, 1 << 20, path)) is not None:
            assert not isinstance(item, Whole)
            for payload in item.payloads:
                down.send(payload)

    def picture(number: int) -> None:
        nonlocal data
        now_us = us() + AHEAD_US
        frame = Frame(
            track=0,
            rendition=0,
            group=0,
            index=number,
            keyframe=number == 0,
            pts_us=now_us,
            capture_us=now_us,
            duration_us=1_000_000 // FPS,
            payload=number.to_bytes(4, "big") * (FRAME_BYTES // 4),
        )
        queued = QueuedFrame(
            frame, encode_frame(frame), Kind.VIDEO, time.now, time.now + case.deadline, "datagram"
        )
        data += len(queued.data)
        out.queue.push(queued, time.now)
        send()

    sent_bytes = 0

    class Counting(Link):
        def send(self, data: bytes) -> bool:
            nonlocal sent_bytes
            sent_bytes += len(data)
            return super().send(data)

    down = Counting(time, case.conditions, seed, at_viewer)
    up = Link(time, replace(case.conditions), seed + 1, at_gateway)
    count = round(seconds * FPS)
    for number in range(count):
        time.at(number / FPS, lambda number=number: picture(number))  # type: ignore[misc]
    time.run(seconds + 1.0)
    parity = out.counters["parity_sent"] / max(1, out.counters["fragments_sent"])
    return Outcome(on_time / count, sent_bytes / data - 1, parity)


def figures(listed: Sequence[Case], seconds: float) -> list[Figure]:
    """On time and added bytes of what is planned, with the other policies beside it."""
    found: list[Figure] = []
    for case in listed:
        outcomes = {name: simulate(case, policy, seconds, seed=1) for name, policy in POLICIES.items()}
        ours = outcomes.pop("planned")
        found.append(
            Figure(
                name=f"{case.name}: on time",
                value=round(100 * ours.on_time, 2),
                unit="%",
                peers={name: round(100 * each.on_time, 2) for name, each in outcomes.items()},
            )
        )
        found.append(
            Figure(
                name=f"{case.name}: bytes added",
                value=round(100 * ours.added, 1),
                unit="%",
                peers={name: round(100 * each.added, 1) for name, each in outcomes.items()},
            )
        )
    return found


async def run(options: Options) -> list[Figure]:
    """`scripts/bench parity`."""
    return figures(cases(), 10.0 if options.quick else 120.0)
