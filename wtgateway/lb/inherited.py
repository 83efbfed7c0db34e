"""Sockets that a service manager has opened before us (sd_listen_fds(3)): the port outlives the process.

While nobody has a UDP port, its host refuses datagrams by ICMP, and some clients then give their connection
up. A port that systemd keeps open queues them instead until the next process takes it over.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from wtgateway.errors import ConfigError

_FIRST = 3


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The UDP sockets meant for this process, none mostly. Raises ConfigError for other kinds."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    text = environ.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:4]) <= 64):
        raise ConfigError("environment", "LISTEN_FDS", text, "the number of sockets passed, 1 to 64")
    return [_udp(_FIRST + number) for number in range(int(text))]


def _udp(number: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        reason = f"a socket ({error.strerror})"
        raise ConfigError("environment", "LISTEN_FDS", f"descriptor {number}", reason) from None
    if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        sock.close()
        raise ConfigError(
            "environment", "LISTEN_FDS", f"descriptor {number}", "a UDP socket (ListenDatagram=)"
        )
    os.set_inheritable(number, False)
    return sock
