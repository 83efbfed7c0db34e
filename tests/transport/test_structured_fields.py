"""Structured fields: strings and lists of strings come back, everything else is no field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport.structured_fields import MAX_MEMBERS, format_strings, parse_string, parse_strings

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(st.lists(printable, max_size=MAX_MEMBERS))
def test_a_list_of_strings_comes_back(members: list[str]) -> None:
    assert parse_strings(format_strings(members)) == tuple(members)


@given(printable)
def test_a_string_comes_back(member: str) -> None:
    assert parse_string(format_strings([member])) == member


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_a_field_or_none(text: str, tokens: bool) -> None:
    members = parse_strings(text, tokens=tokens)
    if members is not None:
        assert parse_strings(format_strings(members)) == members
    single = parse_string(text, tokens=tokens)
    assert single is None or members == (single,)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", ()),
        ("   ", ()),
        (' "a" ', ("a",)),
        ('"a" ,\t"b"', ("a", "b")),
        ('""', ("",)),
        (r'"a\"b\\"', ('a"b\\',)),
        ('"a";q=1;b;c="x,y";d=tok/en;e=?1;f=:AQ==:;g=1.5;h=-3;i=@17;j=%"a%c3%a4"', ("a",)),
        ('"a"; q=1, "b"', ("a", "b")),
    ],
)
def test_lists_of_strings(text: str, members: tuple[str, ...]) -> None:
    assert parse_strings(text) == members


@pytest.mark.parametrize(
    "text",
    [
        ",",
        '"a",',
        ',"a"',
        '"a" "b"',
        '"a"b',
        '"a',
        r'"a\x"',
        '"ä"',
        '"a\n"',
        "a",
        "1",
        "?1",
        ":AQ==:",
        '("a" "b")',
        '"a";',
        '"a";Q=1',
        '"a";q=',
        '"a";q=1.',
        '"a";q=?2',
        '"a";q=1234567890123456',
        '"a", b',
        ", ".join(['"a"'] * (MAX_MEMBERS + 1)),
    ],
)
def test_what_is_no_list_of_strings(text: str) -> None:
    assert parse_strings(text) is None


def test_tokens_where_they_were_once() -> None:
    assert parse_strings('a, "b", *c/d:e', tokens=True) == ("a", "b", "*c/d:e")
    assert parse_string("moq-00", tokens=True) == "moq-00"
    assert parse_strings("3a", tokens=True) is None


def test_one_string_is_not_a_list() -> None:
    assert parse_string('"a", "b"') is None
    assert parse_string("") is None


@pytest.mark.parametrize("member", ["ä", "a\n", "\x7f"])
def test_what_no_string_holds_is_an_error(member: str) -> None:
    with pytest.raises(ValueError, match="structured field"):
        format_strings([member])
