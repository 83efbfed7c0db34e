"""The golden vectors are current, and the Python side agrees with them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wtgateway.errors import ProtocolError
from wtgateway.media import Frame
from wtgateway.protocol import messages
from wtgateway.protocol.arrivals import Arrival, decode_arrivals, encode_arrivals
from wtgateway.protocol.clock_sync import ClockSync
from wtgateway.protocol.fec import MAX_DATA_PIECES, decode
from wtgateway.protocol.fragments import cut, decode_fragment, parity
from wtgateway.protocol.nacks import NackEntry, decode_nacks, encode_nacks
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
    read: dict[str, Callable[[bytes], Any]] = {
        "frame": FrameParser().feed,
        "message": messages.MessageReader().feed,
        "fragment": decode_fragment,
        "nacks": decode_nacks,
        "arrivals": decode_arrivals,
    }
    with pytest.raises(ProtocolError) as caught:
        read[case["of"]](bytes.fromhex(case["hex"]))
    assert caught.value.code == case["code"]


@cases("fragments.json")
def test_fragments(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["object"])
    assert [fragment.hex() for fragment in cut(data, case["piece_bytes"])] == case["fragments"]
    decoded = [decode_fragment(bytes.fromhex(fragment)) for fragment in case["fragments"]]
    assert b"".join(fragment.data for fragment in decoded) == data
    (header,) = {(f.track, f.rendition, f.group, f.index, f.keyframe, f.discardable) for f in decoded}
    frame = FrameParser().feed(data)[0]
    assert header == (
        frame.track, frame.rendition, frame.group, frame.index, frame.keyframe, frame.discardable
    )  # fmt: skip
    assert {(f.object_bytes, f.count, f.capture_us) for f in decoded} == {
        (len(data), len(decoded), frame.capture_us)
    }
    assert len({f.piece_bytes for f in decoded}) == 1


@cases("parity.json")
def test_parity(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["object"])
    fragments = [decode_fragment(bytes.fromhex(fragment)) for fragment in case["fragments"]]
    rows = [bytes.fromhex(row) for row in case["parity"]]
    assert list(parity(data, case["piece_bytes"], max(1, len(rows)))) == rows
    if len(fragments) > MAX_DATA_PIECES:
        assert rows == []
        return
    # The first pieces are missing, as many as there are rows for them.
    known = {f.number: f.data for f in fragments[len(rows) :]}
    decoded = {row.number: row.data for row in map(decode_fragment, rows)}
    missing = decode(known, decoded, len(fragments), fragments[0].piece_bytes)
    whole = known | missing
    assert b"".join(whole[number] for number in range(len(fragments)))[: len(data)] == data


@cases("nacks.json")
def test_nacks(case: dict[str, Any]) -> None:
    entries = tuple(NackEntry(**entry) for entry in case["entries"])
    assert encode_nacks(entries).hex() == case["hex"]
    assert decode_nacks(bytes.fromhex(case["hex"])) == entries


@cases("arrivals.json")
def test_arrivals(case: dict[str, Any]) -> None:
    entries = [Arrival(**entry) for entry in case["entries"]]
    assert encode_arrivals(entries).hex() == case["hex"]
    rounded = [min(-(-entry.received_bytes // 64), 65_535) * 64 for entry in entries]
    expected = [
        dataclasses.replace(entry, received_bytes=n) for entry, n in zip(entries, rounded, strict=True)
    ]
    assert list(decode_arrivals(bytes.fromhex(case["hex"]))) == expected


@cases("clock.json")
def test_clock(case: dict[str, Any]) -> None:
    sync = ClockSync(case["window_us"])
    for sample in case["samples"]:
        times = {k: sample[k] for k in ("client_us", "received_us", "sent_us", "arrival_us")}
        assert sync.add(**times) == sample["accepted"]
        assert (sync.offset_us, sync.rtt_us) == (sample["offset_us"], sample["rtt_us"])


@cases("reassembly.json")
def test_reassembly(case: dict[str, Any]) -> None:
    steps, counters = MAKE.REASSEMBLY.play(case["options"], case["steps"])
    assert steps == case["steps"]
    assert counters == case["counters"]


@cases("ordering.json")
def test_ordering(case: dict[str, Any]) -> None:
    steps, counters = MAKE.run_ordering(case["options"], case["steps"])
    assert steps == case["steps"]
    assert counters == case["counters"]


@cases("roaming.json")
def test_roaming(case: dict[str, Any]) -> None:
    steps, figures = MAKE.ROAMING.play(case["steps"])
    assert steps == case["steps"]
    assert figures == case["figures"]
