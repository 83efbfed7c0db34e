"""The log: one line an event, text or JSON, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.log import redact_url, setup


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
