"""Forward error correction over the pieces of a frame: a systematic Reed-Solomon erasure code.

Over GF(2^8) with the polynomial 0x11D. Row ``j`` of the code is the sum of all data pieces ``i``, each times
``(192 ^ i) / ((192 + j) ^ i)``, for ``i`` in 0..191 and ``j`` in 0..63: a Cauchy matrix (Bloemer et al., "An
XOR-Based Erasure-Resilient Coding Scheme", 1995) whose columns are scaled so that row 0 is all ones. Every
square part of a Cauchy matrix can be inverted, and scaling its columns leaves that so: any ``count`` of data
and rows together give the data. Row 0 alone is the plain XOR of the pieces, and most losses need no more.

Pure; imports numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_DATA_PIECES = 192
MAX_ROWS = 64
POLYNOMIAL = 0x11D

Octets = NDArray[np.uint8]


def _tables() -> tuple[Octets, Octets]:
    """All products ``[a, b]`` of the field and the inverses ``[a]`` (0 where there is none)."""
    exponents = np.zeros(510, dtype=np.uint8)
    logarithms = np.zeros(256, dtype=np.int64)
    value = 1
    for power in range(255):
        exponents[power] = exponents[power + 255] = value
        logarithms[value] = power
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    products = exponents[logarithms[:, None] + logarithms[None, :]]
    products[0, :] = products[:, 0] = 0
    inverses = exponents[255 - logarithms]
    inverses[0] = 0
    return products, inverses


_PRODUCTS, _INVERSES = _tables()


def coefficient(row: int, piece: int) -> int:
    """What data piece ``piece`` (0..191) is multiplied by in row ``row`` (0..63); never 0."""
    numerator, denominator = MAX_DATA_PIECES ^ piece, (MAX_DATA_PIECES + row) ^ piece
    return int(_PRODUCTS[numerator, _INVERSES[denominator]])


def encode(pieces: Sequence[bytes | memoryview], rows: int) -> tuple[bytes, ...]:
    """Rows 0 to ``rows - 1`` of the code, each as long as the longest piece.

    Shorter pieces count as padded with zeros. Raises ValueError for none or more than 192 pieces, or more
    than 64 rows.
    """
    if not 1 <= len(pieces) <= MAX_DATA_PIECES or not 0 <= rows <= MAX_ROWS:
        raise ValueError(f"a code of {len(pieces)} pieces and {rows} rows is not to be had")
    length = max(map(len, pieces))
    data = np.stack([_padded(piece, length) for piece in pieces])
    return tuple(_combined(row, data, range(len(pieces))).tobytes() for row in range(rows))


def decode(
    pieces: Mapping[int, bytes], rows: Mapping[int, bytes], count: int, piece_bytes: int
) -> dict[int, bytes]:
    """The data pieces that are not in ``pieces``, each ``piece_bytes`` long (the last with its padding).

    ``pieces`` and ``rows`` are what has come, by number, of a frame of ``count`` pieces. Raises ValueError
    when there is less than is needed, or what there is does not belong to such a code.
    """
    missing = [number for number in range(count) if number not in pieces]
    if not missing:
        return {}
    used = sorted(rows)[: len(missing)]
    if not 1 <= count <= MAX_DATA_PIECES or len(used) < len(missing):
        raise ValueError(f"{len(missing)} of {count} pieces are missing and {len(used)} rows are there")
    known = sorted(pieces)
    data = np.stack([_padded(pieces[n], piece_bytes) for n in known]) if known else None
    sums = np.stack([_padded(rows[row], piece_bytes) for row in used])
    if data is not None:
        for line, row in enumerate(used):
            sums[line] ^= _combined(row, data, known)
    solved = _product(_inverse(_matrix(used, missing)), sums)
    return {number: solved[line].tobytes() for line, number in enumerate(missing)}


def _padded(piece: bytes | memoryview, length: int) -> Octets:
    if len(piece) > length:
        raise ValueError(f"a piece of {len(piece)} bytes is longer than {length}")
    out = np.zeros(length, dtype=np.uint8)
    out[: len(piece)] = np.frombuffer(piece, dtype=np.uint8)
    return out


def _combined(row: int, data: Octets, numbers: Sequence[int]) -> Octets:
    """Row ``row`` over ``data``, whose lines are the pieces ``numbers``."""
    if row:
        factors = np.array([coefficient(row, number) for number in numbers], dtype=np.uint8)
        data = _PRODUCTS[factors[:, None], data]
    return np.asarray(np.bitwise_xor.reduce(data, axis=0), dtype=np.uint8)


def _matrix(rows: Sequence[int], numbers: Sequence[int]) -> Octets:
    return np.array([[coefficient(row, number) for number in numbers] for row in rows], dtype=np.uint8)


def _inverse(matrix: Octets) -> Octets:
    """By Gauss and Jordan. No pivot is ever 0: the leading parts of a Cauchy matrix can be inverted, too."""
    size = len(matrix)
    work = np.concatenate([matrix, np.eye(size, dtype=np.uint8)], axis=1)
    for column in range(size):
        work[column] = _PRODUCTS[_INVERSES[work[column, column]], work[column]]
        factors = work[:, column].copy()
        factors[column] = 0
        work ^= _PRODUCTS[factors[:, None], work[column][None, :]]
    return work[:, size:]


def _product(matrix: Octets, data: Octets) -> Octets:
    out = np.empty((len(matrix), data.shape[1]), dtype=np.uint8)
    for line, factors in enumerate(matrix):
        out[line] = np.bitwise_xor.reduce(_PRODUCTS[factors[:, None], data], axis=0)
    return out
