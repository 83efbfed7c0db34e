"""A viewer's session over a WebSocket: the same to its handler as a WebTransport session (docs/protocol.md).

What waits here is little: one frame beyond what :class:`~wtgateway.protocol.progress.ProgressWindow` has room
for, since a frame that TCP has begun cannot be taken back. One task reads, one writes; neither the loop nor
anybody else ever waits for a viewer. Imports errors, protocol and this package.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wtgateway.errors import ProtocolError, TransportError
from wtgateway.protocol import websocket_messages as ws
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.progress import ProgressWindow
from wtgateway.transport.urgency import Urgency
from wtgateway.transport.webtransport import LOST, PathStats, SessionHandler, SessionRequest

log = logging.getLogger("wtgateway.transport")

CONTROL = 1  # the number of the control stream, as a server's first bidirectional one
_FIRST_FRAME = 3  # and of the first frame, as its first unidirectional one
_STEP = 4
MOST_CONTROL_BYTES = 1024 * 1024  # that a viewer leaves unread
MOST_UNSENT_BYTES = 32 * 1024  # in this machine's own buffers: more would only wait there
LOOK_S = 1.0  # how often a session is looked at that may stand still
CLOSE_PATIENCE_S = 1.0


class Wire(Protocol):
    """The WebSocket itself."""

    async def receive(self) -> bytes | int:
        """The next message, or the close code; raises ProtocolError (MALFORMED) for a text."""

    async def send(self, message: bytes) -> None:
        """Send a message; waits while the buffers on the way are full."""

    async def close(self, code: int, reason: str) -> None:
        """Say the close, and wait for the answer."""

    async def abort(self) -> None:
        """Give up what was not sent, and the connection where it must be."""

    def unsent(self) -> int:
        """Octets that wait in this process and its kernel; 0: none, or not known."""


@dataclass(slots=True)
class _Waiting:
    data: bytes
    urgency: Urgency


class WebSocketSession:
    """A SessionLink. :meth:`run` lives as long as the session does."""

    def __init__(
        self,
        wire: Wire,
        request: SessionRequest,
        handler: SessionHandler,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.request, self.handler = request, handler
        self.closed = False
        self.flow = ProgressWindow()
        self._wire, self._clock = wire, clock
        self._loop = asyncio.get_running_loop()
        self._control: list[bytes] = []
        self._control_bytes = 0  # with those being sent
        self._frames: OrderedDict[int, _Waiting] = OrderedDict()  # of which nothing has left
        self._frame_bytes = 0
        self._begun: OrderedDict[int, tuple[int, int]] = (
            OrderedDict()
        )  # (where it ends, size), not told of yet
        self._next_id = _FIRST_FRAME
        self._wanted = asyncio.Event()
        self._end: tuple[int, str] | None = None
        self._said = False  # the viewer was the one to close, or broke off
        self._turning = self._hungry = False

    # --- SessionLink -------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Bytes of frames of which nothing has left."""
        return self._frame_bytes

    @property
    def max_datagram_bytes(self) -> int:
        """There are none."""
        return 0

    def open_bidi(self) -> int:
        """The control stream, which there is from the beginning."""
        return CONTROL

    def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        """Queue whole control messages; who does not read them is sent away."""
        if self.closed or stream_id != CONTROL or not data:
            return
        self._control.append(data)
        self._control_bytes += len(data)
        if self._control_bytes > MOST_CONTROL_BYTES:
            self.close(CloseCode.TOO_SLOW, "the viewer does not read its messages")
        self._wanted.set()

    def send_frame(self, data: bytes, urgency: Urgency) -> int:
        """Queue a whole frame; its number. Raises TransportError after the session's end."""
        if self.closed:
            raise TransportError("the session is closed: open a new one")
        number, self._next_id = self._next_id, self._next_id + _STEP
        self._frames[number] = _Waiting(data, urgency)
        self._frame_bytes += len(data)
        self._wanted.set()
        return number

    def send_datagrams(self, payloads: Sequence[bytes], urgency: Urgency) -> int:
        """There are none, so none is taken."""
        return 0

    def reset(self, stream_id: int, code: int) -> None:
        """Forget a frame of which nothing has left; one that was begun goes on."""
        waiting = self._frames.pop(stream_id, None)
        if waiting is not None:
            self._frame_bytes -= len(waiting.data)

    def stop(self, stream_id: int, code: int) -> None:
        """A viewer has no other stream than that of its messages."""

    def unsent(self, stream_id: int) -> int:
        """Bytes that can still be given up: all of a frame, or none."""
        waiting = self._frames.get(stream_id)
        return len(waiting.data) if waiting is not None else 0

    def unacknowledged(self, stream_id: int) -> int:
        """Bytes of a frame that no progress told of; of control messages those that have not left."""
        if stream_id == CONTROL:
            return self._control_bytes
        _, size = self._begun.get(stream_id, (0, 0))
        return size or self.unsent(stream_id)

    def room(self, urgency: Urgency | None = None) -> int:
        """Bytes that may be handed over now, so that little stands on the path and in this machine."""
        if self.closed:
            return 0
        if urgency is Urgency.AUDIO:
            return self.flow.room(sound=True) - self._frame_bytes
        return min(self.flow.room() - self._frame_bytes, MOST_UNSENT_BYTES - self._wire.unsent())

    def await_room(self, waiting: bool) -> None:
        """Whether something waits for room."""
        self._hungry = waiting
        self.flow.await_room(waiting, self._clock())

    def flush(self) -> None:
        """Have the handler asked for what is to be sent, at the end of this turn of the loop, once."""
        if not self._turning and not self.closed:
            self._turning = True
            self._loop.call_soon(self._turn)

    def path(self) -> PathStats:
        """What the viewer's progress tells of the path."""
        flow, now = self.flow, self._clock()
        return PathStats(
            rtt_us=round(flow.rtt * 1e6),
            min_rtt_us=round(flow.min_rtt * 1e6),
            congestion_window=flow.window,
            bytes_in_flight=flow.standing,
            lost_packets=0,
            sent_packets=0,
            mtu=0,
            estimate_bps=round(flow.rate * 8),
            estimate_bounded=flow.bounded(now),
            queueing_us=round(flow.queueing(now) * 1e6),
        )

    def note_arrival(self, sent_s: float, arrived_us: int, size: int) -> None:
        """Progress tells more."""

    def note_progress(self, octets: int, waited_us: int) -> None:
        """The viewer has so many octets of frames. Raises ProtocolError."""
        self.flow.progress(octets, waited_us / 1e6, self._clock())
        begun = self._begun
        while begun and next(iter(begun.values()))[0] <= octets:
            begun.popitem(last=False)

    def set_wanted_rate(self, bits_per_second: int) -> None:
        """Nothing is sent to find out what the path carries: what would be lost elsewhere is late here."""

    def probe_bytes(self, now: float) -> int:
        """None, for that reason."""
        return 0

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the session: what was said is still sent, frames are not; ``handler.closed`` follows."""
        if not self.closed:
            self.closed, self._end = True, (code, reason)
            self._frames.clear()
            self._frame_bytes = 0
            self._wanted.set()

    # --- life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the session until its end, whoever makes it. What a handler does wrong ends only this one."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            self._guarded(lambda: self.handler.opened(self))
            while not any(task.done() for task in tasks) and not self.closed:
                await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if self.flow.stalled(self._clock()):
                    self.close(CloseCode.TOO_SLOW, "the viewer takes nothing")
            await self._finish(tasks[1])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.closed = True
            code, reason = self._end or (LOST, "the gateway ended")
            self._guarded(lambda: self.handler.closed(code, reason))

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Let the last words out, if the viewer takes them."""
        self.close(LOST, "the connection broke")
        assert self._end is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await asyncio.shield(writer)
                if not self._said:
                    await self._wire.close(*ws.to_close(*self._end))
                return
        await self._wire.abort()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._wire.receive()
                if isinstance(message, int):
                    self._left(message)
                    return
                if self.closed:
                    continue
                kind, body = ws.parse(message)
                if kind is not ws.MessageType.CONTROL:
                    raise ProtocolError(CloseCode.MALFORMED, "only the gateway sends frames")
            except ProtocolError as error:
                self.close(error.code, str(error))
                continue
            self._guarded(lambda body=body: self.handler.stream_data(CONTROL, body, False))  # type: ignore[misc]
            if self.closed:  # wakes run()
                return

    def _left(self, code: int) -> None:
        self._said = True
        meant = ws.from_close(code)
        if meant is None:
            self.close(LOST, f"the WebSocket broke off ({code})")
        else:
            self.close(meant, "the viewer closed")

    async def _write(self) -> None:
        while True:
            while self._control or self._frames:
                if self._control:
                    data = b"".join(self._control)
                    self._control.clear()
                    await self._wire.send(ws.control(data))
                    self._control_bytes -= len(data)
                elif self._frames:
                    await self._wire.send(ws.frame(self._begin()))
                if self._hungry:
                    self.flush()
            if self.closed:
                return
            self._wanted.clear()
            await self._wanted.wait()

    def _begin(self) -> bytes:
        """Take the next frame, sound first; from now on it stands on the path."""
        number = min(self._frames, key=lambda n: (self._frames[n].urgency is not Urgency.AUDIO, n))
        data = self._frames.pop(number).data
        self._frame_bytes -= len(data)
        self.flow.hand_over(len(data), self._clock())
        self._begun[number] = (self.flow.sent, len(data))
        return data

    def _turn(self) -> None:
        self._turning = False
        if not self.closed:
            self._guarded(self.handler.writable)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # a fault of ours must not take others' sessions down
            log.exception("a session over a WebSocket failed: this is a bug of the gateway")
            self.close(CloseCode.INTERNAL, "the gateway failed")
