"""What `wtgateway lb` does. Rooms are imported inside, as in :mod:`wtgateway.cli.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wtgateway.errors import ConfigError

if TYPE_CHECKING:
    from wtgateway.config.balancing import LbFile
    from wtgateway.lb.checks import CheckSettings

T = TypeVar("T")

_MOST_FLOWS = 1_000_000


def lb_run(arguments: argparse.Namespace) -> int:
    """`wtgateway lb run`: the reference forwarder, until a signal."""
    from wtgateway.config import parse_address, parse_duration
    from wtgateway.lb.run import RunOptions, run_forwarder

    json_log = _logging(arguments)
    none = arguments.web.strip().lower() == "none"
    options = RunOptions(
        config=Path(arguments.config),
        web=None if none else _parsed("--web", arguments.web, parse_address),
        most_flows=_count("--max-flows", arguments.max_flows, _MOST_FLOWS),
        idle_s=_positive("--idle", arguments.idle, parse_duration),
        checks=_checks(arguments),
        json_log=json_log,
    )
    return run_forwarder(options)


def lb_nftables(arguments: argparse.Namespace) -> int:
    """`wtgateway lb nftables`: print, load or remove the rules."""
    from wtgateway.lb import nft

    _logging(arguments)
    if arguments.remove:
        return nft.remove()
    options = nft.NftOptions(config=Path(arguments.config), mode=arguments.mode, checks=_checks(arguments))
    if arguments.watch:
        return nft.watch(options)
    if arguments.apply:
        return nft.apply(options)
    sys.stdout.write(nft.Rules(options).text())
    return 0


def lb_nginx(arguments: argparse.Namespace) -> int:
    """`wtgateway lb nginx`: print nginx.conf."""
    from wtgateway.lb import nginx

    sys.stdout.write(nginx.configuration(_file(arguments)))
    return 0


def lb_envoy(arguments: argparse.Namespace) -> int:
    """`wtgateway lb envoy`: print Envoy's configuration."""
    from wtgateway.lb import envoy

    lb = _file(arguments)
    name = arguments.quic_listener
    sys.stdout.write(envoy.listener(lb, name, arguments.config) if name else envoy.proxy(lb))
    return 0


def lb_nlb(arguments: argparse.Namespace) -> int:
    """`wtgateway lb nlb`: print a template for CloudFormation."""
    from wtgateway.lb import nlb

    sys.stdout.write(nlb.template(_file(arguments), arguments.config))
    return 0


def _file(arguments: argparse.Namespace) -> LbFile:
    from wtgateway.config.balancing import load_lb_file

    return load_lb_file(Path(arguments.config))


def _logging(arguments: argparse.Namespace) -> bool:
    """Set the log up as everywhere; whether it is JSON."""
    from wtgateway.config import load
    from wtgateway.log import setup

    given = {name: getattr(arguments, name) for name in ("json_log", "log_format", "log_level")}
    config = load(given, os.environ, None)
    setup(json_log=config.logs_json(sys.stderr.isatty()), level=config.log_level)
    return config.speaks_json


def _checks(arguments: argparse.Namespace) -> CheckSettings:
    from wtgateway.config import parse_duration
    from wtgateway.lb.checks import CheckSettings

    return CheckSettings(
        interval_s=_positive("--interval", arguments.interval, parse_duration),
        timeout_s=_positive("--timeout", arguments.timeout, parse_duration),
        rise=_count("--rise", arguments.rise, 100),
        fall=_count("--fall", arguments.fall, 100),
    )


def _parsed(flag: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError("command line", flag, text, error.expected) from None


def _positive(flag: str, text: str, parse: Callable[[str], float]) -> float:
    value = _parsed(flag, text, parse)
    if value <= 0:
        raise ConfigError("command line", flag, text, "a duration longer than 0")
    return value


def _count(flag: str, text: str, most: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most:
        return int(text)
    raise ConfigError("command line", flag, text, f"a whole number from 1 to {most}")
