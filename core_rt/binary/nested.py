"""Finding core modules in whatever is given: a core module, or a component with modules and components inside.

Only section headers are read; what they hold is for others to decode (component-model: Binary, "Component Definitions").
"""

from __future__ import annotations

from collections.abc import Iterator

from core_rt.binary.reader import uleb
from core_rt.errors import DecodeError

__all__ = ["core_modules"]

_CORE_LAYER = b"\x01\x00\x00\x00"
_CORE_MODULE_SECTION = 1
_COMPONENT_SECTION = 4
_MOST_NESTED = 100


def core_modules(data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """The core modules in a binary, outermost first. Raises `DecodeError` where its sections do not fit."""
    pending = [(memoryview(data), 0)]
    while pending:
        view, depth = pending.pop()
        if bytes(view[4:8]) == _CORE_LAYER or bytes(view[:4]) != b"\0asm":
            yield view
            continue
        if depth > _MOST_NESTED:
            raise DecodeError("components are nested too deeply", 0)
        at = 8
        while at < len(view):
            kind = view[at]
            try:
                size, start = uleb(view, at + 1, 32)
            except IndexError:
                raise DecodeError("unexpected end", at) from None
            end = start + size
            if end > len(view):
                raise DecodeError("unexpected end", at)
            if kind == _CORE_MODULE_SECTION:
                yield view[start:end]
            elif kind == _COMPONENT_SECTION:
                pending.append((view[start:end], depth + 1))
            at = end
