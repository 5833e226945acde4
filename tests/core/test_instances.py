"""Instances: what they begin with, whatever was there before; what is left of them when their store is closed."""

from __future__ import annotations

import gc
import weakref

import pytest

import core_rt
from core_rt import native
from tests.core.support import World, wasm

PAGE = 65536
ENGINE = core_rt.Engine(core_rt.Config(cache=False))
LINKER = core_rt.Linker(ENGINE)


def module(text: str) -> core_rt.Module:
    return core_rt.Module(ENGINE, wasm(text))


PLAIN = module('(module (memory (export "m") 2 10))')
SMALL = module('(module (memory (export "m") 1) (data (i32.const 100) "small"))')
LARGE = module(f'(module (memory (export "m") 3) (data (i32.const 5) "{"large" * 20_000}"))')


def test_memories_begin_the_same_whatever_they_were_before() -> None:
    """They come out of one pool, with the pages and the image that the last user had."""
    native.set_pool_limits(reservations=0)
    native.set_pool_limits(reservations=128)
    wanted = {
        PLAIN: bytes(2 * PAGE),
        SMALL: bytes(100) + b"small" + bytes(PAGE - 105),
        LARGE: bytes(5) + b"large" * 20_000 + bytes(3 * PAGE - 100_005),
    }
    for which in (PLAIN, LARGE, LARGE, PLAIN, SMALL, SMALL, LARGE, SMALL, PLAIN, PLAIN):
        with core_rt.Store(ENGINE) as store:
            memory = LINKER.instantiate(store, which).exports["m"]
            assert bytes(memory.data) == wanted[which]
            if which is PLAIN:
                memory.grow(3)
                assert not any(memory.data)
            memory.data[:] = b"\xff" * len(memory.data)


def test_tables_and_globals_are_each_instances_own() -> None:
    both = module(
        """(module (table (export "t") 3 funcref) (elem (i32.const 1) $f) (global (export "g") (mut i32) (i32.const 7))
        (func $f (export "f") (result i32) (global.get 0)))"""
    )
    with core_rt.Store(ENGINE) as store:
        one, two = (LINKER.instantiate(store, both).exports for _ in range(2))
        one["g"].value = 8
        one["t"][0] = one["f"]
        assert (one["t"][1](), two["t"][1]()) == (8, 7)
        assert two["t"][0] is None and one["t"].grow(2) == 3 and len(two["t"]) == 3
    with core_rt.Store(ENGINE) as store:
        third = LINKER.instantiate(store, both).exports
        assert third["g"].value == 7 and third["t"][0] is None and third["t"][1] is third["f"]


def test_globals_that_begin_with_what_others_hold() -> None:
    """Sums of an imported global and a constant are worked out once per module, others for each instance; in any order."""
    text = """(module
      (import "h" "a" (global $a i32)) (import "h" "b" (global $b i64)) (import "h" "f" (global $f f64))
      (global (export "a+") i32 (i32.add (global.get $a) (i32.const -2)))
      (global (export "b+") i64 (i64.add (global.get $b) (i64.const 9)))
      (global (export "a") i32 (global.get $a))
      (global (export "f") f64 (global.get $f))
      (global (export "-a") i32 (i32.sub (i32.const 0) (global.get $a)))
      (global (export "a+a") i32 (i32.add (global.get $a) (global.get $a)))
      (global (export "later") i32 (i32.mul (global.get 3) (i32.const 3))))"""
    loaded = module(text)
    for a, b in ((1, 2), (0, -10), (-(2**31), 2**63 - 1)):
        with core_rt.Store(ENGINE) as store:
            linker = core_rt.Linker(ENGINE)
            for name, type_, value in (("a", core_rt.I32, a), ("b", core_rt.I64, b), ("f", core_rt.F64, 0.5)):
                linker.define("h", name, core_rt.Global(store, core_rt.GlobalType(type_, False), value))
            exports = linker.instantiate(store, loaded).exports

            def i32(n: int) -> int:
                return (n + 2**31) % 2**32 - 2**31

            assert exports["a+"].value == i32(a - 2) and exports["a"].value == a and exports["f"].value == 0.5
            assert exports["b+"].value == (b + 9 + 2**63) % 2**64 - 2**63
            assert (exports["-a"].value, exports["a+a"].value) == (i32(-a), i32(2 * a))
            assert exports["later"].value == i32(3 * i32(a - 2))


def test_start_functions_run_and_trap() -> None:
    text = """(module (import "h" "f" (func $f)) (func $start (call $f) (call $f)) (start $start))"""
    loaded, calls = module(text), []
    linker = core_rt.Linker(ENGINE)
    linker.define_func("h", "f", core_rt.FuncType([], []), lambda: calls.append(1))
    with core_rt.Store(ENGINE) as store:
        linker.instantiate(store, loaded)
        linker.instantiate(store, loaded)
        assert len(calls) == 4
        with pytest.raises(core_rt.Trap, match="unreachable"):
            LINKER.instantiate(store, module("(module (func $start unreachable) (start $start))"))
        fail = core_rt.Linker(ENGINE)
        fail.define_func("h", "f", core_rt.FuncType([], []), lambda: calls.index(7))
        with pytest.raises(ValueError, match="7 is not in list"):
            fail.instantiate(store, loaded)
        linker.instantiate(store, loaded)
        assert len(calls) == 6


TABLE = module(
    """(module (table (export "t") 8 funcref) (elem (i32.const 0) $a $b $a $b) (elem (i32.const 2) $b)
    (func $a (result i32) (i32.const 1)) (func $b (result i32) (i32.const 2))
    (func (export "at") (param i32) (result i32) (call_indirect (result i32) (local.get 0))))"""
)
PUTS = module(
    """(module (import "h" "t" (table 8 funcref)) (import "h" "g" (global $at i32)) (import "h" "f" (func $f (result i32)))
    (elem (global.get $at) $own $f) (func $own (result i32) (i32.const 3)) (table $mine (export "mine") 4 funcref)
    (elem (table $mine) (i32.const 1) func $f $own)
    (func (export "copy") (table.copy 0 $mine (i32.const 4) (i32.const 0) (i32.const 4)))
    (func (export "at") (param i32) (result i32) (call_indirect $mine (result i32) (local.get 0))))"""
)


@pytest.mark.parametrize("host_first", [False, True])
def test_elements_are_those_of_the_newest_segment(host_first: bool) -> None:
    """Of a table's own module and of those that import it; looked at by guests first, or by the host."""
    for _ in range(2):
        with core_rt.Store(ENGINE) as store:
            linker = core_rt.Linker(ENGINE)
            linker.define_func("h", "f", core_rt.FuncType([], [core_rt.I32]), lambda: 9)
            own = LINKER.instantiate(store, TABLE).exports
            linker.define("h", "t", own["t"])
            linker.define("h", "g", core_rt.Global(store, core_rt.GlobalType(core_rt.I32, False), 1))
            other = linker.instantiate(store, PUTS).exports
            held = [None if f is None else f() for f in (own["t"][i] for i in range(8))] if host_first else None
            found = []
            for index in range(8):
                try:
                    found.append(own["at"](index))
                except core_rt.Trap as trap:
                    assert trap.code is core_rt.TrapCode.UNINITIALIZED_ELEMENT
                    found.append(None)
            assert found == [1, 3, 9, 2, None, None, None, None] and held in (None, found)
            other["copy"]()
            assert (own["at"](5), own["at"](6)) == (9, 3) == (other["at"](1), other["at"](2))
            assert own["t"][4] is None and own["t"][7] is None and own["t"][5] is other["mine"][1]
            assert own["t"].grow(2) == 8 and own["t"][8] is None and own["at"](6) == 3


@pytest.mark.parametrize("at", [3, 5, -1])
def test_what_segments_put_before_one_trapped_stays(at: int) -> None:
    partly = module(
        """(module (import "h" "t" (table 4 funcref)) (import "h" "g" (global $at i32)) (func $f (result i32) (i32.const 6))
        (elem (i32.const 1) $f) (elem (global.get $at) $f $f) (elem (i32.const 0) $f))"""
    )
    with core_rt.Store(ENGINE) as store:
        linker = core_rt.Linker(ENGINE)
        own = LINKER.instantiate(store, module('(module (table (export "t") 4 funcref))')).exports
        linker.define("h", "t", own["t"])
        linker.define("h", "g", core_rt.Global(store, core_rt.GlobalType(core_rt.I32, False), at))
        with pytest.raises(core_rt.Trap) as caught:
            linker.instantiate(store, partly)
        assert caught.value.code is core_rt.TrapCode.TABLE_OUT_OF_BOUNDS
        assert own["t"][1]() == 6 and [own["t"][i] for i in (0, 2, 3)] == [None] * 3


def test_what_is_imported_is_the_same_object_when_it_is_exported_again() -> None:
    world = World()
    first = world.load(
        """(module (memory (export "m") 1) (table (export "t") 2 externref) (global (export "g") (mut i64) (i64.const 1))
        (tag (export "e") (param i32)) (func (export "f") (result i32) i32.const 3))"""
    )
    for name, item in first.items():
        world.linker.define("first", name, item)
    again = world.load(
        """(module (import "first" "m" (memory 1)) (import "first" "t" (table 2 externref))
        (import "first" "g" (global (mut i64))) (import "first" "e" (tag (param i32)))
        (import "first" "f" (func (result i32)))
        (export "m" (memory 0)) (export "t" (table 0)) (export "g" (global 0)) (export "e" (tag 0)) (export "f" (func 0)))"""
    )
    for name, item in first.items():
        assert again[name] is item, name
    loose = core_rt.Global(world.store, core_rt.GlobalType(core_rt.I64, True), 9)
    world.linker.define("first", "g", loose)
    other = world.load('(module (import "first" "g" (global (mut i64))) (export "g" (global 0)))')
    assert other["g"] is loose


def test_more_exports_than_a_template_prepares() -> None:
    functions = "".join(f'(func (export "f{i}") (result i32) i32.const {i})' for i in range(700))
    with core_rt.Store(ENGINE) as store:
        exports = LINKER.instantiate(store, module(f"(module {functions})")).exports
        assert [exports[f"f{i}"]() for i in (0, 511, 512, 699)] == [0, 511, 512, 699]


def test_nothing_is_counted_for_an_instance_that_could_not_be_made() -> None:
    limits = core_rt.Limits(memory_bytes=3 * PAGE, table_elements=4, memories=2)
    with core_rt.Store(ENGINE, limits=limits) as store:
        LINKER.instantiate(store, PLAIN)
        before = store.statistics()
        for text in (
            "(module (memory 2))",
            "(module (memory 1) (table 5 funcref))",
            "(module (memory 0) (memory 0))",
        ):
            with pytest.raises(core_rt.ExhaustionError):
                LINKER.instantiate(store, module(text))
        assert store.statistics() == before
        LINKER.instantiate(store, module("(module (memory 1) (table 4 funcref))"))


def test_no_data_is_written_when_elements_do_not_fit() -> None:
    world = World()
    first = world.load('(module (memory (export "m") 1) (table (export "t") 1 funcref))')
    for name, item in first.items():
        world.linker.define("first", name, item)
    with pytest.raises(core_rt.Trap):
        world.load(
            """(module (import "first" "m" (memory 1)) (import "first" "t" (table 1 funcref))
            (elem (i32.const 1) $f) (data (i32.const 0) "data") (func $f))"""
        )
    assert first["m"].read(0, 4) == bytes(4)


def test_a_closed_store_is_gone_without_the_collector() -> None:
    text = """(module (import "h" "f" (func $f)) (memory (export "m") 1) (table (export "t") 1 funcref) (elem (i32.const 0) $f)
      (global (export "g") i32 (i32.const 1)) (func (export "go") call $f (call_indirect (i32.const 0))))"""
    loaded = module(text)
    calls: list[int] = []
    linker = core_rt.Linker(ENGINE)
    linker.define_func("h", "f", core_rt.FuncType([], []), lambda: calls.append(1))
    gc.collect()
    stores = native.statistics()["stores"]
    gc.disable()
    try:
        with core_rt.Store(ENGINE) as store:
            exports = linker.instantiate(store, loaded).exports
            exports["go"]()
            assert exports["g"].value == 1 and len(exports["m"].data) == PAGE and exports["t"][0] is not None
        gone = weakref.ref(store)
        del store, exports
        assert gone() is None
        assert native.statistics()["stores"] == stores
    finally:
        gc.enable()
    assert len(calls) == 2


def test_what_is_held_of_a_closed_store_refuses_and_reaches_no_other() -> None:
    adds = module(
        """(module (memory (export "m") 1) (table (export "t") 1 funcref) (global (export "g") (mut i32) (i32.const 0))
        (func (export "f") (param i32) (result i32) (i32.store (i32.const 0) (local.get 0)) (local.get 0)))"""
    )
    store = core_rt.Store(ENGINE)
    instance = LINKER.instantiate(store, adds)
    held = dict(instance.exports)
    assert held["f"](5) == 5
    view = held["m"].data
    store.close()
    others = [core_rt.Store(ENGINE) for _ in range(3)]
    exports = [LINKER.instantiate(other, adds).exports for other in others]
    for other in exports:
        assert other["f"](9) == 9
    assert view[0] == 5, "a view stays memory of its own"
    view[0] = 77
    with pytest.raises(core_rt.StoreError):
        held["f"](66)
    for use in (
        lambda: held["m"].data,
        lambda: held["m"].grow(1),
        lambda: held["t"][0],
        lambda: held["t"].grow(1),
        lambda: held["g"].value,
        lambda: setattr(held["g"], "value", 1),
        lambda: instance.extern("func", 0),
    ):
        with pytest.raises(core_rt.StoreError):
            use()
    assert [other["m"].data[0] for other in exports] == [9, 9, 9]
    for store in others:
        store.close()
