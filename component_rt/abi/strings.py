"""Strings in linear memory (CanonicalABI.md, `load_string`, `store_string` and its variants).

Loading makes a `str`. Storing from Python follows the specification's path for a UTF-8 source of known length. Between two
guests the source's encoding and length in code units matter too, because the sequence of `realloc` calls depends on
them: there strings travel as `GuestText`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from component_rt.abi.layout import MAX_BYTE_LENGTH
from component_rt.abi.mismatch import Mismatch
from core_rt.errors import Trap, TrapCode

if TYPE_CHECKING:
    from component_rt.abi.context import Words

__all__ = ["GuestText", "bad_text", "string_loader", "string_storer", "text_encoder"]

Realloc = Callable[[int, int, int, int], int]
"""`realloc(old, old_size, align, new_size)`: a checked address of `new_size` bytes in the guest."""

_UTF16, _LATIN1 = "utf-16-le", "latin-1"


class GuestText(str):
    """A string on its way from one guest to another: the text, and how the source held it."""

    __slots__ = ("encoding", "units")
    encoding: str
    """`"utf8"`, `"utf16"`, or for `latin1+utf16`: `"latin1"` or `"compact-utf16"`, as the tag said."""
    units: int
    """Code units of the source."""


def bad_text(error: UnicodeDecodeError) -> NoReturn:
    """The trap for bytes that are no text."""
    if error.encoding.startswith("utf-8") and error.reason == "unexpected end of data":
        message = "incomplete utf-8 byte sequence"
    else:
        message = "invalid " + ("utf-8" if error.encoding.startswith("utf-8") else "utf-16")
    raise Trap(TrapCode.CANONICAL_ABI, message) from None


@functools.cache
def string_loader(encoding: str, pointer: int, words: Words, keep_units: bool) -> Callable[[Any, int, int], str]:
    """`load(mem, address, tagged_code_units)` for the encoding of a `canonopt`; `mem` is the memory's view."""
    oob, unaligned = words.string_out_of_bounds, words.unaligned

    def check(mem: Any, address: int, size: int, align: int) -> None:
        if address & (align - 1):
            raise Trap(TrapCode.CANONICAL_ABI, unaligned)
        if size > MAX_BYTE_LENGTH:
            raise Trap(TrapCode.CANONICAL_ABI, "string is too long" if address + size <= len(mem) else oob)
        if address + size > len(mem):
            raise Trap(TrapCode.CANONICAL_ABI, oob)

    def load_utf8(mem: Any, address: int, units: int) -> str:
        end = address + units
        if units > MAX_BYTE_LENGTH or end > len(mem):
            check(mem, address, units, 1)
        try:
            return str(mem[address:end], "utf-8")
        except UnicodeDecodeError as error:
            bad_text(error)

    def load_utf16(mem: Any, address: int, units: int) -> str:
        size = 2 * units
        check(mem, address, size, 2)
        try:
            return str(mem[address : address + size], _UTF16)
        except UnicodeDecodeError as error:
            bad_text(error)

    tag = 1 << (8 * pointer - 1)

    def load_compact(mem: Any, address: int, units: int) -> str:
        if units & tag:
            return load_utf16(mem, address, units ^ tag)
        check(mem, address, units, 2)
        return str(mem[address : address + units], _LATIN1)

    load = {"utf8": load_utf8, "utf16": load_utf16, "latin1+utf16": load_compact}[encoding]
    if not keep_units:
        return load

    def load_text(mem: Any, address: int, units: int) -> str:
        text = GuestText(load(mem, address, units))
        text.encoding, text.units = encoding, units
        return text

    # The compact encoding has two shapes; which one it was decides the path when storing.
    def load_compact_text(mem: Any, address: int, units: int) -> str:
        text = GuestText(load_compact(mem, address, units))
        text.encoding = "compact-utf16" if units & tag else "latin1"
        text.units = units & ~tag
        return text

    return load_compact_text if encoding == "latin1+utf16" else load_text


@functools.cache
def text_encoder(encoding: str, pointer: int) -> Callable[[Any], tuple[bytes, int]]:
    """`encode(text) -> (bytes, tagged_code_units)` of a string from the host. Raises `Mismatch` as `string_storer` does."""
    tag = 1 << (8 * pointer - 1)

    def encode(text: Any) -> tuple[bytes, int]:
        if not isinstance(text, str):
            raise Mismatch
        try:
            if encoding == "utf8":
                data = text.encode()
                return data, len(data)
            if encoding == "latin1+utf16":
                try:
                    data = text.encode(_LATIN1)
                    return data, len(data)
                except UnicodeEncodeError:
                    data = text.encode(_UTF16)
                    return data, len(data) // 2 | tag
            data = text.encode(_UTF16)
            return data, len(data) // 2
        except UnicodeEncodeError:
            raise Mismatch from None

    return encode


def string_storer(
    memory: Any, encoding: str, pointer: int, realloc: Realloc, store_block: Callable[[Any, int], int]
) -> Callable[[Any], tuple[int, int]]:
    """`store(text) -> (address, tagged_code_units)` for the encoding of a `canonopt`; `store_block` is `cx.block_storer(..)`.

    Raises `Mismatch` for what is no string of Unicode scalar values.
    """
    tag = 1 << (8 * pointer - 1)

    def grow_to_utf8(text: GuestText, data: bytes) -> tuple[int, int]:
        units = text.units
        address = realloc(0, 0, 1, units)
        if len(data) != units:
            worst = units * (3 if text.encoding.endswith("utf16") else 2)
            ascii_prefix = next(i for i, c in enumerate(text) if c >= "\x80")
            memory.data[address : address + ascii_prefix] = data[:ascii_prefix]
            address = realloc(address, units, 1, worst)
            memory.data[address : address + len(data)] = data
            if worst > len(data):
                address = realloc(address, worst, 1, len(data))
        else:
            memory.data[address : address + units] = data
        return address, len(data)

    def store_utf8(text: Any) -> tuple[int, int]:
        if type(text) is GuestText and text.encoding != "utf8":
            return grow_to_utf8(text, text.encode())
        if type(text) is not str and not isinstance(text, str):
            raise Mismatch
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise Mismatch from None
        size = len(data)
        return store_block(data, size), size

    def store_utf16(text: Any) -> tuple[int, int]:
        data, units = encode(text)
        if type(text) is not GuestText or text.encoding != "utf8":
            # The length is known here, so there is nothing to guess and to shrink.
            return store_block(data, len(data)), units
        worst = 2 * text.units
        address = realloc(0, 0, 2, worst)
        memory.data[address : address + len(data)] = data
        if len(data) < worst:
            address = realloc(address, worst, 2, len(data))
        return address, len(data) // 2

    def store_probably_utf16(text: GuestText) -> tuple[int, int]:
        data = text.encode(_UTF16)
        size = len(data)
        address = realloc(0, 0, 2, size)
        memory.data[address : address + size] = data
        try:
            narrow = text.encode(_LATIN1)
        except UnicodeEncodeError:
            return address, size // 2 | tag
        memory.data[address : address + len(narrow)] = narrow
        address = realloc(address, size, 1, len(narrow))
        return address, len(narrow)

    def store_to_compact(text: GuestText) -> tuple[int, int]:
        units = text.units
        address = realloc(0, 0, 2, units)
        try:
            narrow = text.encode(_LATIN1)
        except UnicodeEncodeError:
            wide = text.encode(_UTF16)
            prefix = next(i for i, c in enumerate(text) if c > "\xff")
            memory.data[address : address + prefix] = text[:prefix].encode(_LATIN1)
            worst = 2 * units
            address = realloc(address, units, 2, worst)
            memory.data[address : address + len(wide)] = wide
            if worst > len(wide):
                address = realloc(address, worst, 2, len(wide))
            return address, len(wide) // 2 | tag
        memory.data[address : address + len(narrow)] = narrow
        if len(narrow) < units:
            address = realloc(address, units, 2, len(narrow))
        return address, len(narrow)

    encode = text_encoder(encoding, pointer)

    def store_compact(text: Any) -> tuple[int, int]:
        if type(text) is GuestText:
            if text.encoding == "latin1":
                data = text.encode(_LATIN1)
                return store_block(data, len(data)), text.units
            return store_probably_utf16(text) if text.encoding == "compact-utf16" else store_to_compact(text)
        data, units = encode(text)
        return store_block(data, len(data)), units

    return {"utf8": store_utf8, "utf16": store_utf16, "latin1+utf16": store_compact}[encoding]
