"""Reading and writing of bits, most significant first, with the Exp-Golomb codes of H.264 and HEVC.

Every read is bounded by the data; what does not fit raises :exc:`BitstreamError` and nothing else.
Source: ITU-T H.264 clauses 7.2 and 9.1, ITU-T H.265 clauses 7.2 and 9.2 (the same codes).
"""

from __future__ import annotations

from wtgateway.errors import WtgatewayError

MAX_UE_BITS = 32  # leading zeros of the longest code that either standard allows: values below 2**32 - 1


class BitstreamError(WtgatewayError):
    """Coded data that is cut off or breaks the rules of its format."""


class BitReader:
    """A position in ``data``, in bits. ``data`` is an RBSP: emulation prevention is already removed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = len(data) * 8
        self.position = 0

    @property
    def left(self) -> int:
        """Bits that are not read yet."""
        return self._end - self.position

    def u(self, bits: int) -> int:
        """The next ``bits`` bits as an unsigned number: u(n), f(n) of the standards."""
        value = self.peek(self.position, bits)
        self.position += bits
        return value

    def peek(self, position: int, bits: int) -> int:
        """The ``bits`` bits at ``position``, without moving."""
        stop = position + bits
        if bits < 0 or position < 0 or stop > self._end:
            raise BitstreamError(f"{bits} bits wanted at bit {position}, the data has {self._end}")
        chunk = int.from_bytes(self._data[position >> 3 : (stop + 7) >> 3], "big")
        return (chunk >> (-stop & 7)) & ((1 << bits) - 1)

    def flag(self) -> bool:
        """One bit: u(1)."""
        return self.u(1) == 1

    def skip(self, bits: int) -> None:
        """Passes over ``bits`` bits, which must be there."""
        if bits > self.left:
            raise BitstreamError(f"{bits} bits to skip, the data has {self.left} left")
        self.position += bits

    def ue(self, most: int = (1 << 32) - 2) -> int:
        """An unsigned Exp-Golomb number, ue(v), refused when it is above ``most``."""
        # As many bits as the longest code has, in one go: slice headers are read for every picture.
        width = min(self.left, 2 * MAX_UE_BITS + 1)
        window = self.peek(self.position, width)
        zeros = width - window.bit_length()
        if zeros > MAX_UE_BITS:
            raise BitstreamError(f"an Exp-Golomb code has more than {MAX_UE_BITS} leading zeros")
        if 2 * zeros + 1 > width:
            raise BitstreamError(f"an Exp-Golomb code of {2 * zeros + 1} bits, the data has {width} left")
        value = (window >> width - 2 * zeros - 1) - 1
        self.position += 2 * zeros + 1
        if value > most:
            raise BitstreamError(f"a value of {value} is above the {most} that its place allows")
        return value

    def se(self) -> int:
        """A signed Exp-Golomb number: se(v)."""
        code = self.ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)

    def rbsp_end(self) -> int:
        """The position of the rbsp_stop_one_bit, the last 1 in the data."""
        content = self._data.rstrip(b"\0")
        if not content:
            raise BitstreamError("no stop bit: the data is empty or all zero")
        last = content[-1]
        return len(content) * 8 - (last & -last).bit_length()

    def more_rbsp_data(self) -> bool:
        """Whether anything stands between the position and the stop bit."""
        return self.position < self.rbsp_end()


class BitWriter:
    """Bits appended one after another; the counterpart of :class:`BitReader` for parameter sets."""

    def __init__(self) -> None:
        self._value = 0
        self.position = 0  # bits written

    def u(self, bits: int, value: int) -> None:
        """Appends ``value`` in ``bits`` bits; ValueError when it does not fit."""
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{value} does not fit {bits} bits")
        self._value = (self._value << bits) | value
        self.position += bits

    def flag(self, value: bool) -> None:
        """Appends one bit."""
        self.u(1, int(value))

    def ue(self, value: int) -> None:
        """Appends ue(v)."""
        code = value + 1
        self.u(2 * code.bit_length() - 1, code)

    def se(self, value: int) -> None:
        """Appends se(v)."""
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def copy(self, reader: BitReader, start: int, stop: int) -> None:
        """Appends the bits [start, stop) of what ``reader`` reads, as they are."""
        self.u(stop - start, reader.peek(start, stop - start))

    def aligned(self) -> bytes:
        """The bytes, with zero bits up to the end of the last one."""
        return (self._value << (-self.position & 7)).to_bytes((self.position + 7) // 8, "big")

    def rbsp(self) -> bytes:
        """The bytes with rbsp_trailing_bits: a stop bit, then zeros up to the byte's end."""
        value, bits = (self._value << 1) | 1, self.position + 1
        return (value << (-bits & 7)).to_bytes((bits + 7) // 8, "big")
