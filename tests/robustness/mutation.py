"""Seeded damage to a binary: from single bits to sections of another one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .encoding import leb, sections, signed_leb

__all__ = ["mutate"]

_CODE = 10
_INTERESTING = (
    b"\x00", b"\x7f", b"\x80", b"\xff", b"\x40", b"\x60", b"\x0b", b"\x41\x00", b"\xfb", b"\xfc", b"\xfd", b"\xfe",
    b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\x00", b"\x80\x80\x80\x80\x08",
    leb(0xFFFF), leb(0x10000), leb(100_000_000), signed_leb(-1 << 63),
)  # fmt: skip


def _flip(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    data[rng.randrange(start, end)] = rng.randrange(256)


def _neighbour(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    """Opcodes, types and small indices have their kin next to them."""
    at = rng.randrange(start, end)
    data[at] = (data[at] + rng.choice((-2, -1, 1, 2))) & 0xFF


def _insert(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    at = rng.randrange(start, end)
    data[at:at] = rng.choice(_INTERESTING)


def _replace(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    at = rng.randrange(start, end)
    value = rng.choice(_INTERESTING)
    data[at : min(at + len(value), end)] = value


def _delete(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    at = rng.randrange(start, end)
    del data[at : min(at + 1 + rng.randrange(4), end)]


def _copy(rng: random.Random, data: bytearray, start: int, end: int) -> None:
    source, target = rng.randrange(start, end), rng.randrange(start, end)
    data[target:target] = data[source : min(source + 1 + rng.randrange(16), end)]


_SAME_LENGTH = (_flip, _set_byte, _neighbour, _neighbour)
_EDITS: tuple[Callable[[random.Random, bytearray, int, int], None], ...] = (
    _flip, _set_byte, _set_byte, _neighbour, _neighbour, _insert, _replace, _delete, _copy,
)  # fmt: skip


def _within_section(rng: random.Random, data: bytes) -> bytes:
    """Damage inside one section, with its length put right again, so that more of it is read."""
    parts = [part for part in sections(data) if part[1] < part[2]]
    if not parts:
        return data
    bodies = [part for part in parts if part[0] == _CODE]
    code, start, end = rng.choice(bodies if bodies and rng.random() < 0.5 else parts)
    body = bytearray(data[start:end])
    edits = _SAME_LENGTH if rng.random() < 0.7 else _EDITS
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if body:
            rng.choice(edits)(rng, body, 0, len(body))
    head = start - 1 - len(leb(end - start))
    if head < 8 or data[head] != code:  # a length in more bytes than it needs: leave it
        return data[:start] + bytes(body) + data[end:]
    return data[:head] + bytes([code]) + leb(len(body)) + bytes(body) + data[end:]


def _anywhere(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if len(damaged) > 8:
            rng.choice(_EDITS)(rng, damaged, 8, len(damaged))
    return bytes(damaged)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _move_sections(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Sections of two binaries shuffled together, mostly keeping their order."""
    parts = [data[start - 1 - len(leb(end - start)) : end] for _, start, end in sections(data)]
    strange = [other[start - 1 - len(leb(end - start)) : end] for _, start, end in sections(other)]
    if not parts or not strange:
        return data
    at = rng.randrange(len(parts))
    if rng.random() < 0.5:
        same = [part for part in strange if part[:1] == parts[at][:1]]
        parts[at] = rng.choice(same or strange)
    else:
        parts.insert(at, rng.choice(strange))
    if rng.random() < 0.2:
        rng.shuffle(parts)
    return data[:8] + b"".join(parts)


def mutate(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A damaged copy of one binary of the corpus."""
    data = rng.choice(corpus)
    kind = rng.random()
    if kind < 0.6:
        return _within_section(rng, data)
    if kind < 0.85:
        return _anywhere(rng, data)
    if kind < 0.95:
        return _move_sections(rng, data, rng.choice(corpus))
    return _truncate(rng, data)
