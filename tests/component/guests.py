"""Components in text form, encoded by the wasmtime wheel; and a guest that echoes whatever it is given."""

from __future__ import annotations

import functools

import wasmtime

import component_rt as rt

ALLOCATOR = """
  (memory (export "mem") 1)
  (global $next (mut i32) (i32.const 1024))
  (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))))
    (memory.copy (local.get $at) (local.get $old) (local.get $old-size))
    (local.get $at))
  (func (export "reset") (param i32) (global.set $next (i32.const 1024)))
"""
"""Members of a core module: a bump allocator, and a post-return function that frees everything."""

OPTIONS = '(memory (core memory $i "mem")) (realloc (core func $i "realloc"))'


@functools.lru_cache(maxsize=256)
def encode(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


@functools.lru_cache(maxsize=1)
def engine() -> rt.Engine:
    return rt.Engine()


def load(text: str, features: rt.Features | None = None) -> rt.Component:
    """A component from its text."""
    return rt.Component(engine(), encode(text), features)


def instantiate(store: rt.Store, text: str, **imports: object) -> rt.Instance:
    """An instance of a component, its root imports given by name."""
    linker = rt.Linker(engine())
    for name, item in imports.items():
        linker.define(name, item)
    return linker.instantiate(store, load(text))
