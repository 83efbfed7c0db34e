"""``wtgateway lb run``: the reference forwarder as a program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wtgateway.config.balancing import KEPT, LbFile, LbNode, load_lb_file
from wtgateway.config.model import Address
from wtgateway.errors import ConfigError
from wtgateway.lb import transparent
from wtgateway.lb.checks import CheckSettings, NodeChecks
from wtgateway.lb.flows import files_for_flows
from wtgateway.lb.forwarder import Forwarder
from wtgateway.lb.inherited import inherited_sockets
from wtgateway.lb.resolved import follow_names, resolve
from wtgateway.lb.routing import Node, Router
from wtgateway.lb.web import create_app

log = logging.getLogger("wtgateway.lb")

DEFAULT_WEB = Address("127.0.0.1", 8081)
LABEL = "reference forwarder: for development and small set-ups (docs/balancing.md)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says. ``web`` None: no web port."""

    config: Path
    web: Address | None = DEFAULT_WEB
    most_flows: int = 8192
    idle_s: float = 60.0
    checks: CheckSettings = field(default_factory=CheckSettings)
    json_log: bool = False


def run_forwarder(options: RunOptions) -> int:
    """Forward until SIGINT or SIGTERM; the exit code. Raises ConfigError when it cannot start."""
    try:
        import uvloop
    except ImportError:  # none for this platform
        asyncio.run(_main(options))
    else:
        uvloop.run(_main(options))
    return 0


async def _main(options: RunOptions) -> None:
    lb = await asyncio.to_thread(load_lb_file, options.config)
    nodes = await asyncio.to_thread(resolve, lb)
    kept = lb.client_addresses == KEPT
    if kept and (why := transparent.why_not()):
        expected = f"hidden: nodes cannot be shown viewers' addresses here, {why}"
        raise ConfigError(str(options.config), "client_addresses", KEPT, expected)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    checks = make_checks(lb, nodes, options.checks)
    hurry = {check.node: check.hurry for check in checks}
    most = files_for_flows(options.most_flows)
    if most < options.most_flows:
        log.warning("at most %d flows: this process may not have more files open (ulimit -n)", most)
    forwarder = Forwarder(
        Router(lb.configs, nodes),
        most_flows=most,
        idle_s=options.idle_s,
        kept=kept,
        on_refused=lambda node: hurry[node](),
    )
    async with contextlib.AsyncExitStack() as stack:
        addresses = await forwarder.start(*lb.listen, inherited_sockets(os.environ))
        stack.callback(forwarder.close)
        tasks = [asyncio.create_task(check.run(), name=f"check:{check.node.name}") for check in checks]
        stack.push_async_callback(_cancel, *tasks)
        tasks.append(asyncio.create_task(_follow_names(lb, nodes, forwarder), name="names"))
        web = await _start_web(stack, options.web, create_app(forwarder, checks))
        _announce(options, lb, addresses, web)
        await stop.wait()


async def _follow_names(lb: LbFile, nodes: list[Node], forwarder: Forwarder) -> None:
    by_name = {node.name: node for node in nodes}

    def moved(one: LbNode, found: tuple[str, ...]) -> None:
        node = by_name[one.name]
        node.address = (found[0], one.address.port)
        forwarder.moved(node)

    await follow_names(lb.nodes, lambda one: [by_name[one.name].address[0]], moved)


def make_checks(
    lb: LbFile,
    nodes: list[Node],
    settings: CheckSettings,
    on_change: Callable[[Node], None] = lambda node: None,
) -> list[NodeChecks]:
    """A check for each node of the file."""
    return [
        NodeChecks(node, one.health, lb_config=lb.fingerprint, settings=settings, on_change=on_change)
        for one, node in zip(lb.nodes, nodes, strict=True)
    ]


async def _start_web(
    stack: contextlib.AsyncExitStack, address: Address | None, app: Any
) -> tuple[str, int] | None:
    if address is None:
        return None
    from wtgateway.web.server import serve

    shutdown = asyncio.Event()
    bound: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(app, host=address.host, port=address.port, shutdown=shutdown, started=bound.set_result)
    )
    either: set[asyncio.Future[Any]] = {task, bound}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()  # raises what kept it from starting

    async def close() -> None:
        shutdown.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)

    stack.push_async_callback(close)
    return bound.result()[0]


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _announce(
    options: RunOptions, lb: LbFile, addresses: list[tuple[str, int]], web: tuple[str, int] | None
) -> None:
    nodes = {node.name: str(node.address) for node in lb.nodes}
    listen = [str(Address(*address)) for address in addresses]
    facts = {
        "listen": listen,
        "nodes": nodes,
        "client_addresses": lb.client_addresses,
        "web": f"http://{Address(*web)}/" if web else "",
        "note": LABEL,
    }
    if options.json_log:
        text = json.dumps({"event": "ready", **facts})
    else:
        lines = ["wtgateway lb is ready", f"  note        {LABEL}"]
        lines.append(f"  listen      {', '.join(listen)} (UDP)")
        label = "nodes"
        for name, address in nodes.items():
            lines.append(f"  {label:<10}  {name} at {address}")
            label = ""
        if lb.client_addresses == KEPT:
            lines.append("  addresses   kept: answers have to come back by this machine (docs/balancing.md)")
        else:
            lines.append("  addresses   hidden: nodes see this machine's, so no limit is per viewer")
        if web:
            lines.append(f"  figures     {facts['web']}metrics")
        text = "\n".join(lines)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
