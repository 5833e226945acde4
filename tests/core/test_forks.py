"""Forks while other threads compile: the child can compile as well, and has what it needs to."""

from __future__ import annotations

import os
import threading

import pytest

import core_rt
from core_rt.compile import CompiledModule
from core_rt.compile import module as compiled_module
from tests.core.support import wasm

# Newer Pythons warn of just what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

GUEST = wasm(
    "(module "
    + "".join(
        f'(func (export "f{i}") (param $n i64) (result i64) (local $s i64)'
        f" (loop $l (local.set $s (i64.xor (i64.mul (local.get $s) (i64.const {2 * i + 3})) (local.get $n)))"
        " (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))) (local.get $s))"
        for i in range(40)
    )
    + ")"
)


def _all(engine: core_rt.Engine) -> list[int]:
    with core_rt.Store(engine) as store:
        exports = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, GUEST)).exports
        return [exports[f"f{i}"](20_000) for i in range(40)]


def _child(act) -> int:
    child = os.fork()
    if not child:
        try:
            os._exit(0 if act() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("tiers", ["off", "lazy", "optimized"])
def test_while_another_thread_compiles(tiers: str) -> None:
    engine = core_rt.Engine(core_rt.Config(tiers=tiers, cache=False))  # type: ignore[arg-type]
    wanted = _all(engine)
    stop = threading.Event()

    module = core_rt.Module(engine, GUEST)

    def busy() -> None:
        while not stop.is_set():
            compiled = CompiledModule(engine.compiler, module.decoded, module.layout)
            compiled.compile_eagerly()
            compiled.optimise(range(10))
            compiled.close()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(8):
            assert _child(lambda: _all(engine) == wanted) == 0
    finally:
        stop.set()
        thread.join()
        engine.compiler.close()


def leaves_others_alone(store: core_rt.Store, module: core_rt.Module) -> bool:
    """What was not asked of the parent's threads is interpreted on."""
    exports = core_rt.Linker(store.engine).instantiate(store, module).exports
    for _ in range(3):
        exports["f1"](1)
    functions = module.compiled.functions
    assert functions is not None
    return functions.is_interpreted(1)


def test_several_threads_may_fork() -> None:
    engine = core_rt.Engine(core_rt.Config(tiers="off", cache=False))
    wanted = _all(engine)
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.extend(_child(lambda: _all(engine) == wanted) for _ in range(4)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 12


def test_what_the_parents_thread_was_to_make_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_module, "_WAIT_WORDS", 0)
    engine = core_rt.Engine(core_rt.Config(cache=False))
    with core_rt.Store(engine) as store:
        module = core_rt.Module(engine, GUEST)
        exports = core_rt.Linker(engine).instantiate(store, module).exports
        call = exports["f0"]
        lane = engine.compiler.background._quick
        monkeypatch.setattr(lane, "put", lambda job: None)  # is asked, and never does it
        wanted = call(100_000)
        exports["f1"](1)
        assert not module.compiled.statistics()["quick_functions"]

        def makes_its_own() -> bool:
            same = all(call(100_000) == wanted for _ in range(50))
            return same and module.compiled.statistics()["quick_functions"] > 0

        assert _child(makes_its_own) == 0
        assert _child(lambda: leaves_others_alone(store, module)) == 0
        assert call(100_000) == wanted
    engine.compiler.close()
