"""The one that is asked: order, slowing, revocation, memory; and the way to it from workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wtgateway import clock
from wtgateway.access.authority import GOOD_S, OPEN, Anonymous, Authority
from wtgateway.access.checker import UnavailableError
from wtgateway.access.credentials import Credentials, Refused
from wtgateway.access.origins import Origins
from wtgateway.access.permissions import Action, Grant, parse_permissions
from wtgateway.access.revocations import Revocation
from wtgateway.access.slowing import FREE_FAILURES
from wtgateway.protocol.resume import Wishes
from wtgateway.protocol.subscribe_query import parse_connect_path
from wtgateway.transport.webtransport import Refusal, SessionRequest
from wtgateway.workers import entrance as entrances
from wtgateway.workers import messages
from wtgateway.workers.authority import AuthorityDesk, FarAuthority
from wtgateway.workers.entrance import Entrance
from wtgateway.workers.resuming import Member, Resuming

NOW_US = 1_790_000_000_000_000


class Known:
    """Knows the tokens it is given; ``away``: cannot be asked; ``gate``: answers when it is set."""

    def __init__(self, **grants: Grant) -> None:
        self.grants, self.away, self.asked = grants, False, 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self, credentials: Credentials) -> Grant | None:
        self.asked += 1
        await self.gate.wait()
        if self.away:
            raise UnavailableError
        return self.grants.get(credentials.token)


def grant(identity: str, *texts: str, expires_us: int = 0, token_id: str = "") -> Grant:
    return Grant(identity, parse_permissions(texts), expires_us, token_id)


def asks(token: str = "", **changes: Any) -> Credentials:
    plain: dict[str, Any] = {"token": token, "address": "192.0.2.1", "broadcast": "cam1"}
    return Credentials(**plain | changes)


class World:
    def __init__(self, *checkers: Known, anonymous: Anonymous = Anonymous()) -> None:  # noqa: B008 - frozen
        self.now, self.now_us = 0.0, NOW_US
        self.refused: list[int] = []
        self.authority = Authority(
            checkers,
            anonymous=anonymous,
            on_refused=lambda credentials, refused: self.refused.append(refused.status),
            now=lambda: self.now,
            now_us=lambda: self.now_us,
        )

    async def status(self, credentials: Credentials, **how: Any) -> int:
        try:
            await self.authority.check(credentials, **how)
        except Refused as refused:
            return refused.status
        return 200


async def test_without_checkers_everybody_reads_and_this_machine_does_everything() -> None:
    world = World(anonymous=OPEN)
    assert await world.status(asks("whatever")) == 200
    assert await world.status(asks(action=Action.API, broadcast="")) == 403
    assert await world.status(asks(action=Action.API, broadcast="", local=True)) == 200
    assert world.authority.check_now(asks("whatever")) is not None
    assert world.authority.check_now(asks(action=Action.METRICS, broadcast="")) is None


async def test_the_first_that_knows_a_token_decides() -> None:
    first, second = (
        Known(a=grant("one", "read:cam1")),
        Known(a=grant("two", "read:*"), b=grant("b", "read:*")),
    )
    world = World(first, second)
    assert (await world.authority.check(asks("a"))).identity == "one"
    assert second.asked == 0
    assert (await world.authority.check(asks("b"))).identity == "b"
    assert await world.status(asks("a", broadcast="cam2")) == 403
    assert await world.status(asks("a", broadcast=""), anywhere=True) == 200
    assert await world.status(asks("a", broadcast="")) == 403
    assert await world.status(asks()) == 401
    assert await world.status(asks("c")) == 401
    assert world.refused == [403, 403, 401], "who shows nothing is no event"


async def test_what_anybody_may_do_needs_no_token_and_is_not_lost_with_one() -> None:
    known = Known(a=grant("anna", "read:cam1"))
    world = World(known, anonymous=Anonymous(anywhere=parse_permissions(["read:public/*"])))
    assert await world.status(asks(broadcast="public/door")) == 200
    assert known.asked == 0
    assert await world.status(asks("a", broadcast="public/door")) == 200


async def test_what_is_over_or_taken_back_is_no_good_whoever_says_yes() -> None:
    world = World(
        Known(
            a=grant("anna", "read:*", expires_us=NOW_US + 5, token_id="t1"),
            b=grant("anna", "read:*", token_id="t2"),
            c=grant("carl", "read:*", token_id="t3"),
        )
    )
    assert await world.status(asks("a")) == 200
    world.now_us += 5
    assert await world.status(asks("a")) == 401
    world.authority.revoke(Revocation(token_id="t3"))
    assert await world.status(asks("c")) == 401
    assert await world.status(asks("b")) == 200
    world.authority.revoke(Revocation(identity="anna", until_us=world.now_us + 1))
    assert await world.status(asks("b")) == 401
    world.now_us += 1
    assert await world.status(asks("b")) == 200


async def test_guessing_is_slowed_and_locks_nobody_out_who_was_in() -> None:
    known = Known(a=grant("anna", "read:*"), b=grant("bert", "read:*"))
    world = World(known)
    assert await world.status(asks("a")) == 200
    for number in range(FREE_FAILURES + 1):
        assert await world.status(asks(f"guess{number}")) == 401
    asked = known.asked
    with pytest.raises(Refused) as caught:
        await world.authority.check(asks("b"))
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1.0)
    assert known.asked == asked, "it is not even looked at"
    assert await world.status(asks("a")) == 200
    assert await world.status(asks("b", address="192.0.2.2")) == 200
    assert await world.status(asks()) == 401, "who shows nothing guesses nothing"
    world.now += 1.0
    assert await world.status(asks("b")) == 200
    world.now += GOOD_S
    assert world.authority.counters["access_refused_429"] == 1


async def test_a_token_that_cannot_be_one_is_shown_to_nobody() -> None:
    known = Known()
    world = World(known)
    for text in ("a b", "x" * 5000, "ä", "a\0b"):
        assert await world.status(asks(text)) == 401
    assert known.asked == 0


async def test_where_nobody_can_tell_it_is_503_and_no_failure() -> None:
    away, other = Known(), Known(b=grant("bert", "read:*"))
    away.away = True
    world = World(away, other)
    for _ in range(FREE_FAILURES + 3):
        assert await world.status(asks("a")) == 503
    assert await world.status(asks("b")) == 200, "somebody else knows it"


# --- from workers ------------------------------------------------------------------------------------


class Line:
    """A worker's authority and the main process's desk, joined as their channel joins them."""

    def __init__(self, authority: Authority, origins: Origins = Origins()) -> None:  # noqa: B008 - frozen
        self.desk = AuthorityDesk(authority, origins)
        row = json.loads(json.dumps(self.desk.row()))
        self.far = FarAuthority(row, self._send)

    def _send(self, asked: messages.AccessAsked) -> None:
        assert "geheim" not in repr(asked)
        received = messages.decode(messages.encode(asked)[messages.LENGTH.size :])
        assert isinstance(received, messages.AccessAsked)
        self.desk.asked(received, self.far.answered)


async def test_workers_ask_the_main_process_and_answer_by_themselves_where_nobody_need_be_asked() -> None:
    known = Known(geheim=grant("anna", "read:cam*", token_id="t"))
    line = Line(World(known).authority, Origins(hosts=("gw.example",)))
    assert line.far.origins == Origins(hosts=("gw.example",))
    assert line.far.check_now(asks("geheim")) is None
    assert await line.far.check(asks("geheim")) == grant("anna", "read:cam*", token_id="t")
    with pytest.raises(Refused) as caught:
        await line.far.check(asks("geheim", broadcast="door"))
    assert caught.value.status == 403
    open_line = Line(Authority())
    assert open_line.far.check_now(asks("geheim")) is not None


async def test_an_answer_that_nobody_waits_for_is_nothing() -> None:
    known = Known(a=grant("anna", "read:*"))
    known.gate.clear()
    line = Line(World(known).authority)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.far.check(asks("a")), 0)
    task = asyncio.create_task(line.far.check(asks("a")))
    while known.asked == 0:
        await asyncio.sleep(0)
    task.cancel()
    known.gate.set()
    await asyncio.gather(task, return_exceptions=True)
    line.far.answered(messages.AccessAnswered(99, [], [401, "", 0]))
    assert await line.far.check(asks("a")) == grant("anna", "read:*")


# --- at the entrance ---------------------------------------------------------------------------------


def request(**changes: Any) -> SessionRequest:
    plain: dict[str, Any] = {"path": "/cam1", "authority": "gw:4433", "remote": ("192.0.2.1", 5)}
    return SessionRequest(**plain | changes)


async def answer_of(entrance: Entrance, asked: SessionRequest, begin: Callable[[Grant | None], Any]) -> Any:
    answer = entrance.let_in(asked, parse_connect_path(asked.path), begin)
    return await answer if isinstance(answer, asyncio.Task) else answer


async def test_who_is_asked_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrances, "PATIENCE_S", 0.0)
    known = Known(a=grant("anna", "read:*"))
    known.gate.clear()
    entrance = Entrance(World(known).authority)
    answer = await answer_of(entrance, request(path="/cam1?token=a"), lambda grant: grant)
    assert isinstance(answer, Refusal)
    assert answer.status == 503
    assert entrance.counters["access_timeouts"] == 1


async def test_questions_and_locked_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrances, "MOST_ASKED", 2)
    known = Known(a=grant("anna", "read:*"))
    known.gate.clear()
    entrance = Entrance(World(known).authority)
    asked = request(path="/cam1?token=a")
    waiting = [entrance.let_in(asked, parse_connect_path(asked.path), lambda grant: grant) for _ in range(3)]
    assert isinstance(waiting[2], Refusal)
    assert waiting[2].status == 503
    known.gate.set()
    for task in waiting[:2]:
        assert isinstance(task, asyncio.Task)
        assert (await task).identity == "anna"  # type: ignore[union-attr]
    assert isinstance(
        entrance.let_in(asked, parse_connect_path(asked.path), lambda grant: grant), asyncio.Task
    )


async def test_a_header_goes_before_the_query_and_a_refusal_has_its_pause() -> None:
    known = Known(a=grant("anna", "read:*"))
    entrance = Entrance(World(known).authority)
    both = request(path="/cam1?token=b", headers={"authorization": "Bearer a"})
    assert (await answer_of(entrance, both, lambda grant: grant)).identity == "anna"
    for number in range(FREE_FAILURES + 1):
        await answer_of(entrance, request(path=f"/cam1?token=x{number}"), lambda grant: grant)
    answer = await answer_of(entrance, request(path="/cam1?token=y"), lambda grant: grant)
    assert (answer.status, answer.retry_after_s) == (429, 1)


async def test_sessions_of_what_was_taken_back_are_ended() -> None:
    closed: list[str] = []

    def session(name: str, held: Grant | None) -> Any:
        return SimpleNamespace(
            id=name,
            grant=held,
            part=lambda code, reason, retry: closed.append(f"{name} {code.name}"),
        )

    entrance = Entrance()
    sessions = [session("a", grant("anna", token_id="t1")), session("b", grant("bert")), session("c", None)]
    entrance.revoke(Revocation(token_id="t1"), sessions)
    entrance.revoke(Revocation(identity="bert"), sessions)
    assert closed == ["a REVOKED", "b REVOKED"]


def test_resume_tokens_are_of_use_to_their_identity_alone() -> None:
    resuming = Resuming(Member())
    now_us = clock.now_us()
    long_name = "ä" * 200
    for owner, other in (("anna", "bert"), ("anna", ""), ("", "anna"), (long_name, long_name + "b")):
        token, _ = resuming.token("s1", "cam1", Wishes(), now_us, identity=owner)
        query = parse_connect_path(f"/cam1?resume={token}")
        assert resuming.begin(query, now_us, identity=other).former == ""
        assert resuming.begin(query, now_us, identity=owner).former == "s1"
    assert resuming.counters["resumes_foreign"] == 4
