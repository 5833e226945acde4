"""The short version of `python -m tests.robustness.differential`; $DIFFERENTIAL says how many modules."""

from __future__ import annotations

import os

import pytest
import wasmtime

from tests.robustness.generate import generate


def test_generated_modules_are_valid_and_run():
    """The generator is tested against the other engine alone: what it makes is valid and rarely stops early."""
    engine = wasmtime.Engine()
    for index in range(60):
        generated = generate(index, vectors=index % 2 == 1)
        wasmtime.Module.validate(engine, generated.wasm)
        assert generated == generate(index, vectors=index % 2 == 1)


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
def test_results_equal_those_of_wasmtime(tier):
    from tests.robustness.differential import run

    count = int(os.environ.get("DIFFERENTIAL", "100"))
    report = run(count, seed=7, tier=tier)
    assert not report.findings, str(report)
    assert report.cases == count
    assert report.outcomes["equal"] > count // 3
