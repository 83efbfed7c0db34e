"""A worker's number stands in each of its lines, and its clock is the gateway's."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from wtgateway import clock
from wtgateway import log as logs


@pytest.fixture
def restored() -> Iterator[None]:
    root, level = logging.getLogger(), logging.getLogger("wtgateway").level
    handlers, root_level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(root_level)
    logging.getLogger("wtgateway").setLevel(level)


@pytest.mark.usefixtures("restored")
def test_the_number_is_at_the_end_of_a_line_of_text() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream, fields={"worker": 3})
    logging.getLogger("wtgateway.session").info("viewer joined session=%s", "abc")
    assert stream.getvalue().endswith("INFO    session: viewer joined session=abc worker=3\n")


@pytest.mark.usefixtures("restored")
def test_the_number_is_a_field_of_a_line_of_json() -> None:
    stream = io.StringIO()
    logs.setup(stream=stream, json_log=True, fields={"worker": 3})
    logging.getLogger("wtgateway.session").info("viewer joined", extra={"worker": 9, "session": "abc"})
    entry = json.loads(stream.getvalue())
    assert (entry["worker"], entry["session"], entry["message"]) == (3, "abc", "viewer joined")


def test_a_process_that_follows_shows_the_other_ones_time() -> None:
    own = clock.epoch_offset_ns()
    before = clock.now_us()
    try:
        clock.follow(own + 5_000_000_000)
        assert clock.now_us() - before >= 5_000_000
    finally:
        clock.follow(own)
