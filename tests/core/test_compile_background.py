"""Code that runs long is optimised behind the program's back, and the next process starts with it."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import ClassVar

import pytest

import core_rt
from core_rt.compile.background import Background
from core_rt.compile.heat import Heat
from core_rt.compile.workers import Family, Limits
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


def start(
    folder: object, tick_seconds: float = 0.002
) -> tuple[core_rt.Engine, core_rt.Store, core_rt.Instance, core_rt.Instance]:
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


def threads_of(background):
    return [lane.thread for lane in (background._here, background._away) if lane.thread is not None]


@pytest.fixture
def by_worker(monkeypatch):
    """Nothing is little enough to be optimised in this process."""
    monkeypatch.setattr("core_rt.compile.heat._MOST_HERE", 0)


def heat_up(engine, instance):
    background = engine.compiler.background
    limit = time.monotonic() + 30
    while not (background.pending or background.done or background.failed):
        assert time.monotonic() < limit, "never hot"
        instance.exports["spin"](3_000_000)
    wait_for(lambda: not background.pending)


@pytest.mark.parametrize("here", [True, False])
def test_hot_code_is_replaced_and_kept(tmp_path, monkeypatch, here):
    if not here:
        monkeypatch.setattr("core_rt.compile.heat._MOST_HERE", 0)
    else:
        monkeypatch.setattr("core_rt.compile.background.start_worker", None)
    engine, _, instance, importer = start(tmp_path)
    expected = [instance.exports[name](1000) for name in ("spin", "indirect")] + [importer.exports["far"](1000)]
    heat_up(engine, instance)
    statistics = engine.compiler.statistics()
    assert statistics["background_done"] >= 1
    assert statistics["background_failed"] == 0
    module = instance.module.compiled
    assert module.statistics()["optimised_units"] >= 1

    # A guest that runs into a tick lets references use the new code.
    wait_for(lambda: instance.exports["spin"](3_000_000) is not None and instance.generation == module.generation)
    assert [instance.exports[n](1000) for n in ("spin", "indirect")] + [importer.exports["far"](1000)] == expected
    with pytest.raises(core_rt.Trap) as caught:
        instance.exports["trap"](10)
    assert caught.value.frames[0].name == "trap"
    assert caught.value.frames[0].offset is not None
    engine.compiler.close()

    again, _, second, _ = start(tmp_path)
    assert second.module.compiled.statistics()["optimised_units"] >= 1
    assert second.exports["spin"](1000) == expected[0]
    assert second.module.compiled.statistics()["quick_functions"] == 0
    again.compiler.close()


def test_short_programs_start_nothing(tmp_path):
    engine, _, instance, _ = start(tmp_path)
    instance.exports["spin"](10)
    assert not threads_of(engine.compiler.background)


def test_a_worker_that_fails_changes_nothing(by_worker, monkeypatch):
    def no_worker(*args, **kwargs):
        raise OSError("no processes today")

    monkeypatch.setattr("core_rt.compile.background.start_worker", no_worker)
    engine, _, instance, _ = start(False)
    expected = instance.exports["spin"](1000)
    heat_up(engine, instance)
    assert engine.compiler.statistics()["background_failed"] == 1
    assert instance.exports["spin"](1000) == expected
    engine.compiler.close()


def test_damaged_answers_are_refused(by_worker, monkeypatch):
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


def test_closing_ends_the_worker(by_worker):
    engine, _, instance, _ = start(False)
    background = engine.compiler.background
    while not (background.pending or background.done or background.failed):
        instance.exports["spin"](3_000_000)
    began = time.monotonic()
    engine.compiler.close()
    assert time.monotonic() - began < 10
    assert not threads_of(background)
    background.request(instance.module.compiled, Family((0,), 1))  # of no use any more, and no error
    assert not threads_of(background)


def test_jobs_of_dead_modules_are_dropped():
    class Nobody:
        pass

    background = Background()
    background.request(Nobody(), Family((0,), 1))  # type: ignore[arg-type]
    wait_for(lambda: not background.pending)
    assert background.done == 0
    background.close()


def test_a_worker_has_limits(by_worker, monkeypatch):
    monkeypatch.setattr("core_rt.compile.background.LIMITS", Limits(seconds=100, bytes=1 << 20))
    engine, _, instance, _ = start(False)
    expected = instance.exports["spin"](1000)
    heat_up(engine, instance)
    assert engine.compiler.statistics()["background_failed"] == 1
    assert "cut off" in str(engine.compiler.background.error)
    assert instance.exports["spin"](1000) == expected
    engine.compiler.close()


def test_progress_is_told(by_worker):
    engine, _, instance, _ = start(False)
    told = []
    engine.on_optimised = lambda *numbers: told.append(numbers)
    heat_up(engine, instance)
    assert [dealt for dealt, _ in told] == list(range(1, len(told) + 1))
    assert told[-1] == (len(told), len(told))
    engine.compiler.close()


def test_off_is_off(tmp_path):
    engine, _, instance, _ = start(tmp_path)
    heat_up(engine, instance)
    engine.compiler.close()
    engine = core_rt.Engine(core_rt.Config(cache=tmp_path, tiers="off", tick_seconds=0.002))
    instance = core_rt.Linker(engine).instantiate(core_rt.Store(engine), core_rt.Module(engine, wasm(SPIN)))
    for _ in range(10):
        instance.exports["spin"](3_000_000)
    assert engine.compiler.background.asked == 0
    assert instance.module.compiled.statistics()["optimised_units"] == 0
    engine.compiler.close()


def test_functions_are_optimised_with_what_they_call():
    engine = core_rt.Engine(core_rt.Config(cache=False))
    text = """(module
      (func $far (call $leaf))
      (func $big {nops})
      (func $leaf)
      (func $root (call $far) (call $big) (call $leaf)))"""
    module = core_rt.Module(engine, wasm(text.format(nops="(nop) " * 200)))
    writer = module.compiled._writer
    assert writer.family([3], 100) == {3, 0, 2}
    assert writer.family([3], 1000) == {3, 0, 1, 2}
    assert writer.family([3], 1) == {3}
    assert writer.family([1], 1) == {1}


def test_what_is_asked_for_is_not_asked_for_again(monkeypatch):
    clock, step = [0.0], [1.0]

    def thread_time():
        clock[0] += step[0]
        return clock[0]

    monkeypatch.setattr("time.thread_time", thread_time)

    class Compiled:
        class module:
            bodies = ((0, 100), (100, 200), (200, 9000))

        class compiler:
            quick = 0

            class background:
                asked: ClassVar[list] = []

                @classmethod
                def request(cls, compiled, functions):
                    cls.asked.append(functions)

        @staticmethod
        def is_optimised(defined):
            return False

        @staticmethod
        def quick_function(pc):
            return pc if pc >= 0 else None

    asked = Compiled.compiler.background.asked
    heat = Heat(Compiled())
    heat.note([-1, 0])
    assert not asked
    Compiled.compiler.quick += 1
    heat.note([0])  # some of this tick's time was the compiler's
    assert not asked
    step[0] = 0.0
    heat.note([0])  # the time of this one was other programs'
    assert not asked
    step[0] = 1.0
    heat.note([0, 1])
    assert asked == [frozenset([0])]
    for _ in range(20):
        heat.note([0, -1, 1])
    assert asked == [frozenset([0]), frozenset([1]), 1]  # who stays in function 0 is at a poll at 1
    for _ in range(20):
        heat.note([0, 2])
    assert asked == [frozenset([0]), frozenset([1]), 1, Family((2,), 8800 + (8 << 10))]


EXITS = """
import sys, core_rt
from tests.core.support import wasm
from tests.core.test_compile_background import SPIN
engine = core_rt.Engine(core_rt.Config(cache=False, tick_seconds=0.001))
instance = core_rt.Linker(engine).instantiate(core_rt.Store(engine), core_rt.Module(engine, wasm(SPIN)))
background = engine.compiler.background
background._wait = lambda compiled: None
while not background.asked:
    instance.exports["spin"](3_000_000)
"""


def test_a_process_may_end_while_code_is_optimised():
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", EXITS], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
