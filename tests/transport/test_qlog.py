"""A qlog of one connection: bounded, readable, and without what must not be told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from wtgateway.transport import qlog
from wtgateway.transport.lane import Lane
from wtgateway.transport.qlog import Trace


def trace(**changes: Any) -> Trace:
    return Trace(is_client=False, odcid=b"\xab\xcd", **changes)


def read(text: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *events = [json.loads(line) for line in text.decode().split("\x1e")[1:]]
    return header, events


def test_it_is_a_json_text_sequence_with_a_header() -> None:
    made = trace()
    made.log_event(category="transport", event="packet_sent", data={"frames": []})
    assert made.text().startswith(b"\x1e{")
    assert made.text().count(b"\x1e") == made.text().count(b"\n") == 2
    header, (event,) = read(made.text())
    assert (header["qlog_format"], header["qlog_version"]) == ("JSON-SEQ", "0.3")
    assert header["trace"]["vantage_point"]["type"] == "server"
    assert header["trace"]["common_fields"]["ODCID"] == "abcd"
    assert event["name"] == "transport:packet_sent"


def test_frames_that_are_filled_in_later_are_there() -> None:
    made = trace()
    frames: list[dict[str, Any]] = []
    made.log_event(category="transport", event="packet_received", data={"frames": frames})
    for number in range(100):
        made.log_event(category="recovery", event="packet_lost", data={"number": number})
    frames.append(made.encode_ping_frame())
    _, events = read(made.text())
    assert events[0]["data"]["frames"] == [{"frame_type": "ping"}]


def test_no_token_and_no_path_is_told() -> None:
    made = trace()
    frames = [
        made.encode_new_token_frame(b"secret-token"),
        made.encode_new_connection_id_frame(b"\1" * 8, 0, 1, b"secret-reset-tok"),
        made.encode_connection_close_frame(0, None, "GET https://x/cam?token=secret-word"),
    ]
    made.log_event(category="transport", event="packet_sent", data={"frames": frames})
    headers = made.encode_http3_headers_frame(9, [(b":path", b"/cam?token=secret-word")], 0)
    made.log_event(category="http", event="frame_parsed", data=headers)
    text = made.text().decode()
    for secret in ("secret", b"secret-token".hex(), b"secret-reset-tok".hex()):
        assert secret not in text
    assert "/cam" not in text.replace("https://x/cam", "")


@pytest.mark.parametrize("bound", ["MAX_EVENTS", "MAX_BYTES"])
def test_it_is_bounded_and_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(qlog, bound, 50 if bound == "MAX_EVENTS" else 5_000)
    made = trace()
    for number in range(5_000):
        made.log_event(category="recovery", event="metrics_updated", data={"number": number})
    assert made.full
    _, events = read(made.text())
    assert len(events) < 1_000
    assert events[-1]["data"]["message"] == f"{made.left_out} events were left out"
    assert made.left_out + len(events) - 1 == 5_000


def test_it_ends_by_itself() -> None:
    now = 0.0
    made = trace(clock=lambda: now)
    made.log_event(category="recovery", event="metrics_updated", data={})
    assert not made.full
    now = qlog.MAX_S + 1
    made.log_event(category="recovery", event="metrics_updated", data={})
    assert made.full
    assert made.left_out == 1


def test_a_connection_is_noted_for_one_at_a_time_and_goes_on_as_before() -> None:
    shared = QuicConfiguration(is_client=True)
    quic = QuicConnection(configuration=shared)
    lane = Lane(quic)
    made = qlog.begin(lane)
    assert made is lane.qlog is quic._quic_logger is quic._loss._quic_logger
    assert qlog.begin(lane) is None
    assert shared.quic_logger is None  # it is that of all connections
    qlog.end(lane)
    qlog.end(lane)
    assert lane.qlog is quic._quic_logger is quic._loss._quic_logger is quic.configuration.quic_logger is None
    assert qlog.begin(lane) is not None


def test_a_connection_that_ends_while_it_is_noted_ends_in_order() -> None:
    quic = QuicConnection(configuration=QuicConfiguration(is_client=True))
    quic.connect(("127.0.0.1", 1), now=0.0)
    quic.datagrams_to_send(0.0)
    lane = Lane(quic)
    made = qlog.begin(lane)
    assert made is not None
    quic.close()
    quic.datagrams_to_send(0.1)
    while (timer := quic.get_timer()) is not None:
        quic.handle_timer(timer)
        quic.datagrams_to_send(timer)
    assert quic.next_event() is not None
    assert quic._quic_logger is None
    names = {event["name"] for event in read(made.text())[1]}
    assert "transport:packet_sent" in names
