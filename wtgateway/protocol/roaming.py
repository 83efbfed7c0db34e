"""When a viewer opens a second session beside the one it has, and which of the two it keeps.

The rules, which the JavaScript client follows too (tests/vectors/roaming.json holds both to them). *Main* is
the session that plays, *spare* the one opened beside it; a frame counts when its track's order delivers it.

1. A kind of frames, video or sound, is *expected* for ``LATELY_US`` after a frame of it, if that was at least
   the ``KNOWN``th within ``LATELY_US``, the broadcast is live and, for video, the page is visible. Its
   distance is the mean of those between them (the last ``REMEMBERED``), and one is *due* one and a half
   distances after the last.
2. Silence counts from the last byte of anything heard on main. When it is ``PING_US`` long and a frame is
   due, one ping is sent; any byte heard ends silence, and another ping may follow.
3. The spare is opened when silence is ``SILENT_US`` long and the ping is unanswered for ``ANSWER_US``, or for
   one and a half round trips where that is more (at most ``LONGEST_ANSWER_US``). From then on the viewer is
   *roaming*, until a byte is heard on main, or spare has taken its place.
4. When the network changed a ping is sent at once, due or not, and the spare is opened when that is
   unanswered for so long. Back-off ends, and a spare that was not heard yet is closed and opened anew at
   once.
5. Main says drain: the spare is opened at once. Viewers that drain are not roaming, and a byte heard on main
   changes nothing about the spare.
6. There is at most one spare. The next is opened no sooner than 1 s, 2 s, then 4 s after the one before. A
   spare of which nothing was heard for so long since it was opened, or nothing for the longest of these since
   the last byte, is closed. It is 1 s again after a spare has won, and ``QUIET_US`` after the last was
   opened.
7. The first frame that spare delivers and that is newer than the newest (of another instance: any that can be
   decoded) lets it win. While main drains a frame that is not newer is enough, but it has to be video while
   video is expected; and where nothing is expected, the first byte of anything. Main is closed then, and the
   spare is main.
8. A byte heard on main before that closes the spare, unless main drains.
9. When main ends, the spare takes its place at once, heard or not. Without a spare that is for the viewer's
   ordinary reconnecting.
10. The gap of a roaming viewer is from the last frame before spare won (or took the place) to the first one
    after it, of video where video was delivered before, else of sound.

Pure: ``now_us`` is any monotonic clock; divisions are rounded down. Imports media only.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from wtgateway.media import Kind

KNOWN = 4
REMEMBERED = 16
LATELY_US = 2_000_000
PING_US = 120_000
SILENT_US = 250_000
ANSWER_US = SILENT_US - PING_US
LONGEST_ANSWER_US = 1_000_000
BACKOFF_US = (1_000_000, 2_000_000, 4_000_000)
QUIET_US = 10_000_000


class Action(enum.StrEnum):
    """What the viewer is to do, in this order."""

    PING = "ping"  # on main
    CLOSE_SPARE = "close_spare"
    OPEN = "open"  # a spare
    SWITCH = "switch"  # spare is main from now on; close the former main, if it is not over
    LOST = "lost"  # main is over, and there is no spare: reconnect


@dataclass(slots=True)
class _Spare:
    opened_us: int
    patience_us: int
    heard_us: int | None = None

    @property
    def given_up_us(self) -> int:
        if self.heard_us is None:
            return self.opened_us + self.patience_us
        return self.heard_us + BACKOFF_US[-1]


@dataclass(slots=True)
class Roaming:
    """One viewer's. Each method takes what happened and returns what is to be done."""

    live: bool = False
    visible: bool = True
    rtt_us: int = 0  # of main, as it is measured; written from outside
    roaming: bool = False
    draining: bool = False
    roams: int = 0  # times that a spare took main's place
    gap_us: int | None = None  # of the last of them
    _delivered: dict[Kind, deque[int]] = field(default_factory=dict)
    _due: dict[Kind, int] = field(default_factory=dict)  # of each kind that comes steadily
    _heard_us: int | None = None
    _pinged_us: int | None = None  # unanswered
    _changed: bool = False  # the network, since the last byte heard
    _spare: _Spare | None = None
    _attempts: int = 0
    _opened_us: int | None = None  # the last spare
    _next_open_us: int = 0
    _gap: tuple[Kind, int] | None = None  # the last frame before the change, until one comes after it

    @property
    def has_spare(self) -> bool:
        """Whether there is a second session, if only being opened."""
        return self._spare is not None

    @property
    def patience_us(self) -> int:
        """How long the spare has until something must be heard of it; of the last one opened."""
        return self._next_open_us - self._opened_us if self._opened_us is not None else BACKOFF_US[0]

    # --- main --------------------------------------------------------------------------------------

    def heard(self, now_us: int) -> list[Action]:
        """A byte of anything came on main."""
        self._heard_us, self._pinged_us, self._changed, self.roaming = now_us, None, False, False
        actions = []
        if self._spare is not None and not self.draining:
            self._spare = None
            actions.append(Action.CLOSE_SPARE)
        return actions + self.advance(now_us)

    def frame(self, kind: Kind, now_us: int) -> list[Action]:
        """Main delivered a frame, in order."""
        self._note(kind, now_us)
        return self.heard(now_us)

    def drain(self, now_us: int) -> list[Action]:
        """Main's gateway is about to go."""
        self.draining = True
        return self.advance(now_us)

    def network_changed(self, now_us: int) -> list[Action]:
        """The machine has another address, or may have."""
        if self._heard_us is None:
            return []
        self._attempts, self._next_open_us = 0, now_us
        actions = []
        if self._spare is not None and self._spare.heard_us is None:
            self._spare = None
            actions.append(Action.CLOSE_SPARE)
        if not self.roaming:
            self._pinged_us, self._changed = now_us, True
            actions.append(Action.PING)
        return actions + self.advance(now_us)

    def ended(self, now_us: int) -> list[Action]:
        """Main is over, whoever ended it."""
        if self._spare is not None:
            return self._switch(now_us)
        self._heard_us, self._pinged_us, self._changed = None, None, False
        self.roaming = self.draining = False
        return [Action.LOST]

    # --- spare -------------------------------------------------------------------------------------

    def spare_heard(self, now_us: int) -> list[Action]:
        """A byte of anything came on spare."""
        if self._spare is None:
            return self.advance(now_us)
        self._spare.heard_us = now_us
        if self.draining and not any(self._expected(kind, now_us) for kind in (Kind.VIDEO, Kind.AUDIO)):
            return self._switch(now_us)
        return self.advance(now_us)

    def spare_frame(self, kind: Kind, now_us: int, *, newer: bool = True) -> list[Action]:
        """Spare has a frame to deliver; ``newer`` than the newest, or the first of another instance."""
        if self._spare is None:
            return self.advance(now_us)
        self._spare.heard_us = now_us
        if not (self._completes(kind, now_us) if self.draining else newer):
            return self.advance(now_us)
        actions = self._switch(now_us)
        self._note(kind, now_us)
        return actions

    def spare_failed(self, now_us: int) -> list[Action]:
        """Spare was refused, or is over."""
        self._spare = None
        return self.advance(now_us)

    # --- time --------------------------------------------------------------------------------------

    def next_timeout(self) -> int | None:
        """When :meth:`advance` has something to do if nothing else happens; None: never."""
        times = []
        if self._spare is not None:
            times.append(self._spare.given_up_us)
        elif (open_us := self._open_us()) is not None:
            times.append(open_us)
        if (ping_us := self._ping_us()) is not None:
            times.append(ping_us)
        return min(times, default=None)

    def advance(self, now_us: int) -> list[Action]:
        """Do what time demands."""
        actions = []
        ping_us = self._ping_us()
        if ping_us is not None and now_us >= ping_us:
            self._pinged_us = now_us
            actions.append(Action.PING)
        if self._spare is not None and now_us >= self._spare.given_up_us:
            self._spare = None
            actions.append(Action.CLOSE_SPARE)
        open_us = self._open_us()
        if self._spare is None and open_us is not None and now_us >= open_us:
            self._open(now_us)
            actions.append(Action.OPEN)
        return actions

    # --- inside ------------------------------------------------------------------------------------

    def _note(self, kind: Kind, now_us: int) -> None:
        if self._gap is not None and self._gap[0] is kind:
            self.gap_us, self._gap = now_us - self._gap[1], None
        times = self._delivered.setdefault(kind, deque(maxlen=REMEMBERED))
        times.append(now_us)
        recent = [each for each in times if each > now_us - LATELY_US]
        self._due.pop(kind, None)
        if len(recent) >= KNOWN:
            self._due[kind] = now_us + (now_us - recent[0]) * 3 // (2 * (len(recent) - 1))

    def _completes(self, kind: Kind, now_us: int) -> bool:
        """Whether nothing of what main gives would be missed."""
        return kind is Kind.VIDEO or not self._expected(Kind.VIDEO, now_us)

    def _expected(self, kind: Kind, now_us: int) -> bool:
        due = self._due_us(kind)
        return due is not None and now_us < self._delivered[kind][-1] + LATELY_US

    def _due_us(self, kind: Kind) -> int | None:
        """When the next frame is due; None: none is expected."""
        if not self.live or (kind is Kind.VIDEO and not self.visible):
            return None
        return self._due.get(kind)

    def _ping_us(self) -> int | None:
        """When silence is to be asked about."""
        if self._heard_us is None or self._pinged_us is not None:
            return None
        times = []
        for kind in (Kind.VIDEO, Kind.AUDIO):
            if (due := self._due_us(kind)) is not None:
                ask_us = max(due, self._heard_us + PING_US)
                if ask_us < self._delivered[kind][-1] + LATELY_US:
                    times.append(ask_us)
        return min(times, default=None)

    def _open_us(self) -> int | None:
        """When a spare is to be opened, if there is none."""
        if self._heard_us is None:
            return None
        if self.draining or self.roaming:
            return self._next_open_us
        if self._pinged_us is None:
            return None
        answer_us = self._pinged_us + max(ANSWER_US, min(self.rtt_us * 3 // 2, LONGEST_ANSWER_US))
        silent_us = answer_us if self._changed else max(answer_us, self._heard_us + SILENT_US)
        return max(silent_us, self._next_open_us)

    def _open(self, now_us: int) -> None:
        if self._opened_us is not None and now_us >= self._opened_us + QUIET_US:
            self._attempts = 0
        patience_us = BACKOFF_US[min(self._attempts, len(BACKOFF_US) - 1)]
        self._attempts += 1
        self._spare = _Spare(now_us, patience_us)
        self._opened_us, self._next_open_us = now_us, now_us + patience_us
        self.roaming = not self.draining

    def _switch(self, now_us: int) -> list[Action]:
        assert self._spare is not None
        self._next_open_us = self._spare.opened_us + BACKOFF_US[0]
        self._heard_us, self._pinged_us, self._changed, self._spare = now_us, None, False, None
        self.roaming = self.draining = False
        self._attempts = 0
        self.roams += 1
        kind = Kind.VIDEO if self._delivered.get(Kind.VIDEO) else Kind.AUDIO
        self._gap = (kind, self._delivered[kind][-1]) if self._delivered.get(kind) else None
        return [Action.SWITCH]
