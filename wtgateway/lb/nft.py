"""Loads the ruleset of :mod:`wtgateway.lb.nftables` into the kernel, and keeps it as the nodes are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wtgateway.config.balancing import LbFile, LbNode, load_lb_file
from wtgateway.errors import ConfigError, TransportError
from wtgateway.lb import nftables
from wtgateway.lb.checks import CheckSettings, NodeChecks
from wtgateway.lb.resolved import addresses_of, follow_names
from wtgateway.lb.routing import Node, NodeState

log = logging.getLogger("wtgateway.lb")

_SECONDS = 20.0
_FORWARDING = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NftOptions:
    """What the command line says."""

    config: Path
    mode: str = nftables.DNAT
    checks: CheckSettings = field(default_factory=CheckSettings)


class Rules:
    """The rules of one LB file. Its methods block."""

    def __init__(self, options: NftOptions) -> None:
        self.options = options
        self.lb: LbFile = load_lb_file(options.config)
        nftables.check(self.lb, options.mode, str(options.config))
        self.addresses = {node.name: addresses_of(node) for node in self.lb.nodes}

    def text(self, states: dict[str, NodeState] | None = None) -> str:
        """The ruleset. Raises ConfigError."""
        nodes = nftables.targets(self.lb, self.addresses, states or {})
        return nftables.ruleset(self.lb, nodes, mode=self.options.mode, where=str(self.options.config))

    def apply(self, states: dict[str, NodeState] | None = None) -> None:
        """Load it in place of what was there, all at once. Raises TransportError with nft's complaint."""
        load(self.text(states))

    def warn_unless_forwarding(self) -> None:
        """Say so if this host does not forward: then no rule helps."""
        versions = {6 if ":" in a else 4 for addresses in self.addresses.values() for a in addresses}
        for version in sorted(versions):
            with contextlib.suppress(OSError):
                path = Path("/proc/sys/net") / _FORWARDING[version]
                if path.read_text(encoding="ascii").strip() == "0":
                    name = _FORWARDING[version].replace("/", ".")
                    log.warning("this host does not forward IPv%d: sysctl -w net.%s=1", version, name)

    def forget(self, name: str) -> None:
        """Have connection tracking forget what it sends to a dead node: viewers begin anew elsewhere."""
        if self.options.mode != nftables.DNAT:
            return
        program = shutil.which("conntrack")
        if program is None:
            log.warning("connections to %s keep their entries for minutes: install conntrack", name)
            return
        port = next(node.address.port for node in self.lb.nodes if node.name == name)
        for address in self.addresses[name]:
            words = ("-D", "-p", "udp", "-r", address, "--reply-port-src", str(port))
            subprocess.run((program, *words), capture_output=True, timeout=_SECONDS, check=False)


def load(text: str) -> None:
    """`nft -f -`. Blocks. Raises ConfigError without nft, TransportError with what it complains of."""
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        raise ConfigError("wtgateway lb nftables", "", "nft", "nftables to be installed, and on PATH")
    done = subprocess.run((program, "-f", "-"), input=text, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        complaint = " ".join(done.stderr.split())[:400]
        hint = "; it needs root or CAP_NET_ADMIN" if "not permitted" in complaint else ""
        raise TransportError(f"nft refused the rules: {complaint}{hint}")


def remove() -> int:
    """Take the table away; the exit code."""
    load(nftables.removal())
    return 0


def apply(options: NftOptions) -> int:
    """Load the rules once; the exit code."""
    rules = Rules(options)
    rules.warn_unless_forwarding()
    rules.apply()
    return 0


def watch(options: NftOptions) -> int:
    """Load the rules, and again whenever a node comes or goes, until SIGINT or SIGTERM. They stay then."""
    asyncio.run(_watch(Rules(options)))
    return 0


async def _watch(rules: Rules) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    changed = asyncio.Event()
    nodes = [
        Node(node.name, dict(node.server_ids), (rules.addresses[node.name][0], node.address.port))
        for node in rules.lb.nodes
    ]
    checks = [
        NodeChecks(
            node,
            one.health,
            lb_config=rules.lb.fingerprint,
            settings=rules.options.checks,
            on_change=lambda node: changed.set(),
        )
        for one, node in zip(rules.lb.nodes, nodes, strict=True)
    ]
    await asyncio.to_thread(rules.warn_unless_forwarding)
    await asyncio.to_thread(rules.apply)
    sys.stdout.write(f"rules loaded for {rules.lb.listen}; watching {len(nodes)} nodes\n")
    sys.stdout.flush()
    tasks = [asyncio.create_task(check.run()) for check in checks]
    tasks.append(asyncio.create_task(_follow(rules, nodes, changed)))
    tasks.append(asyncio.create_task(_follow_names(rules, changed)))
    stopped = asyncio.create_task(stop.wait())
    working: asyncio.Future[list[None]] = asyncio.gather(*tasks)
    try:
        both: set[asyncio.Future[Any]] = {working, stopped}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()  # raises what ended it
    finally:
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


async def _follow_names(rules: Rules, changed: asyncio.Event) -> None:
    def moved(node: LbNode, found: tuple[str, ...]) -> None:
        rules.addresses[node.name] = found
        changed.set()

    await follow_names(rules.lb.nodes, lambda node: rules.addresses[node.name], moved)


async def _follow(rules: Rules, nodes: list[Node], changed: asyncio.Event) -> None:
    """Load the rules anew at each change, and forget who died."""
    dead: set[str] = set()
    while True:
        await changed.wait()
        changed.clear()
        states = {node.name: node.state for node in nodes}
        await asyncio.to_thread(rules.apply, states)
        log.info("rules loaded: %s", ", ".join(f"{name} {state.value}" for name, state in states.items()))
        down = {name for name, state in states.items() if state is NodeState.DOWN}
        for name in sorted(down - dead):
            await asyncio.to_thread(rules.forget, name)
        dead = down
