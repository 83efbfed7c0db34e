"""Error codes, header fields, timers, early streams: the small pure rooms."""

from __future__ import annotations

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.transport import h3codes, headers
from wtgateway.transport.drafts import Draft
from wtgateway.transport.early import EarlyStreams
from wtgateway.transport.timers import Timers
from wtgateway.transport.webtransport import Refusal, SessionRequest

CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"webtransport"),
    (b":scheme", b"https"),
    (b":authority", b"localhost:4433"),
    (b":path", b"/test?v=1"),
    (b"origin", b"http://localhost:8080"),
    (b"wt-available-protocols", b'"wtgateway-1", "other"'),
]


# --- error codes -----------------------------------------------------------------------------------


@given(st.integers(0, 0xFFFFFFFF))
def test_application_codes_come_back_and_avoid_the_reserved_points(code: int) -> None:
    on_the_wire = h3codes.to_http3(code)
    assert h3codes.from_http3(on_the_wire) == code
    assert (on_the_wire - 0x21) % 0x1F != 0


def test_the_ends_of_the_application_space() -> None:
    assert h3codes.to_http3(0) == 0x52E4A40FA8DB
    assert h3codes.to_http3(0xFFFFFFFF) == 0x52E5AC983162


@given(st.integers(0, (1 << 62) - 1))
def test_any_code_of_a_peer_is_a_number_or_none_of_ours(code: int) -> None:
    assert -1 <= h3codes.from_http3(code) <= 0xFFFFFFFF


# --- header fields -----------------------------------------------------------------------------------


def test_a_connect_becomes_a_request() -> None:
    request = headers.parse_request(CONNECT, ("::1", 5), Draft.DRAFT_02)
    assert isinstance(request, SessionRequest)
    assert (request.path, request.authority, request.remote) == ("/test?v=1", "localhost:4433", ("::1", 5))
    assert request.origin == "http://localhost:8080"
    assert request.protocols == ("wtgateway-1", "other")
    assert ":path" not in request.headers


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        (b":method", b"GET", 404),
        (b":protocol", b"websocket", 501),
        (b":scheme", b"http", 400),
        (b":path", b"test", 400),
    ],
)
def test_other_requests_are_refused(field: bytes, value: bytes, status: int) -> None:
    answer = headers.parse_request([(k, value if k == field else v) for k, v in CONNECT], (), Draft.DRAFT_02)
    assert isinstance(answer, Refusal)
    assert answer.status == status


@given(st.lists(st.tuples(st.binary(), st.binary()), max_size=8))
def test_any_fields_give_a_request_or_a_refusal(fields: list[tuple[bytes, bytes]]) -> None:
    assert isinstance(headers.parse_request(CONNECT + fields, (), Draft.DRAFT_15), SessionRequest | Refusal)


@pytest.mark.parametrize(
    ("text", "old", "current"),
    [
        ('"a", "b"', ("a", "b"), ("a", "b")),
        ("a, b", ("a", "b"), ()),  # tokens were strings once
        ('"a", 3', (), ()),
        ("", (), ()),
    ],
)
def test_offers_of_sub_protocols(text: str, old: tuple[str, ...], current: tuple[str, ...]) -> None:
    assert headers.parse_offers(text, Draft.DRAFT_02) == headers.parse_offers(text, Draft.DRAFT_07) == old
    assert headers.parse_offers(text, Draft.DRAFT_13) == headers.parse_offers(text, Draft.DRAFT_15) == current


@pytest.mark.parametrize(("text", "choice"), [('"a";q=1', "a"), ("a", ""), ('"a", "b"', ""), ("", "")])
def test_the_choice_of_a_sub_protocol(text: str, choice: str) -> None:
    assert headers.parse_choice(text, Draft.DRAFT_15) == choice


@pytest.mark.parametrize("draft", Draft)
def test_a_draft_has_its_own_words_for_connect(draft: Draft) -> None:
    fields = headers.request("localhost:1", "/x", ["wtgateway-1"], {"origin": "https://page"}, draft)
    parsed = headers.parse_request(fields, (), draft)
    assert isinstance(parsed, SessionRequest)
    assert (parsed.path, parsed.origin, parsed.protocols) == ("/x", "https://page", ("wtgateway-1",))
    old = draft in (Draft.DRAFT_02, Draft.DRAFT_07)
    assert dict(fields)[b":protocol"] == (b"webtransport" if old else b"webtransport-h3")
    assert ((b"sec-webtransport-http3-draft02", b"1") in fields) == old
    assert ((b"sec-webtransport-http3-draft", b"draft02") in headers.acceptance("", draft)) == old


def test_the_clients_first_known_offer_is_taken() -> None:
    assert headers.choose_protocol(("x", "b", "a"), ("a", "b")) == "b"
    assert headers.choose_protocol(("x",), ("a",)) == ""
    assert (b"wt-protocol", b'"a"') in headers.acceptance("a", Draft.DRAFT_02)
    assert all(name != b"wt-protocol" for name, _ in headers.acceptance("", Draft.DRAFT_15))


def test_a_reason_never_breaks_the_header() -> None:
    fields = dict(headers.refusal(Refusal(404, " no\r\nbröadcast\t" + "x" * 1000)))
    assert fields[b":status"] == b"404"
    assert fields[headers.REASON_FIELD].startswith(b"no??br?adcast?x")
    assert len(fields[headers.REASON_FIELD]) <= 256


# --- timers ------------------------------------------------------------------------------------------


def test_deadlines_come_in_order_and_once() -> None:
    timers: Timers[str] = Timers()
    for key, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        timers.set(key, when)
    assert timers.next_wakeup() == 1.0
    assert timers.due(2.0) == ["a", "b"]
    assert timers.due(2.5) == []
    assert timers.due(3.0) == ["c"]
    assert timers.next_wakeup() is None


def test_a_deadline_that_moves_later_does_not_grow_the_heap() -> None:
    timers: Timers[str] = Timers()
    for when in range(1, 1000):
        timers.set("a", float(when))
    assert len(timers._heap) == 1
    assert timers.due(998.0) == []
    assert timers.next_wakeup() == 999.0


def test_deadlines_that_come_nearer_again_and_again_do_not_grow_the_heap() -> None:
    timers: Timers[str] = Timers()
    for now in range(10_000):  # idle timeout far away, then a packet is sent, then it is acknowledged
        timers.set("a", now + 20_000.0)
        timers.sooner("a", now + 0.5)
        assert timers.due(now + 0.6) == ["a"]
    assert len(timers._heap) < 200


def test_what_is_removed_is_held_no_longer() -> None:
    class Key:
        pass

    timers: Timers[Key] = Timers()
    key = Key()
    gone = weakref.ref(key)
    timers.set(key, 20.0)
    timers.set(key, 10.0)
    timers.remove(key)
    del key
    assert gone() is None
    assert timers.due(30.0) == []
    assert timers.next_wakeup() is None


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 5))))
def test_timers_agree_with_a_table(steps: list[tuple[int, int | None, int]]) -> None:
    timers: Timers[int] = Timers()
    table: dict[int, float] = {}
    now = 0.0
    for key, ahead, elapsed in steps:
        now += elapsed
        due = timers.due(now)
        assert sorted(due) == sorted(k for k, when in table.items() if when <= now)
        for k in due:
            del table[k]
        if ahead is None:
            table.pop(key, None)
            timers.set(key, None)
        else:
            table[key] = now + ahead
            timers.set(key, now + ahead)
        assert len(timers) == len(table)
        wakeup = timers.next_wakeup()
        assert not table or (wakeup is not None and wakeup <= min(table.values()))


def test_a_removed_key_may_come_back() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.remove("a")
    timers.set("a", 2.0)
    assert timers.due(1.5) == []
    assert timers.due(2.0) == ["a"]


# --- early streams -----------------------------------------------------------------------------------


def test_early_streams_are_kept_in_order_per_session() -> None:
    early = EarlyStreams(limit_bytes=100)
    assert early.put(0, 2, b"a", False)
    assert early.put(4, 6, b"x", False)
    assert early.put(0, 2, b"b", True)
    assert early.take(0) == [(2, b"a", False), (2, b"b", True)]
    assert early.take(0) == []
    assert early.take(4) == [(6, b"x", False)]


def test_early_datagrams_are_kept_and_bounded() -> None:
    early = EarlyStreams(limit_bytes=100)
    for n in range(40):
        early.put_datagram(n % 2, bytes([n]))
    assert [data[0] for data in early.take_datagrams(1)] == list(range(1, 32, 2))
    assert early.take_datagrams(1) == []
    assert len(early.take_datagrams(0)) == 16


def test_early_streams_are_bounded_in_bytes_and_number() -> None:
    early = EarlyStreams(limit_bytes=100)
    assert early.put(0, 2, bytes(60), False)
    assert not early.put(0, 2, bytes(60), False)  # and what was kept of it is gone, too
    assert early.take(0) == []
    kept = [early.put(0, 4 * n + 2, b"", False) for n in range(100)]
    assert kept.count(True) == 64
