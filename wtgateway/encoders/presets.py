"""How much work an encoder does: x264's words for it, in the numbers of the others.

Imports nothing. A value that is no word of x264 is passed on as it is, so that a preset of the
encoder's own ("12", "p3") can be given too. Zero delay makes the slow half of the words useless.
"""

from __future__ import annotations

from collections.abc import Mapping

SVTAV1: Mapping[str, str] = {
    "ultrafast": "10",  # 11 and 12 miss the bit rate by more than half over a second
    "superfast": "9",
    "veryfast": "8",
    "faster": "8",
    "fast": "7",
    "medium": "6",
}
VP9: Mapping[str, str] = {  # libvpx's cpu-used
    "ultrafast": "8",
    "superfast": "8",
    "veryfast": "7",
    "faster": "7",
    "fast": "6",
    "medium": "5",
}
NVENC: Mapping[str, str] = {
    "ultrafast": "p1",
    "superfast": "p2",
    "veryfast": "p3",
    "faster": "p3",
    "fast": "p4",
    "medium": "p5",
}
QSV: Mapping[str, str] = {  # which has x264's words from here on
    "ultrafast": "veryfast",
    "superfast": "veryfast",
}
