"""Structured fields of HTTP (RFC 9651), as far as WebTransport uses them: strings, and lists of strings.

Whole fields are parsed, with parameters, so that what is no string is told from what is malformed;
WebTransport ignores both (draft-ietf-webtrans-http3-16, section 3.3). Drafts before 13 had tokens in
place of strings. Pure; imports nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_MEMBERS = 32
_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][\w!#$%&'*+.^`|~:/-]*", re.ASCII)
_OTHER = re.compile(  # numbers and dates, bytes, booleans, display strings: only ever parameters
    r"@?-?(?:\d{1,12}\.\d{1,3}|\d{1,15})"
    r"|:[A-Za-z0-9+/=]*:"
    r"|\?[01]"
    r'|%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"',
    re.ASCII,
)
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*", re.ASCII)
_BETWEEN = re.compile(r"[ \t]*,[ \t]*")


def parse_strings(field: str, *, tokens: bool = False) -> tuple[str, ...] | None:
    """The members of a list of strings (with ``tokens``, or of tokens); None: ignore the field."""
    field = field.strip(" ")
    members: list[str] = []
    position = 0
    while position < len(field) or members:
        found = _member(field, position, tokens=tokens)
        if found is None or len(members) == MAX_MEMBERS:
            return None
        member, position = found
        members.append(member)
        if position == len(field):
            break
        comma = _BETWEEN.match(field, position)
        if comma is None:
            return None
        position = comma.end()
    return tuple(members)


def parse_string(field: str, *, tokens: bool = False) -> str | None:
    """The one string (or token) that a field is; None: ignore the field."""
    field = field.strip(" ")
    found = _member(field, 0, tokens=tokens)
    return found[0] if found is not None and found[1] == len(field) else None


def format_strings(members: Sequence[str]) -> str:
    """The list of those strings; raises ValueError for characters that no string has."""
    return ", ".join(_format(member) for member in members)


def _format(member: str) -> str:
    if not all(" " <= c <= "~" for c in member):
        raise ValueError(f"{member!r} cannot be a string of a structured field")
    return '"' + member.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _member(field: str, position: int, *, tokens: bool) -> tuple[str, int] | None:
    string = _STRING.match(field, position)
    if string is not None:
        value, end = re.sub(r"\\(.)", r"\1", string[1]), string.end()
    else:
        token = _TOKEN.match(field, position) if tokens else None
        if token is None:
            return None
        value, end = token[0], token.end()
    after = _skip_parameters(field, end)
    return None if after is None else (value, after)


def _skip_parameters(field: str, position: int) -> int | None:
    """RFC 9651, section 4.2.3.2: the offset behind them, or None when they are malformed."""
    while position < len(field) and field[position] == ";":
        position += 1
        while position < len(field) and field[position] == " ":
            position += 1
        key = _KEY.match(field, position)
        if key is None:
            return None
        position = key.end()
        if position < len(field) and field[position] == "=":
            value = next(
                (found for kind in (_STRING, _TOKEN, _OTHER) if (found := kind.match(field, position + 1))),
                None,
            )
            if value is None:
                return None
            position = value.end()
    return position
