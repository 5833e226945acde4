"""Which functions adapters exist for. Apart from what emits them, which only components load that call each other."""

from __future__ import annotations

import functools
from typing import Any

from component_rt import types as t

__all__ = ["has_strings", "is_adaptable"]

_MOST_NODES = 600


@functools.lru_cache(maxsize=4096)
def _adaptable(of: Any) -> bool:
    if of.kind in ("own", "borrow", "stream", "future", "error-context"):
        return False
    return all(map(_adaptable, of.children()))


@functools.lru_cache(maxsize=4096)
def has_strings(of: Any) -> bool:
    """Whether a type contains strings."""
    return of.kind == "string" or any(map(has_strings, of.children()))


def is_adaptable(of: t.FuncType, encodings: tuple[str, str]) -> bool:
    """Whether an adapter can serve a function of that type between those string encodings."""
    if of.is_async or of.tree_size > _MOST_NODES or not _adaptable(of):
        return False
    return not has_strings(of) or (encodings[0] == encodings[1] and encodings[0] != "latin1+utf16")
