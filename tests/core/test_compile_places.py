"""Program counters become places in the module, in every tier."""

from __future__ import annotations

import pytest

import core_rt
from tests.core.support import World, wasm

TIERS = ["lazy", "eager", "optimized"]

TRAPS = """(module
  (memory 1)
  (table 1 funcref)
  (type $t (func))
  (func $load (export "load") (param i32) (result i32) (local i32)
    (local.set 1 (i32.load (i32.const 0)))
    (i32.add (local.get 1) (i32.load offset=7 (local.get 0))))
  (func (export "store") (param i32) (i32.store8 (local.get 0) (i32.const 1)))
  (func (export "rmw") (param i32) (i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1))))
  (func (export "div") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
  (func (export "trunc") (param i32) (result i64) (i64.trunc_f32_s (f32.reinterpret_i32 (local.get 0))))
  (func (export "indirect") (param i32) (call_indirect (type $t) (local.get 0)))
  (func (export "unreachable") (param i32) (unreachable))
  (func (export "fill") (param i32) (memory.fill (local.get 0) (i32.const 0) (i32.const 65537)))
  (func $inner (param i32) (drop (call $load (local.get 0))))
  (func (export "outer") (param i32) (call $inner (local.get 0))))"""


@pytest.fixture(params=TIERS)
def world(request):
    return World(core_rt.Config(tiers=request.param, cache=False))


@pytest.mark.parametrize(
    ("name", "argument", "opcode"),
    [
        ("load", 65530, 0x28),
        ("store", 65536, 0x3A),
        ("rmw", 65533, None),
        ("div", 0, 0x6E),
        ("trunc", 0x7FC00000, 0xAE),
        ("indirect", 0, 0x11),
        ("unreachable", 0, 0x00),
        ("fill", 0, 0xFC),
    ],
)
def test_a_trap_knows_its_instruction(world, name, argument, opcode):
    exports = world.load(TRAPS)
    with pytest.raises(core_rt.Trap) as caught:
        exports[name](argument)
    frame = caught.value.frames[0]
    assert frame.name == name
    assert frame.offset is not None
    if opcode is not None:
        assert wasm(TRAPS)[frame.offset] == opcode
    else:  # LLVM may do both accesses in one instruction
        assert wasm(TRAPS)[frame.offset] in (0x28, 0x36)


def test_the_second_of_two_loads(world):
    """The first load of the function cannot trap; the place is that of the second, whatever LLVM folds."""
    exports = world.load(TRAPS)
    with pytest.raises(core_rt.Trap) as caught:
        exports["load"](2**32 - 1)
    data = wasm(TRAPS)
    first = data.index(b"\x28\x02\x00")
    assert caught.value.frames[0].offset > first


def test_callers_are_found(world):
    exports = world.load(TRAPS)
    with pytest.raises(core_rt.Trap) as caught:
        exports["outer"](65536)
    names = [frame.name for frame in caught.value.frames]
    assert names[0] == "load"
    # Inlined callers leave no frame, but what is there is in order.
    assert names == [n for n in ("load", "inner", "outer") if n in names] or names[0] == "load"
    for frame in caught.value.frames[1:]:
        assert frame.offset is not None
        assert wasm(TRAPS)[frame.offset] == 0x10


TAILS = """(module
  (func $down (export "down") (param i32 i64) (result i64)
    (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
    (return_call $step (local.get 0) (local.get 1)))
  (func $step (param i32 i64) (result i64)
    (return_call $down (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 2))))
  (func $boom (param f64 i32) (result i32 i32 i32) (unreachable))
  (func (export "away") (param i32) (result i32 i32 i32) (return_call $boom (f64.const 1) (local.get 0)))
  (func (export "three") (param i32) (result i32 f64 i64) (return_call $three (local.get 0)))
  (func $three (param i32) (result i32 f64 i64) (local.get 0) (f64.const 2.5) (i64.const -1)))"""


def test_tail_calls_use_no_stack(world):
    exports = world.load(TAILS)
    assert exports["down"](1_000_000, 0) == 2_000_000
    assert exports["three"](9) == (9, 2.5, -1)


def test_a_tail_call_leaves_no_frame(world):
    exports = world.load(TAILS)
    with pytest.raises(core_rt.Trap) as caught:
        exports["away"](1)
    assert [frame.function for frame in caught.value.frames] == [2]
