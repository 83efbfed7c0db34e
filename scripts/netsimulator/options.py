"""The command line of `scripts/netsim`, as conditions of both directions. Pure but for argparse's own errors.

Every option of the path exists three times: ``--loss`` for both directions, ``--up-loss`` for what clients
send to the target and ``--down-loss`` for what comes back; the more special one wins.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.netsimulator import units
from tests.netsim import Conditions
from tests.netsim_losses import LossBursts

DEFAULT_QUEUE = (0, 0.2)  # bytes, or seconds at the highest rate
_LARGEST_PACKET = 1_500

_EXAMPLES = """examples:
  scripts/netsim --loss 5% --delay 40ms --rate 4M 5433 localhost:4433
      a gateway on port 4433 is reached at port 5433 as if it were far away and badly
  scripts/netsim --down-loss 10% --burst 5-20 --rate 8M@0,1M@10,8M@20 5433 4433
      bursts towards the viewer; the rate falls after 10 s and comes back after 20 s
  sudo scripts/netsim --delay 20ms --rate 6M --queue 2s --down-competing 1 --tun
      two addresses of this machine with that network between them, for TCP as well
"""


@dataclass(frozen=True, slots=True)
class Way:
    """One direction: what the path does, and how many TCP-like flows compete in its queue."""

    conditions: Conditions
    competing: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """Both directions: ``up`` to the target, ``down`` from it."""

    up: Way
    down: Way
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """All that was asked for."""

    network: Network
    listen: tuple[str, int] | None = None
    target: tuple[str, int] | None = None
    tun: bool = False
    command: tuple[str, ...] = ()
    control: bool = False
    quiet: bool = False
    every: float = 1.0
    for_seconds: float = 0.0
    json: Path | None = None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 16:
        raise ValueError(f"{text!r} is not usable; expected a number of flows up to 16")
    return int(text)


def _discipline(text: str) -> bool:
    if text not in ("drop-tail", "codel"):
        raise ValueError(f"{text!r} is not usable; expected drop-tail or codel")
    return text == "codel"


@dataclass(frozen=True, slots=True)
class _Option:
    read: Callable[[str], Any]
    metavar: str
    default: Any
    help: str


_PATH: dict[str, _Option] = {
    "delay": _Option(units.seconds, "TIME", 0.0, "one way, so the round trip grows by both"),
    "jitter": _Option(units.seconds, "TIME", 0.0, "up to so much more delay, in order"),
    "loss": _Option(units.share, "SHARE", 0.0, "lost, each packet by itself"),
    "burst": _Option(units.burst, "N-M", None, "losses come N to M at a time (--loss stays the share)"),
    "reorder": _Option(units.share, "SHARE", 0.0, "held back while later packets pass"),
    "reorder-by": _Option(units.seconds, "TIME", 0.02, "how long they are (20ms)"),
    "duplicate": _Option(units.share, "SHARE", 0.0, "arrive twice"),
    "rate": _Option(units.rate_steps, "RATE", ((0.0, 0.0),), "bits a second: 4M, or 8M@0,1M@10,8M@20"),
    "queue": _Option(units.queue, "LENGTH", DEFAULT_QUEUE, "256K, or 500ms at the highest rate (200ms)"),
    "discipline": _Option(_discipline, "NAME", False, "of the queue: drop-tail (the default) or codel"),
    "blackout": _Option(units.blackouts, "START+TIME", (), "nothing arrives: 10s+1s, or several with commas"),
    "competing": _Option(_count, "N", 0, "TCP-like flows (cubic) in the same queue, simulated"),
}  # fmt: skip


def _typed(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse shows the text of ArgumentTypeError, and not that of ValueError."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _add_path(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the path",
        "Both directions; with up- or down- before the name one of them: --down-loss 5%%.",
    )
    for name, option in _PATH.items():
        kind = _typed(option.read)
        group.add_argument(f"--{name}", type=kind, metavar=option.metavar, help=option.help)
        for way in ("up", "down"):
            group.add_argument(f"--{way}-{name}", type=kind, metavar=option.metavar, help=argparse.SUPPRESS)
    group.add_argument("--seed", type=int, default=1, help="the same seed throws the same dice (1)")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    made = argparse.ArgumentParser(
        prog="scripts/netsim",
        description="A bad network on this machine: a relay for UDP, or two addresses with IP between them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "places",
        nargs="*",
        metavar="LISTEN TARGET",
        help="port or host:port of both ends; with --tun a command that is run on the far side",
    )
    _add_path(made)
    made.add_argument("--tun", action="store_true", help="IP instead of UDP; needs root (Linux)")
    made.add_argument(
        "--every", type=_typed(units.seconds), default=1.0, metavar="TIME", help="between figures (1s)"
    )
    made.add_argument("--for", dest="for_seconds", type=_typed(units.seconds), default=0.0, metavar="TIME",
                      help="end after so long (Ctrl-C ends it as well)")  # fmt: skip
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures there at the end")
    made.add_argument("--quiet", action="store_true", help="print no figures meanwhile")
    made.add_argument("--control", action="store_true",
                      help="lines of input are new options of the path, which hold from then on")  # fmt: skip
    return made


def _way(chosen: argparse.Namespace, way: str) -> Way:
    """One direction's conditions. Raises ValueError when two options contradict each other."""

    def of(name: str) -> Any:
        name = name.replace("-", "_")
        special, common = getattr(chosen, f"{way}_{name}"), getattr(chosen, name)
        if special is not None:
            return special
        return common if common is not None else _PATH[name.replace("_", "-")].default

    steps, (queue_bytes, queue_s) = of("rate"), of("queue")
    rate = steps[0][1]
    if of("competing") and not rate:
        raise ValueError("--competing needs a --rate: flows compete for a bottleneck")
    if of("burst") is not None and not 0 < of("loss") < 1:
        raise ValueError("--burst needs a --loss between 0 and 100%: the share that is lost in all")
    conditions = Conditions(
        delay=of("delay"),
        jitter=of("jitter"),
        loss=of("loss"),
        burst=of("loss"),  # after a loss the next one is as likely as ever
        losses=LossBursts(of("loss"), *of("burst")) if of("burst") is not None else None,
        reorder=of("reorder"),
        reorder_by=of("reorder-by"),
        duplicate=of("duplicate"),
        rate_bps=rate,
        steps=steps[1:],
        queue_bytes=queue_bytes or max(_LARGEST_PACKET, round(queue_s * max(r for _, r in steps) / 8)),
        codel=of("discipline"),
        blackouts=of("blackout"),
    )
    return Way(conditions, of("competing"))


def network(words: Sequence[str]) -> Network:
    """The options of the path alone. Raises ValueError with what is wrong."""
    made = argparse.ArgumentParser(prog="", add_help=False, exit_on_error=False, allow_abbrev=False)
    _add_path(made)
    try:
        chosen, rest = made.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    if rest:
        raise ValueError(f"{rest[0]!r} is no option of the path")
    return Network(_way(chosen, "up"), _way(chosen, "down"), chosen.seed)


def arguments(argv: Sequence[str] | None = None) -> Chosen:
    """The parsed command line; ends the program with 2 and a sentence when it is wrong."""
    made = parser()
    chosen = made.parse_args(argv)
    try:
        asked = Network(_way(chosen, "up"), _way(chosen, "down"), chosen.seed)
        ends = () if chosen.tun else tuple(units.address(place) for place in chosen.places)
    except ValueError as error:
        made.error(str(error))
    if not chosen.tun and len(ends) != 2:
        made.error("LISTEN and TARGET are needed, for example: 5433 localhost:4433 (or --tun)")
    if not chosen.tun and ends[1][1] == 0:
        made.error("TARGET needs a port")
    if chosen.every < 0.01:
        made.error("--every is too short; 10ms at least")
    return Chosen(
        network=asked,
        listen=ends[0] if ends else None,
        target=ends[1] if ends else None,
        tun=chosen.tun,
        command=tuple(chosen.places) if chosen.tun else (),
        control=chosen.control,
        quiet=chosen.quiet,
        every=chosen.every,
        for_seconds=chosen.for_seconds,
        json=chosen.json,
    )
