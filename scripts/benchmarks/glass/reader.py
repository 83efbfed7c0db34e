"""Reads the barcode's row from the screen the browser is on, each time the screen is drawn to."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from scripts.benchmarks.glass.barcode import BLOCKS, painted_ms
from scripts.support.x11 import Display

_WHITE = 382  # half of three channels of 255


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Where the picture is on the screen, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A barcode that was not there at the look before. ``painted_ms`` None: unreadable."""

    at_ms: float
    painted_ms: int | None


class Reader(threading.Thread):
    """Collects sightings from :meth:`start` until :meth:`finish`. ``strip_rows`` of 720 are barcode."""

    def __init__(self, display: str, picture: Rectangle, strip_share: float = 40 / 720) -> None:
        super().__init__(daemon=True, name="glass reader")
        self._display = Display(display)
        self._row = self._display.image(int(picture.width), 1)
        self._at = (int(picture.x), int(picture.y + picture.height * strip_share / 2))
        self._columns = ((np.arange(BLOCKS) + 0.5) * picture.width / BLOCKS).astype(int)
        self._over = threading.Event()
        self.sightings: list[Sighting] = []
        self._display.watch()

    def run(self) -> None:
        """The thread: nothing is computed while the screen stands still."""
        last = b""
        while not self._over.is_set():
            if not self._display.wait(0.1):
                continue
            self._display.get(self._row, *self._at)
            now_ms = time.time() * 1000
            bits = self._row.pixels[0, self._columns, :3].sum(1, dtype=int) > _WHITE
            if (key := bits.tobytes()) != last:
                last = key
                self.sightings.append(Sighting(now_ms, painted_ms(list(bits), now_ms)))

    def finish(self) -> list[Sighting]:
        """Stop and return what was seen."""
        self._over.set()
        self.join()
        self._display.close()
        return self.sightings
