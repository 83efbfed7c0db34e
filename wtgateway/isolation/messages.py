"""What the main process and the process of a source say to each other, besides what workers say as well.

Pure. The rule: what comes from a source's process may be nonsense, since native code ran there; it is parsed
as values, never unpickled, and whoever applies it expects errors of any type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from wtgateway.protocol.targets import EncoderTarget, Nominal
from wtgateway.workers.messages import (
    Keyframe,
    Message,
    Overtaken,
    Snapshot,
    Stopped,
    Warm,
    Wishes,
    decoder,
)

if TYPE_CHECKING:
    from wtgateway.pipeline import PipelineStats
    from wtgateway.sources.base import CodedFormat, SourceInfo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Begin(Message):
    """Be the source of a broadcast. Beside it travel the frame bus's memory and the eventfd of its reader.

    ``recipe`` is pickled: the configuration, and the function that makes an unopened source of it. Groups go
    on at ``next_groups`` (track, group), catalogs behind ``revision``.
    """

    kind: ClassVar[str] = "begin"
    recipe: bytes
    epoch_offset_ns: int
    log_level: int
    next_groups: list[tuple[int, int]]
    revision: int


@dataclass(frozen=True, slots=True)
class LogLevel(Message):
    """Log from this level on."""

    kind: ClassVar[str] = "log-level"
    level: int


@dataclass(frozen=True, slots=True)
class End(Message):
    """Close the source and end."""

    kind: ClassVar[str] = "end"


@dataclass(frozen=True, slots=True)
class Report(Message):
    """A sign of life, twice a second; ``figures`` (see :class:`Figures`) None: as they were before."""

    kind: ClassVar[str] = "report"
    figures: dict[str, Any] | None


class Adapting(Protocol):
    """What encoders do, here or elsewhere."""

    @property
    def targets(self) -> Mapping[int, EncoderTarget]:
        """What each rendition's encoder is to do now."""

    @property
    def nominals(self) -> Mapping[int, Nominal]:
        """What was configured, of each rendition that is encoded."""

    @property
    def changes(self) -> int:
        """How often a target was changed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What can be said of a pipeline from outside."""

    stats: PipelineStats
    targets: Mapping[int, EncoderTarget]
    nominals: Mapping[int, Nominal]
    changes: int
    coded: CodedFormat | None
    info: SourceInfo | None

    def pack(self) -> dict[str, Any]:
        """As it travels."""
        return {
            "stats": _row(self.stats),
            "targets": [[number, *_row(target)] for number, target in sorted(self.targets.items())],
            "nominals": [[number, *_row(nominal)] for number, nominal in sorted(self.nominals.items())],
            "changes": self.changes,
            "coded": _row(self.coded) if self.coded is not None else None,
            "info": _row(self.info) if self.info is not None else None,
        }

    @classmethod
    def unpack(cls, values: Mapping[str, Any]) -> Figures:
        """When it has arrived. Raises KeyError, TypeError or ValueError for what is none."""
        from wtgateway.pipeline import PipelineStats
        from wtgateway.sources.base import CodedFormat, SourceInfo

        coded, info = values["coded"], values["info"]
        return cls(
            stats=_of_row(PipelineStats, values["stats"]),
            targets={int(number): _of_row(EncoderTarget, row) for number, *row in values["targets"]},
            nominals={int(number): _of_row(Nominal, row) for number, *row in values["nominals"]},
            changes=int(values["changes"]),
            coded=_of_row(CodedFormat, coded) if coded is not None else None,
            info=_of_row(SourceInfo, info) if info is not None else None,
        )


def _row(value: Any) -> list[Any]:
    return [getattr(value, f.name) for f in dataclasses.fields(value)]


def _of_row(made: type[T], row: list[Any]) -> T:
    """A dataclass of numbers, words and tuples of words, each checked to be of the type of its field."""
    values: dict[str, Any] = {}
    for field, value in zip(dataclasses.fields(made), row, strict=True):  # type: ignore[arg-type]
        expected = str(field.type)
        if expected.startswith("tuple"):
            values[field.name] = tuple(str(each) for each in value)
        elif expected == "float" and isinstance(value, int | float):
            values[field.name] = float(value)
        elif type(value).__name__ == expected:
            values[field.name] = value
        else:
            raise TypeError(f"{field.name} of {made.__name__} is no {expected}")
    return made(**values)


decode_in_child = decoder((Begin, LogLevel, End, Wishes, Keyframe, Overtaken))
decode_in_parent = decoder((Warm, Report, Snapshot, Stopped))
