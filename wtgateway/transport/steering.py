"""Several sockets on one UDP port, each datagram steered to one of them by its connection ID.

The kernel runs a classic BPF program over each datagram and takes its result for the number of the
socket in the group (``SO_ATTACH_REUSEPORT_CBPF``, socket(7)): the first byte of the destination
connection ID modulo the number of sockets, which is byte 1 behind a short header (RFC 9000, section 17.3)
and byte 6 behind a long one (section 17.2). So a connection stays where it is when its peer's address
changes, and when a worker dies: as long as one process holds all the sockets, none changes its number.
Linux only. Imports errors and this package.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

from wtgateway.errors import TransportError
from wtgateway.transport import internals

log = logging.getLogger("wtgateway.transport")

_SO_ATTACH_REUSEPORT_CBPF = 51

# Classic BPF (linux/bpf_common.h): (operation, jump if true, jump if false, constant)
_LOAD_BYTE, _JUMP, _JUMP_IF_SET, _MODULO, _RETURN = 0x30, 0x05, 0x45, 0x94, 0x16
_LONG_HEADER = 0x80
_SHORT_CID_AT, _LONG_CID_AT = 1, 6


def program(sockets: int) -> list[tuple[int, int, int, int]]:
    """The steering program for a group of ``sockets``.

    A datagram that is too short for its byte ends the program with 0: socket 0 drops it.
    """
    return [
        (_LOAD_BYTE, 0, 0, 0),
        (_JUMP_IF_SET, 0, 2, _LONG_HEADER),
        (_LOAD_BYTE, 0, 0, _LONG_CID_AT),
        (_JUMP, 0, 0, 1),
        (_LOAD_BYTE, 0, 0, _SHORT_CID_AT),
        (_MODULO, 0, 0, sockets),
        (_RETURN, 0, 0, 0),
    ]


def attach(sock: socket.socket, sockets: int) -> None:
    """Have the kernel steer the whole group of ``sock``. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program(sockets))
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: the number of instructions and where they are
    filled = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filled)


def why_not() -> str:
    """Why this system cannot steer, in words; empty: it can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no SO_ATTACH_REUSEPORT_CBPF"
    if not internals.COMPLETE:
        return "this version of aioquic does not let its connection IDs be chosen"
    try:
        for sock in _bind_group(socket.AF_INET, ("127.0.0.1", 0), 2):
            sock.close()
    except OSError as error:
        return f"the kernel refuses to steer datagrams ({error.strerror or error})"
    return ""


def bind_groups(addresses: Sequence[tuple[int, tuple[Any, ...]]], sockets: int) -> list[list[socket.socket]]:
    """For each (family, address) a steered group of ``sockets``, all on one port, also for port 0.

    Raises OSError, also when any other program has the port, be it another gateway that would share it.
    """
    groups: list[list[socket.socket]] = []
    try:
        for family, address in addresses:
            if groups:
                address = (address[0], groups[0][0].getsockname()[1], *address[2:])
            groups.append(_bind_group(family, address, sockets))
    except BaseException:
        close_groups(groups)
        raise
    return groups


def close_groups(groups: Sequence[Sequence[socket.socket]]) -> None:
    """Close all sockets."""
    for group in groups:
        for sock in group:
            sock.close()


def _bind_group(family: int, address: tuple[Any, ...], sockets: int) -> list[socket.socket]:
    group: list[socket.socket] = []
    try:
        for number in range(sockets):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            group.append(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
            if number:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind((address[0], group[0].getsockname()[1], *address[2:]))
            else:
                # The first one binds for itself alone: it fails where the port is in use, even by a group.
                sock.bind(address)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        attach(group[0], sockets)
    except BaseException:
        close_groups([group])
        raise
    return group


def unusable(host: str, port: int, error: OSError) -> TransportError:
    """What a user is told when the UDP port cannot be had."""
    return TransportError(
        f"UDP port {port} of {host} cannot be used ({error.strerror or error}): "
        "stop what holds it or choose another with --bind"
    )
