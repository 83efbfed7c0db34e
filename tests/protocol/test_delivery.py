"""How a frame travels, by what is known of the path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.media import Kind
from wtgateway.protocol.delivery import (
    ACCEPTED_FAILURE,
    MOST_PARITY,
    Path,
    Plan,
    Reason,
    asking_rounds,
    parity_for,
    plan_frame,
    sound_repeats,
)

HEADER = 28
PIECE = 1172
LAN = Path(rtt=0.001, datagram_bytes=PIECE + HEADER)


def lossy(loss: float, rtt: float = 0.04, queueing: float = 0.0) -> Path:
    return Path(rtt=rtt, base_rtt=rtt - queueing, loss=loss, queueing=queueing, datagram_bytes=PIECE + HEADER)


def plan(
    mode: str, size: int, path: Path, *, time_left: float = 0.15, worth: float = 0.0, kind: Kind = Kind.VIDEO
) -> Plan:
    return plan_frame(mode, kind, size, time_left, worth or time_left, path, HEADER)


@pytest.mark.parametrize("path", [LAN, lossy(0.05)])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_wish_for_streams_is_met_whatever_the_path(path: Path, kind: Kind) -> None:
    assert plan("stream", 10_000, path, kind=kind) == Plan(False, Reason.WISHED)


@pytest.mark.parametrize("mode", ["datagram", "auto"])
def test_without_datagrams_all_goes_on_streams(mode: str) -> None:
    assert plan(mode, 10_000, Path()) == Plan(False, Reason.NO_DATAGRAMS)
    assert plan(mode, 300, Path(datagram_bytes=500), kind=Kind.AUDIO) == Plan(False, Reason.NO_DATAGRAMS)


def test_where_nothing_is_lost_auto_takes_streams_and_no_parity_is_sent() -> None:
    assert plan("auto", 10_000, LAN) == Plan(False, Reason.LOSSLESS)
    assert plan("datagram", 10_000, LAN) == Plan(True, Reason.WISHED)
    assert plan("auto", 300, LAN, kind=Kind.AUDIO) == Plan(True, Reason.LOSSLESS)


def test_what_only_a_queue_holds_up_stays_on_streams() -> None:
    slow = lossy(0.0, rtt=0.16, queueing=0.12)
    assert plan("auto", 10_000, slow) == Plan(False, Reason.LOSSLESS)
    assert plan("auto", 10_000, slow, time_left=0.02, worth=0.15) == Plan(False, Reason.LOSSLESS)
    assert plan("auto", 10_000, lossy(0.0, rtt=0.16)) == Plan(True, Reason.LATE), "it is far indeed"


def test_on_a_lossy_path_auto_takes_datagrams_but_for_what_is_too_large() -> None:
    assert plan("auto", 10_000, lossy(0.02)).datagrams
    assert plan("auto", 192 * PIECE, lossy(0.02)).datagrams
    assert plan("auto", 192 * PIECE + 1, lossy(0.02)) == Plan(False, Reason.LARGE)
    assert plan("datagram", 192 * PIECE + 1, LAN) == Plan(False, Reason.LARGE)


def test_no_parity_where_a_loss_is_sent_again_in_time() -> None:
    assert plan("auto", 12_000, lossy(0.02), time_left=0.5) == Plan(True, Reason.IN_TIME)


def test_parity_where_there_is_no_time_to_ask() -> None:
    late = plan("auto", 12_000, lossy(0.02, rtt=0.2), time_left=0.15)
    assert late.reason is Reason.LATE
    assert 2 <= late.parity <= 5


def test_no_parity_on_a_path_with_a_queue() -> None:
    assert plan("auto", 12_000, lossy(0.02, rtt=0.2, queueing=0.1)) == Plan(True, Reason.CROWDED)


def test_sound_is_repeated_the_more_is_lost() -> None:
    assert [sound_repeats(loss) for loss in (0, 0.001, 0.002, 0.02, 0.03, 0.5)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("time_left", "rtt", "rounds"),
    [
        (0.15, 0.04, 2),
        (0.14, 0.04, 1),
        (0.08, 0.04, 0),
        (0.15, 0.2, 0),
        (0.3, 0.2, 0),
        (0.5, 0.04, 8),
        (-1, 0.1, 0),
    ],
)
def test_rounds_of_asking(time_left: float, rtt: float, rounds: int) -> None:
    assert asking_rounds(time_left, rtt) == rounds


@pytest.mark.parametrize(
    ("pieces", "loss", "rounds"), [(10, 0.02, 0), (30, 0.05, 1), (3, 0.10, 1), (100, 0.05, 2)]
)
def test_parity_is_as_much_as_is_needed_and_no_more(pieces: int, loss: float, rounds: int) -> None:
    """By throwing dice: the share of frames that are not there when the time is over."""
    parity = parity_for(pieces, loss, rounds)
    dice = np.random.default_rng(7)

    def failures(parity: int, frames: int = 200_000) -> float:
        lacking = dice.binomial(pieces + parity, loss, frames) - parity
        for left in range(rounds, 0, -1):  # the wish or the answer may be lost; the last is sent twice
            answer_lost = loss**2 if left == 1 else loss
            lacking = dice.binomial(np.maximum(lacking, 0), 1 - (1 - loss) * (1 - answer_lost))
        return float(np.mean(lacking > 0))

    if parity < max(1, pieces // 2):
        assert failures(parity) <= 1.3 * ACCEPTED_FAILURE
    if parity:
        assert failures(parity - 1) > ACCEPTED_FAILURE


@given(st.integers(1, 192), st.floats(0, 1), st.integers(0, 100))
def test_parity_is_bounded_and_grows_with_loss(pieces: int, loss: float, rounds: int) -> None:
    parity = parity_for(pieces, loss, rounds)
    assert 0 <= parity <= min(MOST_PARITY, max(1, pieces // 2))
    assert parity_for(pieces, min(1.0, loss + 0.05), rounds) >= parity or rounds > 0
    assert parity_for(pieces, loss, rounds + 1) <= parity
