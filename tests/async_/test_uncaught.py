"""Exceptions of core WebAssembly that no guest catches end a call as a trap, wherever in the call they are thrown."""

from __future__ import annotations

import pytest
import trio

import component_rt as rt
from core_rt.errors import InstancePoisoned, Trap, TrapCode

from .guests import component, engine

THROWS = """
(component
  (core module $m (tag $t)
    (memory (export "mem") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (throw $t))
    (func (export "text") (param i32 i32))
    (func (export "sync") (throw $t))
    (func (export "async") (result i32) (throw $t))
    (func (export "later") (result i32) (i32.const 1))
    (func (export "callback") (param i32 i32 i32) (result i32) (throw $t)))
  (core instance $i (instantiate $m))
  (alias core export $i "mem" (core memory $mem))
  (alias core export $i "realloc" (core func $realloc))
  (func (export "text") (param "s" string) (canon lift (core func $i "text") (memory $mem) (realloc $realloc)))
  (func (export "sync") (canon lift (core func $i "sync")))
  (func (export "async") async (canon lift (core func $i "async") async (callback (core func $i "callback"))))
  (func (export "later") async (canon lift (core func $i "later") async (callback (core func $i "callback")))))
"""

BETWEEN = """
(component
  (component $a
    (core module $m (tag $t)
      (memory (export "mem") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (throw $t))
      (func (export "f") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func (export "f") (param "s" string)
      (canon lift (core func $i "f") (memory (core memory $i "mem")) (realloc (core func $i "realloc")))))
  (component $b
    (import "f" (func $f (param "s" string)))
    (core module $libc (memory (export "mem") 1))
    (core instance $libc (instantiate $libc))
    (core func $f' (canon lower (func $f) (memory (core memory $libc "mem"))))
    (core module $m
      (import "" "f" (func $f (param i32 i32)))
      (func (export "run")
        (block $caught (try_table (catch_all $caught) (call $f (i32.const 16) (i32.const 5))) (return))
        unreachable))
    (core instance $i (instantiate $m (with "" (instance (export "f" (func $f'))))))
    (func (export "run") (canon lift (core func $i "run"))))
  (instance $a (instantiate $a))
  (instance $b (instantiate $b (with "f" (func $a "f"))))
  (export "run" (func $b "run")))
"""

CALLS = [(THROWS, "text", "abc"), (THROWS, "sync"), (THROWS, "async"), (THROWS, "later"), (BETWEEN, "run")]


def check(caught, again):
    assert caught.value.code is TrapCode.UNCAUGHT_EXCEPTION
    assert again.value.first_trap is caught.value


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[1])
def test_sync_store(call):
    text, name, *args = call
    with rt.Store(engine()) as store:
        function = rt.Linker(engine()).instantiate(store, component(text)).exports[name]
        with pytest.raises(Trap) as caught:
            function(*args)
        with pytest.raises(InstancePoisoned) as again:
            function(*args)
        check(caught, again)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[1])
def test_trio_store(call):
    text, name, *args = call

    async def main():
        async with rt.open_store(engine()) as store:
            instance = await rt.Linker(engine()).instantiate_async(store, component(text))
            with trio.fail_after(30):
                with pytest.raises(Trap) as caught:
                    await instance.exports[name](*args)
                with pytest.raises(InstancePoisoned) as again:
                    await instance.exports[name](*args)
            check(caught, again)

    trio.run(main)
