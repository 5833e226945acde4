"""Short ways to modules in tests: text in, instance out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import core_rt

wasmtime = pytest.importorskip("wasmtime")


@functools.cache
def wasm(text: str) -> bytes:
    """A module in the text format, encoded."""
    return bytes(wasmtime.wat2wasm(text))


class World:
    """An engine, a store and a linker for one test."""

    def __init__(self, config: core_rt.Config | None = None, limits: core_rt.Limits | None = None) -> None:
        self.engine = core_rt.Engine(config if config is not None else core_rt.Config(cache=False))
        self.store = core_rt.Store(self.engine, limits=limits)
        self.linker = core_rt.Linker(self.engine)

    def host(self, name: str, function: Callable[..., Any], params: str = "", results: str = "") -> None:
        """Define `host.name`; types are written `i32 i64`."""
        self.linker.define_func("host", name, core_rt.FuncType(types(params), types(results)), function)

    def load(self, text: str) -> Mapping[str, Any]:
        """The exports of a new instance."""
        return self.linker.instantiate(self.store, core_rt.Module(self.engine, wasm(text))).exports


_TYPES = {
    "i32": core_rt.I32,
    "i64": core_rt.I64,
    "f32": core_rt.F32,
    "f64": core_rt.F64,
    "v128": core_rt.V128,
    "externref": core_rt.EXTERNREF,
    "funcref": core_rt.FUNCREF,
}


def types(text: str) -> list[Any]:
    """Value types by name."""
    return [_TYPES[name] for name in text.split()]
