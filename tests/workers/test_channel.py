"""The control channel: messages and file descriptors come whole and in order; what is none ends it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.web.view import SessionSummary
from wtgateway.workers import messages
from wtgateway.workers.channel import Channel

ASSIGN = messages.Assign(1, 2, [bytes(32), b"\1", None], -5, [1, 2, 3], True, False, "info", {"a": 1})
SAMPLES = [
    ASSIGN,
    messages.Certificate(b"cert", b"key", [{"algorithm": "sha-256", "value": bytes(32), "notBefore": "now"}]),
    messages.Snapshot(1 << 40, [b"state", b""]),
    messages.Admit(),
    messages.Stop(3, "the gateway is restarting", 500),
    messages.Warm(),
    messages.Ready(),
    messages.Wishes(2, 7, [[0, 0], [1, 3]]),
    messages.Keyframe(1, 0, 2),
    messages.Overtaken(),
    messages.Report(
        3, 2, [{"datagrams_in": 5}, [["x", "test", 1, "", 1.5, 1, 2, 3, 4, 5]], {"test": [[9, 1]]}]
    ),
    messages.Report(3, 2, None),
    messages.Stopped(),
    messages.Drain(29.5, "soon"),
    messages.LogLevel("debug"),
    messages.AccessChanged([True, [[], ["read:*"]], [["*"], []]]),
    messages.TokenUsed(bytes(12), 1_790_000_000_000_000),
    messages.Ask(1, "kick", "a1b2", [0x33, "enough"]),
    messages.Told(1, True),
    messages.AccessAsked(7, ["token", "192.0.2.1", "read", "cam"]),
    messages.AccessAnswered(7, [], [401, "a token is needed", 0.0]),
    messages.Revoked(["", "alice", 0]),
    messages.Happened("session.opened", {"session": "a1b2", "rate": 1.5}),
    messages.Limits([1, 2]),
    messages.Occupied([3]),
    messages.Lag(1500, [1, 2], 12),
]


@dataclass
class End:
    """One end of a channel and what it has heard."""

    sock: socket.socket
    heard: list[messages.Message] = field(default_factory=list)
    lost: int = 0

    def __post_init__(self) -> None:
        self.channel = Channel(
            self.sock, on_message=self.heard.append, on_lost=self._lost, loop=asyncio.get_running_loop()
        )

    def _lost(self) -> None:
        self.lost += 1

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < count and not self.lost:
                await asyncio.sleep(0)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    pair = socket.socketpair()
    one, other = End(pair[0]), End(pair[1])
    yield one, other
    one.channel.close()
    other.channel.close()


def test_there_is_a_sample_of_every_message() -> None:
    assert {type(message) for message in SAMPLES} == set(messages._MESSAGES.values())


async def test_every_message_comes_as_it_was_sent(ends: tuple[End, End]) -> None:
    one, other = ends
    for message in SAMPLES:
        one.channel.send(message)
    await other.until(len(SAMPLES))
    assert other.heard == SAMPLES


async def test_file_descriptors_travel_beside_the_first_message(ends: tuple[End, End]) -> None:
    one, other = ends
    read_fd, write_fd = os.pipe()
    one.channel.send(ASSIGN, [write_fd])
    one.channel.send(messages.Admit())
    os.close(write_fd)
    await other.until(2)
    (fd,) = other.channel.take_fds()
    assert other.channel.take_fds() == []
    assert not os.get_inheritable(fd)
    os.write(fd, b"through")
    os.close(fd)
    assert os.read(read_fd, 100) == b"through"
    os.close(read_fd)


async def test_a_long_message_waits_for_the_other_end_and_nobody_else(ends: tuple[End, End]) -> None:
    one, other = ends
    long = messages.Snapshot(1, [bytes(3 << 20)])
    one.channel.send(long)
    one.channel.send(messages.Admit())
    await other.until(2)
    assert other.heard == [long, messages.Admit()]


async def test_who_does_not_read_is_lost_and_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    end = End(ours)
    big = messages.Snapshot(1, [bytes(4 << 20)])
    for _ in range(10):
        end.channel.send(big)
    assert end.lost == 1
    end.channel.send(big)  # nothing happens any more
    theirs.close()


async def test_the_end_of_one_end_is_known_to_the_other(ends: tuple[End, End]) -> None:
    one, other = ends
    one.channel.send(messages.Ready())
    one.channel.close()
    await other.until(2)
    assert other.heard == [messages.Ready()]
    assert (one.lost, other.lost) == (0, 1)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x07"])
async def test_what_is_no_message_ends_the_channel(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    end = End(ours)
    theirs.send(data)
    await end.until(1)
    assert end.lost == 1
    theirs.close()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error_of_one_kind(data: bytes) -> None:
    try:
        message = messages.decode(data)
    except ValueError:
        return
    assert isinstance(message, messages.Message)


def test_a_session_comes_back_from_its_row() -> None:
    summary = SessionSummary(
        id="a1", broadcast="test", worker=1, client="wtgateway view", age_s=1.25, rtt_us=7
    )
    assert messages.from_row(messages.row(summary)) == summary


def test_a_message_over_the_limit_is_the_senders_error() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        messages.encode(messages.Snapshot(1, [bytes(messages.MAX_MESSAGE_BYTES)]))
