"""Events as a stream of server-sent events (HTML Standard, section 9.2).

Each client has a bounded queue (the subscription's); what it lost is said in an event ``lost``. A client that
takes nothing for some time is let go, so that places are not held by the dead. Imports events only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wtgateway.events import Event, Events, Subscription

MAX_CLIENTS: Final = 32
HEARTBEAT_S: Final = 15.0
PATIENCE_S: Final = 30.0  # so long a client may take nothing
_ID = re.compile(r"([0-9a-zA-Z_-]{0,64})-(\d{1,15})")


class TooMany(Exception):
    """As many clients listen as may."""


def event_value(event: Event) -> dict[str, Any]:
    """An event as the API shows it: `at` in ms since the epoch; names of fields in camelCase."""
    fields = {_camel(name): value for name, value in event.fields.items()}
    return {"kind": event.kind, "at": event.at_us // 1000, "number": event.number, "fields": fields}


def last_number(last_event_id: str, instance: str) -> int | None:
    """The number in a Last-Event-ID of this instance; 0 for one of another: all that is kept is news then."""
    if not last_event_id:
        return None
    match = _ID.fullmatch(last_event_id)
    return int(match[2]) if match is not None and match[1] == instance else 0


class Streams:
    """All clients that listen. ``instance`` tells events of this run from those of another."""

    def __init__(self, events: Events, instance: str, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._events, self._instance, self._heartbeat_s = events, instance, heartbeat_s
        self.clients = 0
        self._open: set[Subscription] = set()
        self._closed = False

    def answer(self, kinds: Iterable[str] = (), last_event_id: str = "") -> Response:
        """Events whose kind matches one of the patterns (all without any). Raises TooMany."""
        if self.clients >= MAX_CLIENTS or self._closed:
            raise TooMany
        return _Stream(self, tuple(kinds), last_number(last_event_id, self._instance))

    def close(self) -> None:
        """End all: nothing more will happen."""
        self._closed = True
        for subscription in list(self._open):
            subscription.close()

    @contextlib.contextmanager
    def listen(self, after: int | None) -> Any:
        """A place and a subscription, while somebody listens."""
        self.clients += 1
        subscription = self._events.subscribe(after=after)
        self._open.add(subscription)
        try:
            yield subscription
        finally:
            self.clients -= 1
            self._open.discard(subscription)
            subscription.close()

    def missed(self, after: int | None) -> int:
        """How many events after that number are not kept any more."""
        kept = self._events.kept
        if after is None or not kept:
            return 0
        return max(0, kept[0].number - after - 1)

    def text(self, event: Event) -> str:
        """One event in the stream's format."""
        value = json.dumps(event_value(event), separators=(",", ":"))
        return f"id: {self._instance}-{event.number}\nevent: {event.kind}\ndata: {value}\n\n"

    @property
    def heartbeat_s(self) -> float:
        """How often a client that hears nothing else hears that the line is alive."""
        return self._heartbeat_s


class _Stream(Response):
    media_type = "text/event-stream"

    def __init__(self, streams: Streams, kinds: tuple[str, ...], after: int | None) -> None:
        headers: Mapping[str, str] = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(headers=headers)
        self.raw_headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        self._streams, self._kinds, self._after = streams, kinds, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        gone = asyncio.ensure_future(_disconnected(receive))
        told = asyncio.ensure_future(self._tell(send))
        try:
            await asyncio.wait({gone, told}, return_when=asyncio.FIRST_COMPLETED)
            if told.done() and not told.cancelled():
                told.result()
        finally:
            gone.cancel()
            told.cancel()
            await asyncio.gather(gone, told, return_exceptions=True)

    async def _tell(self, send: Send) -> None:
        async def write(text: str, more: bool = True) -> None:
            async with asyncio.timeout(PATIENCE_S):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        streams, lost = self._streams, self._streams.missed(self._after)
        with streams.listen(self._after) as subscription, contextlib.suppress(TimeoutError):
            await write(f"retry: 2000\n\n{_lost(lost)}")
            said = 0
            while True:
                event = await _next(subscription, streams.heartbeat_s)
                if event is _ENDED:
                    await write("", more=False)
                    return
                if subscription.lost > said:
                    await write(_lost(subscription.lost - said))
                    said = subscription.lost
                if event is None:
                    await write(":\n\n")
                elif not self._kinds or any(fnmatch.fnmatchcase(event.kind, kind) for kind in self._kinds):
                    await write(streams.text(event))


_ENDED: Final = Event("", 0)


async def _next(subscription: Subscription, patience_s: float) -> Event | None:
    """The next event, None after a while without one, _ENDED when there will be none any more."""
    try:
        return await asyncio.wait_for(anext(subscription), patience_s)
    except TimeoutError:
        return None
    except StopAsyncIteration:
        return _ENDED


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _lost(count: int) -> str:
    return f'event: lost\ndata: {{"count":{count}}}\n\n' if count else ""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
