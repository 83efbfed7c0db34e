"""The golden vectors are current, and the Python side agrees with them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import messages
from wtgateway.protocol.clock_sync import ClockSync
from wtgateway.protocol.wire import FrameParser, encode_frame

VECTORS = Path(__file__).parents[1] / "vectors"


def _make() -> Any:
    spec = importlib.util.spec_from_file_location("vectors_make", VECTORS / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = _make()


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def cases(name: str) -> Any:
    return pytest.mark.parametrize("case", load(name), ids=lambda case: case["name"].replace(" ", "-"))


def _bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["$hex"]) if "$hex" in value else {k: _bytes(v) for k, v in value.items()}
    return [_bytes(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", MAKE.FILES)
def test_are_current(name: str) -> None:
    """If this fails and the change is meant: python tests/vectors/make.py."""
    assert (VECTORS / name).read_text(encoding="utf-8") == MAKE.text(MAKE.FILES[name])


@cases("frames.json")
def test_frame(case: dict[str, Any]) -> None:
    frame = Frame(**case["frame"] | {"payload": bytes.fromhex(case["frame"]["payload"])})
    assert encode_frame(frame).hex() == case["hex"]
    parser = FrameParser()
    assert parser.feed(bytes.fromhex(case["hex"])) == [frame]
    assert parser.idle


@cases("messages.json")
def test_message(case: dict[str, Any]) -> None:
    body = _bytes(case["message"])
    assert body.pop("kind") == case["message"]["kind"]
    (message,) = messages.MessageReader().feed(bytes.fromhex(case["hex"]))
    assert message.kind == case["message"]["kind"]
    assert {name: getattr(message, name) for name in body} == body
    assert messages.pack(message).hex() == case["hex"]


@cases("malformed.json")
def test_malformed(case: dict[str, Any]) -> None:
    reader = FrameParser() if case["of"] == "frame" else messages.MessageReader()
    with pytest.raises(ProtocolError) as caught:
        reader.feed(bytes.fromhex(case["hex"]))
    assert caught.value.code == case["code"]


@cases("clock.json")
def test_clock(case: dict[str, Any]) -> None:
    sync = ClockSync(case["window_us"])
    for sample in case["samples"]:
        times = {k: sample[k] for k in ("client_us", "received_us", "sent_us", "arrival_us")}
        assert sync.add(**times) == sample["accepted"]
        assert (sync.offset_us, sync.rtt_us) == (sample["offset_us"], sample["rtt_us"])


@cases("ordering.json")
def test_ordering(case: dict[str, Any]) -> None:
    steps, counters = MAKE.run_ordering(case["options"], case["steps"])
    assert steps == case["steps"]
    assert counters == case["counters"]
