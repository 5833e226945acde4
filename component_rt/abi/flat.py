"""Flattening: component types as lists of core value types (CanonicalABI.md, "Flattening").

A type that needs more than `MAX_FLAT_PARAMS` core values never travels flat, so flattening stops there: `flatten` answers
None. (A tuple of a tuple of a tuple … has exponentially many leaves; nothing here walks them.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from component_rt import types as t
from component_rt.abi.layout import cases_of

__all__ = [
    "MAX_FLAT_ASYNC_PARAMS",
    "MAX_FLAT_PARAMS",
    "MAX_FLAT_RESULTS",
    "Flattened",
    "flatten",
    "flatten_functype",
    "flatten_types",
    "join",
]

MAX_FLAT_PARAMS = 16
MAX_FLAT_ASYNC_PARAMS = 4
MAX_FLAT_RESULTS = 1

Flat = tuple[str, ...]
"""Core value types: `"i32"`, `"i64"`, `"f32"`, `"f64"`."""


def join(a: str, b: str) -> str:
    """The core type that can hold the bits of both."""
    if a == b:
        return a
    return "i32" if {a, b} == {"i32", "f32"} else "i64"


def flatten_types(types: Iterable[t.ValType], pointer: int, limit: int = MAX_FLAT_PARAMS) -> Flat | None:
    """Core types of several values in a row, or None if there are more than `limit`."""
    flat: list[str] = []
    for of in types:
        inner = flatten(of, pointer)
        if inner is None or len(flat) + len(inner) > limit:
            return None
        flat += inner
    return tuple(flat)


def _list(of: t.ListType, pointer: int) -> Flat | None:
    if of.length is None:
        return _pointers(of, pointer)
    inner = flatten(of.t, pointer)
    return None if inner is None or len(inner) * of.length > MAX_FLAT_PARAMS else inner * of.length


def _variant(of: t.ValType, pointer: int) -> Flat | None:
    flat: list[str] = []
    for case in cases_of(of):
        if case is None:
            continue
        inner = flatten(case, pointer)
        if inner is None or len(inner) >= MAX_FLAT_PARAMS:
            return None
        shared = min(len(flat), len(inner))
        flat = [*map(join, flat, inner), *flat[shared:], *inner[shared:]]
    return ("i32", *flat)


def _pointers(of: t.ValType, pointer: int) -> Flat:
    return ("i64", "i64") if pointer == 8 else ("i32", "i32")


_LEAF = {
    **dict.fromkeys(["bool", "s8", "u8", "s16", "u16", "s32", "u32", "char", "flags", "enum"], ("i32",)),
    **dict.fromkeys(["own", "borrow", "stream", "future", "error-context"], ("i32",)),
    **dict.fromkeys(["s64", "u64"], ("i64",)),
    "f32": ("f32",),
    "f64": ("f64",),
}
_BY_KIND: dict[str, Callable[..., Flat | None]] = {
    "string": _pointers,
    "map": _pointers,
    "list": _list,
    "record": lambda of, pointer: flatten_types([f.t for f in of.fields], pointer),
    "tuple": lambda of, pointer: flatten_types(of.ts, pointer),
    "variant": _variant,
    "option": _variant,
    "result": _variant,
}


@functools.lru_cache(maxsize=8192)
def flatten(of: t.ValType, pointer: int = 4) -> Flat | None:
    """Core types of a value of type `of`; None if there are more than `MAX_FLAT_PARAMS`."""
    leaf = _LEAF.get(of.kind)
    return leaf if leaf is not None else _BY_KIND[of.kind](of, pointer)


class Flattened(NamedTuple):
    """How a call travels: core signature, and what is passed through memory."""

    params: Flat
    results: Flat
    spilled_params: bool
    """The parameters are a tuple in memory; `params[0]` is its address."""
    spilled_result: bool
    """The result is in memory: at the address that the function returns (lift) or that is its last parameter (lower)."""


def flatten_functype(of: t.FuncType, context: str, pointer: int, is_async: bool, callback: bool = False) -> Flattened:
    """The core signature of `of` under `canon lift` (`context` "lift") or `canon lower` ("lower")."""
    address = "i64" if pointer == 8 else "i32"
    limit = MAX_FLAT_ASYNC_PARAMS if is_async and context == "lower" else MAX_FLAT_PARAMS
    params = flatten_types([p for _, p in of.params], pointer, limit)
    spilled_params = params is None
    flat_params: Sequence[str] = (address,) if params is None else params
    if is_async and context == "lift":
        return Flattened(tuple(flat_params), ("i32",) if callback else (), spilled_params, False)
    if of.result is None:
        return Flattened(tuple(flat_params), ("i32",) if is_async else (), spilled_params, False)
    results = None if is_async else flatten_types([of.result], pointer, MAX_FLAT_RESULTS)
    if results is not None:
        return Flattened(tuple(flat_params), results, spilled_params, False)
    if context == "lift":
        return Flattened(tuple(flat_params), (address,), spilled_params, True)
    return Flattened((*flat_params, address), ("i32",) if is_async else (), spilled_params, True)
