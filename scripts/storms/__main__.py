"""The command `scripts/soak`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import machine, table
from scripts.storms.frame import Findings, Options, StormFailed, progress

MOST_WORDS = 1500  # of an error, which may quote a program's output


@dataclass(frozen=True, slots=True)
class Storm:
    """Where it is, and what it does."""

    module: str
    what: str


REGISTRY = {
    "joins": Storm("scripts.storms.joins", "10,000 joins and leaves, 50 at a time; 50 viewers that vanish"),
    "mutations": Storm("scripts.storms.mutations", "10^7 mutated inputs to every decoder, and to a gateway"),
    "sources": Storm("scripts.storms.sources", "a camera killed and started again 100 times"),
    "deaths": Storm("scripts.storms.deaths", "workers and encoders killed under 50 viewers"),
    "rotation": Storm(
        "scripts.storms.rotation", "10 minutes of certificates every 2 s and reloads every 3 s"
    ),
    "floods": Storm(
        "scripts.storms.floods", "handshakes, NACKs, keyframe requests, slow readers, all at once"
    ),
    "machine": Storm(
        "scripts.storms.machine", "the clock stepped by an hour, the disk full, 64 files at most"
    ),
    "page": Storm("scripts.storms.page", "a page in Chromium for 30 minutes, resized, hidden, muted"),
}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    listed = "\n".join(f"  {name:10} {storm.what}" for name, storm in REGISTRY.items())
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description="Storms over a gateway, and whether it stood them. Without a length each is as long as "
        "docs/reliability.md says; exit code 1 when a rule did not hold, 3 when a storm could not be made."
        "\n\nstorms:\n" + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="list the storms")
    parser.add_argument(
        "--only", action="append", default=[], choices=list(REGISTRY), metavar="NAME", help="may be repeated"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, default=0.0, metavar="N", help="of each storm")
    length.add_argument("--minutes", type=float, default=0.0, metavar="N", help="the same, for a short look")
    parser.add_argument("--seed", type=int, default=1, help="other dice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(argv)
    if chosen.hours < 0 or chosen.minutes < 0:
        parser.error("a length is not negative")
    return chosen


async def storm(name: str, options: Options) -> Findings:
    """Run one; what it cannot do at all is a violation, too."""
    findings = Findings()
    module = importlib.import_module(REGISTRY[name].module)
    try:
        await module.run(options, findings)
    except StormFailed:
        raise
    except Exception as error:  # whatever broke: the storm did not come to its end
        words = f"{type(error).__name__}: {error}"
        findings.must(False, f"the storm ended early: {words[:MOST_WORDS]}")
    return findings


def main(argv: Sequence[str] | None = None) -> int:
    """Run them one after the other; 0 when all rules held."""
    chosen = arguments(argv)
    if chosen.list:
        print("\n".join(f"{name:10} {each.what}" for name, each in REGISTRY.items()))
        return 0
    seconds = 3600 * chosen.hours + 60 * chosen.minutes
    results: list[dict[str, Any]] = []
    unmade = 0
    on = machine()
    for name in dict.fromkeys(chosen.only or REGISTRY):
        progress(f"{name}: {REGISTRY[name].what}")
        with tempfile.TemporaryDirectory(prefix="wtgateway-storm-") as directory:
            options = Options(directory=Path(directory), seconds=seconds, seed=chosen.seed)
            try:
                findings = asyncio.run(storm(name, options))
            except StormFailed as error:
                progress(f"{name}: not possible here: {error}")
                results.append({"storm": name, "held": None, "why": str(error)})
                unmade += 1
                continue
        results.append(findings.as_json(name))
        print(f"\n{name}{' (a short run)' if findings.short else ''}\n{table(findings.figures)}", flush=True)
        for words in findings.violations:
            print(f"VIOLATED {name}: {words}", flush=True)
    if chosen.json:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        report = {"date": date, "machine": on, "seed": chosen.seed, "storms": results}
        chosen.json.write_text(json.dumps(report, indent=2) + "\n")
    if any(result["held"] is False for result in results):
        return 1
    return 3 if unmade else 0


if __name__ == "__main__":
    sys.exit(main())
