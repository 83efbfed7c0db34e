"""`codecs`: CPU, time, bit rate and likeness of each codec; what forwarding saves, beside aiortc."""

from __future__ import annotations

from scripts.benchmarks.codecs import encoding, passthrough
from scripts.benchmarks.report import Figure, Options


async def run(options: Options) -> list[Figure]:
    """First what is encoded, then what is served."""
    return await encoding.figures(options) + await passthrough.figures(options)
