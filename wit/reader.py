"""Bytes of a component binary, read front to back within bounds. Every failure is a `WitError` with the offset."""

from __future__ import annotations

from typing import NoReturn

from wit.errors import WitError
from wit.names import is_kebab

__all__ = ["Reader"]


class Reader:
    """A position in `data`, which ends at `end`."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    def fail(self, message: str, offset: int | None = None) -> NoReturn:
        """Raise `WitError` for the given offset, or for the current one."""
        raise WitError(f"{message} (at offset 0x{self.position if offset is None else offset:x})")

    def at_end(self) -> bool:
        return self.position >= self.end

    def byte(self) -> int:
        if self.position >= self.end:
            self.fail("unexpected end")
        self.position += 1
        return self.data[self.position - 1]

    def take(self, length: int) -> bytes:
        if length > self.end - self.position:
            self.fail("unexpected end")
        self.position += length
        return self.data[self.position - length : self.position]

    def sub(self, length: int) -> Reader:
        """A reader of the next `length` bytes, which are skipped here."""
        start = self.position
        if length > self.end - start:
            self.fail("length out of bounds")
        self.position += length
        return Reader(self.data, start, self.position)

    def u32(self) -> int:
        start = self.position
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 28:
                self.fail("integer representation too long", start)
        if value >= 1 << 32:
            self.fail("integer too large", start)
        return value

    def s33(self) -> int:
        """A type code (negative) or a type index."""
        start = self.position
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 28:
                self.fail("integer representation too long", start)
        if byte & 0x40:
            value -= 1 << shift
        if value >= 1 << 32:
            self.fail("integer too large", start)
        return value

    def count(self) -> int:
        """The length of a vector, each of whose elements takes a byte at least."""
        start = self.position
        count = self.u32()
        if count > self.end - self.position:
            self.fail("length out of bounds", start)
        return count

    def name(self) -> str:
        start = self.position
        data = self.take(self.u32())
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.fail("malformed UTF-8 encoding", start)

    def label(self) -> str:
        start = self.position
        label = self.name()
        if not is_kebab(label):
            self.fail(f"`{label}` is not in kebab case", start)
        return label

    def flag(self, what: str) -> bool:
        """A byte that is 0 or 1."""
        byte = self.byte()
        if byte > 1:
            self.fail(f"invalid leading byte 0x{byte:x} for {what}", self.position - 1)
        return byte == 1
