"""What optimisation must not change, and what only some functions get: NaNs, fuel, locals in memory, many branches."""

from __future__ import annotations

import struct

import pytest

import core_rt
from core_rt.compile import emitter
from tests.core.support import World

TIERS = ["lazy", "optimized"]
SNAN32, QNAN32 = 0x7FA00001, 0x7FE00001
SNAN64 = 0x7FF4000000000001

# Each is an identity on numbers, and must still quiet a signalling NaN.
QUIET = {
    "add": "(f64.add (local.get 0) (f64.const -0))",
    "sub": "(f64.sub (local.get 0) (f64.const 0))",
    "mul": "(f64.mul (local.get 0) (f64.const 1))",
    "div": "(f64.div (local.get 0) (f64.const 1))",
    "rounded": "(f64.floor (local.get 0))",
    "narrowed": "(f64.promote_f32 (f32.demote_f64 (local.get 0)))",
    "min": "(f64.min (local.get 0) (local.get 0))",
    "max": "(f64.max (f64.const inf) (local.get 0))",
    "local": "(f64.sub (local.get 0) (local.get 1))",
    "loop": "(loop $l (local.set 0 (f64.sub (local.get 0) (local.get 1))) (br_if $l (i32.const 0))) (local.get 0)",
    "negated": "(f64.sub (f64.const -0) (local.get 0))",
    "sqrt": "(f64.sqrt (local.get 0))",
}
# Bit operations keep one signalling.
KEPT = {
    "neg": ("(f64.neg (f64.neg (local.get 0)))", SNAN64),
    "abs": ("(f64.abs (local.get 0))", SNAN64),
    "copysign": ("(f64.copysign (local.get 0) (f64.const -1))", SNAN64 | 1 << 63),
}


@pytest.fixture(params=TIERS)
def world(request):
    return World(core_rt.Config(tiers=request.param, cache=False))


def test_nans_become_quiet(world):
    functions = "\n".join(f'(func (export "{n}") (param f64) (result f64) (local f64) {t})' for n, t in QUIET.items())
    exports = world.load(f"(module {functions})")
    for name in QUIET:
        (bits,) = exports[name].call_raw([SNAN64])
        assert bits & 0x7FF8 << 48 == 0x7FF8 << 48, f"{name}: {bits:x}"


def test_nans_keep_their_bits(world):
    functions = "\n".join(f'(func (export "{n}") (param f64) (result f64) {t})' for n, (t, _) in KEPT.items())
    exports = world.load(f"(module {functions})")
    for name, (_, expected) in KEPT.items():
        assert exports[name].call_raw([SNAN64]) == [expected], name


def test_promotion_and_demotion(world):
    exports = world.load(
        """(module
          (func (export "there") (param f32) (result f32) (f32.demote_f64 (f64.promote_f32 (local.get 0))))
          (func (export "lanes") (param v128) (result v128)
            (f32x4.demote_f64x2_zero (f64x2.promote_low_f32x4 (local.get 0)))))"""
    )
    assert exports["there"].call_raw([SNAN32]) == [QNAN32]
    (lanes,) = exports["lanes"].call_raw([SNAN32 << 32 | 0x3F800000])
    assert lanes == QNAN32 << 32 | 0x3F800000


def test_products_are_not_fused(world):
    exports = world.load(
        """(module (func (export "f") (param f64 f64 f64) (result f64)
             (f64.add (f64.mul (local.get 0) (local.get 1)) (local.get 2))))"""
    )
    a = 1 + 2**-30
    assert exports["f"](a, a, -1.0) == a * a - 1.0


def test_vector_constants_quiet(world):
    exports = world.load(
        """(module (func (export "f") (param v128) (result v128)
             (f32x4.mul (local.get 0) (v128.const f32x4 1 1 1 1))))"""
    )
    (lanes,) = exports["f"].call_raw([SNAN32])
    assert lanes & 0xFFFFFFFF == QNAN32


INTERPRETER = """(module
  (func (export "run") (param i32 i64 f32) (result i64) (local i64 f64 i32 i32)
    (loop $next
      (block $out (block $three (block $two (block $one (block $zero
        (br_table $zero $one $two $three $two $out (i32.rem_u (local.get 5) (i32.const 6))))
        (local.set 3 (i64.add (local.get 3) (local.get 1)))
        (br $out))
        (local.set 4 (f64.add (local.get 4) (f64.promote_f32 (local.get 2))))
        (br $out))
        (local.set 1 (i64.mul (local.get 1) (i64.const 3)))
        (br $out))
        (if (i64.gt_s (local.get 3) (i64.const 1000)) (then (local.set 3 (i64.const 1)) (local.set 6 (local.get 5)))))
      (local.set 5 (i32.add (local.get 5) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get 5) (local.get 0))))
    (i64.add (i64.add (local.get 3) (i64.trunc_f64_s (local.get 4))) (i64.extend_i32_u (local.get 6)))))"""


@pytest.mark.parametrize("tier", TIERS)
def test_locals_in_memory_do_the_same(tier, monkeypatch):
    found = []
    for most in (4_000_000, 0):
        monkeypatch.setattr(emitter, "_JOINS_MOST", most)
        exports = World(core_rt.Config(tiers=tier, cache=False)).load(INTERPRETER)
        found.append([exports["run"](n, 7, 1.5) for n in (1, 2, 6, 7, 50, 1000)])
    assert found[0] == found[1]
    assert len(set(found[0])) > 3


def test_many_locals_and_branches_take_linear_time():
    count = 6000
    body = "".join(f"(local.set {i + 1} (i32.const {i})) (br_if 0 (local.get 0))" for i in range(count))
    exports = World().load(
        f'(module (func (export "f") (param i32) (result i32) (local {"i32 " * count})'
        f"(block {body}) (local.get {count})))"
    )
    assert exports["f"](1) == 0
    assert exports["f"](0) == count - 1


def test_fuel_is_counted(world):
    config = core_rt.Config(tiers=world.engine.config.tiers, cache=False, consume_fuel=True)
    fuelled = World(config)
    exports = fuelled.load(
        """(module (func (export "f") (param i32)
             (loop $l (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""
    )
    used = []
    for n in (1, 2, 12):
        fuelled.store.fuel = 1000
        exports["f"](n)
        used.append(1000 - fuelled.store.fuel)
    # local.get, i32.const, i32.sub, local.tee, br_if: five a round
    assert used[1] - used[0] == 5
    assert used[2] - used[1] == 50
    fuelled.store.fuel = 100
    with pytest.raises(core_rt.ExhaustionError):
        exports["f"](1000)


def test_fuel_and_places_together():
    """With fuel and debug locations at once the price of a run is still written where it belongs."""
    world = World(core_rt.Config(tiers="optimized", cache=False, consume_fuel=True))
    exports = world.load('(module (memory 1) (func (export "f") (param i32) (result i32) (i32.load (local.get 0))))')
    world.store.fuel = 10
    with pytest.raises(core_rt.Trap) as caught:
        exports["f"](65536)
    assert caught.value.frames[0].offset is not None


def test_results_in_slots_are_extended(world):
    """The host reads slots as 64 bits: 32-bit results must not carry rubbish above."""
    exports = world.load(
        """(module (func (export "f") (param i64) (result i32 f32 i32)
             (i32.wrap_i64 (local.get 0)) (f32.reinterpret_i32 (i32.wrap_i64 (local.get 0))) (i32.const -1)))"""
    )
    assert exports["f"].call_raw([0xFFFF_FFFF_4000_0000]) == [0x4000_0000, 0x4000_0000, 0xFFFF_FFFF]


def test_constants_are_exact(world):
    for bits in (0x7FA00000, 0x00000001, 0x80000000, 0x7F800000, 0x3DCCCCCD):
        (value,) = struct.unpack("<f", struct.pack("<I", bits))
        text = f"nan:0x{bits & 0x7FFFFF:x}" if value != value else ("inf" if bits == 0x7F800000 else float(value).hex())
        exports = world.load(f'(module (func (export "f") (result f32) (f32.const {text})))')
        assert exports["f"].call_raw([]) == [bits]


def test_huge_functions_get_quick_code():
    """LLVM's passes would take minutes for this one."""
    body = " ".join(f"(i32.const {i * 7919 + 3}) {('i32.add', 'i32.xor', 'i32.mul')[i % 3]}" for i in range(40_000))
    world = World(core_rt.Config(tiers="optimized", cache=False))
    exports = world.load(
        f"""(module (func $huge (export "huge") (param i32) (result i32) (local.get 0) {body})
          (func (export "small") (param i32) (result i32) (i32.add (call $huge (local.get 0)) (i32.const 1))))"""
    )
    expected = 5
    for i in range(40_000):
        value = i * 7919 + 3
        expected = (expected + value, expected ^ value, expected * value)[i % 3] & 0xFFFF_FFFF
    assert exports["small"](5) & 0xFFFF_FFFF == (expected + 1) & 0xFFFF_FFFF
