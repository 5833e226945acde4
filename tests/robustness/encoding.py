"""Just enough of the binary format to write modules and to take them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["MAGIC", "function_type", "leb", "section", "sections", "signed_leb", "text", "vector"]

MAGIC = b"\0asm\1\0\0\0"


def leb(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed_leb(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def vector(items: Sequence[bytes]) -> bytes:
    return leb(len(items)) + b"".join(items)


def text(value: str) -> bytes:
    raw = value.encode()
    return leb(len(raw)) + raw


def section(code: int, items: Sequence[bytes]) -> bytes:
    body = vector(items)
    return bytes([code]) + leb(len(body)) + body


def function_type(params: Iterable[int], results: Iterable[int]) -> bytes:
    """Types as their binary codes."""
    sides = [bytes(params), bytes(results)]
    return b"\x60" + b"".join(leb(len(side)) + side for side in sides)


def sections(data: bytes) -> list[tuple[int, int, int]]:
    """(code, start of body, end) of the top-level sections, as far as they can be read; for modules and components."""
    found, position = [], 8
    while position < len(data):
        code, size, shift = data[position], 0, 0
        position += 1
        while position < len(data) and shift < 35:
            byte = data[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if position + size > len(data):
            break
        found.append((code, position, position + size))
        position += size
    return found
