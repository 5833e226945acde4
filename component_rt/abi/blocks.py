"""Strings and lists as blocks of bytes on their way into a guest, for calls whose blocks are copied by `core_rt/native/calls.c`.

Short blocks are appended to the packed arguments. Of long ones the packed arguments hold the address, so that their bytes are
copied once, into the guest; of long ASCII strings that is the address of the characters in the `str` itself.
"""

from __future__ import annotations

import functools
import platform
from typing import Any, Final, NamedTuple

from component_rt.abi.mismatch import Mismatch
from core_rt.native import address, ffi

__all__ = ["HEAD", "LONG_TEXT", "NEAR", "Block", "far", "long_text"]

HEAD: Final = 32
"""Bytes of packed arguments before the values: addresses of the site, of the buffer for results, and of the block."""
_DATA = 16
NEAR: Final = 4096
"""Blocks up to this size are appended to the packed arguments."""
LONG_TEXT: Final = 16384
"""Strings from this length on are not encoded if they are ASCII."""


class Block(NamedTuple):
    """Names in generated code: the flat value that is the block's address, the bytes, their number; and the alignment."""

    address: str
    data: str
    size: str
    align: int


@functools.cache
def _characters() -> Any:
    """A function for the address of the characters of an ASCII `str`; None where Python is not CPython."""
    if platform.python_implementation() != "CPython":
        return None
    import ctypes  # a few milliseconds that most programs need not spend

    function = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
    function.argtypes, function.restype = [ctypes.py_object, ctypes.c_void_p], ctypes.c_void_p
    return function


def long_text(text: Any, alone: bool) -> tuple[Any, int]:
    """UTF-8 of what is no short `str`, and its length. Where it is the only block (`alone`) that may be an address."""
    if not isinstance(text, str):
        raise Mismatch
    if alone and len(text) >= LONG_TEXT and text.isascii() and (characters := _characters()) is not None:
        return characters(text, None), len(text)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise Mismatch from None
    return data, len(data)


def far(packed: bytes, data: Any) -> tuple[bytes, Any]:
    """The packed arguments with the address of `data` (a buffer, or an address), and what to keep until the call is over."""
    kept = data if type(data) is int else ffi.from_buffer(data)
    place = data if type(data) is int else address(kept)
    return packed[:_DATA] + place.to_bytes(8, "little") + packed[_DATA + 8 :], kept
