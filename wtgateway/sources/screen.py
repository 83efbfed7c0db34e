"""``x11:``, a screen: captured on damage where that is possible, else polled by x11grab.

May import errors, log's redaction and its sister modules; logs which way was taken.
"""

from __future__ import annotations

import contextlib
import logging

from wtgateway.errors import ConfigError, SourceError
from wtgateway.log import redact_url
from wtgateway.sources.base import Piece, SourceInfo, SourceOptions
from wtgateway.sources.container import ContainerSource
from wtgateway.sources.damage import DamageSource
from wtgateway.sources.uri import grab_plan, parse_screen
from wtgateway.sources.xlib import DisplayWatch, XUnavailable

_log = logging.getLogger(__name__)


class ScreenSource:
    """A Source that decides at opening how the screen is captured."""

    def __init__(self, uri: str, options: SourceOptions) -> None:
        if options.capture not in ("auto", "damage", "poll"):
            raise ConfigError("source", "capture", options.capture, "auto, damage or poll")
        self._region = parse_screen(uri, options)
        if options.capture == "damage" and self._region.cursor:
            raise ConfigError("source", "capture", "damage", "poll where the cursor is to be seen")
        self._way = "poll" if self._region.cursor else options.capture
        self._description = redact_url(uri)
        self._polled = ContainerSource(grab_plan(self._region, uri, options), options)
        self._damage = DamageSource(self._region, self._description) if self._way != "poll" else None
        self._source: ContainerSource | DamageSource | None = None
        self._watch: DisplayWatch | None = None

    def open(self) -> SourceInfo:
        """See Source.open."""
        if self._damage is not None:
            try:
                info = self._damage.open()
                self._source = self._damage
                return info
            except XUnavailable as error:
                if self._way == "damage":
                    raise SourceError(f"{self._description}: no capture on damage: {error}") from error
                _log.warning("%s: %s; polling the screen instead", self._description, error)
        info = self._polled.open()
        self._source = self._polled
        # x11grab goes on with the last picture for ever when its server is gone.
        with contextlib.suppress(XUnavailable):
            self._watch = DisplayWatch(self._region.display)
        return info

    def read(self) -> Piece:
        """See Source.read."""
        if self._source is None:
            raise SourceError(f"{self._description}: it is not open")
        watch = self._watch
        if watch is not None and not watch.alive():
            raise SourceError(f"{self._description}: the X server went away")
        return self._source.read()

    def want_pictures(self, wanted: bool) -> None:
        """See Source.want_pictures; here pictures always come."""

    def want_sound(self, wanted: bool) -> None:
        """See Source.want_sound; here sound always comes, where there is any."""

    def refresh(self) -> None:
        """From any thread: have a picture soon even if the screen stands still."""
        if self._source is self._damage and self._damage is not None:
            self._damage.refresh()

    def close(self) -> None:
        """See Source.close."""
        self._polled.close()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        if self._damage is not None:
            self._damage.close()
