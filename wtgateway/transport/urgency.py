"""In which order media of one viewer leaves: strict classes, the lowest number first. Imports nothing."""

from __future__ import annotations

import enum


class Urgency(enum.IntEnum):
    """A class waits while anything of a lower number can leave.

    RETRANSMISSION is for answers to a viewer's wish to have a datagram again. Bytes of a stream that
    were lost keep the class of their stream and go before what is new in it: they hold up all that
    depends on them.
    """

    CONTROL = 0
    AUDIO = 1
    KEYFRAME = 2
    DELTA = 3
    RETRANSMISSION = 4
    FEC = 5
