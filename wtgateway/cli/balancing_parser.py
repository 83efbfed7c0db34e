"""The grammar of `wtgateway lb run | nftables | nginx | envoy | nlb`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
    _Add: TypeAlias = Callable[[_Commands, str, str], argparse.ArgumentParser]

RUN_HELP = "forward QUIC to the nodes by itself: the reference forwarder, for development and small set-ups"


def add_lb(commands: _Commands, add: _Add, add_logging: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its actions."""
    lb = add(commands, "lb", "balance viewers over several gateways: forward, or print rules for a balancer")
    actions = lb.add_subparsers(metavar="KIND", required=True)
    _add_run(actions, add, add_logging)
    _add_nftables(actions, add, add_logging)
    _add_file(add(actions, "nginx", "print a configuration for nginx's stream module"), "lb_nginx")
    envoy = add(actions, "envoy", "print a configuration for Envoy's UDP proxy")
    _add_file(envoy, "lb_envoy")
    envoy.add_argument(
        "--quic-listener",
        metavar="NODE",
        help="instead: the QUIC-LB part of a listener of an Envoy that is this node of the LB file",
    )
    nlb = add(actions, "nlb", "print a CloudFormation template for QUIC passthrough of an AWS NLB")
    _add_file(nlb, "lb_nlb")


def _add_file(parser: argparse.ArgumentParser, command: str) -> None:
    parser.set_defaults(command=command)
    parser.add_argument("-c", "--config", metavar="FILE", required=True, help="the LB file of the gateways")


def _add_run(actions: _Commands, add: _Add, add_logging: Callable[[argparse.ArgumentParser], None]) -> None:
    run = add(actions, "run", RUN_HELP)
    _add_file(run, "lb_run")
    run.add_argument(
        "--web",
        metavar="ADDR",
        default="127.0.0.1:8081",
        help="TCP address of /metrics, or none (%(default)s)",
    )
    run.add_argument(
        "--max-flows", metavar="N", default="8192", help="viewers' addresses at a time (%(default)s)"
    )
    run.add_argument(
        "--idle", metavar="TIME", default="60s", help="an unused one is forgotten after (%(default)s)"
    )
    _add_checks(run)
    add_logging(run)


def _add_nftables(
    actions: _Commands, add: _Add, add_logging: Callable[[argparse.ArgumentParser], None]
) -> None:
    nftables = add(actions, "nftables", "print a ruleset for nftables, or load it and keep it up to date")
    _add_file(nftables, "lb_nftables")
    nftables.add_argument(
        "--mode",
        choices=("dnat", "forward"),
        default="dnat",
        help="with connection tracking (the default), or each datagram by itself",
    )
    way = nftables.add_mutually_exclusive_group()
    way.add_argument("--apply", action="store_true", help="load the rules instead of printing them")
    way.add_argument(
        "--watch", action="store_true", help="load them, check the nodes, load them anew at each change"
    )
    way.add_argument("--remove", action="store_true", help="take the rules away")
    _add_checks(nftables)
    add_logging(nftables)


def _add_checks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("health checks")
    group.add_argument("--interval", metavar="TIME", default="250ms", help="between checks (%(default)s)")
    group.add_argument("--timeout", metavar="TIME", default="500ms", help="of one check (%(default)s)")
    group.add_argument("--rise", metavar="N", default="2", help="good ones until a node is up (%(default)s)")
    group.add_argument("--fall", metavar="N", default="2", help="bad ones until it is down (%(default)s)")
