"""What comes from a source's process, which may have lost its senses: parsed or refused, never worse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config import load
from wtgateway.errors import ConfigError
from wtgateway.isolation import messages
from wtgateway.isolation.lines import LINES_PER_LOOK, Lines, PipeHandler
from wtgateway.log import JsonFormatter
from wtgateway.pipeline import PipelineStats
from wtgateway.protocol.targets import EncoderTarget, Nominal
from wtgateway.sources.base import CodedFormat, SourceInfo
from wtgateway.workers import messages as workers

FIGURES = messages.Figures(
    stats=PipelineStats(pictures_skipped=3, restarts=1),
    targets={0: EncoderTarget(bitrate_bps=1_000_000, scale=0.5, every=2, reason="its viewer's path")},
    nominals={0: Nominal(bitrate_bps=4_000_000, fps=30.0, width=1280, height=720, codec="av1", cheap=True)},
    changes=4,
    coded=CodedFormat(codec="avc1.64001F", fps=25.0, description=b"\1\2", findings=("one", "two")),
    info=SourceInfo(description="rtsp://***@camera/x", has_video=True, has_audio=False, fps=25.0),
)
NOTHING = messages.Figures(PipelineStats(), {}, {}, 0, None, None)


@pytest.mark.parametrize("figures", [FIGURES, NOTHING])
def test_figures_come_through(figures: messages.Figures) -> None:
    message = messages.Report(figures.pack())
    arrived = messages.decode_in_parent(workers.encode(message)[workers.LENGTH.size :])
    assert isinstance(arrived, messages.Report)
    assert arrived.figures is not None
    back = messages.Figures.unpack(arrived.figures)
    assert back == figures
    assert back.targets.keys() == figures.targets.keys()
    for number, target in figures.targets.items():
        assert back.targets[number].reason == target.reason


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(FIGURES.pack())), JUNK)
def test_figures_that_are_none_are_refused_or_of_the_right_types(key: str, junk: Any) -> None:
    values = FIGURES.pack() | {key: junk}
    try:
        figures = messages.Figures.unpack(values)
    except (KeyError, TypeError, ValueError, OverflowError):
        return
    assert all(isinstance(number, int) for number in figures.targets)
    assert messages.Figures.unpack(figures.pack()) == figures or "nan" in repr(figures)


@given(st.binary(max_size=200) | JUNK.map(msgpack.packb))
def test_a_message_is_one_of_those_that_are_expected_or_none(data: bytes) -> None:
    for decode, known in (
        (messages.decode_in_parent, (workers.Warm, messages.Report, workers.Snapshot, workers.Stopped)),
        (messages.decode_in_child, workers.Message),
    ):
        with contextlib.suppress(ValueError):
            assert isinstance(decode(data), known)


def test_the_main_process_takes_no_orders() -> None:
    """What only it says is not understood from the other end, pickles above all."""
    begin = messages.Begin(b"", 0, 20, [], 0)
    with pytest.raises(ValueError, match="no message"):
        messages.decode_in_parent(workers.encode(begin)[workers.LENGTH.size :])


class Pipe:
    """A pipe into :class:`Lines`."""

    def __init__(self) -> None:
        read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.lines = Lines(read, asyncio.get_running_loop())
        self.lines.broadcast = "cam"

    def end(self) -> None:
        """Nothing more comes: what was written is in the log when this returns."""
        os.close(self.write)
        self.lines.close()


def record(name: str, level: int, message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, values, None)


async def test_records_and_other_lines_come_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "wtgateway")
    pipe = Pipe()
    handler = PipeHandler(pipe.write)
    handler.handle(record("wtgateway.sources", logging.WARNING, "damaged pictures=%d", 3))
    handler.handle(record("root", logging.ERROR, "broken 100%"))
    strange = [b"free(): invalid pointer", b"\xff\xfe no text", b"[1]", b'{"level": 7}', b"the last words"]
    os.write(pipe.write, b"\n".join(strange))
    pipe.end()
    said = [(r.name, r.levelname, r.getMessage()) for r in caplog.records]
    assert said[:2] == [
        ("wtgateway.sources", "WARNING", "damaged pictures=3 broadcast=cam"),
        ("wtgateway.isolation", "ERROR", "broken 100% broadcast=cam"),
    ]
    first, second = (json.loads(JsonFormatter().format(r)) for r in caplog.records[:2])
    assert (first["pictures"], first["broadcast"], second["broadcast"]) == (3, "cam", "cam")
    assert caplog.records[0].msg == "%s broadcast=%s", "what it said is no template of ours"
    texts = [message.partition("text=")[2] for _, _, message in said[2:]]
    assert texts == [line.decode(errors="replace") for line in strange]
    assert {level for _, level, _ in said[2:]} == {"WARNING"}


async def test_where_a_crash_was_is_known_and_its_traceback_is_no_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "wtgateway")
    pipe = Pipe()
    assert pipe.lines.crashed_at() == ""
    os.write(
        pipe.write,
        b"Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n"
        b'  File "/opt/wtgateway/sources/reader.py", line 120 in read\n'
        b'  File "/opt/wtgateway/pipeline/production.py", line 160 in _read\n\nExtension modules: av._core\n',
    )
    pipe.end()
    assert pipe.lines.crashed_at() == "sources/reader.py:120 in read"
    assert caplog.records == []


async def test_who_says_too_much_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    pipe = Pipe()
    for _ in range(LINES_PER_LOOK + 7):
        os.write(pipe.write, b"x\n")
    pipe.end()
    assert len(caplog.records) == LINES_PER_LOOK
    pipe.lines.look()
    assert caplog.records[-1].getMessage() == "source process says too much broadcast=cam lines_lost=7"


@given(st.lists(st.binary(max_size=300) | JUNK.map(lambda junk: json.dumps(repr(junk)).encode()), max_size=5))
def test_no_line_is_too_strange(chunks: list[bytes]) -> None:
    async def feed() -> None:
        pipe = Pipe()
        for chunk in chunks:
            os.write(pipe.write, chunk)
        pipe.end()
        pipe.lines.crashed_at()

    logging.getLogger("wtgateway.isolation").disabled = True
    try:
        asyncio.run(feed())
    finally:
        logging.getLogger("wtgateway.isolation").disabled = False


def test_a_full_pipe_costs_lines_and_keeps_nobody_waiting() -> None:
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handler = PipeHandler(write)
    for _ in range(200):
        handler.handle(record("wtgateway.x", logging.INFO, "%s", "x" * 2000))
    assert handler.lost > 0
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("given", "expected"), [("auto", None), ("true", True), ("off", False), (None, None)], ids=str
)
def test_isolate_is_auto_or_a_switch(given: str | None, expected: bool | None) -> None:
    (broadcast,) = load({"isolate": given, "source": ["test:"]}, {}).broadcasts
    assert broadcast.isolate is expected


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, true or false"):
        load({"isolate": "perhaps"}, {})


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("4G", 4 * 10**9), ("1.5GB", 1_500_000_000)])
def test_memory_has_a_unit(text: str, size: int, tmp_path: Any) -> None:
    file = tmp_path / "x.yml"
    file.write_text(f"broadcasts: {{a: {{source: 'test:', isolate_memory: {text}}}}}")
    assert load({}, {}, file).broadcasts[0].isolate_memory_bytes == size
    file.write_text("broadcasts: {a: {source: 'test:', isolate_memory: 10M}}")
    with pytest.raises(ConfigError, match="1G to 1000G"):
        load({}, {}, file)
