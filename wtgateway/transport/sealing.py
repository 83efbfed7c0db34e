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
_SAMPLE_AT = 4 - PACKET_NUMBER_BYTES  # in the ciphertext: as if the packet number had four bytes
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


def seal(
    keys: CryptoContext, cid: bytes, spin: bool, packet_number: int, payloads: Sequence[bytes]
) -> list[bytes]:
    """Whole packets for ``payloads`` (frames, at least 2 bytes each), numbered from ``packet_number``.

    ``cid`` is the destination connection ID. The caller answers for never using a number twice.
    """
    aead: Any = keys.aead
    encrypt, iv = aead._aead.encrypt, aead._iv
    prefix = bytes((FIRST_BYTE | spin << 5 | keys.key_phase << 2,)) + cid
    headers, sealed, samples = [], [], []
    number = packet_number
    for payload in payloads:
        header = prefix + (number & 0xFFFF).to_bytes(2, "big")
        ciphertext = encrypt((iv ^ number).to_bytes(12, "big"), payload, header)
        headers.append(header)
        sealed.append(ciphertext)
        samples.append(ciphertext[_SAMPLE_AT : _SAMPLE_AT + SAMPLE_BYTES])
        number += 1
    mask = masks(keys.hp, b"".join(samples))
    length = len(prefix) + PACKET_NUMBER_BYTES
    first_shift = 8 * (length - 1)
    packets = []
    at = 0
    for header, ciphertext in zip(headers, sealed, strict=True):
        # The mask covers five bits of the first byte and the packet number, the rest is in the clear.
        flip = (mask[at] & 0x1F) << first_shift | mask[at + 1] << 8 | mask[at + 2]
        packets.append((int.from_bytes(header, "big") ^ flip).to_bytes(length, "big") + ciphertext)
        at += SAMPLE_BYTES
    return packets
