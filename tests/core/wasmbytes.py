"""Modules put together byte by byte, for what no text format can say."""

from __future__ import annotations

from collections.abc import Iterable

PREAMBLE = b"\x00asm\x01\x00\x00\x00"

# Section ids by name.
IDS = {
    "custom": 0, "type": 1, "import": 2, "func": 3, "table": 4, "memory": 5, "global": 6, "export": 7, "start": 8,
    "elem": 9, "code": 10, "data": 11, "datacount": 12, "tag": 13,
}  # fmt: skip


def leb(value: int, *, pad: int = 0) -> bytes:
    """Unsigned LEB128, made longer by `pad` bytes that add nothing."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if not value and not pad:
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)
        if not value:
            return bytes(out) + b"\x80" * (pad - 1) + b"\x00"


def sleb(value: int) -> bytes:
    """Signed LEB128, as short as it goes."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def vec(items: Iterable[bytes]) -> bytes:
    """A count and the items."""
    items = list(items)
    return leb(len(items)) + b"".join(items)


def name(text: str) -> bytes:
    """A length-prefixed string."""
    data = text.encode()
    return leb(len(data)) + data


def section(id_: str | int, contents: bytes) -> bytes:
    """A section with its size."""
    return bytes([IDS[id_] if isinstance(id_, str) else id_]) + leb(len(contents)) + contents


def module(*sections: tuple[str | int, bytes]) -> bytes:
    """A module of these sections, in this order."""
    return PREAMBLE + b"".join(section(id_, contents) for id_, contents in sections)


def func_type(params: bytes = b"", results: bytes = b"") -> bytes:
    """A function type; each byte is a value type."""
    return b"\x60" + leb(len(params)) + params + leb(len(results)) + results


def body(code: bytes, locals_: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A code entry with its size; `code` must bring its own `end`."""
    contents = vec(leb(count) + type_ for count, type_ in locals_) + code
    return leb(len(contents)) + contents


def one_func(
    code: bytes,
    params: bytes = b"",
    results: bytes = b"",
    locals_: Iterable[tuple[int, bytes]] = (),
    before: Iterable[tuple[str | int, bytes]] = (),
) -> bytes:
    """A module of one function, with the sections `before` between the function and the code section."""
    return module(
        ("type", vec([func_type(params, results)])),
        ("func", vec([leb(0)])),
        *before,
        ("code", vec([body(code, locals_)])),
    )
