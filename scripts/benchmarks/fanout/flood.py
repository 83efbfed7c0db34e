"""Program: forged Initials, so many a second, from many addresses, each with a connection ID of its own.

Each is sealed with the keys that anybody can derive from its connection ID (RFC 9001 section 5.2). Every
other one holds a real ClientHello, which a server that believes it answers with a whole flight; the rest
holds a CRYPTO frame of random bytes. Answers are never read.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sys
import time

from aioquic._buffer import Buffer
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, encode_long_header_first_byte

from scripts.benchmarks.fanout import proc
from scripts.benchmarks.fanout.quicframes import encode_varint
from scripts.benchmarks.fanout.viewer import client_connection

INITIAL_BYTES = 1200
ADDRESSES = 250
_NUMBER_BYTES = 2
_TAG_BYTES = 16
_GARBAGE_BYTES = 300
_VERSION = QuicProtocolVersion.VERSION_1


def client_hello() -> tuple[bytes, bytes]:
    """The frames of a real client's first Initial, and the source connection ID that they name."""
    quic = client_connection(1472)
    quic.connect(("127.0.0.1", 1), now=0.0)
    datagram = quic.datagrams_to_send(now=0.0)[0][0]
    buffer = Buffer(data=datagram)  # RFC 9000 section 17.2.2
    buffer.pull_bytes(5)
    destination = buffer.pull_bytes(buffer.pull_uint8())
    source = buffer.pull_bytes(buffer.pull_uint8())
    buffer.pull_bytes(buffer.pull_uint_var())  # token
    length = buffer.pull_uint_var()
    keys = CryptoPair()
    keys.setup_initial(cid=destination, is_client=False, version=_VERSION)
    _, plain, _ = keys.decrypt_packet(datagram[: buffer.tell() + length], buffer.tell(), 0)
    return plain, source


def initial(destination: bytes, source: bytes, plain: bytes) -> bytes:
    """A client's Initial of exactly ``INITIAL_BYTES``, sealed with its connection ID's keys."""
    keys = CryptoPair()
    keys.setup_initial(cid=destination, is_client=True, version=_VERSION)
    before = (
        bytes([encode_long_header_first_byte(_VERSION, QuicPacketType.INITIAL, _NUMBER_BYTES - 1)])
        + int(_VERSION).to_bytes(4, "big")
        + bytes([len(destination)])
        + destination
        + bytes([len(source)])
        + source
        + b"\0"  # no token
    )
    length = INITIAL_BYTES - len(before) - 2
    header = before + (0x4000 | length).to_bytes(2, "big") + bytes(_NUMBER_BYTES)
    padded = plain.ljust(length - _NUMBER_BYTES - _TAG_BYTES, b"\0")
    return keys.encrypt_packet(header, padded, 0)


def garbage(randomness: random.Random) -> bytes:
    """A CRYPTO frame of random bytes."""
    return b"\x06\x00" + encode_varint(_GARBAGE_BYTES) + randomness.randbytes(_GARBAGE_BYTES)


class Flood:
    """Sockets, and packets in an endless row of which no two are alike."""

    def __init__(self, port: int, rate: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._hello, self._source = client_hello()
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(ADDRESSES)]
        for number, each in enumerate(self._sockets):
            each.bind((f"127.1.0.{number}", 0))  # all of 127.0.0.0/8 is ours
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            each.connect(("127.0.0.1", port))
        self.sent = 0
        self.refused = 0
        self._made = 0

    def make(self) -> bytes:
        """The next one."""
        self._made += 1
        plain = self._hello if self._made & 1 else garbage(self._random)
        return initial(self._random.randbytes(8), self._source, plain)

    def run(self, prepared: list[bytes]) -> None:
        """Send at the rate, for ever: what was prepared first, then what is made on the way."""
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * self._rate)
            while self.sent < due:
                datagram = prepared.pop() if prepared else self.make()
                try:
                    self._sockets[self.sent % ADDRESSES].send(datagram)
                except OSError:
                    self.refused += 1
                self.sent += 1
            time.sleep(0.001)


def main() -> None:
    """Flood until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=10.0, help="so much is prepared beforehand")
    parser.add_argument("--core", type=int, default=1)
    chosen = parser.parse_args()
    proc.pin(chosen.core)
    flood = Flood(chosen.port, chosen.rate, int.from_bytes(os.urandom(4), "big"))
    prepared = [flood.make() for _ in range(int(chosen.rate * chosen.seconds))]

    def end(*_: object) -> None:
        print(f"sent {flood.sent} refused {flood.refused}", flush=True)
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    print("flooding", flush=True)
    flood.run(prepared)


if __name__ == "__main__":
    main()
