"""Traces of viewers: taken where they make sense, refused where they cannot be, bounded in number."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ProtocolError
from wtgateway.protocol import messages
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.session import ServerSession, TraceReceived, parse_connect_path
from wtgateway.protocol.traces import MAX_FRAMES, MAX_STAGE_US, STAGES, TracedFrame, parse_trace

GOOD: dict[str, Any] = {"track": 0, "group": 4, "index": 17, "stages": list(range(1, len(STAGES) + 1))}
FIELDS = ("track", "group", "index", "stages")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=16,
)


def session() -> ServerSession:
    return ServerSession(session_id="s", broadcast="b", query=parse_connect_path("/b?v=1"), now_us=0)


def test_a_frame_is_its_stages() -> None:
    (frame,) = parse_trace([GOOD | {"later": "fields are ignored"}])
    assert frame == TracedFrame(0, 4, 17, (1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert frame.latency_us == 45
    assert parse_trace([]) == ()


@pytest.mark.parametrize(
    "frames",
    [
        [GOOD] * (MAX_FRAMES + 1),
        [GOOD | {"stages": [1] * (len(STAGES) - 1)}],
        [GOOD | {"stages": [-1, *[0] * 8]}],
        [GOOD | {"stages": [MAX_STAGE_US + 1, *[0] * 8]}],
        [GOOD | {"stages": [0.5, *[0] * 8]}],
        [GOOD | {"stages": [True, *[0] * 8]}],
        [GOOD | {"stages": {}}],
        [GOOD | {"track": 256}],
        [GOOD | {"group": -1}],
        [{key: value for key, value in GOOD.items() if key != "index"}],
    ],
)
def test_what_cannot_be_is_malformed(frames: list[dict[str, Any]]) -> None:
    data = messages.pack(messages.Trace(frames=frames))
    core = session()
    with pytest.raises(ProtocolError) as caught:
        core.receive_control(data, 1.0, 1)
    assert caught.value.code == CloseCode.MALFORMED


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={name: st.just(GOOD[name]) | ANYTHING for name in FIELDS},
        )
        | st.dictionaries(st.text(max_size=6), ANYTHING, max_size=3),
        max_size=12,
    )
)
def test_anything_gives_bounded_frames_or_is_malformed(frames: list[dict[str, Any]]) -> None:
    try:
        parsed = parse_trace(frames)
    except ProtocolError as error:
        assert error.code == CloseCode.MALFORMED
    else:
        assert len(parsed) == len(frames) <= MAX_FRAMES
        for frame in parsed:
            assert len(frame.stages) == len(STAGES)
            assert all(0 <= stage <= MAX_STAGE_US for stage in frame.stages)
            assert all(isinstance(value, int) for value in dataclasses.astuple(frame)[:3])


def test_a_viewer_counts_twice_a_second_at_most() -> None:
    core = session()
    data = messages.pack(messages.Trace(frames=[GOOD]))
    told = []
    for tenth in range(30):
        events = core.receive_control(data, 10 + tenth / 10, 1)
        told += [tenth for event in events if isinstance(event, TraceReceived)]
    assert told == [0, 5, 10, 15, 20, 25]
