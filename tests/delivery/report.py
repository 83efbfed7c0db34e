"""What longer runs come to, as a table: ``python -m tests.delivery.report [VIEWERS [SECONDS]]``.

``settled`` leaves out the first three seconds, ``worst`` is the worst viewer, ``more`` what was sent beyond
the frames.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from tests.delivery.model import Model
from tests.netsim import Conditions
from tests.netsim_losses import GilbertElliott, LossBursts

RATE = 20e6
NEAR = 0.02
CLEAN = Conditions(delay=NEAR, rate_bps=RATE)


def near(**trouble: Any) -> Conditions:
    """40 ms of round trip, and some trouble."""
    return dataclasses.replace(CLEAN, **trouble)


SCENARIOS: dict[str, tuple[Conditions, Conditions | None, float]] = {
    "no loss": (CLEAN, None, 0.15),
    "2 % loss": (near(loss=0.02), None, 0.15),
    "5 % loss": (near(loss=0.05), None, 0.15),
    "10 % loss": (near(loss=0.10), None, 0.15),
    "bursts of 5-20, 10 %": (near(losses=LossBursts(0.10)), Conditions(delay=NEAR, loss=0.10), 0.15),
    "Gilbert-Elliott 5 %": (near(losses=GilbertElliott.of(0.05, 4)), Conditions(delay=NEAR), 0.15),
    "RTT 200 ms, 2 %": (near(delay=0.1, loss=0.02), None, 0.3),
    "RTT 5 ms, 5 %": (near(delay=0.0025, loss=0.05), None, 0.15),
    "reordering, duplicates": (near(reorder=0.05, duplicate=0.02), None, 0.15),
    "1 s blackout": (near(blackouts=((5.0, 1.0),)), None, 0.15),
}


def main(viewers: int = 5, seconds: float = 15.0) -> None:
    print(
        f"{'scenario':24}{'mode':10}{'video':>8}{'settled':>9}{'worst':>8}{'sound':>8}{'freeze':>8}{'more':>7}"
    )
    for name, (down, up, deadline) in SCENARIOS.items():
        for mode in ("stream", "datagram", "auto"):
            runs = [
                Model(down, up=up, mode=mode, deadline=deadline, seed=1 + 10 * n).play(seconds)
                for n in range(viewers)
            ]
            video = sum(run.video_on_time for run in runs) / viewers
            settled = sum(run.video_settled for run in runs) / viewers
            worst = min(run.video_settled for run in runs)
            sound = sum(run.audio_on_time for run in runs) / viewers
            freeze = max(run.longest_freeze for run in runs)
            more = sum(run.overhead for run in runs) / viewers
            print(
                f"{name:24}{mode:10}{video:8.2%}{settled:9.2%}{worst:8.2%}{sound:8.2%}"
                f"{freeze * 1e3:5.0f} ms{more:7.1%}"
            )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
