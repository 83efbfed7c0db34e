"""Bytes that are nearly right: seeded mutations of valid inputs. Pure.

After AFL's stacked "havoc" operators (bits, interesting integers, blocks doubled, removed, spliced): what is
nearly right goes deeper into a decoder than noise does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

MOST_BYTES = 4096
_MOST_STEPS = 6
_INTERESTING = (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xFF, 0x3FFF, 0x4000, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


class Mutator:
    """An endless row of inputs, the same for the same seed."""

    def __init__(self, corpus: Sequence[bytes], seed: int) -> None:
        self._corpus = list(corpus)
        self._dice = random.Random(seed)

    def next(self) -> bytes:
        """The next input: one of the corpus, changed in one to six places; one in 64 is noise."""
        dice = self._dice
        if not dice.getrandbits(6):
            return dice.randbytes(dice.choice((0, 1, 2, 3, 8, 48, 300, 1200)))
        data = bytearray(dice.choice(self._corpus))
        for _ in range(dice.randint(1, _MOST_STEPS)):
            data = self._step(data)
        return bytes(data[:MOST_BYTES])

    def _step(self, data: bytearray) -> bytearray:
        dice = self._dice
        if not data:
            return bytearray(dice.randbytes(dice.randint(1, 16)))
        at = dice.randrange(len(data))
        match dice.randrange(9):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.getrandbits(8)
            case 2:
                size = dice.choice((1, 2, 4, 8))
                data[at : at + size] = dice.choice(_INTERESTING).to_bytes(8, "big")[-size:]
            case 3:
                data[at] = (data[at] + dice.randint(-8, 8)) & 0xFF
            case 4:
                del data[at : at + dice.randint(1, 16)]
            case 5:
                data[at:at] = dice.randbytes(dice.randint(1, 16))
            case 6:
                block = data[at : at + dice.randint(1, 64)]
                data[at:at] = block * dice.randint(1, 3)
            case 7:
                del data[at:]
            case _:
                other = dice.choice(self._corpus)
                data[at:] = other[dice.randrange(len(other) + 1) :]
        return data
