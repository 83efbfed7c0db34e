"""Webhooks: signed so that a receiver can check, told again until taken in, and bounded."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config.hooks_model import WebhookConfig
from wtgateway.events import Event, Events
from wtgateway.hooks.listener import Listener
from wtgateway.hooks.signing import key_of, signature
from wtgateway.hooks.webhooks import MOST_TRIES, QUEUED, Webhook, pause_s

CONFIG = WebhookConfig(url="https://hooks.example/x", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


class Receiver:
    """An address that answers what a test says, and keeps what came."""

    def __init__(self, *statuses: int | Exception) -> None:
        self.statuses = list(statuses)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.statuses.pop(0) if self.statuses else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"location": "https://elsewhere.example"})

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def webhook(self, config: WebhookConfig = CONFIG) -> Webhook:
        return Webhook(config, "run", client=self.client, pause=self.pause, wall=lambda: 1_700_000_000.9)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def event(kind: str = "broadcast.read", number: int = 1) -> Event:
    return Event(kind, 1_700_000_000_123_456, {"broadcast": "cam", "code": 3}, number)


async def test_an_event_is_told_with_a_signature_that_a_receiver_can_check() -> None:
    receiver = Receiver()
    webhook = receiver.webhook()
    webhook.start()
    webhook.put(event())
    await until(lambda: webhook.counters["delivered"] == 1)
    await webhook.close()
    (request,) = receiver.requests
    assert json.loads(request.content) == {
        "type": "broadcast.read",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "data": {"broadcast": "cam", "code": 3},
    }
    assert (request.headers["webhook-id"], request.headers["webhook-timestamp"]) == (
        "msg_run_1",
        "1700000000",
    )
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    mac = hmac.new(key, b"msg_run_1.1700000000." + request.content, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert request.headers["content-type"] == "application/json"


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of Standard Webhooks' reference libraries."""
    body = b'{"test": 2432232314}'
    given = signature(CONFIG.secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_is_not_taken_in_is_told_again_later_each_time() -> None:
    receiver = Receiver(500, 302, httpx.ConnectError("no"), 429, 200)
    webhook = receiver.webhook()
    webhook.start()
    webhook.put(event())
    await until(lambda: webhook.counters["delivered"] == 1)
    await webhook.close()
    assert len(receiver.requests) == 5
    assert {r.url for r in receiver.requests} == {httpx.URL(CONFIG.url)}  # never where it was sent on to
    assert {r.headers["webhook-id"] for r in receiver.requests} == {"msg_run_1"}
    assert webhook.counters["retried"] == 4
    for number, pause in enumerate(receiver.pauses, 1):
        assert 0.75 * pause_s(number) <= pause <= 1.25 * pause_s(number)


async def test_after_many_tries_it_is_given_up_and_the_next_is_told() -> None:
    receiver = Receiver(*[503] * MOST_TRIES)
    webhook = receiver.webhook()
    webhook.start()
    webhook.put(event(number=1))
    webhook.put(event(number=2))
    await until(lambda: webhook.counters["delivered"] == 1)
    await webhook.close()
    assert webhook.counters["given_up"] == 1
    assert receiver.requests[-1].headers["webhook-id"] == "msg_run_2"


async def test_an_address_that_is_gone_is_told_no_more() -> None:
    receiver = Receiver(410)
    webhook = receiver.webhook()
    webhook.start()
    webhook.put(event(number=1))
    webhook.put(event(number=2))
    await until(lambda: webhook._task is not None and webhook._task.done())
    assert len(receiver.requests) == 1
    await webhook.close()


async def test_the_queue_is_bounded_and_the_oldest_go() -> None:
    receiver = Receiver()
    webhook = receiver.webhook()
    for number in range(QUEUED + 10):
        webhook.put(event(number=number))
    webhook.put(Event("degraded", 1, {}, 9))
    assert webhook.counters["dropped"] == 11
    webhook.start()
    await until(lambda: webhook.counters["delivered"] == QUEUED)
    assert receiver.requests[0].headers["webhook-id"] == "msg_run_11"
    await webhook.close()


async def test_a_listener_tells_only_what_each_address_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver()
    monkeypatch.setattr("wtgateway.hooks.webhooks.make_client", receiver.client)
    events = Events()
    listener = Listener(events, lambda name: {}, lambda name: "", instance="run")
    listener.start([WebhookConfig(url=CONFIG.url, secret=CONFIG.secret, events=("broadcast.*",))])
    events.publish("degraded")
    events.publish("broadcast.read")
    await until(lambda: len(receiver.requests) == 1)
    kept = listener.webhooks[0]
    listener.use([kept.config, CONFIG])
    assert listener.webhooks[0] is kept
    events.publish("degraded")
    await until(lambda: len(receiver.requests) == 2)
    assert [json.loads(r.content)["type"] for r in receiver.requests] == ["broadcast.read", "degraded"]
    listener.use([])
    await listener.close()
    assert listener.counters["delivered"] == 2


@given(st.text(min_size=1, max_size=60))
def test_any_secret_is_a_key(secret: str) -> None:
    assert isinstance(key_of(secret), bytes)
    assert isinstance(key_of("whsec_" + secret), bytes)
    assert signature(secret, "a", 1, b"") != signature(secret + "x", "a", 1, b"")
