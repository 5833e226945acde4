"""The short versions of `python -m tests.robustness.threads` and `.leaks`."""

from __future__ import annotations

import threading

import pytest
import wasmtime

import core_rt
from tests.robustness import leaks, threads


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
def test_threads_share_an_engine(tier):
    outcome = threads.run(8, 1000, tier=tier)
    assert not outcome.wrong, str(outcome)
    assert outcome.calls == 8000
    assert outcome.traps == 8 * 400
    assert outcome.refusals > 8 * 20


def test_store_used_by_two_threads_raises():
    """The second thread is told so; the first one's call goes on unharmed."""
    engine = core_rt.Engine(core_rt.Config(cache=False))
    wat = '(module (import "h" "wait" (func $w)) (func (export "f") (result i32) (call $w) (i32.const 7)))'
    module = core_rt.Module(engine, bytes(wasmtime.wat2wasm(wat)))
    inside, leave, results = threading.Event(), threading.Event(), []

    def wait() -> None:
        inside.set()
        assert leave.wait(30)

    with core_rt.Store(engine) as store:
        linker = core_rt.Linker(engine)
        linker.define_func("h", "wait", core_rt.FuncType([], []), wait)
        f = linker.instantiate(store, module).exports["f"]
        first = threading.Thread(target=lambda: results.append(f()))
        first.start()
        try:
            assert inside.wait(30)
            with pytest.raises(core_rt.WasmError):
                f()
        finally:
            leave.set()
            first.join()
        assert results == [7]
        assert f() == 7


def test_nothing_is_left_behind():
    for growth in leaks.run(20_000, 500):
        assert growth.descriptors <= 2, str(growth)
        assert growth.mappings <= 20, str(growth)
        assert growth.rss < 6 << 20, str(growth)
