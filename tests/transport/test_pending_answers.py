"""CONNECTs whose answer takes its time, in memory and virtual time: nobody else waits, nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.transport.ends import Ends, Recorder
from wtgateway.transport.webtransport import (
    LOST,
    PendingAnswer,
    Refusal,
    SessionHandler,
    SessionRequest,
)


class Pending:
    """What of asyncio.Future is needed, answered by hand."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], object]] = []
        self._cancelled = False
        self._result: SessionHandler | Refusal | None = None
        self._fault: BaseException | None = None

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        self._callbacks.append(callback)

    def cancel(self) -> bool:
        self._cancelled = True
        self._done()
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def exception(self) -> BaseException | None:
        return self._fault

    def result(self) -> SessionHandler | Refusal:
        assert self._result is not None
        return self._result

    def answer(self, result: SessionHandler | Refusal) -> None:
        self._result = result
        self._done()

    def fail(self, fault: BaseException) -> None:
        self._fault = fault
        self._done()

    def _done(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Asked:
    """``/slow...`` is answered by hand, all else at once."""

    def __init__(self) -> None:
        self.pending: dict[str, Pending] = {}
        self.ends = Ends(answer=self.answer, path="/here")  # type: ignore[arg-type]
        self.ends.run()
        assert self.ends.client.session is not None

    def answer(self, request: SessionRequest) -> SessionHandler | PendingAnswer:
        if not request.path.startswith("/slow"):
            return Recorder()
        self.pending[request.path] = Pending()
        return self.pending[request.path]

    def ask(self, path: str) -> Recorder:
        client = Recorder()
        self.ends.request(path, client)
        self.ends.run()
        return client


def test_others_are_answered_meanwhile_and_then_it_is() -> None:
    asked = Asked()
    slow = asked.ask("/slow")
    quick = asked.ask("/quick")
    assert slow.session is None
    assert quick.session is not None
    server = Recorder()
    asked.pending["/slow"].answer(server)
    asked.ends.run()
    assert slow.session is not None
    stream = server.open.open_uni()
    server.open.send(stream, b"hello", True)
    server.open.flush()
    asked.ends.run()
    assert slow.streams[stream] == b"hello"


def test_a_refusal_that_comes_late_has_its_status() -> None:
    asked = Asked()
    slow = asked.ask("/slow")
    asked.pending["/slow"].answer(Refusal(403, "this token is not for that"))
    asked.ends.run()
    assert slow.session is None
    assert asked.ends.client_end.webtransport.refusal == (403, "this token is not for that")
    assert not asked.ends.client.closes


def test_a_fault_of_whoever_is_asked_is_500(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    asked.ask("/slow")
    asked.pending["/slow"].fail(RuntimeError("a bug"))
    asked.ends.run()
    assert asked.ends.client_end.webtransport.refusal == (500, "the gateway failed")
    assert "a bug" in caplog.text


def stream_of(asked: Asked) -> int:
    """The CONNECT stream of the last request."""
    return max(asked.ends.server_end.webtransport.connects._judging)


def test_a_viewer_that_leaves_meanwhile_is_asked_about_no_more() -> None:
    asked = Asked()
    asked.ask("/slow")
    asked.ends.client_end.quic.reset_stream(stream_of(asked), 0x10C)
    asked.ends.client_end.mark_dirty()
    asked.ends.run()
    assert asked.pending["/slow"].cancelled()
    assert not asked.ends.server_end.webtransport.connects._judging
    assert not asked.ends.client.closes


def test_a_session_that_was_made_too_late_is_told_that_it_is_over() -> None:
    asked = Asked()
    asked.ask("/slow")
    pending = asked.pending["/slow"]
    pending.cancel = lambda: False  # type: ignore[method-assign] - it is done already, its callback is to come
    asked.ends.client_end.quic.reset_stream(stream_of(asked), 0x10C)
    asked.ends.client_end.mark_dirty()
    asked.ends.run()
    server = Recorder()
    pending.answer(server)
    assert [code for code, _ in server.closes] == [LOST]
    assert server.session is None


def test_a_lost_connection_asks_no_more() -> None:
    asked = Asked()
    asked.ask("/slow")
    asked.ends.server_end.webtransport.lost("gone")
    assert asked.pending["/slow"].cancelled()


def test_what_waits_counts_as_sessions() -> None:
    asked = Asked()
    for number in range(20):
        asked.ask(f"/slow{number}")
    assert len(asked.pending) == 15
    assert asked.ends.client_end.webtransport.refusal is not None
    assert asked.ends.client_end.webtransport.refusal[0] == 429


def test_capsules_behind_the_request_are_read_in_their_turn() -> None:
    asked = Asked()
    asked.ask("/slow")
    h3 = asked.ends.client_end.webtransport.h3
    assert h3 is not None
    h3.send_data(stream_of(asked), b"", end_stream=True)
    asked.ends.client_end.mark_dirty()
    asked.ends.run()
    server = Recorder()
    asked.pending["/slow"].answer(server)
    asked.ends.run()
    assert server.closes == [(0, "")]


def test_what_follows_the_request_is_bounded() -> None:
    asked = Asked()
    asked.ask("/slow")
    h3 = asked.ends.client_end.webtransport.h3
    assert h3 is not None
    h3.send_data(stream_of(asked), bytes(100_000), end_stream=False)
    asked.ends.client_end.mark_dirty()
    asked.ends.run()
    assert asked.pending["/slow"].cancelled()
    assert not asked.ends.client.closes
