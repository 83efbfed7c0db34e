"""Events over HTTP: format, what is missed is told, places are bounded and come free."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.conftest import Api
from wtgateway.events import Events
from wtgateway.web import sse
from wtgateway.web.sse import MAX_CLIENTS, Streams, event_value, last_number


class Listener:
    """Somebody at the other end of a stream: reads when told to, and can go."""

    def __init__(self, answer: Any, *, reads: bool = True) -> None:
        self.text = ""
        self.ended = False
        self._changed, self._gone = asyncio.Event(), asyncio.Event()
        self._reads = reads
        scope = {"type": "http", "method": "GET"}
        self.task = asyncio.create_task(answer(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if not self._reads and message["type"] == "http.response.body":
            await asyncio.Event().wait()
        self.text += message.get("body", b"").decode()
        self.ended = message["type"] == "http.response.body" and not message["more_body"]
        self._changed.set()

    async def until(self, condition: Callable[[str], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition(self.text):
                self._changed.clear()
                await self._changed.wait()

    async def go(self) -> None:
        self._gone.set()
        await self.task


async def test_events_are_told_as_they_happen_and_the_line_is_kept_alive() -> None:
    events = Events()
    streams = Streams(events, "run", heartbeat_s=0.01)
    listener = Listener(streams.answer())
    await listener.until(lambda text: "retry:" in text)
    events.publish("broadcast.available", broadcast="cam1", retry_in_ms=3)
    await listener.until(lambda text: "cam1" in text and text.endswith(":\n\n"))
    (event,) = [part for part in listener.text.split("\n\n") if part.startswith("id:")]
    number, kind, data = event.split("\n")
    assert (number, kind) == ("id: run-1", "event: broadcast.available")
    value = json.loads(data.removeprefix("data: "))
    assert value["fields"] == {"broadcast": "cam1", "retryInMs": 3}
    assert value["at"] * 1000 <= events.kept[0].at_us < (value["at"] + 1) * 1000
    await listener.go()
    assert streams.clients == 0


async def test_who_comes_back_goes_on_where_it_stopped() -> None:
    events = Events(kept=2)
    for number in range(5):
        events.publish("degraded", what=number)
    streams = Streams(events, "run")
    for last, expected, lost in (
        ("run-4", [4], 0),
        ("run-1", [3, 4], 2),
        ("other-9", [3, 4], 3),
        ("", [], 0),
    ):
        listener = Listener(streams.answer((), last))
        last_of_all = f'"what":{expected[-1]}' if expected else "retry"
        await listener.until(functools.partial(_has, last_of_all))
        told = [e for e in listener.text.split("\n\n") if e.startswith("id:")]
        assert [json.loads(e.split("data: ")[1])["fields"]["what"] for e in told] == expected
        assert (f'"count":{lost}' in listener.text) == bool(lost)
        await listener.go()


def _has(words: str, text: str) -> bool:
    return words in text


async def test_only_the_kinds_that_were_asked_for() -> None:
    events = Events()
    streams = Streams(events, "run")
    listener = Listener(streams.answer(["broadcast.*", "degraded"]))
    await listener.until(lambda text: "retry:" in text)
    for kind in ("session.opened", "broadcast.read", "degraded", "recovered"):
        events.publish(kind)
    await listener.until(lambda text: "degraded" in text)
    assert "session.opened" not in listener.text
    assert "broadcast.read" in listener.text
    await listener.go()


async def test_places_are_bounded_and_come_free(api: Api) -> None:
    listeners = [Listener(api.streams.answer()) for _ in range(MAX_CLIENTS)]
    for listener in listeners:
        await listener.until(lambda text: "retry" in text)
    refused = await api.http.get("/api/v1/events")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    await listeners.pop().go()
    listeners.append(Listener(api.streams.answer()))
    await listeners[-1].until(lambda text: "retry" in text)
    api.streams.close()
    for listener in listeners:
        await listener.task
        assert listener.ended
    assert api.streams.clients == 0
    assert (await api.http.get("/api/v1/events")).status_code == 503


async def test_who_does_not_read_loses_events_and_then_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PATIENCE_S", 0.05)
    events = Events()
    streams = Streams(events, "run")
    stuck = Listener(streams.answer(), reads=False)
    async with asyncio.timeout(10):
        await stuck.task
    assert streams.clients == 0


async def test_what_a_slow_client_lost_is_told() -> None:
    events = Events()
    streams = Streams(events, "run")
    listener = Listener(streams.answer())
    await listener.until(lambda text: "retry" in text)
    for number in range(300):  # in one turn: its queue takes 256
        events.publish("degraded", what=number)
    await listener.until(lambda text: '"what":299' in text)
    assert 'event: lost\ndata: {"count":44}' in listener.text
    await listener.go()


@given(st.text(max_size=80), st.text(max_size=10))
def test_whatever_a_client_says_it_heard_last(last: str, instance: str) -> None:
    number = last_number(last, instance)
    assert (number is None) == (not last)
    assert number is None or number >= 0


def test_names_of_fields_are_those_of_the_rest_of_the_api() -> None:
    events = Events()
    events.publish("session.closed", session_id="a", duration_s=1.5)
    assert event_value(events.kept[0])["fields"] == {"sessionId": "a", "durationS": 1.5}
