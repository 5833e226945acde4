"""LEB128 and the cursor over a module's bytes.

The functions take `(data, pos)` and return `(value, next position)`. They let `IndexError` escape at the end of the
data: whoever owns the loop turns it into the error that fits (`Reader` does so for every read). Offsets in the errors
they raise themselves are positions in `data`.

Spec: "Binary Format", "Values". An integer of N bits takes at most ceil(N / 7) bytes; bits of the last byte beyond N
must be zero (unsigned) or copies of the sign (signed).
"""

from __future__ import annotations

from collections.abc import Callable

from core_rt.binary.scan import LONG, scan_numbers
from core_rt.errors import DecodeError

__all__ = ["UNEXPECTED_END", "Reader", "sleb", "uleb"]

UNEXPECTED_END = "unexpected end of section or function"


def uleb(data: bytes | memoryview, pos: int, bits: int) -> tuple[int, int]:
    """An unsigned integer of at most `bits` bits."""
    value = shift = 0
    while True:
        byte = data[pos]
        left = bits - shift
        if left < 7 and (byte & 0x7F) >> left:
            raise DecodeError("integer too large", pos)
        value |= (byte & 0x7F) << shift
        pos += 1
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift >= bits:
            raise DecodeError("integer representation too long", pos)


def sleb(data: bytes | memoryview, pos: int, bits: int) -> tuple[int, int]:
    """A signed integer of at most `bits` bits, sign included."""
    value = shift = 0
    while True:
        byte = data[pos]
        left = bits - shift
        if left < 7:
            mask = (-1 << (left - 1)) & 0x7F
            if byte & mask not in (0, mask):
                raise DecodeError("integer too large", pos)
        value |= (byte & 0x7F) << shift
        shift += 7
        pos += 1
        if byte < 0x80:
            return value - (1 << shift) if byte & 0x40 else value, pos
        if shift >= bits:
            raise DecodeError("integer representation too long", pos)


class Reader:
    """A cursor over `data[pos:end]`. Reading past `end` raises `DecodeError`.

    `pos` may be moved freely; `data` is whole, so positions are offsets into the module.
    """

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes | memoryview, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    def ended(self) -> DecodeError:
        """The error for data that ends too early."""
        return DecodeError(UNEXPECTED_END, self.end)

    def byte(self) -> int:
        """One byte."""
        pos = self.pos
        if pos >= self.end:
            raise self.ended()
        self.pos = pos + 1
        return self.data[pos]

    def peek(self) -> int | None:
        """The next byte, left in place; None at the end."""
        return self.data[self.pos] if self.pos < self.end else None

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        pos = self.pos
        if pos < self.end:
            byte = self.data[pos]
            if byte < 0x80:
                self.pos = pos + 1
                return byte
            if pos + 1 < self.end and (high := self.data[pos + 1]) < 0x80:
                self.pos = pos + 2
                return byte + ((high - 1) << 7)
        return self._leb(uleb, 32)

    def u32s(self, count: int) -> list[int]:
        """`count` unsigned 32-bit integers."""
        data, pos = self.data, self.pos
        if count >= LONG:
            scanned = scan_numbers(data, pos, self.end, count)
            if scanned is not None:
                self.pos = scanned[1]
                return scanned[0]
        found: list[int] = []
        try:
            for _ in range(count):
                value = data[pos]
                pos += 1
                if value >= 0x80:
                    byte = data[pos]
                    if byte < 0x80:
                        value += (byte - 1) << 7
                        pos += 1
                    else:
                        value, pos = uleb(data, pos - 1, 32)
                found.append(value)
        except IndexError:
            raise self.ended() from None
        if pos > self.end:
            raise self.ended()
        self.pos = pos
        return found

    def u64(self) -> int:
        """An unsigned 64-bit integer."""
        return self._leb(uleb, 64)

    def s32(self) -> int:
        """A signed 32-bit integer."""
        return self._leb(sleb, 32)

    def s33(self) -> int:
        """A signed 33-bit integer, as block and heap types have it."""
        return self._leb(sleb, 33)

    def s64(self) -> int:
        """A signed 64-bit integer."""
        return self._leb(sleb, 64)

    def _leb(self, read: Callable[[bytes | memoryview, int, int], tuple[int, int]], bits: int) -> int:
        try:
            value, pos = read(self.data, self.pos, bits)
        except IndexError:
            raise self.ended() from None
        if pos > self.end:
            raise self.ended()
        self.pos = pos
        return value

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        if size > self.end - self.pos:
            raise self.ended()
        self.pos += size

    def take(self, size: int) -> bytes | memoryview:
        """The next `size` bytes."""
        pos = self.pos
        self.skip(size)
        return self.data[pos : self.pos]

    def length(self) -> int:
        """A count or size (u32) of things that take a byte or more each.

        It must not exceed the bytes that are left, its own included, so that nothing is allocated for a count that
        cannot be true. A size may still turn out too large by those few bytes.
        """
        pos = self.pos
        size = self.u32()
        if size > self.end - pos:
            raise DecodeError("length out of bounds", pos)
        return size

    def name(self) -> str:
        """A length-prefixed UTF-8 string."""
        pos = self.pos
        if pos < self.end:
            size = self.data[pos]
            if size < 0x80 and pos + size < self.end:
                self.pos = stop = pos + 1 + size
                try:
                    return str(self.data[pos + 1 : stop], "utf-8")
                except UnicodeDecodeError as error:
                    raise DecodeError("malformed UTF-8 encoding", pos + 1 + error.start) from None
        size = self.length()
        pos = self.pos
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError as error:
            raise DecodeError("malformed UTF-8 encoding", pos + error.start) from None
