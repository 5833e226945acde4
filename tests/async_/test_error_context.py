"""Error contexts: made by a guest, read by it, given to Python and back."""

from __future__ import annotations

import functools

import wasmtime

import component_rt as rt

from .guests import engine

TEXT = """
(component
  (core module $libc (memory (export "mem") 1)
    (data (i32.const 16) "went wrong")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "mem" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $new (canon error-context.new (memory $mem)))
  (core func $message (canon error-context.debug-message (memory $mem) (realloc $realloc)))
  (core func $drop (canon error-context.drop))
  (core module $m
    (import "" "new" (func $new (param i32 i32) (result i32)))
    (import "" "message" (func $message (param i32 i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "make") (result i32) (call $new (i32.const 16) (i32.const 10)))
    (func (export "text") (param i32) (result i32)
      (call $message (local.get 0) (i32.const 64)) (call $drop (local.get 0)) (i32.const 64)))
  (core instance $i (instantiate $m (with "" (instance
    (export "new" (func $new)) (export "message" (func $message)) (export "drop" (func $drop))))))
  (func (export "make") (result error-context) (canon lift (core func $i "make")))
  (func (export "text") (param "e" error-context) (result string)
    (canon lift (core func $i "text") (memory $mem)))
)
"""


@functools.cache
def component() -> rt.Component:
    features = rt.Features.from_flags(["component-model-error-context", "component-model-async"])
    return rt.Component(engine(), bytes(wasmtime.wat2wasm(TEXT)), features)


def test_error_contexts_travel():
    with rt.Store(engine()) as store:
        exports = rt.Linker(engine()).instantiate(store, component()).exports
        error = exports["make"]()
        assert isinstance(error, Exception) and error.debug_message == "went wrong"
        assert exports["text"](error) == "went wrong"
        assert exports["text"]("a text") == "a text"
        assert exports["text"](ValueError("an exception")) == "an exception"
        assert store.statistics()["handles"] == 1  # the guest gave a copy of its first one and kept it
