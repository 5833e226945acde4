"""A cursor over the bytes of a component. Every read is checked; what is wrong raises `DecodeError` with its offset.

The wording of errors is that of the component model's suites, which differs from core WebAssembly's ("unexpected
end-of-file", "integer too large").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from core_rt.errors import DecodeError

__all__ = ["MAX_NAME_BYTES", "Reader"]

T = TypeVar("T")

MAX_NAME_BYTES = 100_000
"""Longest name or label, the limit of other engines too."""


class Reader:
    """Reads `data[pos:end]`; offsets are absolute in `data`."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes | memoryview, pos: int, end: int) -> None:
        self.data = data
        self.pos = pos
        self.end = end

    def fail(self, message: str, offset: int | None = None) -> NoReturn:
        """Raise `DecodeError` at `offset` (default: here)."""
        raise DecodeError(message, self.pos if offset is None else offset)

    def leading(self, byte: int, what: str) -> NoReturn:
        """The byte just read means nothing here."""
        raise DecodeError(f"invalid leading byte (0x{byte:x}) for {what}", self.pos - 1)

    def sub(self, size: int) -> Reader:
        """A reader of the next `size` bytes, which this one skips."""
        start = self.pos
        stop = start + size
        if stop > self.end:
            self.fail("unexpected end-of-file", self.end)
        self.pos = stop
        return Reader(self.data, start, stop)

    def u8(self) -> int:
        """One byte."""
        pos = self.pos
        if pos >= self.end:
            self.fail("unexpected end-of-file")
        self.pos = pos + 1
        return self.data[pos]

    def peek(self) -> int:
        """The next byte, without moving."""
        if self.pos >= self.end:
            self.fail("unexpected end-of-file")
        return self.data[self.pos]

    def u32(self) -> int:
        """An unsigned LEB128 of at most 5 bytes."""
        pos = self.pos
        if pos >= self.end:
            self.fail("unexpected end-of-file")
        self.pos = pos + 1
        byte = self.data[pos]
        return byte if byte < 0x80 else self._leb(byte, 32)

    def _leb(self, byte: int, bits: int) -> int:
        """The rest of an unsigned LEB128 of up to `bits` bits that began with `byte`."""
        start = self.pos - 1
        value = byte & 0x7F
        shift = 7
        while byte & 0x80:
            byte = self.u8()
            if shift + 7 > bits and byte >> (bits - shift):
                longer = byte & 0x80 and not byte & 0x7F & ~((1 << (bits - shift)) - 1)
                self.fail("integer representation too long" if longer else "integer too large", start)
            value |= (byte & 0x7F) << shift
            shift += 7
        return value

    def signed(self, bits: int) -> int:
        """A signed LEB128 of up to `bits` bits (33: type indices; 64: also the values of value definitions)."""
        start = self.pos
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift >= bits:
                self.fail("integer representation too long", start)
        if byte & 0x40:
            value -= 1 << shift
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            self.fail("integer too large", start)
        return value

    def unsigned(self, bits: int) -> int:
        """An unsigned LEB128 of up to `bits` bits."""
        byte = self.u8()
        if byte < 0x80:
            if byte >> bits:
                self.fail("integer too large", self.pos - 1)
            return byte
        return self._leb(byte, bits)

    def name(self) -> str:
        """A length and that many bytes of UTF-8."""
        size = self.u32()
        start = self.pos
        if size > MAX_NAME_BYTES:
            if size > self.end - start:
                self.fail("unexpected end-of-file", self.end)
            self.fail(f"string size of {size} bytes exceeds the limit of {MAX_NAME_BYTES}", start)
        stop = start + size
        if stop > self.end:
            self.fail("unexpected end-of-file", self.end)
        self.pos = stop
        try:
            return str(self.data[start:stop], "utf-8")
        except UnicodeDecodeError as error:
            self.fail("malformed UTF-8 encoding", start + error.start)

    def flag(self) -> bool:
        """A byte that is 0 or 1."""
        byte = self.u8()
        if byte > 1:
            self.fail("invalid boolean value", self.pos - 1)
        return byte == 1

    def zero(self) -> None:
        """A byte that must be 0."""
        byte = self.u8()
        if byte:
            self.leading(byte, "zero byte required")

    def vec(self, item: Callable[[], T], limit: int, what: str) -> tuple[T, ...]:
        """A count, at most `limit`, and that many `item()`."""
        start = self.pos
        count = self.u32()
        # Every item takes at least a byte: a count that cannot be true is refused before anything is made.
        if count > self.end - self.pos:
            self.fail("unexpected end-of-file", self.end)
        if count > limit:
            self.fail(f"{what} count of {count} exceeds the limit of {limit}", start)
        return tuple([item() for _ in range(count)])
