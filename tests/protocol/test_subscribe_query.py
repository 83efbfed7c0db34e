"""What a CONNECT path means."""

from __future__ import annotations

import pytest

from wtgateway.errors import ProtocolError
from wtgateway.media import Kind
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import SubscribeQuery, parse_connect_path


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
        ("/" + "x" * 2_000, CloseCode.MALFORMED),
    ],
)
def test_refused(path: str, code: CloseCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_connect_path(path)
    assert caught.value.code == code


def test_another_version_is_told_in_words() -> None:
    with pytest.raises(ProtocolError, match="speaks version 1 of the protocol, the viewer version 7"):
        parse_connect_path("/cam?v=7")
