"""What one run of one system in one scenario yielded, as a file that later runs need not make again. Pure."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

Json = Any


@dataclass(slots=True)
class Result:
    """Times are epoch milliseconds. ``began_ms``: when the scenario's network began (its schedule's zero).

    ``sightings`` are (seen at, painted at) of readable barcodes, ``painted`` the source's own log,
    ``intervals`` those of ``scripts/netsim``'s report, ``samples`` what the player said now and then
    (``atMs`` and its figures). ``error`` says why there is nothing else.
    """

    scenario: str
    system: str
    error: str = ""
    relay_late_ms: float = 0.0  # the latest that the network itself ever was
    relay_late_share: float = 0.0  # of the times it had to do something: more than 1 ms late
    began_ms: float = 0.0
    start_ms: float = 0.0
    end_ms: float = 0.0
    sightings: list[tuple[float, float]] = field(default_factory=list)
    painted: list[float] = field(default_factory=list)
    intervals: list[dict[str, Json]] = field(default_factory=list)
    samples: list[dict[str, Json]] = field(default_factory=list)

    def dumps(self) -> str:
        """As text."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @classmethod
    def loads(cls, text: str) -> Result:
        """From :meth:`dumps`. Raises ValueError when it is something else."""
        try:
            made = cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not the result of a run: {error}") from None
        made.sightings = [(seen, painted) for seen, painted in made.sightings]
        return made


def file_name(scenario: str, system: str) -> str:
    """Where it is kept."""
    return f"{scenario}--{system.replace(' ', '-')}.json"
