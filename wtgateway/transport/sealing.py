"""Protecting a batch of 1-RTT packets of one connection at once (RFC 9001, sections 5.3 and 5.4).

Per packet one AEAD call; the header-protection masks of the whole batch come from a single AES-ECB
call, because the mask is the cipher of 16 bytes of each packet's own ciphertext (section 5.4.3). With
ChaCha20 (section 5.4.4) the counter and nonce are in the sample, so there it is one call a packet.

Works on the keys that aioquic derived; names of its private attributes are in
:mod:`wtgateway.transport.internals`. Imports aioquic's types only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aioquic.quic.crypto import CryptoContext

FIRST_BYTE = 0x41  # short header, fixed bit, packet number of two bytes (RFC 9000, section 17.3.1)
PACKET_NUMBER_BYTES = 2
TAG_BYTES = 16
SAMPLE_BYTES = 16
LEAST_PAYLOAD = 4 - PACKET_NUMBER_BYTES  # or there is too little to sample (RFC 9001, section 5.4.2)
_SAMPLE_AT = 4 - PACKET_NUMBER_BYTES  # in the ciphertext: as if the packet number had four bytes
_SAMPLE_END = _SAMPLE_AT + SAMPLE_BYTES
_CHACHA20_ZEROS = bytes(5)


def overhead(cid: bytes) -> int:
    """Bytes of a 1-RTT packet that are not its payload."""
    return 1 + len(cid) + PACKET_NUMBER_BYTES + TAG_BYTES


def masks(protection: Any, samples: bytes) -> bytes:
    """16 bytes of mask for each 16 bytes of ``samples``; only the first five are to be used."""
    update: Callable[[bytes], bytes] = protection._encryptor.update
    if not protection._is_chacha20:
        return update(samples)
    parts = []
    for at in range(0, len(samples), SAMPLE_BYTES):
        protection._encryptor.reset_nonce(samples[at : at + SAMPLE_BYTES])
        parts.append(update(_CHACHA20_ZEROS) + bytes(SAMPLE_BYTES - len(_CHACHA20_ZEROS)))
    return b"".join(parts)


class Sealer:
    """Protects packets with the keys as they are now; to be made anew when they change."""

    __slots__ = ("_encrypt", "_iv", "_phase", "_protection")

    def __init__(self, keys: CryptoContext) -> None:
        aead: Any = keys.aead
        self._encrypt: Callable[[bytes, bytes, bytes], bytes] = aead._aead.encrypt
        self._iv: int = aead._iv
        self._phase = keys.key_phase << 2
        self._protection = keys.hp

    def seal(self, cid: bytes, spin: bool, packet_number: int, payloads: Sequence[bytes]) -> list[bytes]:
        """Whole packets for ``payloads`` (frames, at least LEAST_PAYLOAD bytes each), numbered on.

        ``cid`` is the destination connection ID. The caller answers for never using a number twice.
        """
        encrypt, iv = self._encrypt, self._iv
        length = 1 + len(cid) + PACKET_NUMBER_BYTES
        first = FIRST_BYTE | spin << 5 | self._phase
        bare = int.from_bytes(bytes((first,)) + cid, "big") << 16  # the header but for the packet number
        headers = [bare | number & 0xFFFF for number in range(packet_number, packet_number + len(payloads))]
        nonce = iv ^ packet_number
        sealed = []
        for payload, header in zip(payloads, headers, strict=True):
            sealed.append(encrypt(nonce.to_bytes(12, "big"), payload, header.to_bytes(length, "big")))
            packet_number += 1
            nonce = iv ^ packet_number
        samples = b"".join([ciphertext[_SAMPLE_AT:_SAMPLE_END] for ciphertext in sealed])
        mask = masks(self._protection, samples)
        shift = 8 * (length - 1)
        # The mask covers five bits of the first byte and the packet number, the rest is in the clear.
        return [
            (header ^ (mask[at] & 0x1F) << shift ^ mask[at + 1] << 8 ^ mask[at + 2]).to_bytes(length, "big")
            + ciphertext
            for header, ciphertext, at in zip(headers, sealed, range(0, len(mask), SAMPLE_BYTES), strict=True)
        ]
