"""Calls of synchronous functions in a trio store: nothing tells that their tasks are only made when something asks for them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from core_rt.errors import InstancePoisoned, Trap

from .stores import in_store, later, ticking

TEXT = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core module $libc (memory (export "mem") 1))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "mem" (core memory $mem))
  (core func $wait' (canon lower (func $wait)))
  (core func $get (canon context.get i32 0))
  (core func $put (canon context.set i32 0))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "wait" (func $wait (param i32) (result i32)))
    (import "" "get" (func $get (result i32)))
    (import "" "put" (func $put (param i32)))
    (global $seen (mut i32) (i32.const 0))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (call $put (i32.add (call $get) (i32.const 100)))
      (i32.const 1024))
    (func $spin (param $n i32)
      (loop $again
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n))))
    ;; what realloc left in the context
    (func (export "asks") (param i32 i32) (result i32) (call $get))
    ;; nothing asks before the function does
    (func (export "inside") (param $n i32) (result i32)
      (call $put (local.get $n))
      (drop (call $wait (i32.const 1)))
      (call $get))
    (func (export "waits") (param $n i32) (result i32) (call $wait (local.get $n)))
    (func (export "text") (param $n i32) (result i32)
      (i32.store (i32.const 16) (i32.const 32))
      (i32.store (i32.const 20) (local.get $n))
      (i32.store (i32.const 32) (i32.const 0x64636261))
      (i32.const 16))
    (func (export "text-post") (param i32)
      (global.set $seen (i32.add (global.get $seen) (i32.add (call $get) (i32.const 1))))
      (call $put (i32.const 7)))
    (func (export "trap-post") (param i32) unreachable)
    (func (export "spin-post") (param i32) (call $spin (i32.const 300000000)))
    (func (export "call-post") (param i32) (drop (call $wait (i32.const 1))))
    (func (export "seen") (result i32) (global.get $seen))
    (func (export "trap") unreachable)
    (func (export "bad") (result i32) (i32.const 65533)))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "wait" (func $wait')) (export "get" (func $get)) (export "put" (func $put))))))
  (alias core export $i "realloc" (core func $realloc))
  (func (export "asks") (param "s" string) (result u32)
    (canon lift (core func $i "asks") (memory $mem) (realloc (core func $realloc))))
  (func (export "inside") (param "n" u32) (result u32) (canon lift (core func $i "inside")))
  (func (export "waits") (param "n" u32) (result u32) (canon lift (core func $i "waits")))
  (func (export "text") (param "n" u32) (result string)
    (canon lift (core func $i "text") (memory $mem) (post-return (core func $i "text-post"))))
  (func (export "trapping") (param "n" u32) (result string)
    (canon lift (core func $i "text") (memory $mem) (post-return (core func $i "trap-post"))))
  (func (export "spinning") (param "n" u32) (result string)
    (canon lift (core func $i "text") (memory $mem) (post-return (core func $i "spin-post"))))
  (func (export "calling") (param "n" u32) (result string)
    (canon lift (core func $i "text") (memory $mem) (post-return (core func $i "call-post"))))
  (func (export "seen") (result u32) (canon lift (core func $i "seen")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "bad") (result string) (canon lift (core func $i "bad") (memory $mem)))
)
"""


def check(wait=lambda n: n + 1):
    return in_store(TEXT, wait, at_rest=True)


@check()
async def test_a_realloc_that_keeps_something_keeps_it_to_itself(store, instance, exports):
    for _ in range(2):
        assert await exports["asks"]("abc") == 0


@check()
async def test_a_function_that_asks_for_the_thread(store, instance, exports):
    assert [await exports["inside"](n) for n in (3, 4)] == [3, 4]


@check(later)
async def test_a_function_that_waits_after_it_asked(store, instance, exports):
    got = []

    async def one(n):
        got.append(await exports["inside"](n))

    async with trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(one, n)
    assert sorted(got) == list(range(5))


@check()
async def test_a_post_return_that_asks_for_the_thread(store, instance, exports):
    assert await exports["text"](4) == "abcd"
    assert await exports["text"](2) == "ab"
    assert await exports["seen"]() == 2


@check()
async def test_a_post_return_that_computes(store, instance, exports):
    async with ticking():
        assert await exports["spinning"](3) == "abc"


@pytest.mark.parametrize(
    "name, args, message",
    [
        ("trapping", (1,), "unreachable"),
        ("calling", (1,), "cannot leave"),
        ("trap", (), "unreachable"),
        ("bad", (), None),
    ],
)
def test_traps_poison_the_instance(name, args, message):
    @check()
    async def test(store, instance, exports):
        with pytest.raises(Trap, match=message) as caught:
            await exports[name](*args)
        assert instance.trapped is caught.value
        with pytest.raises(InstancePoisoned):
            await exports["seen"]()

    test()


@check()
async def test_wrong_arguments_leave_the_instance_as_it_was(store, instance, exports):
    with pytest.raises(TypeError, match="asks"):
        await exports["asks"](5)
    with pytest.raises(ValueError, match="surrogate"):
        await exports["asks"]("\ud800")
    with pytest.raises((TypeError, ValueError, OverflowError)):
        await exports["inside"](-1)
    assert await exports["asks"]("abc") == 0


def test_a_host_function_that_fails_poisons_the_other_calls():
    async def wait(n):
        await trio.sleep_forever()

    def fail(n):
        raise ValueError("no")

    functions = [wait, fail]

    @check(lambda n: functions[n](n))
    async def test(store, instance, exports):
        with pytest.raises(ValueError, match="no") as caught:
            await exports["waits"](1)
        assert instance.trapped is caught.value

    test()


@check(later)
async def test_errors_after_waiting(store, instance, exports):
    with pytest.raises(Trap, match="cannot leave"):
        await exports["calling"](1)


@check()
async def test_results_are_checkpoints_whatever_they_are(store, instance, exports):
    with trio.testing.assert_checkpoints():
        await exports["text"](1)
    with trio.testing.assert_checkpoints():
        with pytest.raises(TypeError):
            await exports["asks"](5)
