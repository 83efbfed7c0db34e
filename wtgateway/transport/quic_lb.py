"""Connection IDs that tell a balancer which server they lead to (draft-ietf-quic-load-balancers-21).

    first octet: 3 bits of rotation codepoint, 5 bits of length - 1 | server ID, nonce | server use

The first octet is always in the clear. With a key, server ID and nonce are one AES block where they have 16
octets (section 5.4.1), and else go through a Feistel network of four rounds (section 5.4.2); both keep the
length. Behind them a server may put octets of its own. Pure; any bytes may be given to
:func:`server_id_of`. The contexts of AES are shared: not for several threads at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from wtgateway.config.balancing_model import UNROUTABLE as UNROUTABLE
from wtgateway.config.balancing_model import LbConfig as LbConfig

MAX_CID_BYTES = 20  # RFC 9000, section 17.2
_BLOCK_BYTES = 16

_Block = Callable[[bytes], bytes]


def encode(
    config: LbConfig, server_id: bytes, nonce: bytes, *, server_use: bytes = b"", low_bits: int = 0
) -> bytes:
    """A connection ID. ``low_bits``: of the first octet, random, where that does not tell the length.

    Raises ValueError for a server ID or nonce of another length than configured, or too long a result.
    """
    if len(server_id) != config.server_id_bytes or len(nonce) != config.nonce_bytes:
        raise ValueError("server ID and nonce have to have the configuration's lengths")
    following = config.plaintext_bytes + len(server_use)
    if following >= MAX_CID_BYTES:
        raise ValueError(f"a connection ID has at most {MAX_CID_BYTES} octets")
    first = config.rotation << 5 | (following if config.encode_length else low_bits & 0x1F)
    return bytes((first,)) + _encrypted(config.key, server_id + nonce) + server_use


def server_id_of(configs: Mapping[int, LbConfig], cid: bytes) -> bytes | None:
    """The server ID in a connection ID; what lies behind (of a short header: the rest of the packet) is
    not looked at.

    ``configs`` by rotation codepoint. None: it cannot be routed by it (section 4.1), for it is too short, or
    of an unknown configuration, such as 0b111. An ID that a client made up gives any server ID.
    """
    config = configs.get(cid[0] >> 5) if cid else None
    if config is None:
        return None
    size, wanted = config.plaintext_bytes, config.server_id_bytes
    block = cid[1 : 1 + size]
    if len(block) < size:
        return None
    if config.key is None:
        return block[:wanted]
    if size == _BLOCK_BYTES:
        return _decryptor(config.key)(block)[:wanted]
    return _unpermuted(_encryptor(config.key), block, wanted)


def permuted(key: bytes, data: bytes) -> bytes:
    """The four rounds of section 5.4.2 alone: a permutation of all strings of 2 to 19 octets.

    Raises ValueError for other lengths.
    """
    size = len(data)
    if not 2 <= size < MAX_CID_BYTES:
        raise ValueError("2 to 19 octets can be permuted")
    aes, number = _encryptor(key), int.from_bytes(data, "big")
    bits, shift = 4 * size, 4 * (size & 1)
    mask = (1 << bits) - 1
    # Halves of an odd number of octets share the middle one: its upper half stands in front, as the last
    # octet's upper half, its lower half behind, as the first one's lower half.
    left, right = number >> bits << shift, number & mask
    right ^= _round(aes, size, 1, left) & mask
    left ^= _round(aes, size, 2, right) & mask << shift
    right ^= _round(aes, size, 3, left) & mask
    left ^= _round(aes, size, 4, right) & mask << shift
    return (left >> shift << bits | right).to_bytes(size, "big")


class Nonces:
    """Nonces of ``size`` octets for part ``part`` of ``parts`` that share a server ID: none is given twice.

    Each part counts through a range of its own, from a random start (section 9.6), so that what begins again
    after a restart meets what was given before as seldom as can be without a memory. All that share the
    server ID have the same ``key``: behind its permutation a counter shows no order, which nonces in the
    clear must not have (section 5.4) and others better have not (section 9.7).
    """

    def __init__(
        self,
        size: int,
        *,
        key: bytes,
        part: int = 0,
        parts: int = 1,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._size, self._key = size, key
        self._range = (1 << 8 * size) // parts
        self._first = part * self._range
        self._next = int.from_bytes(random(size), "big") % self._range
        self.left = self._range

    def take(self) -> bytes | None:
        """The next one; None: all have been given."""
        if not self.left:
            return None
        self.left -= 1
        number = self._first + self._next
        self._next = (self._next + 1) % self._range
        return permuted(self._key, number.to_bytes(self._size, "big"))


def _encrypted(key: bytes | None, plaintext: bytes) -> bytes:
    if key is None:
        return plaintext
    return _encryptor(key)(plaintext) if len(plaintext) == _BLOCK_BYTES else permuted(key, plaintext)


def _unpermuted(aes: _Block, data: bytes, wanted: int) -> bytes:
    """The first ``wanted`` octets of what was permuted: three rounds do where the left half has them all."""
    size = len(data)
    number = int.from_bytes(data, "big")
    bits, shift = 4 * size, 4 * (size & 1)
    mask = (1 << bits) - 1
    left, right = number >> bits << shift, number & mask
    left ^= _round(aes, size, 4, right) & mask << shift
    right ^= _round(aes, size, 3, left) & mask
    left ^= _round(aes, size, 2, right) & mask << shift
    if 8 * wanted > bits:
        right ^= _round(aes, size, 1, left) & mask
    return (left >> shift << bits | right).to_bytes(size, "big")[:wanted]


def _round(aes: _Block, size: int, number: int, half: int) -> int:
    """``expand`` (half, zeros, size, number of the round), AES, ``truncate`` (section 5.4.2.2)."""
    octets = (size + 1) >> 1
    block = half << 8 * (_BLOCK_BYTES - octets) | size << 8 | number
    return int.from_bytes(aes(block.to_bytes(_BLOCK_BYTES, "big"))[:octets], "big")


@lru_cache(maxsize=16)
def _encryptor(key: bytes) -> _Block:
    """ECB has no state between blocks: one context does for all (0.5 us a block instead of 10)."""
    return Cipher(AES(key), ECB()).encryptor().update  # noqa: S305 - as the draft has it


@lru_cache(maxsize=16)
def _decryptor(key: bytes) -> _Block:
    return Cipher(AES(key), ECB()).decryptor().update  # noqa: S305
