"""What one viewer is sent next: whole frames for streams, pieces for datagrams, answers, parity.

Sits between the :class:`~wtgateway.protocol.send_queue.SendQueue` and the transport. Frames in datagrams are
handed over a little at a time, so that sound, and what the viewer asks for, can still overtake the rest, and
so that the rest of a frame that has become too late costs nothing. What was sent in datagrams is remembered
until its deadline, and is what NACKs are answered from: the bytes are those that all viewers share.

Pure; ``now`` is seconds of any monotonic clock. Imports media, errors and this package.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wtgateway.media import Kind
from wtgateway.protocol import fragments
from wtgateway.protocol.delivery import (
    AGAIN_RTT,
    AGAIN_S,
    LOSSY,
    SHOW_S,
    Path,
    Plan,
    Reason,
    plan_frame,
)
from wtgateway.protocol.lane import CATCH_UP, MOST_CATCH_UP_US
from wtgateway.protocol.nacks import NackEntry
from wtgateway.protocol.partial import MOST_PATIENCE_US, PATIENCE_RTT
from wtgateway.protocol.send_queue import QueuedFrame, SendQueue

Name = tuple[int, int, int, int]  # track, rendition, group, index

REMEMBERED_BYTES = 8 * 1024 * 1024
REMEMBERED_S = 2.0
MOST_ANSWERS = 6  # of one piece
MOST_WISHES = 256  # pieces that are looked up for one NACK: 14 bytes may name 65536
GRACE_RTT = 1.0  # what was asked for before the deadline is answered, and arrives, so much later at most
# Half a round trip for an answer, and the time until it is missed and asked for again; and a little more, for
# the viewer reckons by its own clock.
LAST_CHANCE_RTT, LAST_CHANCE_S = 0.5 + AGAIN_RTT, 2 * AGAIN_S
TAKES = 1.25  # times what a keyframe takes by the estimate: parity, answers and sound want some as well
UNKNOWN_TAKES_RTT = 2.0  # round trips that a keyframe takes while the window opens and no rate is known
UNKNOWN_TAKES_S = 0.3  # the same where no round trip is known, either
APART_S = 0.020  # between an answer and its copy: losses come in bursts, which other packets use up
ANSWERS_SHARE = 0.5  # of the path's rate may go into answers
LEAST_ANSWERS_BPS = 512_000
MOST_REPEATED_BYTES = 600  # sound that is larger is not repeated, but asked for
NEWS_RTT = 0.9  # round trips after which the viewer's word can be of what was sent: less what measures it
_LEAST_RTT_S = 0.005  # on a short path an answer is not made twice within less


class PieceKind(enum.Enum):
    """Why datagrams are sent."""

    SOUND = "sound"
    KEYFRAME = "keyframe"
    DELTA = "delta"
    ANSWER = "answer"
    PARITY = "parity"


@dataclass(slots=True)
class Whole:
    """A frame for a stream of its own."""

    queued: QueuedFrame


@dataclass(slots=True)
class Pieces:
    """Datagrams; ``queued`` is the frame that they are pieces of, ``kind`` is why they are sent."""

    payloads: Sequence[bytes]
    kind: PieceKind
    queued: QueuedFrame
    begins: bool = False  # the first of that frame


@dataclass(slots=True)
class Sent:
    """A frame that was handed over; ``pieces`` is empty for one on a stream."""

    queued: QueuedFrame
    at: float
    pieces: tuple[bytes, ...] = ()
    parity: int = 0  # rows planned for it
    given: int = 0  # pieces, from the first on
    slices: list[tuple[int, float]] = field(default_factory=list)  # of them: the first piece, and when
    answers: dict[int, tuple[float, int]] | None = None  # of a piece: when last, how often

    def given_at(self, number: int) -> float:
        """When a piece was handed over."""
        return next((at for first, at in reversed(self.slices) if first <= number), self.at)


class Outgoing:
    """One viewer's. ``counters`` has figures for statistics; ``reason`` is that of the last video frame."""

    def __init__(self, queue: SendQueue, *, plan: Callable[..., Plan] = plan_frame) -> None:
        self.queue = queue
        self._plan = plan
        self.counters: Counter[str] = Counter()
        self.reason = Reason.WISHED
        self._sent: dict[Name, Sent] = {}
        self._sent_bytes = 0
        self._partial: Sent | None = None
        self._parity: tuple[bytes, ...] = ()
        self._parity_of: QueuedFrame | None = None
        self._answers: deque[tuple[Name, int]] = deque()
        self._copies: deque[tuple[float, Name, int]] = deque()  # of answers, and when they are to leave
        self._allowance = float(LEAST_ANSWERS_BPS / 8)
        self._allowance_at: float | None = None
        self._sound: dict[tuple[int, int], deque[bytes]] = {}
        self._repair, self._repair_seen = 0.0, (0, 0)

    @property
    def pending(self) -> bool:
        """Whether :meth:`next` may have something."""
        return bool(self.queue.frames or self._partial or self._answers or self._parity)

    def restart(self, track: int) -> None:
        """What was sent of a track does not go on: the subscription changed."""
        for name in [name for name in self._sent if name[0] == track]:
            self._forget(name)
        if self._partial is not None and self._partial.queued.frame.track == track:
            self._partial = None
        if self._parity_of is not None and self._parity_of.frame.track == track:
            self._drop_parity()
        for key in [key for key in self._sound if key[0] == track]:
            del self._sound[key]

    def sent_at(self, track: int, group: int, index: int, rendition: int) -> float | None:
        """When the first byte of a frame was handed over; None: not known, or too long ago."""
        sent = self._sent.get((track, rendition, group, index))
        return None if sent is None else sent.at

    def statistics(self) -> dict[str, Any]:
        """The fields of the message of that name that are known here."""
        counters = self.counters
        pieces = counters["fragments_sent"] + counters["parity_sent"]
        return {
            "delivery_reason": str(self.reason.value),
            "fec_share_ppm": counters["parity_sent"] * 1_000_000 // pieces if pieces else 0,
            **{
                name: counters[name]
                for name in ("fragments_sent", "repeats_sent", "nacks_answered", "frames_late")
            },
        }

    def take_repair_share(self) -> float:
        """Of all pieces sent lately, those that were parity or answers; each call weighs a fifth."""
        counters = self.counters
        repair = counters["parity_sent"] + counters["nacks_answered"]
        total = repair + counters["fragments_sent"]
        if total > self._repair_seen[1]:
            share = (repair - self._repair_seen[0]) / (total - self._repair_seen[1])
            self._repair += (share - self._repair) / 5
        self._repair_seen = repair, total
        return self._repair

    # --- out ---------------------------------------------------------------------------------------

    def next(self, now: float, room: int, path: Path) -> Whole | Pieces | None:
        """What is to leave next, of about ``room`` bytes if it is datagrams; None: nothing."""
        while self._copies and now >= self._copies[0][0]:
            self._answers.append(self._copies.popleft()[1:])
        while True:
            if self._answers or self._partial is not None:
                ahead = self.queue.pop(now, ahead_of_video=True)
                if ahead is not None:
                    return self._begin(ahead, now, room, path)
                if (answer := self._answer(now, room, path)) is not None:
                    return answer
                if self._partial is not None:
                    if (rest := self._carry_on(self._partial, now, room, path)) is not None:
                        return rest
                    continue
            queued = self.queue.pop(now)
            if queued is None:
                return self._rest_of_parity(room)
            if self._parity and queued.kind is Kind.VIDEO:  # what was to spare is not any more
                self._drop_parity()
            return self._begin(queued, now, room, path)

    def next_ahead(self, now: float, path: Path) -> Whole | Pieces | None:
        """What goes before video and is to leave next, whatever room there is for video."""
        ahead = self.queue.pop(now, ahead_of_video=True)
        return None if ahead is None else self._begin(ahead, now, 0, path)

    def _begin(self, queued: QueuedFrame, now: float, room: int, path: Path) -> Whole | Pieces:
        time_left, worth = queued.deadline - now, queued.deadline - queued.queued_at
        plan = self._plan(
            queued.delivery, queued.kind, len(queued.data), time_left, worth, path, fragments.HEADER_BYTES
        )
        if queued.kind is Kind.VIDEO:
            self.reason = plan.reason
            if queued.frame.keyframe:
                self._hold_up(queued, now, path)
        self._prune(now, path)
        if not plan.datagrams:
            self._remember(Sent(queued, now))
            self.counters["frames_on_streams"] += 1
            return Whole(queued)
        pieces = fragments.cut(queued.data, path.datagram_bytes - fragments.HEADER_BYTES)
        sent = Sent(queued, now, pieces, plan.parity)
        self._remember(sent)
        if queued.kind is not Kind.VIDEO:
            return self._sound_pieces(sent, plan)
        return self._slice(sent, now, room)

    def _hold_up(self, queued: QueuedFrame, now: float, path: Path) -> None:
        """What follows a keyframe has the time to catch up that the keyframe takes."""
        if path.estimate_bps:
            takes = TAKES * len(queued.data) * 8 / path.estimate_bps
        else:
            takes = max(UNKNOWN_TAKES_RTT * path.rtt, UNKNOWN_TAKES_S)
        level = now + (1 + CATCH_UP) * takes + max(0.0, queued.deadline - queued.queued_at)
        self.queue.hold_up(queued, min(level, queued.queued_at + MOST_CATCH_UP_US / 1e6))

    def _sound_pieces(self, sent: Sent, plan: Plan) -> Pieces:
        """A frame of sound, and those before it once more: they share a packet."""
        queued, pieces = sent.queued, sent.pieces
        sent.given = len(pieces)
        key = (queued.frame.track, queued.frame.rendition)
        before = self._sound.setdefault(key, deque(maxlen=2))
        again = list(before)[::-1][: plan.repeats]  # newest first
        if len(pieces) == 1 and len(pieces[0]) <= MOST_REPEATED_BYTES:
            before.append(pieces[0])
        else:
            before.clear()
        self.counters["fragments_sent"] += len(pieces)
        self.counters["repeats_sent"] += len(again)
        return Pieces((*pieces, *again) if again else pieces, PieceKind.SOUND, queued, True)

    def _slice(self, sent: Sent, now: float, room: int) -> Pieces:
        """As many of a frame's pieces as there is room for, one at least."""
        first = sent.given
        sent.slices.append((first, now))
        count = min(len(sent.pieces) - first, max(1, room // len(sent.pieces[0])))
        sent.given = first + count
        whole = sent.given == len(sent.pieces)
        self._partial = None if whole else sent
        self.counters["fragments_sent"] += count
        kind = PieceKind.KEYFRAME if sent.queued.frame.keyframe else PieceKind.DELTA
        if whole and sent.parity:
            piece_bytes = len(sent.pieces[0]) - fragments.HEADER_BYTES
            self._parity = fragments.parity(sent.queued.data, piece_bytes, sent.parity)
            self._parity_of = sent.queued
        # The very tuple that all viewers share where it goes whole: what is made of it can be shared as well.
        payloads = sent.pieces if count == len(sent.pieces) else sent.pieces[first : sent.given]
        return Pieces(payloads, kind, sent.queued, first == 0)

    def _carry_on(self, sent: Sent, now: float, room: int, path: Path) -> Whole | Pieces | None:
        if now < self.queue.deadline_of(sent.queued):
            return self._on_stream(sent) if _outgrown(sent, path) else self._slice(sent, now, room)
        # Too late to be worth the rest. What depends on it would not decode either.
        self._partial = None
        self.counters["frames_late"] += 1
        self._forget(_name(sent.queued))
        self.queue.abandon(sent.queued)
        return None

    def _on_stream(self, sent: Sent) -> Whole:
        """The path takes less than it did when the pieces were cut: the whole goes on a stream."""
        if sent is self._partial:
            self._partial = None
        self._sent_bytes -= len(sent.queued.data)
        sent.pieces = ()
        self.counters["frames_on_streams"] += 1
        return Whole(sent.queued)

    # --- parity ------------------------------------------------------------------------------------

    def _rest_of_parity(self, room: int) -> Pieces | None:
        if not self._parity or self._parity_of is None:
            return None
        count = max(1, room // len(self._parity[0]))
        payloads, self._parity = self._parity[:count], self._parity[count:]
        self.counters["parity_sent"] += len(payloads)
        return Pieces(payloads, PieceKind.PARITY, self._parity_of)

    def _drop_parity(self) -> None:
        self.counters["parity_dropped"] += len(self._parity)
        self._parity = ()

    # --- answers -----------------------------------------------------------------------------------

    def asked(self, entries: Sequence[NackEntry], now: float, path: Path) -> None:
        """The viewer lacks pieces. They are sent again if they were sent at all, and can come in time.

        Never twice within a round trip, at most :data:`MOST_ANSWERS` times each, and in all no more than
        a share of what the path carries: asking is cheaper than answering.
        """
        self._allow(now, path)
        left = MOST_WISHES
        for entry in entries:
            name = (entry.track, entry.rendition, entry.group, entry.index)
            sent = self._sent.get(name)
            if sent is None or not sent.pieces:
                self.counters["nacks_unknown"] += 1
                continue
            if now + path.rtt / 2 >= self._answerable_until(sent, path):
                self.counters["nacks_late"] += 1
                continue
            stop = min(entry.last + 1, sent.given, entry.first + left)
            for number in range(entry.first, stop):
                self._note_wish(name, sent, number, now, path)
            left -= max(0, stop - entry.first)

    def _note_wish(self, name: Name, sent: Sent, number: int, now: float, path: Path) -> None:
        if sent.answers is None:
            sent.answers = {}
        last, times = sent.answers.get(number, (sent.given_at(number), 0))
        if now - last < (max(NEWS_RTT * path.rtt, _LEAST_RTT_S) if times else _news_after(path)):
            self.counters["nacks_early"] += 1
            return
        size = len(sent.pieces[number])
        if times >= MOST_ANSWERS or self._allowance < size:
            self.counters["nacks_refused"] += 1
            return
        self._allowance -= size
        sent.answers[number] = (now, times + 1)
        self._answers.append((name, number))
        time_left = self.queue.deadline_of(sent.queued) - now
        if path.loss >= LOSSY and time_left < LAST_CHANCE_RTT * path.rtt + LAST_CHANCE_S:
            # Were this one lost, another would come too late.
            self._allowance -= size
            if time_left - path.rtt / 2 - SHOW_S > APART_S:
                self._copies.append((now + APART_S, name, number))
            else:
                self._answers.append((name, number))

    def _answerable_until(self, sent: Sent, path: Path) -> float:
        """Late, a frame is of use to those behind it; not once a newer group has taken its place."""
        deadline = self.queue.deadline_of(sent.queued)
        return deadline if self.queue.superseded(sent.queued) else deadline + _grace(sent, path)

    def _allow(self, now: float, path: Path) -> None:
        rate = max(path.estimate_bps * ANSWERS_SHARE, LEAST_ANSWERS_BPS) / 8
        if self._allowance_at is not None:
            self._allowance += (now - self._allowance_at) * rate
        self._allowance = min(self._allowance, rate)  # a second's worth at most
        self._allowance_at = now

    def _answer(self, now: float, room: int, path: Path) -> Whole | Pieces | None:
        """Answers for one frame, as many as there is room for."""
        payloads: list[bytes] = []
        queued: QueuedFrame | None = None
        while self._answers and (not payloads or room > 0):
            name, number = self._answers[0]
            sent = self._sent.get(name)
            if sent is None or not sent.pieces or now >= self._answerable_until(sent, path):
                self._answers.popleft()
                continue
            if queued is None and _outgrown(sent, path):
                return self._on_stream(sent)
            if queued is not None and sent.queued is not queued:
                break
            self._answers.popleft()
            queued = sent.queued
            payloads.append(sent.pieces[number])
            room -= len(payloads[-1])
        if queued is None:
            return None
        self.counters["nacks_answered"] += len(payloads)
        return Pieces(payloads, PieceKind.ANSWER, queued)

    # --- what is remembered --------------------------------------------------------------------------

    def _remember(self, sent: Sent) -> None:
        name = _name(sent.queued)
        self._forget(name)
        self._sent[name] = sent
        if sent.pieces:
            self._sent_bytes += len(sent.queued.data)

    def _forget(self, name: Name) -> None:
        sent = self._sent.pop(name, None)
        if sent is not None and sent.pieces:
            self._sent_bytes -= len(sent.queued.data)

    def _prune(self, now: float, path: Path) -> None:
        """Forget what is too old or too much, oldest first."""
        while self._sent:
            name, oldest = next(iter(self._sent.items()))
            over = self._sent_bytes > REMEMBERED_BYTES
            deadline = max(oldest.queued.deadline, self.queue.deadline_of(oldest.queued))
            worth = deadline - oldest.queued.queued_at + _grace(oldest, path)
            lifetime = min(REMEMBERED_S, worth)
            if not over and now - oldest.at < lifetime:
                return
            if oldest is self._partial and not over:
                return
            self._forget(name)


def _news_after(path: Path) -> float:
    """How long after a piece was sent the viewer's word can be of its loss, at the soonest.

    What it says before it says of pieces that waited here, while it waited for the rest of their frame. By
    the least round trip: what a viewer that delays its acknowledgements seems to have of a queue is none.
    """
    return NEWS_RTT * path.base_rtt


def _grace(sent: Sent, path: Path) -> float:
    """How long after its deadline a frame is still answered for, for the sake of those behind it."""
    frame = sent.queued.frame
    needed = sent.queued.kind is Kind.VIDEO and not frame.discardable
    patience = min(PATIENCE_RTT * path.rtt, MOST_PATIENCE_US / 1e6) if needed else 0.0
    return GRACE_RTT * path.rtt + patience


def _outgrown(sent: Sent, path: Path) -> bool:
    return len(sent.pieces[0]) > path.datagram_bytes


def _name(queued: QueuedFrame) -> Name:
    frame = queued.frame
    return frame.track, frame.rendition, frame.group, frame.index
