"""QUIC packets as bytes: keys, header protection and headers after RFC 9001, RFC 9369 and RFC 9000.

The second opinion on every packet of these tests: derived from the logged TLS secrets with
``cryptography`` alone, sharing nothing with aioquic or wtgateway.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.transport.equivalence.frames import Reader

VERSION_1, VERSION_2 = 0x00000001, 0x6B3343CF
AES_128, AES_256, CHACHA20 = 0x1301, 0x1302, 0x1303  # TLS cipher suites (RFC 8446 section B.4)
TAG_BYTES = 16
SAMPLE_BYTES = 16
_SALTS = {
    VERSION_1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    VERSION_2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
_PREFIX = {VERSION_1: b"quic ", VERSION_2: b"quicv2 "}


class PacketError(ValueError):
    """Bytes that are no packet that these keys can open."""


class Kind(IntEnum):
    """Packet types, with the numbers of QUIC version 1; a short header's is our own."""

    INITIAL = 0
    ZERO_RTT = 1
    HANDSHAKE = 2
    RETRY = 3
    ONE_RTT = 4


def _hash(suite: int) -> hashes.HashAlgorithm:
    return hashes.SHA384() if suite == AES_256 else hashes.SHA256()


def expand_label(suite: int, secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label without context (RFC 8446 section 7.1)."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return HKDFExpand(_hash(suite), size, info).derive(secret)


def initial_secret(cid: bytes, version: int, *, client: bool) -> bytes:
    """The Initial secret of one side, from the client's first destination connection ID."""
    extract = hmac.HMAC(_SALTS[version], hashes.SHA256())
    extract.update(cid)
    return expand_label(AES_128, extract.finalize(), b"client in" if client else b"server in", 32)


class HeaderMask:
    """Header protection of one direction (RFC 9001 section 5.4); survives key updates."""

    def __init__(self, suite: int, secret: bytes, version: int) -> None:
        size = 16 if suite == AES_128 else 32
        self._key = expand_label(suite, secret, _PREFIX[version] + b"hp", size)
        self._suite = suite

    def mask(self, sample: bytes) -> bytes:
        """Five bytes."""
        if self._suite == CHACHA20:
            stream = Cipher(algorithms.ChaCha20(self._key, sample), None).encryptor()
            return stream.update(bytes(5))
        return Cipher(algorithms.AES(self._key), modes.ECB()).encryptor().update(sample)[:5]


class PacketKey:
    """The AEAD key of one direction and key phase (RFC 9001 section 5.3)."""

    def __init__(self, suite: int, secret: bytes, version: int) -> None:
        self.suite, self.secret, self.version = suite, secret, version
        prefix = _PREFIX[version]
        self.key = expand_label(suite, secret, prefix + b"key", 16 if suite == AES_128 else 32)
        self._iv = int.from_bytes(expand_label(suite, secret, prefix + b"iv", 12), "big")
        self._aead = ChaCha20Poly1305(self.key) if suite == CHACHA20 else AESGCM(self.key)

    def nonce(self, number: int) -> bytes:
        return (self._iv ^ number).to_bytes(12, "big")

    def open(self, header: bytes, number: int, sealed: bytes) -> bytes:
        """The payload; raises PacketError if this is not its key."""
        try:
            return self._aead.decrypt(self.nonce(number), sealed, header)
        except InvalidTag:
            raise PacketError("authentication failed") from None

    def seal(self, header: bytes, number: int, payload: bytes) -> bytes:
        return self._aead.encrypt(self.nonce(number), payload, header)

    @functools.cached_property
    def next(self) -> PacketKey:
        """The key after an update (RFC 9001 section 6.1)."""
        size = _hash(self.suite).digest_size
        label = _PREFIX[self.version] + b"ku"
        return PacketKey(self.suite, expand_label(self.suite, self.secret, label, size), self.version)


@dataclass(frozen=True, slots=True)
class Protected:
    """A packet of a datagram before its header protection is removed."""

    kind: Kind
    version: int | None  # None in a short header
    destination: bytes
    source: bytes | None
    token: bytes
    number_at: int  # where in ``data`` the packet number starts
    data: bytes  # the packet, and nothing after it

    def unmask(self, mask: HeaderMask) -> tuple[bytes, int]:
        """Header as it was before protection, and the size of the packet number in bytes."""
        sample = self.data[self.number_at + 4 : self.number_at + 4 + SAMPLE_BYTES]
        if len(sample) < SAMPLE_BYTES:
            raise PacketError("too short to sample (RFC 9001 section 5.4.2)")
        bits = mask.mask(sample)
        first = self.data[0] ^ (bits[0] & (0x1F if self.kind is Kind.ONE_RTT else 0x0F))
        size = (first & 3) + 1
        masked = self.data[self.number_at : self.number_at + size]
        number = bytes(a ^ b for a, b in zip(masked, bits[1:], strict=False))
        return bytes([first]) + self.data[1 : self.number_at] + number, size


def split(datagram: bytes, short_cid_bytes: int) -> Iterator[Protected | bytes]:
    """The packets of a datagram (RFC 9000 section 12.2); bytes for what follows that is no packet."""
    at = 0
    while at < len(datagram):
        if datagram[at] == 0:  # no packet begins so; what is left is the padding of an Initial
            yield datagram[at:]
            return
        packet = _long(datagram, at) if datagram[at] & 0x80 else _short(datagram, at, short_cid_bytes)
        at += len(packet.data)
        yield packet


def _short(datagram: bytes, at: int, cid_bytes: int) -> Protected:
    data = datagram[at:]
    if not data[0] & 0x40:
        raise PacketError("fixed bit is zero")
    return Protected(Kind.ONE_RTT, None, data[1 : 1 + cid_bytes], None, b"", 1 + cid_bytes, data)


def _long(datagram: bytes, at: int) -> Protected:
    reader = Reader(datagram)
    reader.at = at
    first, version = reader.number(1), reader.number(4)
    destination, source = reader.take(reader.number(1)), reader.take(reader.number(1))
    if not first & 0x40:
        raise PacketError("fixed bit is zero")
    bits = (first >> 4) & 3
    kind = Kind((bits - 1) & 3 if version == VERSION_2 else bits)  # RFC 9369 section 3.2
    if kind is Kind.RETRY:
        raise PacketError("Retry has no packet number")
    token = reader.take(reader.varint()) if kind is Kind.INITIAL else b""
    length = reader.varint()
    number_at = reader.at - at
    reader.take(length)
    return Protected(kind, version, destination, source, token, number_at, datagram[at : reader.at])


def expand_number(truncated: int, size: int, largest: int) -> int:
    """The whole packet number, ``largest`` being the greatest one seen (RFC 9000 section A.3)."""
    expected, window = largest + 1, 1 << 8 * size
    candidate = expected & ~(window - 1) | truncated
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


def number_bytes_needed(number: int, largest_acknowledged: int) -> int:
    """The least size that a receiver can expand (RFC 9000 section A.2); -1: nothing was acknowledged."""
    unacknowledged = number - largest_acknowledged
    bits = (unacknowledged - 1).bit_length() + 1  # log2(n) + 1, rounded up
    return (bits + 7) // 8


def seal_short(
    key: PacketKey,
    mask: HeaderMask,
    *,
    destination: bytes,
    number: int,
    payload: bytes,
    phase: int = 0,
    spin: int = 0,
    reserved: int = 0,
    number_bytes: int = 2,
) -> bytes:
    """A 1-RTT packet with any payload, legal or not; short ones are not padded."""
    first = 0x40 | spin << 5 | reserved << 3 | phase << 2 | (number_bytes - 1)
    truncated = (number & ((1 << 8 * number_bytes) - 1)).to_bytes(number_bytes, "big")
    header = bytes([first]) + destination + truncated
    sealed = key.seal(header, number, payload)
    bits = mask.mask(sealed[4 - number_bytes :][:SAMPLE_BYTES])
    number_at = len(header) - number_bytes
    masked = bytes(a ^ b for a, b in zip(header[number_at:], bits[1:], strict=False))
    return bytes([first ^ bits[0] & 0x1F]) + destination + masked + sealed
