"""For how long a session may go on, and what is said before a token is there; all in virtual time."""

from __future__ import annotations

import pytest

from wtgateway.errors import ProtocolError
from wtgateway.protocol import messages as m
from wtgateway.protocol.access_term import WARN_US, AccessTerm
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import ServerSession, SessionExpired, TokenShown
from wtgateway.protocol.subscribe_query import SubscribeQuery

NOW_US = 1_790_000_000_000_000
S = 1_000_000


def session(*, awaits_access: bool = False) -> ServerSession:
    return ServerSession(
        session_id="s1",
        broadcast="cam1",
        query=SubscribeQuery(broadcast="cam1"),
        now_us=NOW_US,
        awaits_access=awaits_access,
    )


def said(core: ServerSession) -> list[m.Message]:
    return m.MessageReader().feed(core.control_to_send())


def show(core: ServerSession, *shown: m.Message) -> list[object]:
    return list(core.receive_control(b"".join(map(m.pack, shown)), 0.0, NOW_US))


def test_a_viewer_is_told_once_some_time_before_the_end() -> None:
    term = AccessTerm()
    end_us = NOW_US + 3600 * S
    told = term.grant(("read",), end_us, NOW_US)
    assert told == m.Access(granted=True, expires_in_ms=3_600_000, actions=["read"])
    assert term.warning(end_us - WARN_US - 1) is None
    warning = term.warning(end_us - WARN_US)
    assert warning == m.Access(granted=True, expires_in_ms=30_000, actions=["read"])
    assert term.warning(end_us - 1) is None
    assert not term.over(end_us - 1)
    assert term.over(end_us)


def test_another_token_begins_another_time() -> None:
    term = AccessTerm()
    term.grant(("read",), NOW_US + 31 * S, NOW_US)
    assert term.warning(NOW_US + 2 * S) is not None
    term.grant(("read",), NOW_US + 100 * S, NOW_US + 3 * S)
    assert not term.over(NOW_US + 31 * S)
    assert term.warning(NOW_US + 69 * S) is None
    assert term.warning(NOW_US + 70 * S) is not None


def test_one_without_an_end_is_never_over_and_a_short_one_is_told_of_once() -> None:
    term = AccessTerm()
    assert term.grant((), 0, NOW_US).expires_in_ms == 0
    assert term.warning(NOW_US * 2) is None
    assert not term.over(NOW_US * 2)
    assert term.grant((), NOW_US + 500, NOW_US).expires_in_ms == 1, "0 would be for ever"
    assert term.warning(NOW_US + 1) is None


def test_the_session_ends_with_the_token() -> None:
    core = session()
    core.grant_access(["read", "control"], NOW_US + 40 * S, NOW_US)
    assert said(core)[-1] == m.Access(granted=True, expires_in_ms=40_000, actions=["read", "control"])
    core.check_access(NOW_US + 10 * S)
    assert said(core) == [m.Access(granted=True, expires_in_ms=30_000, actions=["read", "control"])]
    core.check_access(NOW_US + 39 * S)
    assert said(core) == []
    assert not core.poll_events()
    core.check_access(NOW_US + 40 * S)
    (event,) = core.poll_events()
    assert isinstance(event, SessionExpired)
    assert event.code is CloseCode.UNAUTHORIZED


def test_nothing_is_said_before_a_token_but_that_there_is_none() -> None:
    core = session(awaits_access=True)
    core.set_certificates([])
    core.set_state(m.State(state="live"))
    assert said(core) == [m.Access(granted=False)]
    assert core.locked
    assert show(core, m.Hello(version=1), m.Authenticate(token="abc")) == [TokenShown("abc")]
    assert "abc" not in repr(TokenShown("abc"))
    core.refuse_access()
    assert said(core) == [m.Access(granted=False)]
    core.grant_access(["read"], 0, NOW_US)
    assert [message.kind for message in said(core)] == ["welcome", "certificates", "state", "access"]
    assert not core.locked


@pytest.mark.parametrize(
    "early", [m.Subscribe(track=0), m.Ping(id=1, client_us=0), m.Viewport(), m.KeyframeRequest(track=0)]
)
def test_who_shows_no_token_gets_no_answer(early: m.Message) -> None:
    core = session(awaits_access=True)
    said(core)
    with pytest.raises(ProtocolError) as caught:
        show(core, early)
    assert caught.value.code == CloseCode.UNAUTHORIZED
    assert [message.kind for message in said(core)] == ["error"]


def test_a_token_is_of_bounded_length() -> None:
    core = session()
    assert show(core, m.Authenticate(token="x" * m.MAX_ACCESS_TOKEN_CHARACTERS))
    with pytest.raises(ProtocolError) as caught:
        show(core, m.Authenticate(token="x" * (m.MAX_ACCESS_TOKEN_CHARACTERS + 1)))
    assert caught.value.code == CloseCode.TOO_LARGE


def test_only_a_gateway_says_what_may_be_done() -> None:
    with pytest.raises(ProtocolError):
        show(session(), m.Access(granted=True))
