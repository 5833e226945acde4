"""Fuel is the same whatever runs the guest: interpreter, quick code, optimised code, and on the way from one to another."""

from __future__ import annotations

import pytest

import core_rt
from core_rt.errors import ExhaustionError
from core_rt.interpret import functions
from tests.core.support import wasm

FUEL = 10_000_000

# Every kind of run: loops with operands below, both arms, an arm that returns, branches with values, a table, calls, dead code.
WALK = wasm(
    """
(module
  (func $collatz (param $n i64) (result i32) (local $steps i32)
    (loop $again
      (if (i64.eqz (i64.and (local.get $n) (i64.const 1)))
        (then (local.set $n (i64.shr_u (local.get $n) (i64.const 1))))
        (else (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))))
      (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
      (br_if $again (i64.gt_u (local.get $n) (i64.const 1))))
    (local.get $steps))
  (func $choose (param i32) (result i32)
    (block $c (result i32)
      (block $b (result i32)
        (block $a (result i32)
          (i32.const 7) (local.get 0)
          (br_table $a $b $c $b))
        (return (i32.add (i32.const 1))))
      (drop) (br $c (i32.const 5)) (unreachable))
    (nop) (i32.const 2) (i32.mul))
  (func $sum (param $n i32) (result i32)
    (i32.const 100) (i32.const 0)
    (loop $l (param i32) (result i32)
      (i32.add (call $choose (i32.rem_u (local.get $n) (i32.const 5))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add))
  (func (export "run") (param $n i32) (result i32) (local $total i32)
    (loop $l
      (local.set $total (i32.add (local.get $total) (call $collatz (i64.extend_i32_u (local.get $n)))))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (local.get $total) (call $sum (i32.const 50)))))
"""
)

TIERS = [("off", None), ("optimized", None), *[("lazy", budget) for budget in (1 << 60, 200, 3, 0)]]


def _run(monkeypatch: pytest.MonkeyPatch, tiers: str, budget: int | None, fuel: int) -> tuple[int | None, int]:
    if budget is not None:
        monkeypatch.setattr(functions, "BUDGET", budget)
        monkeypatch.setattr(functions, "BUDGET_PER_WORD", 0)
    engine = core_rt.Engine(core_rt.Config(tiers=tiers, cache=False, consume_fuel=True))  # type: ignore[arg-type]
    with core_rt.Store(engine) as store:
        store.fuel = fuel
        run = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, WALK)).exports["run"]
        try:
            result = run(40)
        except ExhaustionError:
            return None, store.fuel
        return result, fuel - store.fuel


def test_fuel_does_not_depend_on_the_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {_run(monkeypatch, tiers, budget, FUEL) for tiers, budget in TIERS}
    assert len(found) == 1
    ((result, used),) = found
    assert result == sum(_steps(n) for n in range(1, 41)) + 100 + sum(_choice(n % 5) for n in range(1, 51))
    assert used > 10_000


@pytest.mark.parametrize(("tiers", "budget"), TIERS)
def test_guests_end_when_it_is_used_up(monkeypatch: pytest.MonkeyPatch, tiers: str, budget: int | None) -> None:
    assert _run(monkeypatch, tiers, budget, 5000) == (None, 0)


def _steps(n: int) -> int:
    steps = 0
    while True:
        n = 3 * n + 1 if n & 1 else n >> 1
        steps += 1
        if n <= 1:
            return steps


def _choice(index: int) -> int:
    return {0: 8, 1: 10, 2: 14}.get(index, 10)
