"""What a CONNECT path means."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.media import Kind
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import SubscribeQuery, parse_connect_path
from wtgateway.protocol.subscribe_query import Position


def test_everything_said() -> None:
    assert parse_connect_path("/hall/cam1?v=1&subscribe=video,audio&delivery=auto&deadline=250&new=1") == (
        SubscribeQuery(
            broadcast="hall/cam1",
            version=1,
            kinds=(Kind.VIDEO, Kind.AUDIO),
            delivery="auto",
            deadline_ms=250,
        )
    )


def test_in_the_place_of_another_session() -> None:
    query = parse_connect_path(
        "/cam?subscribe=audio&resume=AbC-_9&after=0.2.17.203,1.0.4294967295.4294967295"
    )
    assert query.resume == "AbC-_9"
    assert query.after == (Position(0, 2, 17, 203), Position(1, 0, (1 << 32) - 1, (1 << 32) - 1))
    assert query.said == {"subscribe", "resume", "after"}


@given(st.text(max_size=80) | st.text("0123456789.,", max_size=40))
def test_a_position_is_read_or_refused(text: str) -> None:
    try:
        positions = parse_connect_path(f"/cam?after={quote(text)}").after
    except ProtocolError as error:
        assert error.code == CloseCode.MALFORMED
    else:
        said = ",".join(f"{p.track}.{p.rendition}.{p.group}.{p.index}" for p in positions)
        assert said == re.sub(r"(?<![0-9])0+(?=[0-9])", "", text)


def test_nothing_said() -> None:
    assert parse_connect_path("/test") == SubscribeQuery(broadcast="test")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/cam?v=2", CloseCode.VERSION),
        ("/cam?v=0", CloseCode.VERSION),
        ("/cam?v=one", CloseCode.MALFORMED),
        ("/cam?v=1&v=1", CloseCode.MALFORMED),
        ("/cam?subscribe=smell", CloseCode.MALFORMED),
        ("/cam?delivery=pigeon", CloseCode.MALFORMED),
        ("/cam?deadline=-1", CloseCode.MALFORMED),
        ("/cam?deadline=60001", CloseCode.MALFORMED),
        ("/cam?subscribe=%ff", CloseCode.MALFORMED),
        ("/", CloseCode.NOT_FOUND),
        ("cam", CloseCode.NOT_FOUND),
        ("/a//b", CloseCode.NOT_FOUND),
        ("/a/../b", CloseCode.NOT_FOUND),
        ("/%2e%2e/b", CloseCode.NOT_FOUND),
        ("/cam 1", CloseCode.NOT_FOUND),
        ("/" + "x" * 9_000, CloseCode.MALFORMED),
        ("/cam?auth=now", CloseCode.MALFORMED),
        ("/cam?after=0.0.1", CloseCode.MALFORMED),
        ("/cam?after=0.0.1.2.3", CloseCode.MALFORMED),
        ("/cam?after=0.0.1.-2", CloseCode.MALFORMED),
        ("/cam?after=0.0.1.4294967296", CloseCode.MALFORMED),
        ("/cam?after=256.0.1.2", CloseCode.MALFORMED),
        ("/cam?after=0.0.1.2,", CloseCode.MALFORMED),
        ("/cam?after=0.0.1.2,0.1.1.2", CloseCode.MALFORMED),
        ("/cam?after=" + ",".join(f"{n}.0.1.2" for n in range(9)), CloseCode.MALFORMED),
    ],
)
def test_refused(path: str, code: CloseCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_connect_path(path)
    assert caught.value.code == code


def test_another_version_is_told_in_words() -> None:
    with pytest.raises(ProtocolError, match="speaks version 1 of the protocol, the viewer version 7"):
        parse_connect_path("/cam?v=7")


def test_a_token_is_taken_out_and_never_shown() -> None:
    query = parse_connect_path("/cam?v=1&token=ab.cd-_9&subscribe=video")
    assert (query.token, query.later) == ("ab.cd-_9", False)
    assert "ab.cd" not in repr(query)
    assert parse_connect_path("/cam?auth=later").later
