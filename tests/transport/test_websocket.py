"""The gateway's side of a session over a WebSocket, on a wire of the tests' own; and the race."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wtgateway.errors import ProtocolError, SessionRefused, TransportError
from wtgateway.protocol import progress
from wtgateway.protocol import websocket_messages as ws
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Ping, pack
from wtgateway.transport import websocket
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.websocket import CONTROL, WebSocketSession
from wtgateway.transport.webtransport import LOST, SessionRequest
from wtgateway.viewer.race import Race


class Wire:
    """``gate`` closed: nothing is taken."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.sent: list[bytes] = []
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.closes: list[tuple[int, str]] = []
        self.aborted = False
        self.buffered = 0
        self.taken = asyncio.Event()

    async def receive(self) -> bytes | int:
        said = await self.incoming.get()
        if isinstance(said, ProtocolError):
            raise said
        assert isinstance(said, bytes | int)
        return said

    async def send(self, message: bytes) -> None:
        self.taken.set()
        await self.gate.wait()
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))

    async def abort(self) -> None:
        self.aborted = True

    def unsent(self) -> int:
        return self.buffered


class Handler:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.session: Any = None
        self.said: list[bytes] = []
        self.ends: list[tuple[int, str]] = []
        self.turns = 0
        self.opening = asyncio.Event()

    def opened(self, session: Any) -> None:
        self.session = session
        self.opening.set()

    def stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        self.said.append(data)
        if data == FAULTY:
            raise RuntimeError("a bug")

    def stream_reset(self, stream_id: int, code: int) -> None: ...

    def stop_sending(self, stream_id: int, code: int) -> None: ...

    def datagram(self, data: bytes) -> None: ...

    def writable(self) -> None:
        self.turns += 1

    def closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))


PING, FAULTY = pack(Ping(id=1, client_us=1)), pack(Ping(id=666, client_us=1))


class Running:
    """A session on its wire, until the end of the block."""

    async def __aenter__(self) -> Running:
        self.wire, self.handler = Wire(), Handler()
        self.link = WebSocketSession(self.wire, SessionRequest(path="/cam"), self.handler)
        self.task = asyncio.create_task(self.link.run())
        await self.handler.opening.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wire.gate.set()
        self.link.close()
        await asyncio.wait_for(self.task, 10)
        assert len(self.handler.ends) == 1

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)


async def test_words_and_frames_go_out_and_words_come_in() -> None:
    async with Running() as running:
        running.link.send(CONTROL, PING)
        number = running.link.send_frame(b"frame", Urgency.DELTA)
        await running.until(lambda: len(running.wire.sent) == 2)
        assert running.wire.sent == [b"\x00" + PING, b"\x01frame"]
        assert running.link.flow.standing == 5
        assert running.link.unacknowledged(number) == 5
        running.link.note_progress(5, 0)
        assert running.link.unacknowledged(number) == 0
        running.wire.incoming.put_nowait(ws.control(PING))
        await running.until(lambda: running.handler.said == [PING])


async def test_what_has_not_left_can_be_given_up_and_sound_goes_first() -> None:
    async with Running() as running:
        link, wire = running.link, running.wire
        wire.gate.clear()
        first = link.send_frame(b"begun", Urgency.KEYFRAME)
        await wire.taken.wait()
        second = link.send_frame(b"later", Urgency.DELTA)
        link.send_frame(b"delta", Urgency.DELTA)
        link.send_frame(b"sound", Urgency.AUDIO)
        assert (link.unsent(first), link.unsent(second), link.waiting) == (0, 5, 15)
        link.reset(first, 1)  # it is on its way
        link.reset(second, 1)
        link.send(CONTROL, PING)
        wire.gate.set()
        await running.until(lambda: len(wire.sent) == 4)
        assert wire.sent == [b"\x01begun", b"\x00" + PING, b"\x01sound", b"\x01delta"]
        assert link.waiting == 0


async def test_there_is_room_for_little_more_than_stands_already() -> None:
    async with Running() as running:
        link = running.link
        assert link.room() == progress.FIRST_WINDOW
        link.send_frame(bytes(progress.FIRST_WINDOW), Urgency.KEYFRAME)
        assert link.room() == 0
        assert link.room(Urgency.AUDIO) == progress.SOUND_AHEAD
        await running.until(lambda: link.flow.standing)
        assert link.room() == 0
        link.note_progress(progress.FIRST_WINDOW, 0)
        assert link.room() > 0
        running.wire.buffered = websocket.MOST_UNSENT_BYTES
        assert link.room() <= 0
        assert link.room(Urgency.AUDIO) > 0


async def test_datagrams_are_taken_by_nobody() -> None:
    async with Running() as running:
        assert running.link.max_datagram_bytes == 0
        assert running.link.send_datagrams([b"x"], Urgency.DELTA) == 0
        assert running.link.probe_bytes(1.0) == 0


@pytest.mark.parametrize(
    "said",
    [b"", b"\x01" + bytes(48), b"\x09", ws.control(PING)[:-1], ProtocolError(CloseCode.MALFORMED, "a text")],
)
async def test_what_makes_no_sense_closes(said: Any) -> None:
    async with Running() as running:
        running.wire.incoming.put_nowait(said)
        await asyncio.wait_for(running.task, 10)
        assert running.handler.ends[0][0] == CloseCode.MALFORMED
        assert running.wire.closes[0][0] == 4000 + CloseCode.MALFORMED
        assert running.handler.said == []


async def test_a_fault_of_ours_ends_the_session_and_is_told_as_such() -> None:
    async with Running() as running:
        running.wire.incoming.put_nowait(ws.control(FAULTY))
        await asyncio.wait_for(running.task, 10)
        assert running.handler.ends[0][0] == CloseCode.INTERNAL


async def test_the_last_words_go_out_before_the_close_and_frames_do_not() -> None:
    async with Running() as running:
        running.wire.gate.clear()
        running.link.send_frame(b"begun", Urgency.DELTA)
        await running.wire.taken.wait()
        running.link.send_frame(b"dropped", Urgency.DELTA)
        running.link.send(CONTROL, PING)
        running.link.close(CloseCode.GOING_AWAY, "bye")
        running.wire.gate.set()
        await asyncio.wait_for(running.task, 10)
        assert running.wire.sent == [b"\x01begun", b"\x00" + PING]
        assert running.wire.closes == [(4001, "bye")]
        assert not running.wire.aborted


@pytest.mark.parametrize(("code", "told"), [(1000, 0), (4033, 33), (1006, LOST), (1001, LOST)])
async def test_the_viewers_close_is_told(code: int, told: int) -> None:
    async with Running() as running:
        running.wire.incoming.put_nowait(code)
        await asyncio.wait_for(running.task, 10)
        assert running.handler.ends[0][0] == told
        assert running.wire.closes == []


async def test_who_leaves_words_unread_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_PATIENCE_S", 0.01)
    monkeypatch.setattr(websocket, "LOOK_S", 0.01)
    async with Running() as running:
        running.wire.gate.clear()
        while not running.link.closed:
            running.link.send(CONTROL, PING * 1000)
        assert running.link._control_bytes <= websocket.MOST_CONTROL_BYTES + len(PING) * 1000
        await asyncio.wait_for(running.task, 10)
        assert running.handler.ends[0][0] == CloseCode.TOO_SLOW
        assert running.wire.aborted


async def test_who_takes_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOSE_PATIENCE_S", "LOOK_S"):
        monkeypatch.setattr(websocket, name, 0.01)
    monkeypatch.setattr(progress, "STALLED_S", 0.0)
    async with Running() as running:
        running.wire.gate.clear()
        running.link.send_frame(b"frame", Urgency.DELTA)
        await asyncio.wait_for(running.task, 10)
        assert running.handler.ends[0][0] == CloseCode.TOO_SLOW
        assert running.wire.aborted


# --- the race ----------------------------------------------------------------------------------------


class Course:
    """Opens when it is told to."""

    def __init__(self) -> None:
        self.may: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began = asyncio.Event()
        self.cancelled = False

    async def open(self, handler: Any) -> Any:
        self.began.set()
        try:
            await self.may
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        handler.opened(self)
        return self


async def raced(
    first: Course, second: Course, head_start_s: float = 0.01
) -> tuple[asyncio.Task[Any], Handler, list[Any]]:
    handler, closed = Handler(), []

    async def close(session: Any) -> None:
        closed.append(session)

    return (
        asyncio.create_task(Race(handler, close).run(first.open, second.open, head_start_s)),
        handler,
        closed,
    )


async def test_who_opens_in_its_head_start_is_alone() -> None:
    first, second = Course(), Course()
    race, handler, closed = await raced(first, second, 30)
    first.may.set_result(None)
    assert await race is first
    assert handler.session is first
    assert not second.began.is_set()
    assert closed == []


@pytest.mark.parametrize("winner", [0, 1])
async def test_after_it_the_first_to_open_wins_and_the_other_is_given_up(winner: int) -> None:
    courses = (Course(), Course())
    race, handler, _ = await raced(*courses)
    await courses[1].began.wait()
    courses[winner].may.set_result(None)
    assert await race is courses[winner] is handler.session
    assert courses[1 - winner].cancelled


async def test_of_two_at_once_one_is_closed() -> None:
    courses = (Course(), Course())
    race, handler, closed = await raced(*courses)
    await courses[1].began.wait()
    for course in courses:
        course.may.set_result(None)
    won = await race
    assert handler.session is won
    assert closed == [course for course in courses if course is not won]


async def test_who_fails_early_lets_the_other_begin_at_once() -> None:
    first, second = Course(), Course()
    race, handler, _ = await raced(first, second, 30)
    await first.began.wait()
    first.may.set_exception(TransportError("no UDP"))
    await asyncio.wait_for(second.began.wait(), 5)
    second.may.set_result(None)
    assert await race is second is handler.session


@pytest.mark.parametrize("refused", [0, 1])
async def test_a_refusal_of_either_is_the_answer(refused: int) -> None:
    courses = (Course(), Course())
    race, _, _ = await raced(*courses)
    await courses[1].began.wait()
    courses[refused].may.set_exception(SessionRefused(404, "no such broadcast"))
    with pytest.raises(SessionRefused):
        await race


async def test_where_nothing_opens_the_first_tells_why() -> None:
    courses = (Course(), Course())
    race, handler, _ = await raced(*courses)
    await courses[1].began.wait()
    courses[1].may.set_exception(TransportError("no TCP"))
    courses[0].may.set_exception(TransportError("no UDP"))
    with pytest.raises(TransportError, match="no UDP"):
        await race
    assert handler.session is None


async def test_who_gives_up_leaves_nothing_running() -> None:
    courses = (Course(), Course())
    race, _, _ = await raced(*courses)
    await courses[1].began.wait()
    race.cancel()
    await asyncio.wait({race})
    assert all(course.cancelled for course in courses)
