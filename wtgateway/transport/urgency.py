"""In which order media of one viewer leaves: strict classes, the lowest number first. Imports nothing."""

from __future__ import annotations

import enum


class Urgency(enum.IntEnum):
    """A class waits while anything of a lower number can leave.

    RETRANSMISSION is for answers to a viewer's wish to have a datagram again: they hold up all that
    depends on them, as do bytes of a stream that were lost, which keep the class of their stream and go
    before what is new in it. FEC is for what is worth sending only while there is room.
    """

    CONTROL = 0
    AUDIO = 1
    KEYFRAME = 2
    RETRANSMISSION = 3
    DELTA = 4
    FEC = 5
