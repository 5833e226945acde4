"""What can never come is noticed under trio too; what still may come is waited for."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import component_rt as rt
from core_rt.errors import InstancePoisoned, Trap

from .guests import BLOCKER, LATE, PIPE, component, engine, until
from .stores import in_store, linker

NEVER = """
(component
  (core func $new (canon waitable-set.new))
  (core module $m
    (import "" "new" (func $new (result i32)))
    (func (export "f") (result i32) (i32.or (i32.const 2) (i32.shl (call $new) (i32.const 4))))
    (func (export "cb") (param i32 i32 i32) (result i32) unreachable))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
  (func (export "f") async (result u32) (canon lift (core func $i "f") async (callback (core func $i "cb")))))
"""
"""`f` waits on an empty set."""

DOOR = """
(component
  (type $late (future))
  (core module $libc (memory (export "mem") 1))
  (core instance $libc (instantiate $libc))
  (core func $new (canon future.new $late))
  (core func $read (canon future.read $late async (memory (core memory $libc "mem"))))
  (core func $write (canon future.write $late async (memory (core memory $libc "mem"))))
  (core func $set.new (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core func $return (canon task.return (result u32)))
  (core module $m
    (import "" "new" (func $new (result i64)))
    (import "" "read" (func $read (param i32 i32) (result i32)))
    (import "" "write" (func $write (param i32 i32) (result i32)))
    (import "" "set.new" (func $set.new (result i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "return" (func $return (param i32)))
    (global $w (mut i32) (i32.const 0))
    (func (export "wait") (result i32) (local $pair i64) (local $r i32) (local $set i32)
      (local.set $pair (call $new))
      (local.set $r (i32.wrap_i64 (local.get $pair)))
      (global.set $w (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))
      (drop (call $read (local.get $r) (i32.const 0)))
      (local.set $set (call $set.new))
      (call $join (local.get $r) (local.get $set))
      (i32.or (i32.const 2) (i32.shl (local.get $set) (i32.const 4))))
    (func (export "cb") (param i32 i32 i32) (result i32) (call $return (i32.const 7)) (i32.const 0))
    (func (export "open") (drop (call $write (global.get $w) (i32.const 0)))))
  (core instance $i (instantiate $m (with "" (instance
    (export "new" (func $new)) (export "read" (func $read)) (export "write" (func $write))
    (export "set.new" (func $set.new)) (export "join" (func $join)) (export "return" (func $return))))))
  (func (export "wait") async (result u32) (canon lift (core func $i "wait") async (callback (core func $i "cb"))))
  (func (export "open") (canon lift (core func $i "open")))
)
"""
"""`wait` waits until `open` is called."""


@in_store(NEVER)
async def test_a_call_that_can_never_return(store, instance, exports):
    with pytest.raises(Trap, match="deadlock"):
        await exports["f"]()
    with pytest.raises(InstancePoisoned):
        await exports["f"]()


@in_store(NEVER)
async def test_a_deadline_does_not_help_a_guest_that_would_not_learn_of_it(store, instance, exports):
    with trio.fail_after(3600):
        with pytest.raises(Trap, match="deadlock"):
            await exports["f"]()


@in_store(NEVER.replace("(core module $m", "(core func (canon task.cancel)) (core module $m"))
async def test_a_deadline_that_the_guest_will_learn_of_is_waited_for(store, instance, exports):
    with trio.move_on_after(0.05) as scope:
        with pytest.raises(Trap, match="unreachable"):  # this guest's callback takes no events
            await exports["f"]()
    assert scope.cancel_called


@in_store(NEVER)
async def test_calls_in_a_nursery_that_can_never_return(store, instance, exports):
    other = await linker().instantiate_async(store, component(NEVER))
    seen = []

    async def one(call):
        try:
            await call()
        except Trap as error:
            seen.append(error.code)

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as inner:
            inner.start_soon(one, exports["f"])
            inner.start_soon(one, exports["f"])
            nursery.start_soon(one, other.exports["f"])
    assert seen == [rt.TrapCode.DEADLOCK] * 3


def test_calls_in_two_stores_that_can_never_return():
    async def main():
        async with rt.open_store(engine()) as a, rt.open_store(engine()) as b, trio.open_nursery() as nursery:
            for store in (a, b):
                instance = await linker().instantiate_async(store, component(NEVER))
                nursery.start_soon(instance.exports["f"])

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert [str(error)[:8] for error in caught.value.exceptions] == ["deadlock"] * 2


@in_store(NEVER)
async def test_it_is_noticed_when_the_last_task_ends_that_could_have_helped(store, instance, exports):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0.05)
        with pytest.raises(Trap, match="deadlock"):
            await exports["f"]()
        assert not nursery.child_tasks


@in_store(DOOR)
async def test_another_task_may_still_call(store, instance, exports):
    got = []

    async def wait():
        got.append(await exports["wait"]())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await until(lambda: store.idle and store.statistics()["calls"])
        await trio.sleep(0.02)
        await exports["open"]()
    assert got == [7]
    with pytest.raises(Trap, match="deadlock"):
        await exports["wait"]()


async def slowly(n):
    await trio.sleep(0.02)
    return n


@in_store(BLOCKER, slowly)
async def test_a_host_function_that_is_awaited_may_still_answer(store, instance, exports):
    assert await exports["run"](5) == 5


@in_store(PIPE)
async def test_streams_that_nobody_can_move(store, instance, exports):
    send, receive = store.open_stream()
    back = await exports["upper"](receive)
    with pytest.raises(Trap, match="deadlock"):
        await back.receive_some()
    with trio.move_on_after(0.02) as scope:  # after which something may be sent
        await back.receive_some()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send.send_all, b"abc")
        assert await back.receive_some() == b"ABC"
    with pytest.raises(Trap, match="deadlock"):  # nobody reads what comes of it
        await send.send_all(bytes(100_000))


@in_store(PIPE)
async def test_a_source_that_sleeps_may_still_bring_something(store, instance, exports):
    async def source():
        yield b"abc"
        await trio.sleep(0.02)
        yield b"def"

    assert await exports["count"](source()) == 6


@in_store(LATE)
async def test_a_future_that_nobody_writes(store, instance, exports):
    with pytest.raises((Trap, trio.BrokenResourceError)):
        await (await exports["f"]())


EXCLUSIVE = """
(component
  (import "wait" (func $wait async (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (func (export "run") (param i32) (result i32) (call $wait (local.get 0))))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (func (export "run") async (param "n" u32) (result u32) (canon lift (core func $i "run"))))
"""
"""`run` has an asynchronous type and a synchronous body: one call at a time."""


def test_host_functions_that_wait_for_their_own_guest():
    async def main():
        async with rt.open_store(engine()) as store:

            async def wait(n):
                return await instance.exports["run"](n - 1) if n else 7

            instance = await linker(wait).instantiate_async(store, component(EXCLUSIVE))
            assert await instance.exports["run"](0) == 7
            with pytest.raises(Trap, match="deadlock"):
                await instance.exports["run"](1)

    trio.run(main)
