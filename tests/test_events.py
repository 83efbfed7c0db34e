"""Events: everybody hears of them, nobody waits, nothing grows."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wtgateway.events import MAX_FIELDS, MAX_TEXT, Event, Events


async def test_who_listens_hears_of_what_happens_from_then_on() -> None:
    events = Events()
    events.publish("broadcast.added", broadcast="before")
    with events.subscribe() as heard:
        events.publish("broadcast.added", broadcast="cam1")
        event = await anext(heard)
    assert (event.kind, event.fields, event.number) == ("broadcast.added", {"broadcast": "cam1"}, 2)
    assert event.at_us > 0


async def test_the_oldest_go_when_a_listener_is_slow_and_others_lose_nothing() -> None:
    events = Events()
    with events.subscribe(limit=2) as slow, events.subscribe() as other:
        for number in range(5):
            events.publish("degraded", what=number)
        assert [(await anext(slow)).fields["what"] for _ in range(2)] == [3, 4]
        assert slow.lost == 3
        assert [(await anext(other)).fields["what"] for _ in range(5)] == [0, 1, 2, 3, 4]
        assert other.lost == 0


async def test_the_last_are_kept_and_a_listener_may_begin_with_them() -> None:
    events = Events(kept=3)
    for number in range(5):
        events.publish("recovered", what=number)
    assert [event.number for event in events.kept] == [3, 4, 5]
    with events.subscribe(after=4) as heard:
        assert (await anext(heard)).number == 5
    with events.subscribe(after=0) as heard:
        assert (await anext(heard)).number == 3


async def test_closing_ends_who_waits() -> None:
    events = Events()
    subscription = events.subscribe()

    async def listen() -> list[Event]:
        return [event async for event in subscription]

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    events.publish("config.reloaded")
    subscription.close()
    events.publish("config.refused")
    assert [event.kind for event in await task] == ["config.reloaded"]


async def test_any_thread_may_tell() -> None:
    events = Events()
    with events.subscribe() as heard:
        threads = [threading.Thread(target=events.publish, args=("source.died",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        numbers = [(await anext(heard)).number for _ in threads]
        for thread in threads:
            thread.join()
    assert numbers == list(range(1, 9))


def test_a_listener_whose_loop_has_ended_harms_nobody() -> None:
    events = Events()

    async def leave_it_open() -> None:
        events.subscribe()

    asyncio.run(leave_it_open())
    thread = threading.Thread(target=events.publish, args=("degraded",))
    thread.start()
    thread.join()
    assert [event.kind for event in events.kept] == ["degraded"]


@pytest.mark.parametrize("address", ["rtsp://me:word@cam/1", "https://x/?token=word"])
def test_secrets_are_taken_out_and_texts_are_cut(address: str) -> None:
    events = Events()
    events.publish("broadcast.unavailable", reason=f"{address} failed " + "x" * 9999, retry_in_ms=500)
    fields = events.kept[0].fields
    assert "word" not in str(fields["reason"])
    assert len(str(fields["reason"])) == MAX_TEXT
    assert fields["retry_in_ms"] == 500


def test_fields_are_bounded() -> None:
    events = Events()
    events.publish("degraded", **{f"f{n}": n for n in range(1000)})
    assert len(events.kept[0].fields) == MAX_FIELDS


def test_what_strangers_provoke_is_told_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    monkeypatch.setattr("wtgateway.clock.now_us", lambda: now)
    events = Events()
    for _ in range(1000):
        events.publish("access.refused", address="192.0.2.1")
        events.publish("session.opened")
    told = [event for event in events.kept if event.kind == "access.refused"]
    assert events.counts["access.refused"] == 1000
    assert events.counts["session.opened"] == 1000
    now = 1_000_000
    events.publish("access.refused")
    assert events.kept[-1].fields["left_out"] == 980
    assert len(told) <= 20
