"""What a service manager is told: sd_notify(3), as datagrams to the socket that ``NOTIFY_SOCKET`` names.

Nobody listens, or not any more: then nothing is said, and nothing goes wrong. Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger("wtgateway")

MAX_STATUS = 200
MIN_WATCHDOG_S = 0.01


class Notifier:
    """``address``: a path, or a name of the abstract namespace behind ``@``; empty: there is no manager.

    ``watchdog_s``: it is told so often, at least, that all is well; 0: it does not ask for that.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s
        self._address: str | bytes = address
        if address.startswith("@"):
            self._address = b"\0" + os.fsencode(address[1:])
        elif not address.startswith("/"):
            self._address = ""  # vsock, or nonsense
        self._socket: socket.socket | None = None
        self._status = ""
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Notifier:
        """The manager of process ``pid``, as it has named itself; its variables are taken out.

        So no process that is started from here can speak in this one's name.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, of = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        asked = usec.isascii() and usec.isdecimal() and of in ("", str(pid))
        seconds = int(usec) / 1e6 if asked else 0.0
        return cls(address, seconds if seconds >= MIN_WATCHDOG_S else 0.0)

    @property
    def listens(self) -> bool:
        """Whether there is a manager to be told."""
        return self._socket is not None

    def ready(self) -> None:
        """Viewers are served, or a reload is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; :meth:`ready` follows. With the time, for ``notify-reload``."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """All is well."""
        self._send("WATCHDOG=1")

    def status(self, words: str) -> None:
        """How it is, for ``systemctl status``; the same again is not sent."""
        if words != self._status:
            self._status = words
            line = "".join(sign if sign.isprintable() else " " for sign in words)[:MAX_STATUS]
            self._send(f"STATUS={line}")

    def close(self) -> None:
        """Say nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # full, or gone: a gateway does not depend on who watches it
            self._socket.sendto("\n".join(assignments).encode(), self._address)
