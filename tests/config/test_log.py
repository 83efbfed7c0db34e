"""The log: one line an event, text or JSON, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config import GatewayConfig
from wtgateway.log import (
    MAX_KINDS,
    JsonFormatter,
    Limiter,
    TextFormatter,
    named_values,
    redact_url,
    setup,
)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("wtgateway")
    before = list(root.handlers), root.level, ours.level, logging.raiseExceptions
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.raiseExceptions = before[3]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:pw@cam:554/live", "rtsp://***@cam:554/live"),
        ("rtsp://user@cam/live", "rtsp://***@cam/live"),
        ("rtsp://user:p@ss@cam/live", "rtsp://***@cam/live"),
        ("rtsp://user:p/a?s#s@cam/live", "rtsp://***@cam/live"),
        (
            "cannot open rtsp://a:b@c/ and srt://d:e@f: refused",
            "cannot open rtsp://***@c/ and srt://***@f: refused",
        ),
        ("https://h/x?token=abc&y=1", "https://h/x?token=***&y=1"),
        ("srt://h:9000?passphrase=secret&mode=caller", "srt://h:9000?passphrase=***&mode=caller"),
        ("https://h/x?access_token=abc", "https://h/x?access_token=***"),
        ("/test?key=abc", "/test?key=***"),
        ("http://localhost:8080/a@b", "http://localhost:8080/a@b"),
        ("http://[::1]:8080/test?name=x", "http://[::1]:8080/test?name=x"),
        ("movie.mp4", "movie.mp4"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redact_url(text) == shown
    assert redact_url(shown) == shown


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters=" \t\n\r/'\"", categories=["L", "N", "P"]), min_size=1
)


@given(WORDS)
def test_no_password_survives(password: str) -> None:
    secret = f"<<{password}>>"
    assert secret not in redact_url(f"x rtsp://user:{secret}@camera/live y")


def test_a_text_line() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    logging.getLogger("wtgateway.sources").warning("lost %s", "rtsp://u:p@cam/\nx")
    logging.getLogger("wtgateway.sources").debug("not shown")
    line = stream.getvalue()
    assert line.endswith("WARNING sources: lost rtsp://***@cam/ x\n")
    assert line.count("\n") == 1


def test_a_json_line() -> None:
    stream = io.StringIO()
    setup(json_log=True, level="debug", stream=stream)
    extra = {"broadcast": "cam", "url": "rtsp://u:p@h/", "other": b"x"}
    logging.getLogger("wtgateway.hub").debug("up\n%d", 1, extra=extra)
    entry = json.loads(stream.getvalue())
    assert entry["time"].endswith("Z")
    del entry["time"]
    assert entry == {
        "level": "debug",
        "room": "wtgateway.hub",
        "message": "up 1",
        "broadcast": "cam",
        "url": "rtsp://***@h/",
        "other": "b'x'",
    }


def test_set_up_twice_logs_once() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    setup(stream=stream)
    logging.getLogger("wtgateway").info("once")
    assert stream.getvalue().count("once") == 1


def test_a_traceback_of_ours_hides_secrets_too() -> None:
    stream = io.StringIO()
    setup(json_log=True, stream=stream)
    try:
        raise ValueError("rtsp://u:p@h/")
    except ValueError:
        logging.getLogger("wtgateway").exception("defect")
    assert "u:p@" not in stream.getvalue()
    assert "Traceback" in json.loads(stream.getvalue())["exception"]


def test_an_endless_line_is_cut() -> None:
    stream = io.StringIO()
    setup(stream=stream)
    logging.getLogger("wtgateway").info("x" * 100_000)
    assert len(stream.getvalue()) < 5000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("authorization: Bearer abc.def-ghi_jkl", "authorization: Bearer ***"),
        ("authorization: Basic YW5uYTpnZWhlaW0=", "authorization: Basic ***"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl here", "got *** here"),
        ("token wtg_lIe84CPaM1Sy0-xfenRWNDSayRydaLec", "token ***"),
        ("/_ws/cam?v=1&token=abc&subscribe=video", "/_ws/cam?v=1&token=***&subscribe=video"),
        ("the basic thing, and a bearer of news", "the basic thing, and a bearer of news"),
    ],
)
def test_access_tokens_are_not_shown_wherever_they_stand(text: str, shown: str) -> None:
    assert redact_url(text) == shown


def test_what_a_message_names_is_a_field_of_its_own() -> None:
    stream = io.StringIO()
    setup(json_log=True, stream=stream)
    log = logging.getLogger("wtgateway.session")
    log.info(
        "viewer left session=%s code=%d after=%.1fs share=100%% reason=%s", "a1", 51, 1.25, "level=error"
    )
    entry = json.loads(stream.getvalue())
    assert (entry["session"], entry["code"], entry["after"], entry["reason"]) == (
        "a1",
        51,
        1.25,
        "level=error",
    )
    assert entry["level"] == "info"
    assert entry["message"] == "viewer left session=a1 code=51 after=1.2s share=100% reason=level=error"


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("room=%s level=%s", ("x", "y"), {"room": "x", "level": "y"}),
        ("%s a=%5.2f %r", (1, 2.5, "z"), {"a": 2.5}),
        ("a=%s", ({"k": 1},), {}),  # one mapping is taken apart by logging itself
        ("nothing", (), {}),
        ("a=%s", (b"x",), {"a": "b'x'"}),
    ],
)
def test_names_are_those_of_the_template(template: str, arguments: tuple, expected: dict) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, template, arguments, None)
    assert named_values(record) == expected


def test_a_name_of_the_formatter_is_not_taken_over_by_a_message() -> None:
    stream = io.StringIO()
    setup(json_log=True, stream=stream, fields={"worker": 1})
    logging.getLogger("wtgateway.x").info("level=%s worker=%s time=%s", "evil", 7, "never")
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["worker"]) == ("info", 1)
    assert entry["time"].startswith("20")


def test_what_can_be_provoked_comes_at_a_bounded_rate() -> None:
    now = 0.0
    limiter = Limiter(per_second=2, at_once=3, clock=lambda: now)

    def come(template: str, level: int = logging.INFO) -> logging.LogRecord | None:
        record = logging.LogRecord("wtgateway.x", level, "", 0, template, ("a",), None)
        return record if limiter.filter(record) else None

    assert [come("viewer broke the protocol session=%s") is not None for _ in range(10)] == [True] * 3 + [
        False
    ] * 7
    assert come("another kind=%s") is not None
    assert all(come("viewer broke the protocol session=%s", logging.ERROR) for _ in range(10))
    now = 0.5
    told = come("viewer broke the protocol session=%s")
    assert told is not None
    assert "(7 more suppressed)" in TextFormatter().format(told)
    assert json.loads(JsonFormatter().format(told))["suppressed"] == 7
    assert come("viewer broke the protocol session=%s") is None


def test_kinds_are_bounded() -> None:
    limiter = Limiter()
    for number in range(5000):
        limiter.filter(logging.LogRecord("x", logging.INFO, "", 0, f"{number}", (), None))
    assert len(limiter._kinds) <= MAX_KINDS


@pytest.mark.parametrize(
    ("changes", "terminal", "expected"),
    [
        ({}, True, False),
        ({}, False, True),
        ({"log_format": "text"}, False, False),
        ({"log_format": "json"}, True, True),
        ({"json_log": True}, True, True),
    ],
)
def test_text_on_a_terminal_and_json_otherwise(changes: dict, terminal: bool, expected: bool) -> None:
    assert GatewayConfig(**changes).logs_json(terminal) is expected
