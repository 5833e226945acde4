"""Structs, arrays and references on the store's heap: the host's view, precise collection, limits, pauses."""

from __future__ import annotations

import gc

import pytest

import core_rt
from tests.core.support import World

TIERS = ["lazy", "optimized"]

NODES = """
(module
  (type $node (struct (field $value (mut i32)) (field $left (mut (ref null $node))) (field $right (mut (ref null $node)))))
  (type $bytes (array (mut i8)))
  (type $any (array (mut anyref)))
  (type $mixed (struct (field i8) (field (mut i16)) (field (mut f32)) (field (mut f64)) (field (mut i64))
                       (field (mut externref)) (field (mut funcref)) (field v128)))
  (import "host" "collect" (func $collect))
  (global $keep (export "keep") (mut anyref) (ref.null any))
  (func $tree (export "tree") (param $depth i32) (result (ref $node))
    (if (result (ref $node)) (i32.eqz (local.get $depth))
      (then (struct.new $node (i32.const 1) (ref.null $node) (ref.null $node)))
      (else (struct.new $node (i32.const 1)
        (call $tree (i32.sub (local.get $depth) (i32.const 1)))
        (call $tree (i32.sub (local.get $depth) (i32.const 1)))))))
  (func $sum (export "sum") (param $node (ref null $node)) (result i32)
    (if (result i32) (ref.is_null (local.get $node)) (then (i32.const 0))
      (else (i32.add (struct.get $node $value (local.get $node))
        (i32.add (call $sum (struct.get $node $left (local.get $node)))
                 (call $sum (struct.get $node $right (local.get $node))))))))
  (func (export "churn") (param $times i32) (param $depth i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $sum (call $tree (local.get $depth)))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum))
  ;; trees on the operand stack and in a local, a collection between
  (func (export "on_stack") (param $depth i32) (result i32) (local $held (ref null $node))
    (local.set $held (call $tree (local.get $depth)))
    (i32.add
      (call $sum (call $tree (local.get $depth)) (call $collect))
      (call $sum (local.get $held))))
  ;; rotates the children of all nodes, over and over: what is overwritten while the collector marks
  (func $turn (export "turn") (param $node (ref null $node)) (local $left (ref null $node))
    (if (i32.eqz (ref.is_null (local.get $node))) (then
      (local.set $left (struct.get $node $left (local.get $node)))
      (struct.set $node $left (local.get $node) (struct.get $node $right (local.get $node)))
      (struct.set $node $right (local.get $node) (local.get $left))
      (drop (struct.new $node (i32.const 7) (local.get $left) (ref.null $node)))
      (call $turn (struct.get $node $left (local.get $node)))
      (call $turn (struct.get $node $right (local.get $node))))))
  (func (export "mixed") (param externref) (result (ref $mixed))
    (struct.new $mixed (i32.const 200) (i32.const 40000) (f32.const 1.5) (f64.const 2.5) (i64.const -3)
      (local.get 0) (ref.null func) (v128.const i32x4 1 2 3 4)))
  (func (export "bytes") (param i32) (result (ref $bytes)) (array.new $bytes (i32.const 255) (local.get 0)))
  (func (export "wrap") (param externref) (result anyref)
    (array.new_fixed $any 2 (any.convert_extern (local.get 0)) (ref.i31 (i32.const -5))))
  (func (export "set_keep") (param anyref) (global.set $keep (local.get 0)))
  (func (export "large") (param i32) (result i32) (array.len (array.new_default $any (local.get 0))))
  (func (export "big") (param i32) (result anyref) (array.new_default $any (local.get 0)))
)
"""


def world(tier: str = "lazy", **limits: int) -> tuple[World, dict]:
    made = World(core_rt.Config(cache=False, tiers=tier), core_rt.Limits(**limits))  # type: ignore[arg-type]
    made.host("collect", lambda: made.store.collect())
    return made, made.load(NODES)


@pytest.mark.parametrize("tier", TIERS)
def test_references_on_the_stack_survive(tier):
    _, exports = world(tier)
    assert exports["on_stack"](8) == 2 * 511


@pytest.mark.parametrize("tier", TIERS)
def test_memory_stays_flat(tier):
    made, exports = world(tier)
    assert exports["churn"](200, 12) == 200 * 8191
    statistics = made.store.statistics()
    assert statistics["heap_allocated_bytes"] > 30 << 20
    assert statistics["heap_bytes"] < 24 << 20
    assert statistics["collections"] >= 2


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_overwritten_while_marking_survives(tier):
    made, exports = world(tier)
    tree = exports["tree"](14)
    exports["set_keep"](tree)
    for _ in range(40):
        exports["turn"](tree)
        exports["churn"](2, 10)
    assert made.store.statistics()["collections"] >= 2
    assert exports["sum"](tree) == (1 << 15) - 1


def test_pauses_are_short_with_many_live_objects():
    made, exports = world("optimized")
    exports["set_keep"](exports["tree"](18))
    exports["churn"](30, 14)
    statistics = made.store.statistics()
    assert statistics["heap_live_bytes"] > 500_000 * 16
    assert statistics["collections"] >= 1
    # Thousands of objects in one pause; a whole marking takes several times as long. Generous: machines are shared.
    assert statistics["gc_pause_total_microseconds"] / statistics["gc_pauses"] < 5000
    assert exports["sum"](exports["keep"].value) == (1 << 19) - 1


def test_fields_from_the_host():
    made, exports = world()
    thing = object()
    ref = exports["mixed"](thing)
    assert isinstance(ref, core_rt.StructRef) and ref.type.kind == "struct" and len(ref) == 8
    assert list(ref)[:5] == [-56, -25536, 1.5, 2.5, -3]
    assert ref[5] is thing and ref[6] is None and ref.get(7) == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])
    ref[1] = 65535
    ref[4] = 1 << 63
    ref.set(6, exports["sum"])
    assert ref[1] == -1 and ref[4] == -(1 << 63) and ref[6] is exports["sum"]
    with pytest.raises(TypeError, match="immutable"):
        ref[0] = 1
    with pytest.raises(OverflowError):
        ref[1] = 1 << 16
    with pytest.raises(IndexError):
        ref[8]
    with pytest.raises(TypeError):
        ref[6] = thing
    assert made.store.statistics()["held_references"] == 1


def test_references_are_equal_when_they_are_the_same_object():
    made, exports = world()
    ref = exports["bytes"](3)
    assert list(ref) == [-1, -1, -1]
    exports["set_keep"](ref)
    again = exports["keep"].value
    assert again == ref and hash(again) == hash(ref) and again is not ref
    assert exports["bytes"](3) != ref
    other, their_exports = world()
    with pytest.raises(core_rt.StoreError):
        their_exports["set_keep"](ref)
    assert other.store is not made.store


CONVERSIONS = """
(module (import "host" "same" (func $same (param externref) (result externref)))
  (func (export "out") (param i32) (result externref) (extern.convert_any (ref.i31 (local.get 0))))
  (func (export "there_and_back") (param i32) (result i32)
    (i31.get_s (ref.cast (ref i31) (any.convert_extern
      (call $same (extern.convert_any (ref.i31 (local.get 0))))))))
  (func (export "in") (param externref) (result anyref) (any.convert_extern (local.get 0)))
  (func (export "is_i31") (param externref) (result i32) (ref.test (ref i31) (any.convert_extern (local.get 0))))
)"""


def test_integers_and_objects_cross_as_either_kind():
    made = World(core_rt.Config(cache=False))
    seen = []

    def same(value):
        seen.append(value)
        return value

    made.host("same", same, "externref", "externref")
    exports = made.load(CONVERSIONS)
    for value in (0, 5, -7, (1 << 30) - 1, -(1 << 30)):
        assert exports["out"](value) == exports["there_and_back"](value) == value
    assert seen == [0, 5, -7, (1 << 30) - 1, -(1 << 30)]
    for value in (1 << 30, 10**30, True, "text", 2.5, object(), [], seen):
        assert exports["in"](value) is value and exports["is_i31"](value) == 0
    assert exports["in"](-3) == -3 and exports["is_i31"](-3) == 1 and exports["in"](None) is None


def test_wrong_types_are_refused():
    _, exports = world()
    with pytest.raises(TypeError):
        exports["sum"](exports["bytes"](1))
    with pytest.raises(TypeError):
        exports["sum"](5)
    with pytest.raises(TypeError):
        exports["sum"](object())
    exports["set_keep"](5)
    assert exports["keep"].value == 5
    exports["set_keep"](-(1 << 30))
    assert exports["keep"].value == -(1 << 30)
    with pytest.raises(OverflowError):
        exports["set_keep"](1 << 31)


def test_host_makes_objects():
    made, exports = world()
    node = exports["tree"](0).type
    leaf = core_rt.StructRef.new(made.store, node, [5, None, None])
    root = core_rt.StructRef.new(made.store, node, [6, leaf, leaf])
    assert exports["sum"](root) == 16
    root[1] = None
    assert exports["sum"](root) == 11
    text = core_rt.ArrayRef.new(made.store, exports["bytes"](0).type, b"abc")
    text[0] = 200
    assert list(text) == [-56, 98, 99] and len(text) == 3
    with pytest.raises(TypeError, match="3 fields"):
        core_rt.StructRef.new(made.store, node, [1])


def test_python_objects_in_guest_objects_live_as_long_as_those():
    made, exports = world()

    class Thing:
        alive = 0

        def __init__(self) -> None:
            Thing.alive += 1

        def __del__(self) -> None:
            Thing.alive -= 1

    held = exports["wrap"](Thing())
    exports["wrap"](Thing())
    made.store.collect()
    gc.collect()
    assert Thing.alive == 1
    assert isinstance(held[0], Thing) and held[1] == -5
    del held
    made.store.collect()
    assert Thing.alive == 0


def test_handles_keep_objects_and_let_go():
    made, exports = world()
    trees = [exports["tree"](10) for _ in range(20)]
    made.store.collect()
    full = made.store.statistics()["heap_live_bytes"]
    assert full >= 20 * 2047 * 24
    del trees[1:]
    made.store.collect()
    assert made.store.statistics()["heap_live_bytes"] < full / 10
    assert exports["sum"](trees[0]) == 2047
    assert made.store.statistics()["held_references"] == 1


def test_the_heap_is_limited():
    made, exports = world(gc_heap_bytes=4 << 20)
    with pytest.raises(core_rt.ExhaustionError, match="heap"):
        exports["tree"](20)
    assert exports["sum"](exports["tree"](10)) == 2047
    assert exports["churn"](40, 12) == 40 * 8191
    with pytest.raises(core_rt.Trap) as caught:
        exports["large"](0x7FFF_FFFF)
    assert caught.value.code is core_rt.TrapCode.ALLOCATION_TOO_LARGE
    for _ in range(50):
        assert exports["large"](500_000) == 500_000
    held = [exports["big"](200_000) for _ in range(4)]
    with pytest.raises(core_rt.ExhaustionError):
        held += [exports["big"](200_000) for _ in range(4)]
    made.store.collect()


def test_the_host_finds_room_after_a_heap_was_full():
    """What was alive at the last marking says when the next one begins; that it died since must not be an error."""
    made, exports = world(gc_heap_bytes=1 << 20)
    bytes_type, thing = exports["bytes"](1).type, object()
    held = []
    with pytest.raises(core_rt.ExhaustionError, match="heap of 1048576 bytes is full"):
        while True:
            held.append(core_rt.ArrayRef.new(made.store, bytes_type, [1] * 2000))
    assert len(held) > 250
    held.clear()
    for i in range(1500):
        array = core_rt.ArrayRef.new(made.store, bytes_type, [i % 100] * 2000)
        ref = exports["mixed"](thing)
        assert ref[5] is thing
    assert array[0] == 1499 % 100


def test_references_of_a_closed_store():
    made, exports = world()
    ref = exports["bytes"](3)
    made.store.close()
    with pytest.raises(core_rt.StoreError):
        ref[0]
    with pytest.raises(core_rt.StoreError):
        len(ref)
    del ref


CASTS = """
(module
  (type $a (sub (struct (field i32))))
  (type $b (sub $a (struct (field i32) (field i32))))
  (type $c (sub final $b (struct (field i32) (field i32) (field i32))))
  (type $f (sub (func (result i32)))) (type $g (sub $f (func (result i32))))
  {deep}
  (func $one (type $g) (i32.const 1)) (elem declare func $one $make_two)
  (func $make_two (type $f) (i32.const 2))
  (table 2 funcref) (elem (i32.const 0) $one $make_two)
  (func (export "a") (result anyref) (struct.new_default $a))
  (func (export "b") (result anyref) (struct.new_default $b))
  (func (export "c") (result anyref) (struct.new_default $c))
  (func (export "d12") (result anyref) (struct.new_default $d12))
  (func (export "is_a") (param anyref) (result i32) (ref.test (ref $a) (local.get 0)))
  (func (export "is_b") (param anyref) (result i32) (ref.test (ref $b) (local.get 0)))
  (func (export "is_c") (param anyref) (result i32) (ref.test (ref $c) (local.get 0)))
  (func (export "is_d9") (param anyref) (result i32) (ref.test (ref $d9) (local.get 0)))
  (func (export "is_d12") (param anyref) (result i32) (ref.test (ref $d12) (local.get 0)))
  (func (export "null_is_b") (result i32) (ref.test (ref null $b) (ref.null none)))
  (func (export "to_b") (param anyref) (result i32) (struct.get $b 1 (ref.cast (ref null $b) (local.get 0))))
  (func (export "call_f") (param i32) (result i32) (call_indirect (type $f) (local.get 0)))
  (func (export "call_g") (param i32) (result i32) (call_indirect (type $g) (local.get 0)))
  (func (export "is_g") (param i32) (result i32) (ref.test (ref $g) (table.get (local.get 0))))
)
""".replace(
    "{deep}",
    "(type $d0 (sub (struct)))" + "".join(f"(type $d{i} (sub $d{i - 1} (struct)))" for i in range(1, 13)),
)


@pytest.mark.parametrize("tier", TIERS)
def test_casts(tier):
    exports = World(core_rt.Config(cache=False, tiers=tier)).load(CASTS)
    answers = {
        name: [exports[f"is_{t}"](exports[name]()) for t in ("a", "b", "c", "d9", "d12")]
        for name in ("a", "b", "c", "d12")
    }
    assert answers == {"a": [1, 0, 0, 0, 0], "b": [1, 1, 0, 0, 0], "c": [1, 1, 1, 0, 0], "d12": [0, 0, 0, 1, 1]}
    for value in (None, 3, object()):
        assert exports["is_a"](value) == 0
    assert exports["null_is_b"]() == 1
    assert exports["to_b"](exports["c"]()) == 0
    for wrong, code in ((exports["a"](), "CAST_FAILURE"), (None, "NULL_STRUCTURE"), (1, "CAST_FAILURE")):
        with pytest.raises(core_rt.Trap) as caught:
            exports["to_b"](wrong)
        assert caught.value.code.name == code
    assert [exports["call_f"](i) for i in (0, 1)] == [1, 2]
    assert [exports["is_g"](i) for i in (0, 1)] == [1, 0]
    assert exports["call_g"](0) == 1
    with pytest.raises(core_rt.Trap, match="indirect call type mismatch"):
        exports["call_g"](1)


def test_host_functions_returning_objects_do_not_pile_up():
    made = World()
    made.linker.define_func("host", "new", core_rt.FuncType([], [core_rt.EXTERNREF]), lambda: [0])
    exports = made.load(
        """(module (import "host" "new" (func $new (result externref)))
        (func (export "run") (param i32) (loop $l (drop (call $new))
          (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""
    )
    exports["run"](20_000)
    assert made.store.statistics()["externrefs"] < 8000


@pytest.mark.parametrize("tier", TIERS)
def test_collecting_at_every_allocation_changes_nothing(tier):
    made, exports = world(tier)
    made.store.refs.heap.native.stress()
    tree = exports["tree"](7)
    exports["set_keep"](tree)
    exports["turn"](tree)
    assert exports["on_stack"](6) == 2 * 127
    assert exports["churn"](3, 6) == 3 * 127
    assert exports["sum"](tree) == 255
    thing = object()
    assert exports["wrap"](thing)[0] is thing
    assert list(exports["bytes"](5)) == [-1] * 5
    assert made.store.statistics()["collections"] > 700
