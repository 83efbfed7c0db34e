"""A viewer's datagrams: fragments become frames, what is missing is asked for, arrivals are reported.

What :class:`~wtgateway.protocol.client_session.ClientSession` does for streams with parsers is done here for
datagrams; it is told of streams, too, because a frame that comes on one needs no asking and counts in the
reports. Pure; times are µs of the viewer's clock. Imports media, errors and this package.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from wtgateway.media import Frame
from wtgateway.protocol.arrivals import Arrival, encode_arrivals
from wtgateway.protocol.fragments import Fragment, decode_fragment
from wtgateway.protocol.nacks import MAX_ENTRIES, encode_nacks
from wtgateway.protocol.partial import Name
from wtgateway.protocol.reassembly import Reassembly
from wtgateway.protocol.wire import FRAME_HEADER_BYTES, FrameHeader, ObjectType

Item = TypeVar("Item")

REPORT_US = 50_000
ARRIVALS_A_DATAGRAM = 48  # 972 bytes: less than what any path takes
MOST_ARRIVALS = 256  # frames to report at once; the oldest give way
MOST_WAITING = 64  # datagrams that nobody has fetched; what is more would be stale


class DatagramReception:
    """One session's. ``reports``: whether the gateway wants to know when frames came."""

    def __init__(self, deadline_us: int) -> None:
        self.reassembly = Reassembly(deadline_us=deadline_us)
        self.reports = False
        self.nacks_sent = 0
        self._arrivals: dict[tuple[int, int, int], Arrival] = {}  # since the last report, newest last
        self._report_us: int | None = None
        self._out: list[bytes] = []

    # --- what comes --------------------------------------------------------------------------------

    def receive(self, data: bytes, now_us: int) -> tuple[Fragment | None, Frame | None]:
        """Take a datagram: the fragment in it if it is news, and the frame that it completes.

        Padding and types of later versions are ignored. Raises ProtocolError (MALFORMED).
        """
        if not data or data[0] not in (ObjectType.FRAGMENT, ObjectType.PARITY):
            return None, None
        fragment = decode_fragment(data)
        before = self.reassembly.partial(_name(fragment))
        first_us = now_us if before is None or not before.began else before.first_us
        refused = self._refused
        frame = self.reassembly.push(fragment, now_us)
        if self._refused != refused:
            return None, None
        self.reports = True
        arrival = _arrival(fragment, first_us, now_us)
        if frame is not None:
            self._note(replace(arrival, complete=True, received_bytes=fragment.object_bytes))
        elif (partial := self.reassembly.partial(_name(fragment))) is not None:
            self._note(replace(arrival, received_bytes=partial.received_bytes))
        return fragment, frame

    def stream_began(self, header: FrameHeader, now_us: int) -> None:
        """A frame's header is here on a stream."""
        if self.reports:
            self.reassembly.arrived_as_stream(_name(header), header.capture_us, header.keyframe, now_us)

    def stream_completed(self, frame: Frame, began_us: int, now_us: int) -> bool:
        """A frame is complete on its stream; returns whether that is news."""
        if not self.reports:
            return True
        self.reassembly.arrived_as_stream(_name(frame), frame.capture_us, frame.keyframe, now_us)
        size = FRAME_HEADER_BYTES + len(frame.payload)
        self._note(Arrival(frame.track, frame.group, frame.index, True, True, size, began_us, now_us))
        return self.reassembly.done_with(_name(frame))

    def stream_reset(self, header: FrameHeader) -> None:
        """The gateway gave up the stream of a frame."""
        if self.reports:
            self.reassembly.done_with(_name(header))

    def take_lost(self) -> list[Name]:
        """Frames that will not come any more."""
        return self.reassembly.take_lost()

    # --- what goes, and when -----------------------------------------------------------------------

    def advance(self, now_us: int) -> None:
        """Ask and report, where it is time."""
        due_us = self.reassembly.next_timeout()
        if due_us is not None and now_us >= due_us:
            entries = self.reassembly.nacks(now_us)
            self.nacks_sent += len(entries)
            self._send(encode_nacks(some) for some in _batches(entries, MAX_ENTRIES))
        if self._report_us is not None and now_us >= self._report_us:
            arrivals, self._arrivals, self._report_us = list(self._arrivals.values()), {}, None
            self._send(encode_arrivals(some) for some in _batches(arrivals, ARRIVALS_A_DATAGRAM))

    def next_timeout(self) -> int | None:
        """When :meth:`advance` has something to do; None: never."""
        due_us = self.reassembly.next_timeout()
        if due_us is None or (self._report_us is not None and self._report_us < due_us):
            return self._report_us
        return due_us

    def datagrams_to_send(self) -> list[bytes]:
        """What is to be sent, once."""
        out, self._out = self._out, []
        return out

    @property
    def _refused(self) -> int:
        counters = self.reassembly.counters
        return counters.duplicates + counters.mismatched

    def _note(self, arrival: Arrival) -> None:
        if self._report_us is None:
            self._report_us = arrival.last_us + REPORT_US
        key = (arrival.track, arrival.group, arrival.index)
        self._arrivals.pop(key, None)
        self._arrivals[key] = arrival
        if len(self._arrivals) > MOST_ARRIVALS:
            del self._arrivals[next(iter(self._arrivals))]

    def _send(self, datagrams: Iterable[bytes]) -> None:
        self._out += itertools.islice(datagrams, MOST_WAITING - len(self._out))


def _name(what: Frame | FrameHeader | Fragment) -> Name:
    return what.track, what.rendition, what.group, what.index


def _arrival(fragment: Fragment, first_us: int, now_us: int) -> Arrival:
    return Arrival(fragment.track, fragment.group, fragment.index, False, False, 0, first_us, now_us)


def _batches(items: list[Item], size: int) -> Iterable[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
