"""The command line: `wtgateway`. Parses first and loads rooms only when a command needs them."""

from wtgateway.cli.parser import build_parser, main, parse

__all__ = ["build_parser", "main", "parse"]
