"""Instances of components: functions of the host as guests pass them on; what is left when a store is closed."""

from __future__ import annotations

import gc
import weakref

import pytest

import component_rt as rt
import core_rt
from core_rt import native

from .guests import ALLOCATOR, OPTIONS, engine, instantiate, load

# The host's function goes through a module that exports it again, into a table, and to a nested component.
PASSED_ON = f"""(component
  (import "twice" (func $twice (param "a" u32) (result u32)))
  (core module $M {ALLOCATOR})
  (core instance $i (instantiate $M))
  (core func $lowered (canon lower (func $twice) {OPTIONS}))
  (core module $P
    (import "" "f" (func $f (param i32) (result i32)))
    (import "" "g" (global $g (mut i32)))
    (table (export "t") 2 funcref)
    (elem (i32.const 1) $f)
    (type $T (func (param i32) (result i32)))
    (export "again" (func $f))
    (export "g" (global $g))
    (func (export "through") (param i32) (result i32)
      (global.set $g (i32.add (global.get $g) (i32.const 1)))
      (call_indirect (type $T) (local.get 0) (i32.const 1))))
  (core module $G (global (export "g") (mut i32) (i32.const 40)))
  (core instance $g (instantiate $G))
  (core instance $p (instantiate $P (with "" (instance (export "f" (func $lowered)) (export "g" (global $g "g"))))))
  (core module $Q
    (import "p" "again" (func $f (param i32) (result i32)))
    (import "p" "g" (global $g (mut i32)))
    (import "p" "t" (table 2 funcref))
    (type $T (func (param i32) (result i32)))
    (func (export "sum") (param i32) (result i32)
      (i32.add (i32.add (call $f (local.get 0)) (call_indirect (type $T) (local.get 0) (i32.const 1))) (global.get $g))))
  (core instance $q (instantiate $Q (with "p" (instance $p))))
  (func (export "again") (param "a" u32) (result u32) (canon lift (core func $p "again")))
  (func (export "through") (param "a" u32) (result u32) (canon lift (core func $p "through")))
  (func (export "sum") (param "a" u32) (result u32) (canon lift (core func $q "sum")))
)"""


def test_functions_of_the_host_are_passed_on_between_modules() -> None:
    seen: list[int] = []

    def twice(a: int) -> int:
        seen.append(a)
        return 2 * a

    with rt.Store(engine()) as store:
        one, two = (instantiate(store, PASSED_ON, twice=twice).exports for _ in range(2))
        assert one["through"](3) == 6
        assert one["again"](4) == 8
        assert (one["sum"](5), two["sum"](5)) == (61, 60)
        assert seen == [3, 4, 5, 5, 5, 5]
        assert store.statistics()["host_functions"] == 2


def test_a_reference_to_a_function_of_the_host_is_a_function_for_python() -> None:
    with rt.Store(engine()) as store:
        instantiate(store, PASSED_ON, twice=lambda a: 2 * a)
        passing = next(core for core in store.core.instances if "through" in core.exports)
        function = passing.exports["t"][1]
        assert function is passing.exports["again"] is passing.func(0)
        assert function.type.params == function.type.results == (core_rt.I32,)


COUNTED = """(component
  (component $C
    (core module $M (func (export "get") (param i32) (result i32) (local.get 0)))
    (core instance $i (instantiate $M))
    (type $r (resource (rep i32)))
    (export $R "r" (type $r))
    (core func $new (canon resource.new $r))
    (core module $N (import "" "new" (func $new (param i32) (result i32)))
      (func (export "make") (param i32) (result i32) (call $new (local.get 0))))
    (core instance $n (instantiate $N (with "" (instance (export "new" (func $new))))))
    (func (export "[constructor]r") (param "n" u32) (result (own $R)) (canon lift (core func $n "make")))
    (func (export "[method]r.get") (param "self" (borrow $R)) (result u32) (canon lift (core func $i "get")))
    (func (export "plain") (param "a" u32) (result u32) (canon lift (core func $i "get"))))
  (instance $c (instantiate $C))
  (export "a:b/c" (instance $c)))"""


def test_a_closed_store_is_gone_without_the_collector() -> None:
    component, linker = load(COUNTED), rt.Linker(engine())

    def live() -> weakref.ref[rt.Store]:
        with rt.Store(engine()) as store:
            linker.instantiate(store, component)
        return weakref.ref(store)

    live()
    gc.collect()
    stores = native.statistics()["stores"]
    gc.disable()
    try:
        assert live()() is None
        assert native.statistics()["stores"] == stores
    finally:
        gc.enable()


def test_what_is_held_of_a_closed_store_refuses() -> None:
    store = rt.Store(engine())
    instance = instantiate(store, COUNTED)
    api = instance.exports["a:b/c"]
    plain = api.plain
    assert plain(3) == 3
    store.close()
    with rt.Store(engine()) as other:
        assert instantiate(other, COUNTED).exports["a:b/c"].plain(4) == 4
        with pytest.raises(rt.StoreError):
            plain(3)
        with pytest.raises(rt.StoreError):
            instance.exports["a:b/c"].R(1)
    assert "a:b/c" in repr(instance)


def test_poison_reaches_instances_that_nothing_asked_for_yet() -> None:
    text = """(component
      (component $C
        (core module $M (func (export "f") (result i32) (i32.const 1)))
        (core instance $i (instantiate $M))
        (func (export "f") (result u32) (canon lift (core func $i "f"))))
      (instance $c (instantiate $C))
      (core module $B (func (export "bad") unreachable))
      (core instance $b (instantiate $B))
      (func (export "bad") (canon lift (core func $b "bad")))
      (export "f" (func $c "f")))"""
    with rt.Store(engine()) as store:
        exports = instantiate(store, text).exports
        with pytest.raises(rt.Trap):
            exports["bad"]()
        with pytest.raises(rt.InstancePoisoned):
            exports["f"]()
