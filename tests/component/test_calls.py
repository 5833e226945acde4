"""Calls into and out of guests: results, errors, reentrance, poisoning."""

from __future__ import annotations

from typing import Any

import pytest

import component_rt as rt

from .guests import ALLOCATOR, OPTIONS, engine, instantiate, load

ECHO = f"""(component
  (import "host-echo" (func $host-echo (param "s" string) (result string)))
  (import "step" (func $step (param "n" u32) (result u32)))
  (core module $memory {ALLOCATOR})
  (core instance $i (instantiate $memory))
  (core func $host-echo' (canon lower (func $host-echo) {OPTIONS}))
  (core func $step' (canon lower (func $step)))
  (core module $m
    (import "lib" "mem" (memory 1))
    (import "host" "echo" (func $echo (param i32 i32 i32)))
    (import "host" "step" (func $step (param i32) (result i32)))
    (func (export "through") (param i32 i32) (result i32)
      (call $echo (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16))
    (func (export "step") (param i32) (result i32) (call $step (local.get 0)))
    (func (export "check") (param i32) (result i32)
      (i32.store8 (i32.const 32) (i32.and (local.get 0) (i32.const 1)))
      (i32.store (i32.const 36) (local.get 0)) (i32.const 32))
    (func (export "boom") unreachable))
  (core instance $c (instantiate $m (with "lib" (instance $i))
    (with "host" (instance (export "echo" (func $host-echo')) (export "step" (func $step'))))))
  (func (export "through") (param "s" string) (result string)
    (canon lift (core func $c "through") {OPTIONS} (post-return (core func $i "reset"))))
  (func (export "step") (param "n" u32) (result u32) (canon lift (core func $c "step")))
  (func (export "check") (param "n" u32) (result (result u32 (error u32)))
    (canon lift (core func $c "check") {OPTIONS}))
  (func (export "boom") (canon lift (core func $c "boom")))
)"""


def start(store: rt.Store, echo: Any = lambda s: s, step: Any = lambda n: n + 1) -> rt.Instance:
    return instantiate(store, ECHO, **{"host-echo": echo, "step": step})


def test_values_go_through_guest_and_host() -> None:
    with rt.Store(engine()) as store:
        instance = start(store, echo=lambda s: s.upper() + "!")
        assert instance.exports["through"]("héllo") == "HÉLLO!"
        assert instance.exports["step"](n=41) == 42


def test_a_result_is_returned_or_raised() -> None:
    with rt.Store(engine()) as store:
        check = start(store).exports["check"]
        assert check(4) == 4
        with pytest.raises(rt.Err) as caught:
            check(5)
        assert caught.value.value == 5
        assert check(6) == 6


@pytest.mark.parametrize("args", [(), (1, 2), ("1",), (True,), (-1,), (1 << 32,), (1.0,), (None,)])
def test_wrong_arguments_are_refused_before_the_guest_runs(args: tuple[Any, ...]) -> None:
    with rt.Store(engine()) as store:
        instance = start(store)
        with pytest.raises((TypeError, ValueError, OverflowError), match="step"):
            instance.exports["step"](*args)
        assert instance.exports["step"](1) == 2


def test_a_trap_poisons_the_instance() -> None:
    with rt.Store(engine()) as store:
        instance = start(store)
        with pytest.raises(rt.Trap) as first:
            instance.exports["boom"]()
        assert first.value.code is rt.TrapCode.UNREACHABLE
        for name, args in (("step", (1,)), ("through", ("x",)), ("boom", ())):
            with pytest.raises(rt.InstancePoisoned) as later:
                instance.exports[name](*args)
            assert later.value.first_trap is first.value
        assert instance.trapped is first.value
        assert start(store).exports["step"](1) == 2  # another instance of the same store


def test_host_exceptions_pass_through_unchanged() -> None:
    class Mine(Exception):
        pass

    problem = Mine("from the host")

    def fail(n: int) -> int:
        raise problem

    with rt.Store(engine()) as store:
        instance = start(store, step=fail)
        with pytest.raises(Mine) as caught:
            instance.exports["step"](1)
        assert caught.value is problem
        with pytest.raises(rt.InstancePoisoned):
            instance.exports["step"](1)


def test_a_host_function_may_not_enter_the_instance_that_called_it() -> None:
    with rt.Store(engine()) as store:
        instance: rt.Instance
        errors: list[BaseException] = []

        def enter(n: int) -> int:
            try:
                instance.exports["step"](n)
            except rt.Trap as error:
                errors.append(error)
            return 7

        instance = start(store, step=enter)
        assert instance.exports["step"](1) == 7
        assert [str(error) for error in errors] == ["cannot enter component instance"]


def test_a_host_function_may_enter_another_instance() -> None:
    with rt.Store(engine()) as store:
        inner = start(store)
        outer = start(store, step=lambda n: inner.exports["step"](n) * 10, echo=inner.exports["through"])
        assert outer.exports["step"](1) == 20
        assert outer.exports["through"]("abc" * 50) == "abc" * 50


@pytest.mark.parametrize("result", ["x", None, 1 << 40, True])
def test_a_host_function_with_a_wrong_result(result: Any) -> None:
    with rt.Store(engine()) as store:
        instance = start(store, step=lambda n: result)
        with pytest.raises((TypeError, OverflowError), match=r"step: result: .* \(wanted u32\)"):
            instance.exports["step"](1)


def test_an_async_host_function_is_refused_in_a_synchronous_store() -> None:
    async def step(n: int) -> int:
        return n

    with rt.Store(engine()) as store:
        instance = start(store, step=step)
        with pytest.raises(rt.WasmError, match="async def"):
            instance.exports["step"](1)


def test_a_closed_store_says_so() -> None:
    with rt.Store(engine()) as store:
        step = start(store).exports["step"]
    with pytest.raises(rt.StoreError, match="closed"):
        step(1)


NESTED = """(component
  (component $inner
    (import "f" (func $f (param "n" u32) (result u32)))
    (core func $f' (canon lower (func $f)))
    (core module $m (import "" "f" (func $f (param i32) (result i32)))
      (func (export "g") (param i32) (result i32) (i32.add (i32.const 1) (call $f (local.get 0)))))
    (core instance $i (instantiate $m (with "" (instance (export "f" (func $f'))))))
    (func (export "g") (param "n" u32) (result u32) (canon lift (core func $i "g"))))
  (import "f" (func $f (param "n" u32) (result u32)))
  (instance $a (instantiate $inner (with "f" (func $f))))
  (instance $b (instantiate $inner (with "f" (func $a "g"))))
  (instance $c (instantiate $inner (with "f" (func $b "g"))))
  (export "g" (func $c "g")))"""


def test_guests_call_guests() -> None:
    with rt.Store(engine()) as store:
        instance = instantiate(store, NESTED, f=lambda n: n * 100)
        assert instance.exports["g"](1) == 103
        assert store.statistics()["component_instances"] == 4


def test_a_trap_in_an_inner_instance_poisons_the_whole_tree() -> None:
    def trap(n: int) -> int:
        raise rt.Trap(rt.TrapCode.HOST, "no")

    with rt.Store(engine()) as store:
        instance = instantiate(store, NESTED, f=trap)
        with pytest.raises(rt.Trap, match="no"):
            instance.exports["g"](1)
        with pytest.raises(rt.InstancePoisoned):
            instance.exports["g"](1)


def test_too_many_instances_are_refused() -> None:
    levels = "(component $c0)"
    for level in range(1, 24):
        levels += f" (component $c{level} (alias outer 1 $c{level - 1} (component $p)) (instance (instantiate $p)) (instance (instantiate $p)))"
    component = load(f"(component {levels} (instance (instantiate $c23)))")
    with rt.Store(engine()) as store, pytest.raises(rt.ExhaustionError):
        rt.Linker(engine()).instantiate(store, component)


def test_parameters_may_have_any_name() -> None:
    names = ["type", "len", "list", "int", "site", "result", "mem", "scope", "mine", "error", "from", "self"]
    params = " ".join(f'(param "{name}" u32)' for name in names)
    text = f"""(component
      (core module $m (func (export "f") (param {"i32 " * len(names)}) (result i32) (local.get 0)))
      (core instance $i (instantiate $m))
      (func (export "f") {params} (result u32) (canon lift (core func $i "f"))))"""
    with rt.Store(engine()) as store:
        f = instantiate(store, text).exports["f"]
        assert f(*range(3, 3 + len(names))) == 3
        assert f(**{("from_" if name == "from" else name): i for i, name in enumerate(names)}) == 0
        with pytest.raises(TypeError, match="parameter `len`"):
            f(0, "x", *range(10))


THROWS = """(component
  (component $inner
    (core module $m (tag $t) (func (export "f") (throw $t)))
    (core instance $i (instantiate $m))
    (func (export "f") (canon lift (core func $i "f"))))
  (component $outer
    (import "f" (func $f))
    (core func $f' (canon lower (func $f)))
    (core module $m (import "" "f" (func $f)) (func (export "run") (block $h (try_table (catch_all $h) (call $f)))))
    (core instance $i (instantiate $m (with "" (instance (export "f" (func $f'))))))
    (func (export "run") (canon lift (core func $i "run"))))
  (instance $a (instantiate $inner))
  (instance $b (instantiate $outer (with "f" (func $a "f"))))
  (export "run" (func $b "run"))
  (export "f" (func $a "f")))"""


@pytest.mark.parametrize("name", ["run", "f"])
def test_exceptions_do_not_leave_a_component(name: str) -> None:
    with rt.Store(engine()) as store:
        instance = instantiate(store, THROWS)
        with pytest.raises(rt.Trap) as caught:
            instance.exports[name]()
        assert caught.value.code is rt.TrapCode.UNCAUGHT_EXCEPTION


# The inner component throws where `where` says: 1 in the function, 2 in its realloc, 3 in its post-return; 4 and 5: in the caller's
# realloc, and in the function but caught there. The outer one catches everything, which gives 99.
THROWS_ANYWHERE = """(component
  (component $inner
    (core module $m (tag $t) (memory (export "memory") 1) (global $where (mut i32) (i32.const 0))
      (func $throw (param i32) (if (i32.eq (global.get $where) (local.get 0)) (then (throw $t))))
      (func (export "set") (param i32) (global.set $where (local.get 0)))
      (func (export "f") (param i32 i32) (result i32)
        (block $h (try_table (catch_all $h) (call $throw (i32.const 5))))
        (call $throw (i32.const 1)) (i32.store (i32.const 8) (i32.const 16)) (i32.store (i32.const 12) (local.get 1)) (i32.const 8))
      (func (export "post") (param i32) (call $throw (i32.const 3)))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (call $throw (i32.const 2)) (i32.const 16)))
    (core instance $i (instantiate $m))
    (func (export "set") (param "where" u32) (canon lift (core func $i "set")))
    (func (export "f") (param "s" string) (result string) (canon lift (core func $i "f")
      (memory (core memory $i "memory")) (realloc (core func $i "realloc")) (post-return (core func $i "post")))))
  (component $outer
    (import "f" (func $f (param "s" string) (result string)))
    (core module $libc (tag $t) (memory (export "memory") 1) (global $where (export "where") (mut i32) (i32.const 0))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (if (i32.eq (global.get $where) (i32.const 4)) (then (throw $t))) (i32.const 64)))
    (core instance $libc (instantiate $libc))
    (core func $f' (canon lower (func $f)
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (core module $m (import "" "f" (func $f (param i32 i32 i32))) (import "libc" "memory" (memory 1))
      (import "libc" "where" (global $where (mut i32)))
      (func (export "run") (param i32) (result i32)
        (global.set $where (local.get 0))
        (block $h
          (try_table (catch_all $h) (call $f (i32.const 0) (i32.const 3) (i32.const 32)))
          (return (i32.load (i32.const 36))))
        (i32.const 99)))
    (core instance $i (instantiate $m (with "" (instance (export "f" (func $f')))) (with "libc" (instance $libc))))
    (func (export "run") (param "where" u32) (result u32) (canon lift (core func $i "run"))))
  (instance $a (instantiate $inner))
  (instance $b (instantiate $outer (with "f" (func $a "f"))))
  (export "run" (func $b "run"))
  (export "set" (func $a "set")))"""


@pytest.mark.parametrize("before", [0, 5])
@pytest.mark.parametrize("where", [1, 2, 3, 4, 5])
def test_exceptions_stop_at_calls_in_machine_code_too(where: int, before: int) -> None:
    with rt.Store(engine()) as store:
        exports = instantiate(store, THROWS_ANYWHERE).exports
        for _ in range(before):  # from the third call on there is an adapter
            assert exports["run"](0) == 3
        exports["set"](where)
        if where == 5:
            assert [exports["run"](where) for _ in range(4)] == [3] * 4
            return
        with pytest.raises(rt.Trap) as caught:
            exports["run"](where)
        assert caught.value.code is rt.TrapCode.UNCAUGHT_EXCEPTION
        with pytest.raises(rt.InstancePoisoned):
            exports["run"](0)
