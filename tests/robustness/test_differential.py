"""The short version of `python -m tests.robustness.differential`; $DIFFERENTIAL says how many modules."""

from __future__ import annotations

import os
import random

import pytest
import wasmtime

import core_rt
from tests.robustness.generate import generate


def test_generated_modules_are_valid_and_run():
    """The generator is tested against the other engine alone: what it makes is valid and rarely stops early."""
    from tests.robustness.differential import EXTRAS, their_engine

    engine = their_engine()
    for index in range(60):
        extras = {extra: (index >> bit) % 2 == 1 for bit, extra in enumerate(EXTRAS)}
        generated = generate(index, **extras)
        wasmtime.Module.validate(engine, generated.wasm)
        assert generated == generate(index, **extras)


@pytest.mark.parametrize(
    ("tier", "extras"),
    [
        ("lazy", ["shapes"]),
        ("lazy", ["references", "vectors", "exceptions"]),
        ("lazy", ["memories", "transfers"]),
        ("optimized", ["vectors", "transfers"]),
        ("optimized", ["references", "exceptions", "memories", "shapes"]),
        ("every", ["shapes"]),
        ("every", ["shapes", "exceptions", "references", "transfers"]),
    ],
)
def test_results_equal_those_of_wasmtime(tier, extras):
    from tests.robustness.differential import run

    count = int(os.environ.get("DIFFERENTIAL", "25"))
    report = run(count, seed=7, tier=tier, extras=extras)
    assert not report.findings, str(report)
    assert report.cases == count
    assert report.outcomes["equal"] > count // 5


def test_fuel_runs_out_at_the_same_place_in_every_tier(monkeypatch):
    """Nothing is left undone, nothing more is done."""
    from tests.robustness.differential import Ours, tiers_of

    monkeypatch.setattr("core_rt.interpret.functions.BUDGET_PER_WORD", 0)
    monkeypatch.setattr("core_rt.compile.module._WAIT_WORDS", 1 << 40)

    def outcome(ours: Ours, name: str, arguments: tuple[int, ...], fuel: int) -> tuple[object, ...]:
        ours.store.fuel = 100
        ours.exports["reset"].call_raw([])
        ours.store.fuel = fuel
        try:
            ended = "returned"
            ours.exports[name].call_raw(list(arguments))
        except core_rt.WasmError as error:
            ended = type(error).__name__
        values = [item.raw for item in ours.exports.values() if isinstance(item, core_rt.Global)]
        return ended, ours.store.fuel, bytes(ours.exports["m"].data), *values

    exhausted = 0
    for index in range(0, 60, 3):  # those where fuel is counted
        generated = generate(f"fuel/{index}", shapes=True)
        rng = random.Random(index)
        every = [tier.begin(generated) for tier in tiers_of("every", index)]
        for name, _, arguments in generated.calls:
            fuel = rng.randrange(100, 3000)
            first, *others = [outcome(ours, name, arguments, fuel) for ours in every]
            assert all(other == first for other in others), (index, name, fuel)
            exhausted += first[0] == "ExhaustionError"
        for ours in every:
            ours.store.close()
    assert exhausted > 20


def test_component_values_lie_in_memory_as_those_of_wasmtime():
    from tests.robustness.values import run

    count = int(os.environ.get("DIFFERENTIAL", "25"))
    report = run(count, seed=7)
    assert not report.findings, str(report)
    assert report.cases == count


def test_layouts_of_random_types():
    """The sizes that the generator reckons with, for types worked out by hand from the specification."""
    from tests.robustness.wit_types import Type

    byte, word, text = Type("u8", "u8"), Type("u64", "u64"), Type("string", "string")
    record = Type("record", "$r", (("a", byte), ("b", word), ("c", byte)))
    variant = Type("variant", "$v", (("a", None), ("b", Type("f32", "f32")), ("c", text)))
    assert (record.layout, record.flat) == ((24, 8), ["i32", "i64", "i32"])
    assert (variant.layout, variant.flat) == ((12, 4), ["i32", "i32", "i32"])
    assert Type("option", "", (("none", None), ("some", byte))).layout == (2, 1)
    assert Type("flags", "$f", tuple((str(i), None) for i in range(17))).layout == (4, 4)
    assert Type("result", "", (("ok", word), ("err", Type("f64", "f64")))).flat == ["i32", "i64"]


def test_generated_names_do_not_meet_those_of_pointers():
    """The 32nd fresh name with the stem `f` was once `f32`, the name of the pointer that floats are stored through."""
    import component_rt as rt
    from tests.robustness.values import compare, make_case

    engine, their_engine = rt.Engine(rt.Config(cache=False)), wasmtime.Engine()
    assert compare(make_case("50/202"), engine, their_engine)
