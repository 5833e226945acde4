"""The short version of `python -m tests.robustness.heap`, and the same objects in the other engine."""

from __future__ import annotations

import wasmtime

import core_rt
from tests.robustness import heap
from tests.robustness.differential import their_engine


def test_the_limit_refuses_and_the_store_goes_on():
    assert heap.refusals(4 << 20) == {
        "a million objects that stay": "ExhaustionError: no room for an object of 24 bytes on the heap of 4194304 bytes",
        "one object of the limit": "Trap: allocation size too large",
        "one object of all but the limit": "made",
        "afterwards": "10000 objects, 100000 times replaced",
    }


def test_the_heap_stays_flat():
    sizes = [size for _, size in heap.soak(rounds=40, live=5000, churn=20_000)]
    assert max(sizes[5:]) <= 1.5 * max(sizes[:5])


def test_the_same_is_alive_as_in_the_other_engine():
    """Sums over objects at random, while they are replaced and collected."""
    wasm = bytes(wasmtime.wat2wasm(heap.WAT))
    engine, store = core_rt.Engine(core_rt.Config(cache=False, tiers="optimized")), wasmtime.Store(their_engine())
    with core_rt.Store(engine) as ours:
        exports = core_rt.Linker(engine).instantiate(ours, core_rt.Module(engine, wasm)).exports
        theirs = wasmtime.Instance(store, wasmtime.Module(store.engine, wasm), []).exports(store)
        for name, *arguments in [("fill", 20_000), *[("churn", 50_000), ("churn", 50_000), ("cut",)] * 3, ("drop",)]:
            assert exports[name](*arguments) == theirs[name](store, *arguments), name
        assert ours.statistics()["collections"] > 3
        assert ours.statistics()["gc_pauses"] > 100
        assert 0 < ours.statistics()["gc_pause_p99_microseconds"] <= ours.statistics()["gc_pause_longest_microseconds"]
