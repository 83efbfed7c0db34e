"""Packet protection of 1-RTT packets (RFC 9001 section 5), both directions, with key update.

Taken over from an aioquic connection whose handshake is done. Header protection works on many samples
at once: AES in ECB mode has no state between blocks.
"""

from __future__ import annotations

from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoContext, derive_key_iv_hp, next_key_phase
from aioquic.tls import CipherSuite, Epoch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TAG_BYTES = 16
SAMPLE_BYTES = 16
# As Chromium offers them; ChaCha20 is left out, whose header protection has no batches.
CIPHER_SUITES = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384]


class Direction:
    """Keys of one direction and the next ones."""

    def __init__(self, context: CryptoContext) -> None:
        self._context = context
        self._masks = self._header_protection()
        self._load()

    def _header_protection(self) -> CipherContext:
        context = self._context
        assert context.cipher_suite is not None and context.secret is not None
        assert context.version is not None
        if context.cipher_suite not in CIPHER_SUITES:
            raise ValueError(f"no receive path for {context.cipher_suite.name}")
        _, _, key = derive_key_iv_hp(
            cipher_suite=context.cipher_suite, secret=context.secret, version=context.version
        )
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor()

    def _load(self) -> None:
        context = self._context
        assert context.cipher_suite is not None and context.secret is not None
        assert context.version is not None
        key, iv, _ = derive_key_iv_hp(
            cipher_suite=context.cipher_suite, secret=context.secret, version=context.version
        )
        self._aead = AESGCM(key)
        self._iv = int.from_bytes(iv, "big")
        self.phase = context.key_phase

    def masks(self, samples: bytes) -> bytes:
        """16 bytes of mask, of which 5 are used, for each sample of 16 bytes."""
        return self._masks.update(samples)

    def open(self, number: int, header: bytes, sealed: bytes) -> bytes | None:
        """The plaintext; None when it was not sealed with these keys."""
        try:
            return self._aead.decrypt((self._iv ^ number).to_bytes(12, "big"), sealed, header)
        except InvalidTag:
            return None

    def seal(self, number: int, header: bytes, plain: bytes) -> bytes:
        """Ciphertext and tag."""
        return self._aead.encrypt((self._iv ^ number).to_bytes(12, "big"), plain, header)

    def next(self) -> Direction:
        """The keys after an update (RFC 9001 section 6); header protection stays."""
        following = Direction.__new__(Direction)
        following._context = next_key_phase(self._context)
        following._masks = self._masks
        following._load()
        return following


def take_keys(quic: QuicConnection) -> tuple[Direction, Direction]:
    """Receiving and sending keys of an aioquic connection."""
    pair = quic._cryptos[Epoch.ONE_RTT]
    return Direction(pair.recv), Direction(pair.send)
