"""The control channel between the main process and one of its children: messages over a stream socket.

File descriptors travel beside the first message. Nothing here waits: what the other end does not read is
kept, up to a bound, over which the channel counts as broken, as it does for what is no message.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from wtgateway.workers.messages import LENGTH, MAX_MESSAGE_BYTES, Message, decode, encode

MAX_BACKLOG_BYTES = 16 << 20
MAX_FDS = 253  # SCM_MAX_FD of Linux
_READ_BYTES = 256 << 10


class Channel:
    """One end, on the event loop. ``on_lost`` is called once, when the other end is gone."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_message: Callable[[Message], None],
        on_lost: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        decode: Callable[[bytes], Message] = decode,
    ) -> None:
        """``decode`` makes what is said to this end of its bytes; by default what workers and we say."""
        self._sock, self._loop, self._decode = sock, loop, decode
        self._on_message, self._on_lost = on_message, on_lost
        self._in, self._out = bytearray(), bytearray()
        self._fds: tuple[int, ...] = ()
        self.closed = False
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send soon, and in order; ``fds`` only beside the first message."""
        if self.closed:
            return
        data = encode(message)
        if fds:
            # The kernel takes a first byte with its file descriptors at once: nothing was sent before.
            socket.send_fds(self._sock, [data[:1]], list(fds))
            data = data[1:]
        self._out += data
        if len(self._out) > MAX_BACKLOG_BYTES:
            self._lose()
        else:
            self._flush()

    def close(self) -> None:
        """Close this end; ``on_lost`` is not called any more."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    def take_fds(self) -> list[int]:
        """The file descriptors that came, once."""
        fds, self._fds = list(self._fds), ()
        return fds

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._flush)
            return
        except OSError:
            self._lose()
            return
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, _READ_BYTES, MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds leaves its flags out
        self._fds += tuple(fds)
        if not data:
            self._lose()
            return
        self._in += data
        try:
            self._take_messages()
        except ValueError:
            self._lose()

    def _take_messages(self) -> None:
        while not self.closed and len(self._in) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._in)
            if size > MAX_MESSAGE_BYTES:
                raise ValueError("a message is over the limit")
            end = LENGTH.size + size
            if len(self._in) < end:
                return
            data = bytes(self._in[LENGTH.size : end])
            del self._in[:end]
            self._on_message(self._decode(data))

    def _lose(self) -> None:
        if not self.closed:
            self.close()
            self._on_lost()
