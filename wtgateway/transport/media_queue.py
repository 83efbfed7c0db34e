"""What media waits in a lane, in strict classes of urgency, and what flow control holds back.

Streams and datagrams wait in one queue a class, oldest first. What a stream lost goes before what is
new in its class: it holds up all that depends on it. A stream that the peer's flow control stops is put
aside, so that it does not stop others, and tried again when limits may have risen. Bounds are the
caller's for streams (:meth:`.lane.Lane.room`), :data:`MAX_DATAGRAM_BYTES` for datagrams.

Imports aioquic's types and this package.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from aioquic.quic.connection import QuicConnection

from wtgateway.transport.batch import Batch, Datagrams
from wtgateway.transport.frame_stream import FrameStream
from wtgateway.transport.urgency import Urgency

MAX_DATAGRAM_BYTES = 512 * 1024
DATAGRAM_COST = 256  # what an empty one counts for in that
MERGED = 64  # datagrams handed over one by one share packets up to here
_NO_STREAM = (None, 0, 0)


class MediaQueue:
    """One connection's; ``unsent`` is bytes, those to be sent again included."""

    __slots__ = ("_queues", "_quic", "_stalled", "datagram_bytes", "datagrams_too_large", "unsent")

    def __init__(self, quic: QuicConnection) -> None:
        self.unsent = 0
        self.datagram_bytes = 0  # with DATAGRAM_COST for each
        self.datagrams_too_large = 0
        self._quic = quic
        self._queues: tuple[deque[FrameStream | Datagrams], ...] = tuple(deque() for _ in Urgency)
        self._stalled: list[FrameStream] = []

    @property
    def stalled(self) -> bool:
        """Whether flow control holds something back."""
        return bool(self._stalled)

    @property
    def ready(self) -> bool:
        """Whether something waits that flow control does not hold back."""
        return any(self._queues)

    def unsent_up_to(self, urgency: Urgency) -> int:
        """Bytes that wait in the classes up to that one; what flow control holds back does not count."""
        return sum(item.unsent for queue in self._queues[: urgency + 1] for item in queue)

    # --- in ----------------------------------------------------------------------------------------

    def add_stream(self, stream: FrameStream) -> None:
        """A new one, whole."""
        self.unsent += stream.size
        stream.queued = True
        self._queues[stream.urgency].append(stream)

    def add_datagrams(self, prefix: bytes, payloads: Sequence[bytes], urgency: Urgency) -> None:
        """Payloads that :meth:`admit` has admitted."""
        self.unsent += sum(map(len, payloads))
        queue = self._queues[urgency]
        last = queue[-1] if queue else None
        if type(last) is Datagrams and last.prefix == prefix and len(last) < MERGED:
            last.extend(payloads)
        else:
            queue.append(Datagrams(prefix, payloads))

    def admit(self, payloads: Sequence[bytes], limit: int) -> int:
        """How many of ``payloads``, from the first on, there is room for: none larger than ``limit``."""
        size = sum(map(len, payloads)) + len(payloads) * DATAGRAM_COST
        if self.datagram_bytes + size <= MAX_DATAGRAM_BYTES and max(map(len, payloads), default=0) <= limit:
            self.datagram_bytes += size
            return len(payloads)
        admitted = 0
        for payload in payloads:
            cost = len(payload) + DATAGRAM_COST
            if len(payload) > limit or self.datagram_bytes + cost > MAX_DATAGRAM_BYTES:
                break
            self.datagram_bytes += cost
            admitted += 1
        return admitted

    def on_lost(self, stream: FrameStream) -> None:
        """The last of its lost ranges is to be sent again."""
        start, stop = stream.lost[-1]
        self.unsent += stop - start
        if not stream.queued:
            self._put_first(stream)

    def release(self) -> None:
        """Give streams that flow control held back another try, in their order."""
        if self._stalled:
            stalled, self._stalled = self._stalled, []
            for stream in reversed(stalled):
                if not (stream.is_reset or stream.queued):
                    self._put_first(stream)

    def _put_first(self, stream: FrameStream) -> None:
        stream.queued = True
        self._queues[stream.urgency].appendleft(stream)

    # --- out ---------------------------------------------------------------------------------------

    def fill(self, batch: Batch) -> None:
        """Take what is most urgent until the batch is full."""
        for queue in self._queues:
            while queue:
                if not batch.open:
                    return
                item = queue[0]
                if type(item) is FrameStream:
                    if not (item.is_reset or self._cut_stream(item, batch)):
                        return
                    item.queued = False
                elif isinstance(item, Datagrams) and not self._cut_datagrams(item, batch):
                    return
                queue.popleft()

    def _cut_stream(self, stream: FrameStream, batch: Batch) -> bool:
        """As much of a stream as fits; True when it has left the queue (or was put aside)."""
        if stream.is_blocked:
            self._stall(stream)
            return True
        while stream.lost:
            start, stop = stream.lost.pop(0)
            reached = batch.stream(stream, start, stop)
            self.unsent -= reached - start
            if reached < stop:
                stream.lost.insert(0, (reached, stop))
                return False
        if stream.next == stream.size:
            return True
        quic = self._quic
        credit = quic._remote_max_data - quic._remote_max_data_used
        limit = min(stream.size, stream.max_stream_data_remote, stream.next + credit)
        reached = batch.stream(stream, stream.next, limit)
        sent = reached - stream.next
        self.unsent -= sent
        quic._remote_max_data_used += sent
        stream.next = reached
        if reached == stream.size:
            return True
        if reached < limit:
            return False
        self._stall(stream)
        return True

    def _stall(self, stream: FrameStream) -> None:
        """Put it aside until flow control allows more; what is lost of it meanwhile needs no credit."""
        if stream not in self._stalled:
            self._stalled.append(stream)

    def _cut_datagrams(self, waiting: Datagrams, batch: Batch) -> bool:
        """As many as fit; True when none is left."""
        room = batch.payload_bytes
        while waiting:
            frames, count, size = waiting.next(room)
            if len(frames) > room:
                self.datagrams_too_large += count  # the path's MTU has shrunk meanwhile
            elif not batch.add(frames, _NO_STREAM):
                return False
            waiting.took(count)
            self.unsent -= size
            self.datagram_bytes -= size + count * DATAGRAM_COST
        return True
