"""Code that runs long is optimised behind the program's back, and the next process starts with it."""

from __future__ import annotations

import threading
import time

import pytest

import core_rt
from core_rt.compile.background import Background
from tests.core.support import wasm

# A loop that takes a while in quick code, called through an export, a table and an import.
SPIN = """(module
  (type $f (func (param i32) (result i32)))
  (table 1 1 funcref)
  (elem (i32.const 0) $spin)
  (func $spin (export "spin") (type $f) (local i32)
    (loop $l
      (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 31)) (local.get 0)))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  (func (export "indirect") (param i32) (result i32) (call_indirect (type $f) (local.get 0) (i32.const 0)))
  (func (export "trap") (param i32) (result i32) (call $spin (local.get 0)) (unreachable)))"""

IMPORTER = """(module
  (import "m" "spin" (func $spin (param i32) (result i32)))
  (func (export "far") (param i32) (result i32) (call $spin (local.get 0))))"""


def start(folder: object) -> tuple[core_rt.Engine, core_rt.Store, core_rt.Instance, core_rt.Instance]:
    engine = core_rt.Engine(core_rt.Config(cache=folder, tick_seconds=0.002))
    store = core_rt.Store(engine)
    linker = core_rt.Linker(engine)
    instance = linker.instantiate(store, core_rt.Module(engine, wasm(SPIN)))
    linker.define_instance("m", instance)
    importer = linker.instantiate(store, core_rt.Module(engine, wasm(IMPORTER)))
    return engine, store, instance, importer


def wait_for(condition, seconds=30.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.01)


def heat_up(engine, instance):
    background = engine.compiler.background
    limit = time.monotonic() + 30
    while not (background.pending or background.done or background.failed):
        assert time.monotonic() < limit, "never hot"
        instance.exports["spin"](3_000_000)
    wait_for(lambda: not background.pending)


def test_hot_code_is_replaced_and_kept(tmp_path):
    engine, _, instance, importer = start(tmp_path)
    expected = [instance.exports[name](1000) for name in ("spin", "indirect")] + [importer.exports["far"](1000)]
    heat_up(engine, instance)
    statistics = engine.compiler.statistics()
    assert statistics["background_done"] == 1
    assert statistics["background_failed"] == 0
    module = instance.module.compiled
    assert module.statistics()["optimised_units"] == 1

    # A guest that runs into a tick lets references use the new code.
    wait_for(lambda: instance.exports["spin"](3_000_000) is not None and instance.generation == module.generation)
    assert [instance.exports[n](1000) for n in ("spin", "indirect")] + [importer.exports["far"](1000)] == expected
    with pytest.raises(core_rt.Trap) as caught:
        instance.exports["trap"](10)
    assert caught.value.frames[0].name == "trap"
    assert caught.value.frames[0].offset is not None
    engine.compiler.close()

    again, _, second, _ = start(tmp_path)
    assert second.module.compiled.statistics()["optimised_units"] == 1
    assert second.exports["spin"](1000) == expected[0]
    assert second.module.compiled.statistics()["quick_functions"] == 0
    again.compiler.close()


def test_short_programs_start_nothing(tmp_path):
    engine, _, instance, _ = start(tmp_path)
    instance.exports["spin"](10)
    assert engine.compiler.background._thread is None
    assert not any(thread.name == "core_rt optimiser" for thread in threading.enumerate())


def test_a_worker_that_fails_changes_nothing(monkeypatch):
    def no_worker(*args, **kwargs):
        raise OSError("no processes today")

    monkeypatch.setattr("core_rt.compile.background.start_worker", no_worker)
    engine, _, instance, _ = start(False)
    expected = instance.exports["spin"](1000)
    heat_up(engine, instance)
    assert engine.compiler.statistics()["background_failed"] == 1
    assert instance.exports["spin"](1000) == expected
    engine.compiler.close()


def test_damaged_answers_are_refused(monkeypatch):
    class Process:
        stdin = stdout = None
        returncode = 0

        def __init__(self):
            import io

            self.stdout = io.BytesIO(b"\x01\x00\x00\x00rubbish")

        def wait(self):
            return 0

        def kill(self):
            pass

    monkeypatch.setattr("core_rt.compile.background.start_worker", lambda *args, **kwargs: Process())
    engine, _, instance, _ = start(False)
    heat_up(engine, instance)
    assert engine.compiler.statistics()["background_failed"] == 1
    assert instance.exports["spin"](10) is not None
    engine.compiler.close()


def test_closing_ends_the_worker():
    engine, _, instance, _ = start(False)
    background = engine.compiler.background
    while not (background.pending or background.done or background.failed):
        instance.exports["spin"](3_000_000)
    began = time.monotonic()
    engine.compiler.close()
    assert time.monotonic() - began < 10
    assert background._thread is None
    background.request(instance.module.compiled, range(1))  # of no use any more, and no error
    assert background._thread is None


def test_jobs_of_dead_modules_are_dropped():
    class Nobody:
        pass

    background = Background()
    background.request(Nobody(), range(1))  # type: ignore[arg-type]
    wait_for(lambda: not background.pending)
    assert background.done == 0
    background.close()
