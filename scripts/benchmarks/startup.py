"""`startup`: from the start of the process to the ready line, with and without a certificate store."""

from __future__ import annotations

from scripts.benchmarks.report import Figure, Options, quantile
from scripts.support.gateway import Gateway

GOAL_MS = 1000.0


async def _start_ms(directory: str, options: Options) -> float:
    async with Gateway("test:", directory=options.directory / directory) as gateway:
        return gateway.seconds_to_ready * 1000


async def run(options: Options) -> list[Figure]:
    """Figures: the first start, which makes certificates, and later ones."""
    runs = 3 if options.quick else 10
    await _start_ms("warm", options)  # Python's byte code and the disk cache are nobody's figure
    fresh = [await _start_ms(f"fresh{i}", options) for i in range(runs)]
    later = [await _start_ms("warm", options) for _ in range(runs)]
    return [
        Figure(name="startup_fresh_p50", value=quantile(fresh, 0.5), unit="ms", goal=GOAL_MS),
        Figure(name="startup_fresh_max", value=quantile(fresh, 1), unit="ms", goal=GOAL_MS),
        Figure(name="startup_p50", value=quantile(later, 0.5), unit="ms", goal=GOAL_MS),
        Figure(name="startup_max", value=quantile(later, 1), unit="ms", goal=GOAL_MS),
    ]
