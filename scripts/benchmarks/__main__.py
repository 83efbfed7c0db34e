"""The command `scripts/bench`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
from pathlib import Path

from scripts.benchmarks.report import Figure, Options, as_json, machine, table

REGISTRY = {
    "startup": ("scripts.benchmarks.startup", "process start to ready"),
    "join": ("scripts.benchmarks.join", "CONNECT and navigation to the first painted frame, beside aiortc"),
    "latency": ("scripts.benchmarks.latency", "glass to glass at 60 and 30 Hz, beside aiortc and Selkies"),
    "codecs": (
        "scripts.benchmarks.codecs.bench",
        "cost and likeness of each codec; forwarding, beside aiortc",
    ),
    "fanout": (
        "scripts.benchmarks.fanout.bench",
        "many viewers on one core, beside aioquic, pywebtransport and moq-rs; latency, floods, memory",
    ),
    "parity": (
        "scripts.benchmarks.parity",
        "virtual time: frames on time and bytes added by parity, by loss and round trip",
    ),
    "packets": (
        "scripts.benchmarks.packets",
        "no sockets: time per packet sealed, ACK handled, packet opened",
    ),
}


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    listed = "\n".join(f"  {name:10} {what}" for name, (_, what) in REGISTRY.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures, and prints figures beside goals and peers.\n\nbenches:\n" + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=list(REGISTRY), help="which bench; none: list them")
    parser.add_argument("--quick", action="store_true", help="few short runs: shows that it works")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="fanout: memory over time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(argv)
    if chosen.name is None:
        parser.print_help()
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run one bench; 0 unless it could not run (missed goals are figures, not failures)."""
    chosen = arguments(argv)
    if chosen.name is None:
        return 0
    module, _ = REGISTRY[chosen.name]
    on = machine()
    with tempfile.TemporaryDirectory(prefix="wtgateway-bench-") as directory:
        options = Options(
            quick=chosen.quick,
            peers=not chosen.no_peers,
            soak_minutes=chosen.soak,
            directory=Path(directory),
        )
        figures: list[Figure] = asyncio.run(importlib.import_module(module).run(options))
    print(table(figures))
    if chosen.json:
        chosen.json.write_text(as_json(chosen.name, figures, on))
    return 0


if __name__ == "__main__":
    sys.exit(main())
