"""How a frame travels: on a stream or in datagrams, with how much redundancy, and why. Pure functions.

Streams lose nothing, but what they lost comes when QUIC notices: a round trip and the delay of an
acknowledgement later, in order. Datagrams are asked for by the viewer, which notices sooner and knows
what is still worth having; parity spares the round trip where there is no time for one.

Imports media only; rates are bits/s, times s.
"""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass

from wtgateway.media import Kind

LEAST_DATAGRAM_BYTES = 512  # a path with less than that is not worth the headers
MOST_PIECES = 192  # of a frame in datagrams; more (some 200 KB) go on a stream
MOST_PARITY = 64
LOSSY = 0.002  # a path with less loss than that has none
CROWDED_S = 0.06  # a standing queue of so much: more bytes would lose more than they save
ACCEPTED_FAILURE = 0.001  # of a frame: one in 1000 may come too late
ASK_S = 0.010  # until a viewer knows of a loss and has said so
AGAIN_RTT, AGAIN_S = 1.25, 0.005  # until it asks once more (protocol.reassembly)
SHOW_S = 0.020  # a frame that is whole has to be decoded, and waits for the display
PARITY_SHARE = 0.5  # of the data at most
_LOSS_STEPS = 200  # losses are rounded up to half a percent: few cases to compute


class Reason(enum.StrEnum):
    """Why a frame travels as it does, in words."""

    WISHED = "as the viewer wishes"
    NO_DATAGRAMS = "the path takes no datagrams"
    LARGE = "too large for datagrams"
    LOSSLESS = "nothing is lost"
    IN_TIME = "losses are sent again in time"
    LATE = "a loss could not be sent again in time"
    CROWDED = "no parity: the path has a queue"
    SOUND = "sound is repeated against loss"


@dataclass(slots=True, kw_only=True)
class Path:
    """What is known of the way to a viewer; its owner keeps it current."""

    rtt: float = 0.1
    base_rtt: float = 0.0  # the least known: without any queue
    loss: float = 0.0  # share of packets, 0..1
    queueing: float = 0.0
    estimate_bps: int = 0  # 0: not known
    estimate_bounded: bool = False  # no more than that; else it may carry more
    limit_bps: int = 0  # what the gateway lets this session take, whatever the path carries; 0: any
    datagram_bytes: int = 0  # the largest payload; 0: none
    open: bool = True  # something could be sent now


@dataclass(frozen=True, slots=True)
class Plan:
    """``parity``: pieces added to a frame in datagrams; ``repeats``: frames of sound before it sent again."""

    datagrams: bool
    reason: Reason
    parity: int = 0
    repeats: int = 0


_WISHED = Plan(False, Reason.WISHED)
_NO_DATAGRAMS = Plan(False, Reason.NO_DATAGRAMS)
_LARGE = Plan(False, Reason.LARGE)
_LOSSLESS = Plan(False, Reason.LOSSLESS)
_LOSSLESS_BUT_FAR = Plan(True, Reason.LATE)
_WISHED_DATAGRAMS = Plan(True, Reason.WISHED)


def plan_frame(
    mode: str, kind: Kind, size: int, time_left: float, worth: float, path: Path, header_bytes: int
) -> Plan:
    """How a frame object of ``size`` bytes that is worth something for ``time_left`` more s is to travel.

    ``mode`` is the subscription's: "stream", "datagram" or "auto". ``worth`` is what ``time_left`` was before
    the frame had to wait.
    """
    if mode == "stream":
        return _WISHED
    if path.datagram_bytes < LEAST_DATAGRAM_BYTES:
        return _NO_DATAGRAMS
    if kind is Kind.AUDIO:
        repeats = sound_repeats(path.loss)
        return Plan(True, Reason.SOUND if repeats else Reason.LOSSLESS, repeats=repeats)
    pieces = -(-size // (path.datagram_bytes - header_bytes))
    if pieces > MOST_PIECES:
        return _LARGE
    if path.loss < LOSSY:
        if mode == "datagram":
            return _WISHED_DATAGRAMS
        # A viewer asks sooner than QUIC notices: where neither is in time it is at least late by less. But
        # what a queue holds up, here or on the way, is not missing, and asking makes the queue longer.
        return _LOSSLESS if asking_rounds(worth, path.base_rtt) else _LOSSLESS_BUT_FAR
    rounds = asking_rounds(time_left, path.rtt)
    if path.queueing > CROWDED_S:
        return Plan(True, Reason.CROWDED)
    parity = parity_for(pieces, path.loss, rounds)
    return Plan(True, Reason.LATE if parity else Reason.IN_TIME, parity=parity)


def sound_repeats(loss: float) -> int:
    """How many of the frames of sound before one are sent again with it."""
    if loss < LOSSY:
        return 0
    return 1 if loss < 0.03 else 2


def asking_rounds(time_left: float, rtt: float) -> int:
    """How often a lost piece can be asked for and sent again, for its frame to be shown in ``time_left``."""
    spare = time_left - SHOW_S - rtt / 2 - ASK_S - rtt
    return 0 if spare < 0 else 1 + int(spare / (AGAIN_RTT * rtt + AGAIN_S))


def parity_for(pieces: int, loss: float, rounds: int) -> int:
    """The fewest pieces of parity with which a frame comes in time but for :data:`ACCEPTED_FAILURE`."""
    return _parity_for(pieces, min(math.ceil(loss * _LOSS_STEPS), _LOSS_STEPS // 2), min(rounds, 8))


@functools.lru_cache(maxsize=4096)
def _parity_for(pieces: int, loss_steps: int, rounds: int) -> int:
    loss = loss_steps / _LOSS_STEPS
    most = min(MOST_PARITY, max(1, int(pieces * PARITY_SHARE)))
    for parity in range(most + 1):
        if _failure(pieces, parity, loss, rounds) <= ACCEPTED_FAILURE:
            return parity
    return most


def _failure(pieces: int, parity: int, loss: float, rounds: int) -> float:
    """That pieces are missing when the time for asking is over.

    More than ``parity`` have to be lost at first, as by the binomial distribution; then each of those
    that lack is missing if in all rounds the wish or the answer was lost; the last answer is sent twice.
    """
    again = (1.0 - (1.0 - loss) ** 2) ** (rounds - 1) * _last_round(loss) if rounds else 1.0
    total = pieces + parity
    failure = 0.0
    for lost in range(parity + 1, total + 1):
        share = math.comb(total, lost) * loss**lost * (1.0 - loss) ** (total - lost)
        failure += share * (1.0 - (1.0 - again) ** (lost - parity))
        if share < 1e-9 and lost > total * loss:
            break
    return failure


def _last_round(loss: float) -> float:
    return 1.0 - (1.0 - loss) * (1.0 - loss**2)
