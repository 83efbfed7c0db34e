"""The grammar of `wtgateway token create | inspect | hash`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

ACTIONS = ("read", "control", "publish")
CREATE_EPILOG = """\
examples:
  wtgateway token create --read 'cam*' --for 2h          a link for two hours
  wtgateway token create --read door --identity anna     for one broadcast, for ever, with a name
  wtgateway token create --control '*' --api --for 8h    for an operator
  wtgateway token create --metrics                       for Prometheus

A gateway takes them with `access: {mode: token}` (--access token).
"""


def add_token(
    commands: _Commands,
    add: Callable[[_Commands, str, str, str], argparse.ArgumentParser],
    settings: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the command and its actions; ``settings`` adds the flags that say where keys and pages are."""
    token = add(commands, "token", "make and look at tokens that let somebody watch", "")
    actions = token.add_subparsers(metavar="ACTION", required=True)
    _add_create(add(actions, "create", "print a link with a token", CREATE_EPILOG), settings)
    inspect = add(actions, "inspect", "show what is in a token", "")
    inspect.set_defaults(command="token_inspect")
    inspect.add_argument("token", metavar="TOKEN", help="the token, or - to read it from standard input")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    settings(inspect)
    hashing = add(actions, "hash", "print what the file of static users has in place of a secret", "")
    hashing.set_defaults(command="token_hash")
    hashing.add_argument(
        "--password", action="store_true", help="of a password that is asked for (else: of a new token)"
    )


def _add_create(create: argparse.ArgumentParser, settings: Callable[[argparse.ArgumentParser], None]) -> None:
    create.set_defaults(command="token_create")
    group = create.add_argument_group("what it is good for")
    words = {"read": "to watch", "control": "to watch and control", "publish": "to send"}
    for action in ACTIONS:
        group.add_argument(
            f"--{action}", action="append", default=[], metavar="PATTERN",
            help=f"broadcasts {words[action]}; may be given again",
        )  # fmt: skip
    group.add_argument("--api", action="store_true", help="what the API shows and changes of the gateway")
    group.add_argument("--metrics", action="store_true", help="/metrics")
    group.add_argument("--for", dest="valid", metavar="TIME", help="how long (2h, 7d; default: for ever)")
    group.add_argument("--identity", metavar="NAME", default="", help="who it is for, in logs and API")
    create.add_argument("--json", action="store_true", help="print JSON")
    settings(create)
