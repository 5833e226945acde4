"""Values of another type than a stream's or future's elements: the error says which, whoever was first at the end."""

from __future__ import annotations

import gc

import pytest
import trio

import component_rt as rt

from .guests import component, engine

READS = """
(component
  (core module $libc (memory (export "mem") 1))
  (core instance $libc (instantiate $libc))
  (type $item' (record (field "id" u32)))
  (export $item "item" (type $item'))
  (type $items (stream $item))
  (type $late (future $item))
  (core func $return (canon task.return (result u32)))
  (core func $read (canon stream.read $items (memory (core memory $libc "mem"))))
  (core func $get (canon future.read $late (memory (core memory $libc "mem"))))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "return" (func $return (param i32)))
    (import "" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "" "get" (func $get (param i32 i32) (result i32)))
    (func (export "sum") (param $s i32)
      (drop (call $read (local.get $s) (i32.const 0) (i32.const 2)))
      (call $return (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
    (func (export "one") (param $f i32)
      (drop (call $get (local.get $f) (i32.const 0)))
      (call $return (i32.load (i32.const 0)))))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "return" (func $return)) (export "read" (func $read)) (export "get" (func $get))))))
  (func (export "sum") async (param "s" $items) (result u32) (canon lift (core func $i "sum") async))
  (func (export "one") async (param "f" $late) (result u32) (canon lift (core func $i "one") async)))
"""


async def later(*values):
    for value in values:
        await trio.sleep(0)
        yield value


async def awaited(value):
    await trio.sleep(0)
    return value


CASES = [
    ("sum", lambda: [{"id": 1}, {"id": 2}], None),
    ("sum", lambda: [{"id": 1}, {"id": "x"}], r"\[1\]\.id: 'x' is of type str \(wanted u32\)"),
    ("sum", lambda: [{"id": 1}, {"id": 2**32}], r"\[1\]\.id: 4294967296 is not in 0\.\.4294967295"),
    ("one", lambda: {"id": 3}, None),
    ("one", lambda: {"ID": 3}, r"the mapping has no `id` \(wanted item\)"),
]
AWAITED = [
    ("sum", lambda: later(5), r"\[0\]: 5 has no attribute `id` \(wanted item\)"),
    ("one", lambda: awaited({"id": None}), r"\.id: None is of type NoneType \(wanted u32\)"),
]


def check(call, message):
    if message is None:
        assert call() == 3
        return
    with pytest.raises((TypeError, OverflowError), match=message) as caught:
        call()
    assert "stream or future" in str(caught.value)


@pytest.mark.parametrize("name, given, message", CASES)
def test_sync_store(name, given, message):
    with rt.Store(engine()) as store:
        function = rt.Linker(engine()).instantiate(store, component(READS)).exports[name]
        check(lambda: function(given()), message)


@pytest.mark.parametrize("name, given, message", CASES + AWAITED)
def test_trio_store(name, given, message):
    async def main():
        async with rt.open_store(engine()) as store:
            exports = (await rt.Linker(engine()).instantiate_async(store, component(READS))).exports
            with trio.fail_after(30):
                return await exports[name](given())

    check(lambda: trio.run(main), message)


# 65536 strings of the whole memory each: far more than the memory holds
MASSIVE = """
(component
  (core module $libc (memory (export "mem") 16))
  (core instance $libc (instantiate $libc))
  (type $texts (stream (list string)))
  (core func $new (canon stream.new $texts))
  (core func $write (canon stream.write $texts (memory (core memory $libc "mem"))))
  (core func $return (canon task.return (result $texts)))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "new" (func $new (result i64)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "" "return" (func $return (param i32)))
    (func (export "run") (local $pair i64) (local $at i32)
      (local.set $pair (call $new))
      (call $return (i32.wrap_i64 (local.get $pair)))
      (loop $next
        (i32.store offset=4 (local.get $at) (i32.const 1048576))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 524288))))
      (i32.store offset=4 (i32.const 1048560) (i32.const 65536))
      (drop (call $write (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))) (i32.const 1048560) (i32.const 1)))))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "new" (func $new)) (export "write" (func $write)) (export "return" (func $return))))))
  (func (export "run") async (result $texts) (canon lift (core func $i "run") async)))
"""


def test_elements_that_overlap_do_not_become_huge():
    with rt.Store(engine()) as store:
        stream = rt.Linker(engine()).instantiate(store, component(MASSIVE)).exports["run"]()
        with pytest.raises(rt.Trap) as caught:
            list(stream)
        assert caught.value.code is rt.TrapCode.CANONICAL_ABI


def test_a_trap_in_the_middle_of_a_list_can_be_collected(monkeypatch):
    """What its traceback holds goes through the cycle collector, which a memory view that is in use does not survive."""
    problems = []
    monkeypatch.setattr("sys.unraisablehook", problems.append)
    with rt.Store(engine()) as store:
        stream = rt.Linker(engine()).instantiate(store, component(MASSIVE)).exports["run"]()
        try:
            list(stream)
        except rt.Trap as error:
            error.itself = error
    del store, stream
    gc.collect()
    assert not problems
