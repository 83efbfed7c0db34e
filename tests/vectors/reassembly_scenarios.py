"""Scenarios for reassembly.json: what comes when, played to the end as a session would. See README.md."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from wtgateway.media import Frame
from wtgateway.protocol.fragments import cut, decode_fragment, parity
from wtgateway.protocol.reassembly import Reassembly
from wtgateway.protocol.wire import FrameFlag, encode_frame

KEYFRAME, DISCARDABLE = FrameFlag.KEYFRAME, FrameFlag.DISCARDABLE
FRAME_US = 33_333
PIECE_BYTES = 24
DEFAULTS = {"deadline_us": 150_000, "max_frames": 128, "max_bytes": 16 * 1024 * 1024}
Step = dict[str, Any]


class Sent:
    """A frame of video in ``count`` pieces, captured when its index says (from ``start_us`` on)."""

    def __init__(self, group: int, index: int, count: int, *, track: int = 0, start_us: int = 0) -> None:
        size = (count - 1) * PIECE_BYTES + PIECE_BYTES // 2
        self.name = [track, 0, group, index]
        self.capture_us = start_us + index * FRAME_US
        payload = random.Random(f"{self.name}").randbytes(max(0, size - 48))
        frame = Frame(
            track=track, rendition=0, group=group, index=index, keyframe=index == 0, duration_us=FRAME_US,
            pts_us=self.capture_us, capture_us=self.capture_us, payload=payload,
        )  # fmt: skip
        self.object = encode_frame(frame)

    def pieces(self, at_ms: float, *numbers: int, apart_ms: float = 0.2) -> list[Step]:
        """Some of its fragments, one after another; all of them if none is named."""
        made = cut(self.object, PIECE_BYTES)
        return [
            _step(at_ms + n * apart_ms, push=made[number].hex())
            for n, number in enumerate(numbers or range(len(made)))
        ]

    def rows(self, at_ms: float, *numbers: int) -> list[Step]:
        """Some of its parity rows, all at once."""
        made = parity(self.object, PIECE_BYTES, max(numbers) + 1)
        return [_step(at_ms, push=made[number].hex()) for number in numbers]

    def on_stream(self, at_ms: float) -> Step:
        """Its header is here, on a stream."""
        return _step(at_ms, stream=[*self.name, self.capture_us, self.name[3] == 0])

    def done(self, at_ms: float) -> Step:
        """It is complete on its stream, or was reset."""
        return _step(at_ms, done=self.name)


def _step(at_ms: float, **what: Any) -> Step:
    return {"at_us": round(at_ms * 1_000), **what}


def _path(rtt_ms: float, reorder_ms: float | None = None, at_ms: float = 0) -> Step:
    return _step(
        at_ms, path=[round(rtt_ms * 1_000), None if reorder_ms is None else round(reorder_ms * 1_000)]
    )


def _clock(offset_us: int | None, at_ms: float = 0) -> Step:
    return _step(at_ms, clock=offset_us)


def _chaos(seed: int) -> list[Step]:
    """Thirty frames; a tenth of the datagrams lost, some twice, all up to 4 ms late, keyframes on streams."""
    dice = random.Random(seed)
    steps: list[Step] = [_path(40), _clock(-500_000)]
    for n in range(30):
        start = 520 + n * 33.3
        frame = Sent(n // 15, n % 15, dice.choice([1, 3, 5, 8]), start_us=(n // 15) * 15 * FRAME_US)
        frame.capture_us = n * FRAME_US
        if n % 15 == 0:
            steps += [frame.on_stream(start), frame.done(start + dice.uniform(1, 30))]
            continue
        sent = frame.pieces(start) + (frame.rows(start + 3, 0, 1) if n > 16 else [])
        for step in sent:
            for _ in range(dice.choice([0, 1, 1, 1, 1, 1, 1, 1, 1, 2])):
                steps.append(step | {"at_us": step["at_us"] + dice.randrange(4_000)})
    return steps


def _scenarios() -> dict[str, tuple[dict[str, Any], list[Step]]]:
    a, b, c, d, e = (Sent(1, index, 5) for index in range(5))
    big, small = Sent(1, 0, 40), Sent(1, 1, 2)
    other = Sent(1, 1, 6)
    sound = [Sent(1, index, 3, track=1) for index in range(4)]
    return {
        "in order": ({}, [*a.pieces(0), *b.pieces(33), *c.pieces(66)]),
        "in any order": ({}, [*a.pieces(0, 4, 2, 0, 3, 1), *b.pieces(5, 1, 0, 4, 3, 2)]),
        "duplicates, also of what is complete": (
            {}, [*a.pieces(0, 0, 0, 1, 2, 1, 3, 4), *a.pieces(3, 0, 4), *a.rows(4, 0)],
        ),
        "a gap is asked for and closed": (
            {}, [_path(40), *a.pieces(0, 0, 2, 3, 4), *a.pieces(44, 1)],
        ),
        "two gaps, closed one after the other": (
            {}, [_path(40), *a.pieces(0, 1, 3, 4), *a.pieces(43, 2), *a.pieces(46, 0)],
        ),
        "asked again while there is time, then lost": ({}, [_path(20), *a.pieces(0, 0, 1, 3, 4)]),
        "what others need is waited for beyond its deadline": (
            {}, [_path(40), *a.pieces(0), *b.pieces(33, 0, 1, 3, 4), *c.pieces(66), *b.pieces(230, 2)],
        ),
        "what nothing needs is not": (
            {}, [_path(40), *a.pieces(0), *_flagged(b.pieces(33, 0, 1, 3, 4), DISCARDABLE), *c.pieces(66),
                 *_flagged(b.pieces(230, 2), DISCARDABLE)],
        ),
        "nor is sound": (
            {}, [_path(40), *_flagged(sound[0].pieces(0), KEYFRAME),
                 *_flagged(sound[1].pieces(20, 0, 2), KEYFRAME), *_flagged(sound[2].pieces(40), KEYFRAME)],
        ),
        "no answer can come in time": ({"deadline_us": 50_000}, [_path(60), *a.pieces(0, 0, 1, 3, 4)]),
        "six times at most": ({"deadline_us": 2_000_000}, [_path(10), *a.pieces(0, 0, 1, 3, 4)]),
        "the end is missing": ({}, [_path(40), *a.pieces(0, 0, 1, 2), *a.pieces(50, 3, 4)]),
        "the end is missing where pieces come slowly": (
            {}, [_path(40), *a.pieces(0, 0, 1, 2, apart_ms=3), *a.pieces(21, 3, 4)],
        ),
        "the end is missing and the next frame is here": (
            {}, [_path(40), *a.pieces(0, 0, 1, 2), *b.pieces(2), *a.pieces(45, 3, 4)],
        ),
        "a frame is missing between two": (
            {}, [_path(40), *a.pieces(0), *c.pieces(66), *b.pieces(110)],
        ),
        "of a missing frame that is asked for the pieces come slowly, one is lost again": (
            {"deadline_us": 300_000},
            [_path(40), *a.pieces(0), *c.pieces(66), *b.pieces(110, 0, 1, apart_ms=9), *b.pieces(128, 3, 4),
             *b.pieces(170, 2)],
        ),
        "a missing frame that was only late": (
            {}, [_path(40), *a.pieces(0), *c.pieces(66), *b.pieces(67, 0, 1, 2), *b.pieces(70, 3, 4)],
        ),
        "frames are missing before the first of a group": (
            {}, [_path(40), *a.pieces(0), *Sent(2, 2, 2, start_us=FRAME_US).pieces(100)],
        ),
        "a viewer who begins has missed the keyframe": ({}, [_path(40), *b.pieces(33), *a.pieces(80)]),
        "sound begins anywhere": (
            {}, [_path(40), *_flagged(sound[2].pieces(0, 0), KEYFRAME), *sound[3].pieces(20)],
        ),
        "so many missing frames are not asked for": (
            {}, [_path(100), *a.pieces(0), *Sent(1, 60, 1).pieces(9)],
        ),
        "pieces come as slowly as those of the frame before": (
            {}, [_path(40), *a.pieces(0, apart_ms=20), *b.pieces(100, 0), *b.pieces(122, 1, 2, 3, 4)],
        ),
        "what is missing is lost with its own deadline": (
            {}, [_path(40), _clock(0), *a.pieces(5), *Sent(1, 3, 5).pieces(105)],
        ),
        "a pause among pieces that was taken for the end is not the next time": (
            {}, [_path(40), *a.pieces(0), *b.pieces(33), *c.pieces(66, 0, 1), *c.pieces(90, 2, 3, 4),
                 *d.pieces(100, 0, 1), *d.pieces(122, 2, 3, 4)],
        ),
        "parity instead of a fragment": ({}, [_path(40), *a.pieces(0, 0, 1, 2, 4), *a.rows(1, 0)]),
        "parity instead of several, with gaps of its own": (
            {}, [_path(40), *a.pieces(0, 1, 4), *a.rows(1, 5, 0, 2)],
        ),
        "parity alone": ({}, [_path(40), *a.rows(0, 0, 1, 2, 3, 4)]),
        "parity like that of the last frame is waited for": (
            {}, [_path(40), *a.pieces(0), *a.rows(1, 0), *b.pieces(33, 0, 2, 3, apart_ms=2), *b.pieces(39, 4),
                 *b.rows(41, 0)],
        ),
        "parity does not come": (
            {}, [_path(40), *a.pieces(0), *a.rows(1, 0), *b.pieces(33, 0, 2, 3, 4), *b.pieces(80, 1)],
        ),
        "parity does not do": (
            {}, [_path(40), *a.pieces(0), *a.rows(1, 0), *b.pieces(33, 2, 3, 4), *b.rows(34, 0)],
        ),
        "parity is waited for a quarter of the round trip at most": (
            {}, [_path(40), *a.pieces(0), *a.rows(1, 0), *b.pieces(33, 0, 2, 3, apart_ms=7),
                 *b.pieces(60, 4)],
        ),
        "parity is expected no more": (
            {}, [_path(40), *a.pieces(0), *a.rows(1, 0), *b.pieces(33), *c.pieces(66), *d.pieces(100),
                 *e.pieces(133, 0, 2, 3, apart_ms=2), *e.pieces(139, 4)],
        ),
        "a path that puts pieces out of order": (
            {}, [_path(80), *a.pieces(0, 0, 2), *a.pieces(2.5, 1), *a.pieces(3, 3, 4), *b.pieces(33, 0, 2),
                 *b.pieces(41, 1, 3, 4), *c.pieces(66, 0, 2), *c.pieces(75, 1, 3, 4), _path(80, None, 99),
                 *d.pieces(100, 0, 2, 3, 4)],
        ),
        "out of order by more than a quarter of the round trip": (
            {}, [_path(20), *a.pieces(0, 0, 2), *a.pieces(9, 1, 3, 4), *b.pieces(33, 0, 2, 3, 4)],
        ),
        "the deadline counts from the capture once the clock is known": (
            {}, [_path(20), _clock(-1_000_000), *a.pieces(1_060, 0, 1, 2, 4), _path(20, 3, 1_200)],
        ),
        "the clock becomes known while a frame is coming": (
            {}, [_path(100), *a.pieces(60, 0, 1, 2, 3), _clock(0, 100), *b.pieces(155)],
        ),
        "a frame that is overdue, where something was missing before": (
            {}, [_path(40), _clock(0), *a.pieces(5, 0, 2, 3, 4), *a.pieces(47, 1), *b.pieces(50),
                 *c.pieces(72), *Sent(1, 4, 5).pieces(138), *d.pieces(155, 0, 1, 2), *d.pieces(156, 4)],
        ),
        "a frame that is overdue, and comes": (
            {}, [_path(40), *a.pieces(5, 0, 2, 3, 4), *a.pieces(47, 1), *b.pieces(50), *c.pieces(72),
                 *d.pieces(150, 0, 1, 3, 4), *d.pieces(195, 2)],
        ),
        "jitter is no loss": (
            {}, [_path(40), *a.pieces(5, 0, 2, 3, 4), *a.pieces(47, 1), *b.pieces(60), *c.pieces(72),
                 *d.pieces(125), *e.pieces(138), *Sent(1, 5, 5).pieces(190)],
        ),
        "whoever asks too late asks for nothing": (
            {"deadline_us": 60_000}, [_path(40), *a.pieces(0, 0, 2, 3, 4), _path(50, None, 3.1)],
        ),
        "after an outage what is missing is lost at once": (
            {}, [_path(40), _clock(0), *a.pieces(5), *b.pieces(38), *Sent(1, 20, 5).pieces(675),
                 *Sent(1, 21, 5).pieces(705)],
        ),
        "a pause of the source is no outage": (
            {}, [_path(40), _clock(0), *a.pieces(5), *b.pieces(38),
                 *Sent(1, 3, 5, start_us=2_000_000).pieces(2_105)],
        ),
        "what is missing before a frame that comes after its deadline": (
            {}, [_path(40), _clock(0), *a.pieces(400), *c.pieces(405)],
        ),
        "a frame that comes after its deadline": (
            {}, [_path(40), _clock(0), *a.pieces(400, 0, 2, 3, 4), *a.pieces(445, 1)],
        ),
        "a capture that is still to come": (
            {}, [_path(40), _clock(-9_000_000), *a.pieces(0, 0, 1), *a.pieces(149, 2, 3, 4)],
        ),
        "its last piece comes when it is lost": (
            {}, [_path(140), _clock(0), *a.pieces(10, 0, 1, 2, 3), *a.pieces(150, 4), *b.pieces(151)],
        ),
        "too many frames": (
            {"max_frames": 2},
            [*a.pieces(0, 0), *b.pieces(1, 0), *c.pieces(2, 0), *a.pieces(2.1, 1, 2, 3, 4),
             *c.pieces(3, 1, 2, 3, 4)],
        ),
        "too many bytes": (
            {"max_bytes": 1_000},
            [*big.pieces(0, *range(9)), *small.pieces(4, 0), *big.pieces(5, 9, 10, 11), *small.pieces(7, 1)],
        ),
        "another layout": ({}, [*b.pieces(0, 0, 1), *other.pieces(1, 2, 3), *b.pieces(2, 2, 3, 4)]),
        "nothing is asked for that comes on a stream": (
            {}, [_path(40), a.on_stream(0), *b.pieces(1), *c.pieces(2), a.done(60), *d.pieces(100)],
        ),
        "a stream shows what is missing": (
            {}, [_path(40), a.on_stream(0), a.done(1), c.on_stream(66), c.done(67), *b.pieces(110)],
        ),
        "a stream overtaken by its own pieces": (
            {}, [_path(40), a.on_stream(0), *a.pieces(1, 0, 2, 3, 4), *a.pieces(20, 1), a.done(30)],
        ),
        "pieces of what came on a stream": (
            {}, [_path(40), *a.pieces(0, 0, 1), a.on_stream(1), a.done(2), *a.pieces(3, 2, 3, 4)],
        ),
        "a missing frame turns out to come on a stream, which is reset": (
            {}, [_path(40), *a.pieces(0), *c.pieces(66), b.on_stream(68), *d.pieces(100), b.done(120)],
        ),
        "tracks know nothing of each other": (
            {}, [_path(40), *a.pieces(0), *sound[0].pieces(0), *b.pieces(33, 0, 1, 2, 4),
                 *sound[3].pieces(60)],
        ),
        **{f"chaos {seed}": ({}, _chaos(seed)) for seed in range(2)},
    }  # fmt: skip


def _flagged(steps: list[Step], flag: int) -> list[Step]:
    """The same with a flag more: that of a keyframe, as all sound has it, or of what nothing refers to."""
    out = []
    for step in steps:
        data = bytearray.fromhex(step["push"])
        data[1] |= flag
        out.append(step | {"push": data.hex()})
    return out


def play(options: dict[str, Any], steps: list[Step]) -> tuple[list[Step], dict[str, int]]:
    """Each step with what comes of it, and the counters at the end."""
    box = Reassembly(**options)
    out = []
    for step in steps:
        at, frame, entries = step["at_us"], None, None
        if "push" in step:
            frame = box.push(decode_fragment(bytes.fromhex(step["push"])), at)
        elif "stream" in step:
            *name, capture_us, keyframe = step["stream"]
            box.arrived_as_stream(tuple(name), capture_us, keyframe, at)
        elif "done" in step:
            box.done_with(tuple(step["done"]))
        elif "path" in step:
            box.set_path(*step["path"])
        elif "clock" in step:
            box.clock_offset_us = step["clock"]
        else:
            entries = [list(entry) for entry in box.nacks(at)]
        done = (
            [frame.track, frame.rendition, frame.group, frame.index, frame.payload.hex()] if frame else None
        )
        given = {key: step[key] for key in step if key in GIVEN}
        asked = {} if entries is None else {"nacks": entries}
        expected = {
            "frame": done,
            "lost": [list(name) for name in box.take_lost()],
            "next_timeout_us": box.next_timeout(),
            "held": [box.held_frames, box.held_bytes],
        }
        out.append(given | asked | expected)
    return out, dataclasses.asdict(box.counters)


GIVEN = ("at_us", "push", "stream", "done", "path", "clock", "ask")


def _with_timeouts(options: dict[str, Any], steps: list[Step]) -> list[Step]:
    """The steps, and between them those that a session would take because it is time."""
    out: list[Step] = []
    rest = sorted(steps, key=lambda step: step["at_us"])
    while True:
        due_us = play(options, out)[0][-1]["next_timeout_us"] if out else None
        if due_us is not None and (not rest or due_us <= rest[0]["at_us"]):
            out.append({"at_us": max(due_us, out[-1]["at_us"]), "ask": True})
        elif rest:
            out.append(rest.pop(0))
        else:
            return out


def vectors() -> list[dict[str, Any]]:
    out = []
    for name, (options, steps) in _scenarios().items():
        done, counters = play(DEFAULTS | options, _with_timeouts(DEFAULTS | options, steps))
        out.append({"name": name, "options": DEFAULTS | options, "steps": done, "counters": counters})
    return out
