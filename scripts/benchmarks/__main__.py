"""The command `scripts/bench`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
from pathlib import Path

from scripts.benchmarks.delivery.scenarios import BY_NAME
from scripts.benchmarks.report import Figure, Options, as_json, machine, table
from scripts.benchmarks.roaming.events import NAMES as EVENTS

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
    "delivery": (
        "scripts.benchmarks.delivery.bench",
        "bad networks: pictures on time, freezes, sound, beside WebSocket, aiortc and moq-rs (root)",
    ),
    "roaming": (
        "scripts.benchmarks.roaming.bench",
        "addresses, nodes and balancers that change: how long the picture is away, beside peers (root)",
    ),
    "websocket": (
        "scripts.benchmarks.websocket",
        "WebTransport and a WebSocket beside each other: latency, loss, a narrow path (root)",
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
    delivery = parser.add_argument_group("delivery")
    delivery.add_argument("--scenario", action="append", default=[], choices=list(BY_NAME), help="only this")
    delivery.add_argument(
        "--system", action="append", default=[], metavar="NAME", help="only this, such as auto"
    )
    delivery.add_argument(
        "--seconds", type=float, default=0.0, metavar="N", help="of each run (30; quick: 8)"
    )
    delivery.add_argument(
        "--both-ways", action="store_true", help="towards the gateway as towards the viewer"
    )
    delivery.add_argument(
        "--results", type=Path, metavar="DIR", help="keep each run there; take those it has"
    )
    delivery.add_argument("--plots", type=Path, metavar="DIR", help="PNG files")
    delivery.add_argument("--markdown", type=Path, metavar="FILE", help="the table for docs/benchmarks.md")
    roaming = parser.add_argument_group("roaming")
    roaming.add_argument("--event", action="append", default=[], choices=EVENTS, help="only this")
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
            scenarios=chosen.scenario,
            systems=chosen.system,
            seconds=chosen.seconds,
            both_ways=chosen.both_ways,
            results=chosen.results,
            plots=chosen.plots,
            markdown=chosen.markdown,
            events=chosen.event,
        )
        figures: list[Figure] = asyncio.run(importlib.import_module(module).run(options))
    print(table(figures))
    if chosen.json:
        chosen.json.write_text(as_json(chosen.name, figures, on))
    return 0


if __name__ == "__main__":
    sys.exit(main())
