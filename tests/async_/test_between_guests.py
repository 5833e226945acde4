"""Calls between guests in a trio store, through machine code and through Python."""

from __future__ import annotations

import pytest
import trio

from component_rt.canon import adapt
from component_rt.tasks.calls import _Lower
from core_rt.errors import InstancePoisoned, Trap

from .stores import in_store, later, ticking

TEXT = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (component $C
    (import "wait" (func $wait (param "n" u32) (result u32)))
    (core module $libc (memory (export "mem") 1))
    (core instance $libc (instantiate $libc))
    (core func $wait' (canon lower (func $wait)))
    (core module $m
      (import "libc" "mem" (memory 1))
      (import "" "wait" (func $wait (param i32) (result i32)))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "count") (param i32 i32) (result i32) (local.get 1))
      (func (export "waits") (param i32) (result i32) (call $wait (local.get 0)))
      (func (export "spin") (param $n i32) (result i32)
        (loop $again
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $again (local.get $n)))
        (i32.const 5))
      (func (export "fail") (param i32) (result i32) unreachable))
    (core instance $i (instantiate $m
      (with "libc" (instance $libc)) (with "" (instance (export "wait" (func $wait'))))))
    (func (export "count") (param "s" string) (result u32)
      (canon lift (core func $i "count") (memory (core memory $libc "mem")) (realloc (core func $i "realloc"))))
    (func (export "waits") (param "n" u32) (result u32) (canon lift (core func $i "waits")))
    (func (export "spin") (param "n" u32) (result u32) (canon lift (core func $i "spin")))
    (func (export "fail") (param "n" u32) (result u32) (canon lift (core func $i "fail"))))
  (component $D
    (import "count" (func $count (param "s" string) (result u32)))
    (import "waits" (func $waits (param "n" u32) (result u32)))
    (import "spin" (func $spin (param "n" u32) (result u32)))
    (import "fail" (func $fail (param "n" u32) (result u32)))
    (core module $libc (memory (export "mem") 1))
    (core instance $libc (instantiate $libc))
    (core func $count' (canon lower (func $count) (memory (core memory $libc "mem"))))
    (core func $waits' (canon lower (func $waits)))
    (core func $spin' (canon lower (func $spin)))
    (core func $fail' (canon lower (func $fail)))
    (core module $m
      (import "" "count" (func $count (param i32 i32) (result i32)))
      (import "" "waits" (func $waits (param i32) (result i32)))
      (import "" "spin" (func $spin (param i32) (result i32)))
      (import "" "fail" (func $fail (param i32) (result i32)))
      (func (export "count") (param i32) (result i32) (call $count (i32.const 0) (local.get 0)))
      (func (export "waits") (param i32) (result i32) (i32.add (call $waits (local.get 0)) (i32.const 1)))
      (func (export "spin") (param i32) (result i32) (i32.add (call $spin (local.get 0)) (i32.const 1)))
      (func (export "fail") (param i32) (result i32) (call $fail (local.get 0))))
    (core instance $i (instantiate $m (with "" (instance
      (export "count" (func $count')) (export "waits" (func $waits')) (export "spin" (func $spin'))
      (export "fail" (func $fail'))))))
    (func (export "count") (param "n" u32) (result u32) (canon lift (core func $i "count")))
    (func (export "waits") (param "n" u32) (result u32) (canon lift (core func $i "waits")))
    (func (export "spin") (param "n" u32) (result u32) (canon lift (core func $i "spin")))
    (func (export "fail") (param "n" u32) (result u32) (canon lift (core func $i "fail"))))
  (instance $c (instantiate $C (with "wait" (func $wait))))
  (instance $d (instantiate $D
    (with "count" (func $c "count")) (with "waits" (func $c "waits")) (with "spin" (func $c "spin"))
    (with "fail" (func $c "fail"))))
  (export "count" (func $d "count")) (export "waits" (func $d "waits"))
  (export "spin" (func $d "spin")) (export "fail" (func $d "fail")))
"""


@pytest.fixture(params=[0, 2, 1 << 30], ids=["machine code", "after two calls", "Python"])
def calls(request, monkeypatch):
    monkeypatch.setattr(adapt, "CALLS_BEFORE_COMPILING", request.param)
    return request.param


def check(test, wait):
    in_store(TEXT, wait, at_rest=True)(test)()


def test_results(calls, monkeypatch):
    through_python = 0
    handler = _Lower.handler

    def counting(lower):
        nonlocal through_python
        through_python += 1
        return handler(lower)

    monkeypatch.setattr(_Lower, "handler", counting)

    async def test(store, instance, exports):
        assert [await exports["count"](n) for n in range(5)] == list(range(5))
        assert [await exports["waits"](n) for n in range(5)] == [n + 2 for n in range(5)]

    check(test, lambda n: n + 1)
    assert through_python == 2 * min(calls, 5)


def test_host_functions_are_awaited(calls):
    async def test(store, instance, exports):
        got = []

        async def one(n):
            got.append(await exports["waits"](n))

        async with trio.open_nursery() as nursery:
            for n in range(6):
                nursery.start_soon(one, n)
        assert sorted(got) == [n + 2 for n in range(6)]

    check(test, later)


def test_a_guest_that_computes_is_put_aside(calls):
    async def test(store, instance, exports):
        async with ticking():
            assert await exports["spin"](300_000_000) == 6
        assert await exports["count"](3) == 3

    check(test, later)


def test_cancellation(calls):
    async def test(store, instance, exports):
        with trio.move_on_after(0.02) as scope:
            await exports["waits"](1)
        assert scope.cancelled_caught and isinstance(instance.trapped, Trap)
        with pytest.raises(InstancePoisoned):
            await exports["count"](3)

    check(test, lambda n: trio.sleep(1000))


def test_errors(calls):
    error = ValueError("from the host")

    async def wait(n):
        await trio.sleep(0)
        raise error

    async def fails(store, instance, exports):
        with pytest.raises(ValueError, match="from the host") as caught:
            await exports["waits"](1)
        assert caught.value is error is instance.trapped

    check(fails, wait)

    async def traps(store, instance, exports):
        with pytest.raises(Trap, match="unreachable"):
            await exports["fail"](1)
        with pytest.raises(InstancePoisoned):
            await exports["count"](3)

    check(traps, wait)


def test_a_host_function_cannot_enter_again(calls):
    async def test(store, instance, exports):
        async def wait(n):
            with pytest.raises(Trap, match="cannot enter"):
                await exports["count"](1)
            return n

        waits.append(wait)
        assert await exports["waits"](1) == 2

    waits = []
    check(test, lambda n: waits[0](n))
