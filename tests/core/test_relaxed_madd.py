"""`relaxed_madd`: rounded once or twice, as the config says, and alike in all tiers."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest

import core_rt
from tests.core.support import wasm

GUEST = wasm(
    """
(module
  (func (export "madd") (param f32 f32 f32) (result f32)
    (f32x4.extract_lane 2 (f32x4.relaxed_madd (f32x4.splat (local.get 0)) (f32x4.splat (local.get 1)) (f32x4.splat (local.get 2)))))
  (func (export "nmadd") (param f64 f64 f64) (result f64)
    (f64x2.extract_lane 1 (f64x2.relaxed_nmadd (f64x2.splat (local.get 0)) (f64x2.splat (local.get 1)) (f64x2.splat (local.get 2))))))
"""
)
# Products whose last bits are lost when they are rounded before the sum takes the first ones away.
A32, A64 = 1 + 2**-12, 1 + 2**-30


def _run(tiers: str, deterministic: bool) -> tuple[float, float, bool]:
    config = core_rt.Config(tiers=tiers, cache=False, relaxed_simd_deterministic=deterministic)  # type: ignore[arg-type]
    engine = core_rt.Engine(config)
    with core_rt.Store(engine) as store:
        exports = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, GUEST)).exports
        return exports["madd"](A32, A32, -1.0), exports["nmadd"](A64, A64, 1.0), engine.compiler.fuses


@pytest.mark.parametrize("tiers", ["off", "optimized"])
def test_twice(tiers: str) -> None:
    product = struct.unpack("<f", struct.pack("<f", A32 * A32))[0]
    assert _run(tiers, True) == (product - 1.0, -(A64 * A64) + 1.0, False)


@pytest.mark.parametrize("tiers", ["off", "optimized"])
def test_once(tiers: str) -> None:
    madd, nmadd, fuses = _run(tiers, False)
    if not fuses:
        pytest.skip("this processor has no such instruction")
    assert Fraction(madd) == Fraction(A32) ** 2 - 1
    assert Fraction(nmadd) == 1 - Fraction(A64) ** 2


def test_the_profile_has_a_name_in_the_cache() -> None:
    from core_rt.compile.ahead import cache_key

    keys = set()
    for deterministic in (True, False):
        engine = core_rt.Engine(core_rt.Config(cache=False, relaxed_simd_deterministic=deterministic))
        keys.add(cache_key(core_rt.Module(engine, GUEST).compiled))
    assert len(keys) == 2
