"""A guest's `realloc` has thread-local storage of its own (CanonicalABI.md, `LiftLowerContext.reallocate`)."""

from __future__ import annotations

import pytest
import trio

import component_rt as rt

from .guests import component, engine

# `realloc` traps unless it finds zeros, and leaves something behind; `take` and `fetch` trap if they see that.
GUEST = """
(component
  (import "fetch" (func $fetch (result string)))
  (core func $get (canon context.get i32 0))
  (core func $put (canon context.set i32 0))
  (core module $libc
    (import "" "get" (func $get (result i32)))
    (import "" "put" (func $put (param i32)))
    (memory (export "mem") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (if (call $get) (then unreachable))
      (call $put (i32.const 7))
      (i32.const 64)))
  (core instance $slots (export "get" (func $get)) (export "put" (func $put)))
  (core instance $libc (instantiate $libc (with "" (instance $slots))))
  (alias core export $libc "mem" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $fetch' (canon lower (func $fetch) (memory $mem) (realloc $realloc)))
  (core module $m
    (import "" "get" (func $get (result i32)))
    (import "" "put" (func $put (param i32)))
    (import "host" "fetch" (func $fetch (param i32)))
    (func (export "take") (param i32 i32) (result i32)
      (if (call $get) (then unreachable))
      (local.get 1))
    (func (export "relay")
      (call $put (i32.const 5))
      (call $fetch (i32.const 16))
      (if (i32.ne (call $get) (i32.const 5)) (then unreachable))))
  (core instance $i (instantiate $m
    (with "" (instance $slots)) (with "host" (instance (export "fetch" (func $fetch'))))))
  (func (export "take") (param "s" string) (result u32) (canon lift (core func $i "take") (memory $mem) (realloc $realloc)))
  (func (export "relay") (canon lift (core func $i "relay"))))
"""


def linker():
    made = rt.Linker(engine())
    made.define("fetch", lambda: "text")
    return made


def test_sync_store():
    with rt.Store(engine()) as store:
        exports = linker().instantiate(store, component(GUEST)).exports
        assert [exports["take"]("x" * n) for n in range(1, 4)] == [1, 2, 3]
        exports["relay"]()


def test_trio_store():
    async def main():
        async with rt.open_store(engine()) as store:
            exports = (await linker().instantiate_async(store, component(GUEST))).exports
            assert [await exports["take"]("x" * n) for n in range(1, 4)] == [1, 2, 3]
            await exports["relay"]()

    trio.run(main)


# ---------------------------------------------------------------------------------------------------- options of task.return

RETURNS = """
(component
  (core module $libc (memory (export "mem") 1))
  (core instance $libc (instantiate $libc))
  (core func $return (canon task.return {of_return}))
  (core module $m (import "" "return" (func $return)) (func (export "f") (call $return)))
  (core instance $i (instantiate $m (with "" (instance (export "return" (func $return))))))
  (func (export "f") async (canon lift (core func $i "f") async {of_lift})))
"""
MEMORY = '(memory (core memory $libc "mem"))'


@pytest.mark.parametrize("of_return, of_lift, fits", [("", "", True), ("", MEMORY, True), (MEMORY, "", False)])
def test_memory_of_task_return_is_that_of_the_task(of_return, of_lift, fits):
    text = RETURNS.format(of_return=of_return, of_lift=of_lift)
    with rt.Store(engine()) as store:
        function = linker().instantiate(store, component(text)).exports["f"]
        if fits:
            assert function() is None
            return
        with pytest.raises(rt.Trap, match=r"invalid `task\.return` signature and/or options"):
            function()
