"""Several sockets on one UDP port, each datagram steered to one of them by its connection ID.

The kernel runs a classic BPF program over each datagram and takes its result for the number of the
socket in the group (``SO_ATTACH_REUSEPORT_CBPF``, socket(7)): a function of the destination connection ID
(:class:`Rule`), which begins at byte 1 behind a short header (RFC 9000, section 17.3) and at byte 6 behind a
long one, its length before it (section 17.2). So a connection stays where it is when its peer's address
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
from dataclasses import dataclass, field
from typing import Any

from wtgateway.errors import TransportError
from wtgateway.transport import internals

log = logging.getLogger("wtgateway.transport")

_SO_ATTACH_REUSEPORT_CBPF = 51

# Classic BPF (linux/bpf_common.h): (operation, jump if true, jump if false, constant). A is the accumulator,
# X the other register; all is modulo 2**32, as in Rule.
Instruction = tuple[int, int, int, int]
_LOAD_BYTE, _LOAD_WORD, _COPY_TO_X = 0x30, 0x20, 0x07
_MULTIPLY, _MODULO, _SHIFT_RIGHT, _XOR_X = 0x24, 0x94, 0x74, 0xAC
_JUMP_IF_SET, _JUMP_IF_EQUAL, _RETURN = 0x45, 0x15, 0x16
_LONG_HEADER = 0x80
_SHORT_CID_AT, _LONG_CID_AT = 1, 6
_SHIFT = 15


@dataclass(frozen=True, slots=True)
class Rule:
    """Which of ``workers`` a destination connection ID leads to.

    Without ``factors``: its first octet, modulo their number. With them (QUIC-LB, whose first octet is taken)
    an ID of ``cid_bytes`` that we issued has its worker in the last one, under a mask that is mixed from the
    four octets before it: two IDs of one worker must not look related (draft-ietf-quic-load-balancers-21,
    section 5.4), and whoever does not know the factors, which are odd and secret, sees random octets. What a
    client chose itself, of another length, is steered by its first octet.
    """

    workers: int
    cid_bytes: int = 8
    factors: tuple[int, int] | None = field(default=None, repr=False)

    def worker_of(self, cid: bytes) -> int:
        """The worker; 0 for an empty ID, as in the kernel."""
        if self.factors is None or len(cid) != self.cid_bytes:
            return cid[0] % self.workers if cid else 0
        return (cid[-1] ^ self.mask(cid)) % self.workers

    def mask(self, cid: bytes | bytearray) -> int:
        """What the last octet of an ID of ours lies under."""
        assert self.factors is not None
        mixed = int.from_bytes(cid[-5:-1], "big") * self.factors[0] & 0xFFFFFFFF
        return (mixed ^ mixed >> _SHIFT) * self.factors[1] >> 24 & 0xFF


def program(rule: Rule) -> list[Instruction]:
    """The steering program for a group of ``rule.workers`` sockets.

    A datagram that is too short for what is read ends the program with 0: socket 0 drops it.
    """
    if rule.factors is None:
        short = _by_octet(rule, _SHORT_CID_AT)
        return [*_choose(_JUMP_IF_SET, 0, _LONG_HEADER, len(short)), *short, *_by_octet(rule, _LONG_CID_AT)]
    short, ours = (_by_masked(rule, at + rule.cid_bytes - 1) for at in (_SHORT_CID_AT, _LONG_CID_AT))
    theirs = _by_octet(rule, _LONG_CID_AT)
    return [
        *_choose(_JUMP_IF_SET, 0, _LONG_HEADER, len(short)),
        *short,
        *_choose(_JUMP_IF_EQUAL, _LONG_CID_AT - 1, rule.cid_bytes, len(theirs)),
        *theirs,
        *ours,
    ]


def _choose(comparison: int, at: int, constant: int, skipped: int) -> list[Instruction]:
    """Skip so many instructions if the comparison of the byte at ``at`` holds."""
    return [(_LOAD_BYTE, 0, 0, at), (comparison, skipped, 0, constant)]


def _by_octet(rule: Rule, at: int) -> list[Instruction]:
    return [(_LOAD_BYTE, 0, 0, at), (_MODULO, 0, 0, rule.workers), (_RETURN, 0, 0, 0)]


def _by_masked(rule: Rule, at: int) -> list[Instruction]:
    """:meth:`Rule.worker_of` for an ID whose last octet is the datagram's byte ``at``."""
    assert rule.factors is not None
    return [
        (_LOAD_WORD, 0, 0, at - 4),
        (_MULTIPLY, 0, 0, rule.factors[0]),
        (_COPY_TO_X, 0, 0, 0),
        (_SHIFT_RIGHT, 0, 0, _SHIFT),
        (_XOR_X, 0, 0, 0),
        (_MULTIPLY, 0, 0, rule.factors[1]),
        (_SHIFT_RIGHT, 0, 0, 24),
        (_COPY_TO_X, 0, 0, 0),
        (_LOAD_BYTE, 0, 0, at),
        (_XOR_X, 0, 0, 0),
        (_MODULO, 0, 0, rule.workers),
        (_RETURN, 0, 0, 0),
    ]


def attach(sock: socket.socket, rule: Rule) -> None:
    """Have the kernel steer the whole group of ``sock``. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program(rule))
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
        for sock in _bind_group(socket.AF_INET, ("127.0.0.1", 0), Rule(2)):
            sock.close()
    except OSError as error:
        return f"the kernel refuses to steer datagrams ({error.strerror or error})"
    return ""


def bind_groups(addresses: Sequence[tuple[int, tuple[Any, ...]]], rule: Rule) -> list[list[socket.socket]]:
    """For each (family, address) a group of sockets steered by ``rule``, all on one port, also for port 0.

    Raises OSError, also when any other program has the port, be it another gateway that would share it.
    """
    groups: list[list[socket.socket]] = []
    try:
        for family, address in addresses:
            if groups:
                address = (address[0], groups[0][0].getsockname()[1], *address[2:])
            groups.append(_bind_group(family, address, rule))
    except BaseException:
        close_groups(groups)
        raise
    return groups


def close_groups(groups: Sequence[Sequence[socket.socket]]) -> None:
    """Close all sockets."""
    for group in groups:
        for sock in group:
            sock.close()


def _bind_group(family: int, address: tuple[Any, ...], rule: Rule) -> list[socket.socket]:
    group: list[socket.socket] = []
    try:
        for number in range(rule.workers):
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
        attach(group[0], rule)
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
