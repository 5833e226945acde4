"""Start functions and destructors of guests in a trio store, which may wait for the host."""

from __future__ import annotations

import gc

import pytest
import trio

import component_rt as rt

from .guests import SPIN, SYNC, component, engine, until
from .stores import double, forever, in_store, linker, raising, run

START = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (global $g (mut i32) (i32.const 0))
    (func $start (global.set $g (call $wait (i32.const 7))))
    (start $start)
    (func (export "get") (result i32) (global.get $g)))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (core instance $j (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (func (export "get") (result u32) (canon lift (core func $j "get"))))
"""

SPINS = "(component (core module $m (func $s (loop $l (br $l))) (start $s)) (core instance (instantiate $m)))"

DTOR = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $d
    (import "" "wait" (func $wait (param i32) (result i32)))
    (func (export "d") (param i32) (drop (call $wait (local.get 0)))))
  (core instance $d (instantiate $d (with "" (instance (export "wait" (func $wait'))))))
  (type $r' (resource (rep i32) (dtor (core func $d "d"))))
  (export $r "r" (type $r'))
  (core func $new (canon resource.new $r'))
  (core func $drop (canon resource.drop $r'))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "make") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "kill") (param i32) (call $drop (call $new (local.get 0)))))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
  (func (export "make") (param "n" u32) (result (own $r)) (canon lift (core func $i "make")))
  (func (export "kill") (param "n" u32) (canon lift (core func $i "kill"))))
"""


@in_store(START, double)
async def test_start_functions_may_wait_for_the_host(store, instance, exports):
    assert await exports["get"]() == 14
    assert store.awaited == store.statistics()["threads"] == 0


@pytest.mark.parametrize("awaits", [False, True])
def test_start_functions_that_fail(awaits):
    error = ValueError("no")

    async def main():
        async with rt.open_store(engine()) as store:
            with pytest.raises(ValueError, match="no") as caught:
                await linker(raising(error, awaits)).instantiate_async(store, component(START))
            assert caught.value is error
            good = await linker(double).instantiate_async(store, component(SYNC))
            assert await good.exports["run"](1) == 3
            assert store.awaited == 0

    run(main)


def test_start_functions_can_be_cancelled():
    async def main():
        async with rt.open_store(engine()) as store:
            for text, wait in ((START, forever), (SPINS, forever)):
                with trio.move_on_after(0.05) as scope:
                    await linker(wait).instantiate_async(store, component(text))
                assert scope.cancelled_caught
            await until(lambda: store.awaited == store.statistics()["threads"] == 0)

    run(main)


@in_store(SPIN, double)
async def test_instances_are_made_while_others_compute(store, instance, exports):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exports["forever"])
        await trio.sleep(0.03)
        other = await linker(double).instantiate_async(store, component(START))
        assert await other.exports["get"]() == 14
        nursery.cancel_scope.cancel()


def test_destructors_may_wait_for_the_host():
    ended = []

    async def wait(n):
        await trio.sleep(0.001)
        ended.append(n)
        return n

    async def main():
        async with rt.open_store(engine()) as store:
            exports = (await linker(wait).instantiate_async(store, component(DTOR))).exports
            resource = await exports["make"](1)
            resource.close()
            await exports["kill"](2)
            with await exports["make"](3):
                pass
            with pytest.warns(ResourceWarning):
                await exports["make"](4)
                gc.collect()
            await exports["kill"](5)
            assert ended == [1, 2, 3, 4, 5]
            with trio.move_on_after(0) as scope:
                await exports["kill"](6)
            assert scope.cancelled_caught and ended[-1] == 5

    run(main)
