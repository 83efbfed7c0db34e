"""Scenarios of roaming, and what Roaming makes of them. Read by make.py; see README.md."""

from __future__ import annotations

from typing import Any

from wtgateway.media import Kind
from wtgateway.protocol.roaming import Roaming

Step = dict[str, Any]
GIVEN = (
    "at_us", "heard", "frame", "drain", "network", "ended", "spare_heard", "spare_frame", "newer",
    "spare_failed", "live", "visible", "rtt_us", "time",
)  # fmt: skip


def play(steps: list[Step], *, timeouts: bool = False) -> tuple[list[Step], dict[str, Any]]:
    """Each step with what comes of it, and the figures at the end.

    ``timeouts``: between the steps those that a viewer takes because it is time, too.
    """
    roaming = Roaming()
    out: list[Step] = []
    for step in steps:
        while timeouts and (due_us := roaming.next_timeout()) is not None and due_us <= step["at_us"]:
            out.append(_done(roaming, {"at_us": due_us, "time": True}))
        out.append(_done(roaming, step))
    return out, {"roams": roaming.roams, "gap_us": roaming.gap_us}


def _done(roaming: Roaming, step: Step) -> Step:
    actions = _take(roaming, step)
    return {key: step[key] for key in GIVEN if key in step} | {
        "actions": [str(action) for action in actions],
        "next_timeout_us": roaming.next_timeout(),
        "roaming": roaming.roaming,
        "spare": roaming.has_spare,
    }


def _take(roaming: Roaming, step: Step) -> list[Any]:
    at = step["at_us"]
    if "live" in step:
        roaming.live = step["live"]
    elif "visible" in step:
        roaming.visible = step["visible"]
    elif "rtt_us" in step:
        roaming.rtt_us = step["rtt_us"]
    elif "frame" in step:
        return roaming.frame(Kind(step["frame"]), at)
    elif "spare_frame" in step:
        return roaming.spare_frame(Kind(step["spare_frame"]), at, newer=step.get("newer", True))
    else:
        inputs = {
            "heard": roaming.heard, "drain": roaming.drain, "network": roaming.network_changed,
            "ended": roaming.ended, "spare_heard": roaming.spare_heard, "spare_failed": roaming.spare_failed,
            "time": roaming.advance,
        }  # fmt: skip
        (name,) = inputs.keys() & step.keys()
        return inputs[name](at)
    return roaming.advance(at)


# --- the scenarios -----------------------------------------------------------------------------------


def _at(ms: float, **what: Any) -> Step:
    return {"at_us": round(ms * 1_000), **what}


def _steady(until_ms: float, *, kind: str = "video", every_ms: float = 40, since_ms: float = 0) -> list[Step]:
    """Frames at a steady rate, the last at or before ``until_ms``."""
    count = int((until_ms - since_ms) // every_ms) + 1
    return [_at(since_ms + n * every_ms, frame=kind) for n in range(count)]


LIVE = _at(0, live=True)


def _scenarios() -> dict[str, list[Step]]:
    """What happens; the time at which something is to be done goes without saying."""
    playing = [LIVE, *_steady(400)]  # the last one is at 400 ms
    return {
        "nothing came yet": [LIVE, _at(900, heard=True), _at(5_000, time=True)],
        "too few frames to know": [LIVE, *_steady(80), _at(3_000, time=True)],
        "steady play": [LIVE, *_steady(2_000), _at(2_030, heard=True)],
        "silence, and the spare wins": [
            *playing,
            _at(700, spare_heard=True),
            _at(720, spare_frame="video"),
            _at(740, frame="video"),
            _at(760, heard=True),
            _at(765, frame="video"),
        ],
        "the ping is answered, again and again": [
            *playing,
            *(_at(ms, heard=True) for ms in (540, 680, 820, 960)),
            _at(970, frame="video"),
        ],
        "a screen that stands still": [
            *playing,
            *(_at(400 + 140 * n, heard=True) for n in range(1, 16)),
            _at(9_000, time=True),
        ],
        "the old session speaks first": [
            *playing,
            _at(660, spare_heard=True),
            _at(670, heard=True),
            _at(700, frame="video"),
            _at(1_500, spare_heard=True),
        ],
        "and falls silent again: back-off": [
            *playing,
            _at(670, frame="video"),
            _at(710, frame="video"),
            _at(2_500, spare_frame="video"),
        ],
        "nobody answers": [*playing, _at(12_000, time=True)],
        "every attempt fails": [
            *playing,
            _at(660, spare_failed=True),
            _at(1_700, spare_failed=True),
            _at(3_900, spare_failed=True),
            _at(8_300, spare_heard=True),
            _at(8_400, spare_frame="audio"),
            _at(8_500, frame="video"),
        ],
        "a spare that was heard is given four seconds": [
            *playing,
            _at(700, spare_heard=True),
            _at(6_000, time=True),
        ],
        "sound alone": [
            LIVE,
            *_steady(400, kind="audio", every_ms=20),
            _at(700, spare_frame="audio"),
            _at(720, frame="audio"),
        ],
        "five pictures a second: due later": [LIVE, *_steady(2_000, every_ms=200), _at(2_400, time=True)],
        "one picture a second is not steady": [LIVE, *_steady(6_000, every_ms=1_000), _at(8_000, time=True)],
        "a long round trip: the answer is waited for": [
            _at(0, rtt_us=300_000),
            *playing,
            _at(830, heard=True),
            _at(840, frame="video"),
        ],
        "a very long one": [_at(0, rtt_us=5_000_000), *playing, _at(2_000, time=True)],
        "not live": [*playing, _at(420, live=False), _at(4_000, time=True)],
        "nobody sees it": [*playing, _at(420, visible=False), _at(4_000, time=True)],
        "nobody sees it, but hears it": [
            *playing,
            *_steady(500, kind="audio", every_ms=20, since_ms=401),
            _at(520, visible=False),
            _at(1_000, time=True),
        ],
        "the network changed, and the path is dead": [
            *playing,
            _at(410, network=True),
            _at(600, spare_heard=True),
            _at(640, spare_frame="video"),
            _at(680, frame="video"),
        ],
        "the network changed, and the path is not": [
            *playing,
            _at(410, network=True),
            _at(430, frame="video"),
            _at(500, time=True),
        ],
        "the network changed with nothing due": [
            LIVE,
            _at(100, heard=True),
            _at(30_000, network=True),
            _at(31_000, spare_heard=True),
        ],
        "the network changed before anything came": [LIVE, _at(10, network=True), _at(1_000, time=True)],
        "the network changed while roaming": [
            *playing,
            _at(1_000, network=True),
            _at(1_020, spare_heard=True),
            _at(1_060, network=True),
            _at(1_100, spare_frame="video"),
        ],
        "drain": [
            *playing,
            _at(410, drain=True),
            _at(440, frame="video"),
            _at(470, spare_heard=True),
            _at(475, spare_frame="audio"),
            _at(480, frame="video"),
            _at(500, spare_frame="video"),
            _at(540, frame="video"),
            _at(580, frame="video"),
        ],
        "drain, and what comes is not newer": [
            *playing,
            _at(410, drain=True),
            _at(430, spare_frame="video", newer=False),
        ],
        "drain of sound alone": [
            LIVE,
            *_steady(400, kind="audio", every_ms=20),
            _at(410, drain=True),
            _at(450, spare_frame="audio"),
        ],
        "drain with nothing to send": [
            _at(0, heard=True),
            _at(410, drain=True),
            _at(450, spare_heard=True),
            _at(480, heard=True),
        ],
        "drain, and refused": [
            *playing,
            _at(410, drain=True),
            _at(420, spare_failed=True),
            *_steady(2_000, since_ms=440),
            _at(2_010, spare_heard=True),
            _at(2_020, spare_frame="video"),
        ],
        "drain, and the gateway goes before": [
            *playing,
            _at(410, drain=True),
            _at(450, ended=True),
            _at(500, heard=True),
            _at(520, frame="video"),
        ],
        "a spare that is not newer does not win": [
            *playing,
            _at(700, spare_frame="video", newer=False),
            _at(720, spare_frame="video"),
        ],
        "main ends without a spare": [*playing, _at(410, ended=True), _at(2_000, time=True)],
        "main ends while roaming": [
            *playing,
            _at(700, ended=True),
            _at(720, heard=True),
            _at(730, frame="video"),
        ],
        "lost twice: the second time not before a second is over": [
            *playing,
            _at(660, spare_frame="video"),
            *_steady(1_000, since_ms=700),
            _at(1_700, spare_frame="video"),
        ],
        "back-off is forgotten after ten seconds": [
            *playing,
            _at(660, heard=True),
            *_steady(12_000, since_ms=680),
            _at(12_300, spare_failed=True),
            _at(13_500, spare_heard=True),
        ],
        "what a spare says that is no more": [
            *playing,
            _at(410, spare_frame="video"),
            _at(420, spare_heard=True),
            _at(430, spare_failed=True),
            _at(440, frame="video"),
        ],
    }


def vectors() -> list[dict[str, Any]]:
    out = []
    for name, steps in _scenarios().items():
        in_order = sorted(steps, key=lambda step: step["at_us"])
        done, figures = play(in_order, timeouts=True)
        out.append({"name": name, "steps": done, "figures": figures})
    return out
