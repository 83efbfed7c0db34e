"""Address validation without state: Retry packets and the tokens in them (RFC 9000 section 8.1).

A token says which address asked, under which connection IDs, and when, sealed with AES-128-GCM under a
key that nobody else has. aioquic's handler for such tokens has one key, made in the process: what one
worker gave out no other could read. Here the keys come from a secret that workers and nodes may share, a
new one each hour of wall-clock time, so that nothing has to be told around; a token names its hour in its
first byte. Layout: key id (1) | nonce (12) | sealed: address (16) port (2) time in ms (8) length (1)
original destination connection ID, Retry source connection ID | tag (16).

Pure: ``now`` is the wall clock's time in s, randomness an argument. Imports aioquic and cryptography.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LIFETIME_S = 10.0  # a client answers a Retry at once (RFC 9000, section 8.1.4); flights may be lost, though
CLOCK_SKEW_S = 2.0  # how far the clocks of those that share a secret may be apart
ROTATION_S = 3600
SECRET_BYTES = 32

_NONCE_BYTES, _TAG_BYTES = 12, 16
_FIXED = struct.Struct("!16sHQB")
_HEAD_BYTES = 1 + _NONCE_BYTES
_LEAST_BYTES = _HEAD_BYTES + _FIXED.size + _TAG_BYTES
_MOST_BYTES = _LEAST_BYTES + 2 * 20
_MAPPED = bytes(10) + b"\xff\xff"


class ForeignToken(Exception):
    """Not one of ours, or from a key long gone: as good as no token (RFC 9000, section 8.1.3)."""


class StaleToken(Exception):
    """Ours, but too old, or for another address or connection (RFC 9000, section 8.1.2)."""


def packed_address(address: tuple[Any, ...]) -> bytes:
    """16 bytes for the host of a socket address; IPv4 as IPv6 writes it (``::ffff:192.0.2.1``)."""
    host = str(address[0])
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return _MAPPED + socket.inet_pton(socket.AF_INET, host)


class RetryTokens:
    """Seals tokens and opens them again. ``secret``: shared by all that shall read each other's."""

    def __init__(self, secret: bytes, *, random: Callable[[int], bytes] = os.urandom) -> None:
        if len(secret) < SECRET_BYTES:
            raise ValueError(f"a secret of {SECRET_BYTES} bytes is needed")
        self._secret, self._random = secret, random
        self._keys: dict[int, AESGCM] = {}

    def seal(self, address: tuple[Any, ...], original_cid: bytes, source_cid: bytes, now: float) -> bytes:
        """A token for the client at ``address`` that sent its Initial to ``original_cid``."""
        period = int(now // ROTATION_S)
        head = bytes((period & 0xFF,)) + self._random(_NONCE_BYTES)
        fixed = _FIXED.pack(packed_address(address), address[1], int(now * 1000), len(original_cid))
        return head + self._key(period).encrypt(head[1:], fixed + original_cid + source_cid, head[:1])

    def open(self, token: bytes, address: tuple[Any, ...], destination_cid: bytes, now: float) -> bytes:
        """The original destination connection ID of a client that sends ``token`` to ``destination_cid``.

        Raises ForeignToken or StaleToken.
        """
        fixed, cids = self._unseal(token, now)
        packed, port, issued_ms, length = fixed
        age = now - issued_ms / 1000
        if (packed, port) != (packed_address(address), address[1]) or cids[length:] != destination_cid:
            raise StaleToken("for another address or connection ID")
        if not -CLOCK_SKEW_S <= age <= LIFETIME_S:
            raise StaleToken("too old")
        return cids[:length]

    def _unseal(self, token: bytes, now: float) -> tuple[tuple[bytes, int, int, int], bytes]:
        period = self._period(token[0], now) if _LEAST_BYTES <= len(token) <= _MOST_BYTES else None
        if period is None:
            raise ForeignToken
        try:
            plain = self._key(period).decrypt(token[1:_HEAD_BYTES], token[_HEAD_BYTES:], token[:1])
        except InvalidTag:
            raise ForeignToken from None
        return _FIXED.unpack_from(plain), plain[_FIXED.size :]

    @staticmethod
    def _period(key_id: int, now: float) -> int | None:
        """The hour that a key id means: this one, or a neighbour across whose border a token came."""
        earliest = int((now - LIFETIME_S) // ROTATION_S)
        latest = int((now + CLOCK_SKEW_S) // ROTATION_S)
        return next((p for p in range(earliest, latest + 1) if p & 0xFF == key_id), None)

    def _key(self, period: int) -> AESGCM:
        key = self._keys.get(period)
        if key is None:
            for old in [known for known in self._keys if abs(known - period) > 1]:
                del self._keys[old]
            label = b"wtgateway retry token" + period.to_bytes(8, "big", signed=True)
            key = self._keys[period] = AESGCM(hmac.digest(self._secret, label, "sha256")[:16])
        return key


def encode_invalid_token(*, version: int, source_cid: bytes, destination_cid: bytes) -> bytes:
    """An Initial that closes with INVALID_TOKEN (RFC 9000, section 8.1.2); see :func:`encode_refusal`."""
    return encode_refusal(
        QuicErrorCode.INVALID_TOKEN, version=version, source_cid=source_cid, destination_cid=destination_cid
    )


def encode_refusal(error: int, *, version: int, source_cid: bytes, destination_cid: bytes) -> bytes:
    """An Initial that closes with ``error``, for the client at ``destination_cid``, kept in no memory.

    ``source_cid`` is the connection ID that the client's Initial was sent to: its keys come from that.
    """
    crypto = CryptoPair()
    crypto.setup_initial(cid=source_cid, is_client=False, version=version)
    builder = QuicPacketBuilder(
        host_cid=source_cid,
        peer_cid=destination_cid,
        version=version,
        is_client=False,
        max_datagram_size=1200,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=16)
    frame.push_uint_var(error)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    ((datagram, *_), _) = builder.flush()
    return datagram
