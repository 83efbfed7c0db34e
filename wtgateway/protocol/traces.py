"""Where the time of single frames went, from capture to paint, as a viewer says in ``trace``. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wtgateway.errors import ProtocolError
from wtgateway.protocol.codes import CloseCode

STAGES: Final = (
    "capture", "convert", "encode", "queue", "send", "receive", "reassemble", "decode", "paint",
)  # fmt: skip
"""In the order in which a frame goes through them; docs/protocol.md says what each is."""

MAX_FRAMES = 8
"""In one message."""

MAX_STAGE_US = 60_000_000
"""More is no measurement."""


@dataclass(frozen=True, slots=True)
class TracedFrame:
    """One frame: which it is, and how long each of STAGES took, in µs."""

    track: int
    group: int
    index: int
    stages: tuple[int, ...]

    @property
    def latency_us(self) -> int:
        """From capture to paint."""
        return sum(self.stages)


def parse_trace(frames: list[dict[str, Any]]) -> tuple[TracedFrame, ...]:
    """The frames of a message. Raises ProtocolError (MALFORMED) for too many, and for what cannot be."""
    if len(frames) > MAX_FRAMES:
        raise ProtocolError(CloseCode.MALFORMED, f"a trace has more than {MAX_FRAMES} frames")
    return tuple(_frame(fields) for fields in frames)


def _frame(fields: dict[str, Any]) -> TracedFrame:
    stages = fields.get("stages")
    if not isinstance(stages, list) or len(stages) != len(STAGES):
        raise ProtocolError(CloseCode.MALFORMED, f"a traced frame has no list of {len(STAGES)} stages")
    return TracedFrame(
        track=_integer(fields.get("track"), 0xFF),
        group=_integer(fields.get("group"), 0xFFFF_FFFF),
        index=_integer(fields.get("index"), 0xFFFF_FFFF),
        stages=tuple(_integer(stage, MAX_STAGE_US) for stage in stages),
    )


def _integer(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ProtocolError(CloseCode.MALFORMED, f"a number of a traced frame is not within 0 .. {most}")
    return value
