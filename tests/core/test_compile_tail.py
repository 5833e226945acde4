"""Tail calls between functions of any signatures: values arrive, the stack does not grow."""

from __future__ import annotations

import random

import pytest

import core_rt
from tests.core.support import World

TO_I64 = {
    "i32": "(i64.extend_i32_s {})",
    "i64": "{}",
    "f32": "(i64.trunc_sat_f32_s {})",
    "f64": "(i64.trunc_sat_f64_s {})",
}
COUNTS = (0, 1, 3, 4, 5, 6, 9, 10, 20, 60)
ROUNDS = 100_000


def ring(seed: int, results: str) -> tuple[str, int]:
    """Functions that call one another in a ring, each adding up its parameters with weights; and the sum after ROUNDS calls."""
    generator = random.Random(seed)
    signatures = [[generator.choice(list(TO_I64)) for _ in range(generator.choice(COUNTS))] for _ in range(7)]
    values = [[generator.randrange(-50, 50) for _ in types] for types in signatures]
    extra = "(i32.const 9)" if "i32" in results else ""
    functions = []
    for i, types in enumerate(signatures):
        following = (i + 1) % len(signatures)
        total = "(local.get 1)"
        for j, type_ in enumerate(types):
            total = f"(i64.add {total} (i64.mul (i64.const {j + 1}) {TO_I64[type_].format(f'(local.get {j + 2})')}))"
        arguments = " ".join(f"({t}.const {v})" for t, v in zip(signatures[following], values[following]))
        kind = ("return_call $f{}", "return_call_indirect (type $f{0})", "return_call_ref $f{}")[i % 3].format(
            following
        )
        target = ("", f"(i32.const {following})", f"(ref.func $f{following})")[i % 3]
        functions.append(
            f"(type $f{i} (func (param i32 i64 {' '.join(types)}) (result {results})))"
            f"(func $f{i} (type $f{i}) (local $s i64) (local.set $s {total})"
            f" (if (i32.eqz (local.get 0)) (then (return (local.get $s) {extra})))"
            f" ({kind} (i32.sub (local.get 0) (i32.const 1)) (local.get $s) {arguments} {target}))"
        )
    first = " ".join(f"({t}.const {v})" for t, v in zip(signatures[0], values[0]))
    names = " ".join(f"$f{i}" for i in range(len(signatures)))
    text = (
        f"(module {''.join(functions)} (table {len(signatures)} funcref) (elem (i32.const 0) func {names})"
        f' (func (export "go") (param i32) (result {results}) (call $f0 (local.get 0) (i64.const 0) {first})))'
    )
    sums = [sum((j + 1) * v for j, v in enumerate(row)) for row in values]
    rounds, rest = divmod(ROUNDS + 1, len(sums))
    return text, rounds * sum(sums) + sum(sums[:rest])


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
@pytest.mark.parametrize("results", ["i64", "i64 i32"])
@pytest.mark.parametrize("seed", range(4))
def test_rings(tier, results, seed):
    text, expected = ring(seed, results)
    exports = World(core_rt.Config(tiers=tier, cache=False)).load(text)
    assert exports["go"](ROUNDS) == (expected if results == "i64" else (expected, 9))


VECTORS = [("f32 v128", 17, 19), ("i32 v128", 20, 41), ("v128 i64", 9, 10), ("v128", 9, 40), ("f64 i32 v128", 30, 3)]


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
@pytest.mark.parametrize(("types", "first", "second"), VECTORS)
def test_vectors_on_the_stack(tier, types, first, second):
    """LLVM's two sides disagree on the size of such arguments, if nothing is done about it."""
    few, many = ([types.split()[i % len(types.split())] for i in range(n)] for n in (first, second))

    def constants(of):
        return " ".join(f"({t}.const {'i64x2 5 6' if t == 'v128' else i})" for i, t in enumerate(of))

    def last(of):
        at = max(i for i, t in enumerate(of) if t == "v128")
        return f"(i64x2.extract_lane 1 (local.get {at + 1}))"

    exports = World(core_rt.Config(tiers=tier, cache=False)).load(
        f"""(module
          (func $a (param i32 {" ".join(few)}) (result i64)
            (if (i32.eqz (local.get 0)) (then (return {last(few)})))
            (return_call $b (i32.sub (local.get 0) (i32.const 1)) {constants(many)}))
          (func $b (param i32 {" ".join(many)}) (result i64)
            (if (i32.eqz (local.get 0)) (then (return (i64.add (i64.const 100) {last(many)}))))
            (return_call $a (i32.sub (local.get 0) (i32.const 1)) {constants(few)}))
          (func $plain (param i32 {" ".join(many)}) (result i64) {last(many)})
          (func (export "go") (param i32) (result i64) (call $a (local.get 0) {constants(few)}))
          (func (export "out") (param i32 {" ".join(few)}) (result i64)
            (return_call $plain (local.get 0) {constants(many)}))
          (func (export "through") (result i64) (call 4 (i32.const 0) {constants(few)})))"""
    )
    assert exports["go"](ROUNDS) == 6
    assert exports["go"](ROUNDS + 1) == 106
    assert exports["through"]() == 6


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
def test_to_the_host_and_back(tier):
    """A function without a tail entry is called as usual."""
    world = World(core_rt.Config(tiers=tier, cache=False))
    world.host("f", lambda *a: sum(a), " ".join(["i64"] * 12), "i64")
    exports = world.load(
        f"""(module (import "host" "f" (func $f (param {"i64 " * 12}) (result i64)))
          (func (export "go") (param i64) (result i64)
            (return_call $f {"(local.get 0) " * 12})))"""
    )
    assert exports["go"](5) == 60
