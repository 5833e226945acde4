"""The interpreter is left for machine code: at hot entries, at the heads of hot loops with what lies on the stack, in the background."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest

import core_rt
from core_rt.interpret import functions
from tests.core.support import wasm
from tests.core.tiers import NEVER, TIERS, engine_of, set_budget, world_of


def counts(exports_or_module):
    return exports_or_module.compiled.statistics()


def started(text, monkeypatch, budget):
    """An instance of a module whose functions are interpreted for `budget` entries and loop heads."""
    set_budget(monkeypatch, budget)
    engine = core_rt.Engine(core_rt.Config(cache=False))
    assert engine.compiler.jit is not None
    store = core_rt.Store(engine)
    return core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm(text)))


def test_a_hot_entry(monkeypatch):
    instance = started(
        '(module (func (export "f") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3))))', monkeypatch, 5
    )
    compiled = instance.module.compiled
    f = instance.exports["f"]
    quick = []
    for i in range(10):
        assert f(i) == 3 * i
        quick.append(compiled.statistics()["quick_functions"])
    assert quick == [0] * 5 + [1] * 5
    assert not compiled.functions.is_interpreted(0)


SUM = """(module (func $sum (export "sum") (param i32) (result i64) (local i64)
  (loop $l
    (local.set 1 (i64.add (local.get 1) (i64.extend_i32_u (local.get 0))))
    (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
  (local.get 1)))"""


def test_a_hot_loop(monkeypatch):
    instance = started(SUM, monkeypatch, 50)
    compiled = instance.module.compiled
    assert instance.exports["sum"](40) == 820
    assert compiled.statistics()["quick_functions"] == 0
    assert instance.exports["sum"](1000) == 500_500
    assert compiled.statistics()["quick_functions"] == 1
    assert compiled.functions.is_interpreted(0)  # the loop was left, calls still come to the interpreter
    assert instance.exports["sum"](3) == 6  # and go on from there
    assert compiled.statistics()["quick_functions"] == 2
    assert not compiled.functions.is_interpreted(0)


def test_the_default_budget_is_used_up(monkeypatch):
    engine = core_rt.Engine(core_rt.Config(cache=False))
    assert engine.compiler.jit is not None
    store = core_rt.Store(engine)
    instance = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm(SUM)))
    words = len(b"") + 16 * functions.BUDGET_PER_WORD
    rounds = functions.BUDGET // 2
    assert instance.exports["sum"](rounds) == rounds * (rounds + 1) // 2
    assert instance.module.compiled.statistics()["quick_functions"] == 0
    rounds = functions.BUDGET + words
    assert instance.exports["sum"](rounds) == rounds * (rounds + 1) // 2
    assert instance.module.compiled.statistics()["quick_functions"] == 1


# Each leaves a loop at every possible head, in the order of the budget. What waits on the stack is computed, so that it lies nowhere else.
LOOPS = {
    "operands below": """(i64.add (i64.mul (local.get 0) (i64.const 7)) (i64.sub (i64.add (local.get 0) (i64.const 1))
        (loop $l (result i64)
          (local.set 0 (i64.add (local.get 0) (i64.const 3)))
          (br_if $l (i64.lt_s (local.get 0) (i64.const 60))) (local.get 0))))""",
    "locals and constants below": """(local.set 1 (i64.const 3)) (local.get 1) (i64.const 77) (local.get 0)
      (loop $l
        (local.set 2 (i64.add (local.get 2) (local.get 1)))
        (br_if $l (i64.lt_s (local.get 2) (i64.const 60))))
      (local.set 1 (i64.mul (i64.const 5))) (i64.sub (local.get 1)) (i64.mul)
      (i64.add (local.get 2))""",
    "parameters": """(i64.add (local.get 0) (i64.const 5)) (local.get 0) (local.get 1)
      (loop $l (param i64 i64) (result i64)
        (local.set 1 (i64.add (i64.const 1))) (local.set 0 (i64.add (local.get 1)))
        (local.get 1) (local.get 0)
        (br_if $l (i64.lt_s (local.get 0) (i64.const 50)))
        (i64.mul))
      (i64.sub)""",
    "operands of every round": """(i64.add (local.get 0) (i64.const 11))
      (loop $outer (result i64)
        (i64.add (local.get 0) (local.get 1))
        (local.set 0 (i64.add (local.get 0) (i64.const 1)))
        (local.set 2 (i64.const 0))
        (loop $inner
          (local.set 2 (i64.add (local.get 2) (i64.const 1)))
          (br_if $inner (i64.lt_s (local.get 2) (i64.const 3))))
        (local.set 1 (i64.add (local.get 2)))
        (br_if $outer (i64.lt_s (local.get 0) (i64.const 12)))
        (local.get 1))
      (i64.sub)""",
    "in an arm": """(i64.mul (local.get 0) (i64.const 3))
      (loop $outer (result i64)
        (i64.mul (local.get 0) (i64.const 5))
        (local.set 0 (i64.add (local.get 0) (i64.const 1)))
        (local.set 2 (i64.const 0))
        (if (param i64) (result i64) (i64.eqz (i64.and (local.get 0) (i64.const 1)))
          (then (i64.add (local.get 0))
            (loop $inner (param i64) (result i64)
              (i64.add (i64.const 1))
              (local.set 2 (i64.add (local.get 2) (i64.const 1)))
              (br_if $inner (i64.lt_s (local.get 2) (i64.const 2)))))
          (else (i64.add (i64.const 1000))))
        (local.set 1 (i64.add (local.get 1)))
        (br_if $outer (i64.lt_s (local.get 0) (i64.const 9)))
        (local.get 1))
      (i64.sub)""",
    "three deep": """(i64.mul (local.get 0) (i64.const 3))
      (loop $a (result i64)
        (i64.mul (local.get 0) (i64.const 5))
        (block $b (result i64) (i64.add (local.get 0) (i64.const 9))
          (loop $c (param i64) (result i64)
            (local.set 2 (i64.add (local.get 2) (i64.const 1)))
            (i64.add (local.get 2))
            (i64.rotl (local.get 0) (i64.const 7))
            (loop $d (param i64) (result i64) (i64.add (i64.const 2))
              (local.set 0 (i64.add (local.get 0) (i64.const 1)))
              (br_if $d (i64.eqz (i64.and (local.get 0) (i64.const 3)))))
            (i64.xor)
            (br_if $c (i64.ne (i64.rem_u (local.get 2) (i64.const 3)) (i64.const 0)))))
        (local.set 1 (i64.add (local.get 1) (i64.sub)))
        (br_if $a (i64.lt_s (local.get 0) (i64.const 20)))
        (local.get 1))
      (i64.sub)""",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_operands_are_taken_over(loop, monkeypatch):
    text = f'(module (func (export "f") (param i64) (result i64) (local i64 i64) {LOOPS[loop]}))'
    world = world_of("quick", monkeypatch)
    wanted = world.load(text)["f"](4)
    left = 0
    for budget in (*range(40), NEVER):
        instance = started(text, monkeypatch, budget)
        assert instance.exports["f"](4) == wanted, budget
        left += instance.module.compiled.functions.is_interpreted(0) and counts(instance.module)["quick_functions"] == 1
    assert left >= 3


def test_operands_of_all_types(monkeypatch):
    text = """(module (memory (export "m") 1) (func (export "f") (param i32 i64 f32 f64 i32) (result f64)
      (f32.neg (local.get 2)) (f64.neg (local.get 3)) (i64.add (local.get 1) (i64.const 1)) (i32.sub (local.get 0) (i32.const 1))
      (loop $l (param i64 i32) (result i64 i32)
        (i64.store (i32.const 8) (i64.load (i32.const 0)))
        (local.set 0) (local.set 1)
        (i64.rotl (local.get 1) (i64.const 9)) (i32.rotr (local.get 0) (i32.const 3))
        (br_if $l (local.tee 4 (i32.sub (local.get 4) (i32.const 1)))))
      (local.set 0) (local.set 1) (local.set 3) (local.set 2)
      (i32.store (i32.const 16) (local.get 0)) (i64.store (i32.const 24) (local.get 1)) (f32.store (i32.const 32) (local.get 2))
      (local.get 3)))"""
    arguments = (0x1234_5678, -9, 1.5, 2.25, 20)
    found = []
    for budget in (NEVER, 0, 1, 7, 15):
        instance = started(text, monkeypatch, budget)
        found.append((instance.exports["f"](*arguments), instance.exports["m"].read(0, 40)))
    assert found == [found[0]] * 5
    assert found[0][0] == -2.25


# ------------------------------------------------------------------------------------------------------- backtraces

TRAPS = """(module
  (type $f (func (param i32 i32) (result i32)))
  (memory 1) (table 2 funcref) (elem (i32.const 0) $divide)
  (func $divide (export "divide") (type $f) (i32.add (i32.const 1) (i32.div_u (local.get 0) (local.get 1))))
  (func $caller (export "caller") (param i32) (result i32)
    (drop (call $divide (i32.const 6) (i32.const 3)))
    (if (result i32) (call $divide (i32.const 1) (local.get 0)) (then (i32.const 4)) (else (i32.const 5))))
  (func $table (export "table") (param i32) (result i32) (i32.mul (i32.const 2)
    (call_indirect (type $f) (i32.const 1) (local.get 0) (local.get 0))))
  (func (export "wrong") (param i32) (result i32) (call_indirect (param i32) (result i32) (local.get 0) (local.get 0)))
  (func $loop (export "loop") (param i32) (result i32) (local i32)
    (local.set 1 (i32.const 20))
    (i32.add (i32.mul (local.get 0) (i32.const 2))
      (loop $l (result i32)
        (local.set 0 (call $caller (i32.sub (local.get 1) (i32.const 5))))
        (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
        (br $l))))
  (func (export "outside") (param i32) (result i32) (i32.add (call $loop (local.get 0)) (i32.const 1)))
  (func (export "plain") (param i32) (result i32)
    (loop $l (drop (i32.rem_s (i32.const 100) (local.get 0))) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br $l))
    (unreachable))
  (func (export "end") (param i32) (result i32) (loop $l (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) unreachable)
  (func (export "convert") (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
  (func (export "fill") (param i32) (memory.fill (local.get 0) (i32.const 0) (i32.const -1)))
  (func $far (param i32) (result i32) (i32.load offset=70000 (local.get 0)))
  (func (export "condition") (param i32) (result i32) (local i32 i32)
    (local.get 1)
    (if (i32.div_u (i32.const 1) (local.get 0)) (then (local.set 1 (i32.const 3)) (local.set 2 (i32.const 3))))
    (i32.add (local.get 2)))
  (func (export "load") (param i32) (result i32) (local i32)
    (local.get 1)
    (if (i32.load (local.get 0)) (then (local.set 1 (i32.const 3))))
    (i32.add (call $far (local.get 0))))
)"""
CALLS = (("divide", 1, 0), ("caller", 0), ("table", 0), ("table", 5), ("table", 1), ("wrong", 0), ("loop", 3), ("outside", 3),
         ("plain", 9), ("end", 9), ("convert", 1e30), ("convert", float("nan")), ("fill", 1), ("condition", 0), ("load", -1), ("load", 0))  # fmt: skip


def traces(instance):
    found = []
    for name, *arguments in CALLS:
        with pytest.raises(core_rt.Trap) as caught:
            instance.exports[name](*arguments)
        trap = caught.value
        found.append((name, trap.code.name, [(frame.function, frame.offset) for frame in trap.frames]))
    return found


def test_backtraces_are_alike(monkeypatch):
    """Traps in interpreted frames, in loops that were left, in machine code below either, and after the interpreter was left for good."""
    engine = core_rt.Engine(core_rt.Config(cache=False, tiers="off"))
    quick = core_rt.Linker(engine).instantiate(core_rt.Store(engine), core_rt.Module(engine, wasm(TRAPS)))
    wanted = traces(quick)
    assert [len(frames) for _, _, frames in wanted][:8] == [1, 2, 2, 1, 1, 1, 3, 4]
    for budget in (NEVER, *range(13)):
        instance = started(TRAPS, monkeypatch, budget)
        assert traces(instance) == wanted, budget
        assert traces(instance) == wanted, budget
    # offsets are those of the instructions
    data = instance.module.decoded.data
    opcode = {name: data[frames[0][1]] for name, _, frames in wanted}
    assert (opcode["divide"], opcode["plain"], opcode["end"], opcode["load"]) == (0x6E, 0x6F, 0x00, 0x28)
    assert opcode["condition"] == 0x6E


def test_a_frame_that_was_left_shows_once(monkeypatch):
    instance = started(TRAPS, monkeypatch, 3)
    with pytest.raises(core_rt.Trap) as caught:
        instance.exports["outside"](3)
    assert [frame.name for frame in caught.value.frames] == ["divide", "caller", "loop", "outside"]
    assert counts(instance.module)["quick_functions"] >= 2


# ------------------------------------------------------------------------------------------------------- in the background


def in_background(text, monkeypatch, tick_seconds=0.001):
    set_budget(monkeypatch, 10)
    monkeypatch.setattr("core_rt.compile.module._WAIT_WORDS", 0)
    engine = core_rt.Engine(core_rt.Config(cache=False, tick_seconds=tick_seconds))
    store = core_rt.Store(engine)
    return engine, core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm(text)))


def test_the_guest_goes_on_meanwhile(monkeypatch):
    engine, instance = in_background(SUM, monkeypatch)
    compiled = instance.module.compiled
    asked = threading.Event()
    may = threading.Event()
    leave = type(compiled).leave_interpreter

    def wait(self, defined, loop):
        asked.set()
        assert may.wait(30)
        return leave(self, defined, loop)

    monkeypatch.setattr(type(compiled), "leave_interpreter", wait)
    assert instance.exports["sum"](1000) == 500_500
    assert asked.wait(30)
    assert instance.exports["sum"](2000) == 2_001_000  # nothing waits for the lane
    assert compiled.statistics()["quick_functions"] == 0
    may.set()
    limit = time.monotonic() + 30
    while compiled.functions.is_interpreted(0):
        assert instance.exports["sum"](100_000) == 5_000_050_000
        assert time.monotonic() < limit, "nothing came of it"
    assert engine.compiler.background.error is None
    engine.compiler.close()


@pytest.mark.parametrize("how", ["engine", "store"])
def test_what_is_closed_meanwhile(monkeypatch, how):
    engine, instance = in_background(SUM, monkeypatch)
    compiled = instance.module.compiled
    compile_ = type(compiled).compile
    busy = threading.Event()

    def slowly(self, *arguments):
        busy.set()
        time.sleep(0.05)
        compile_(self, *arguments)

    monkeypatch.setattr(type(compiled), "compile", slowly)
    for _ in range(30):
        instance.exports["sum"](1)
    assert busy.wait(30)
    if how == "engine":
        engine.compiler.close()
        assert instance.exports["sum"](1000) == 500_500
    else:
        instance.store.close()
        del instance, compiled
        gc.collect()
        engine.compiler.close()
    assert engine.compiler.background.error is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("began", [False, True])
def test_a_child_process_compiles_itself(monkeypatch, began):
    """After a fork the lanes are the parent's, if it had any."""
    engine, instance = in_background(SUM, monkeypatch)
    assert instance.exports["sum"](3) == 6
    if began:
        assert engine.compiler.background.error is None
    child = os.fork()
    if child == 0:
        try:
            limit = time.monotonic() + 30
            good = True
            while good and not counts(instance.module)["quick_functions"]:
                good = instance.exports["sum"](100_000) == 5_000_050_000 and time.monotonic() < limit
            os._exit(0 if good else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert instance.exports["sum"](1000) == 500_500
    engine.compiler.close()


def test_a_wake_up_takes_nothing_twice(monkeypatch):
    """Several threads wake what the lane made."""
    engine = engine_of("interpreted", monkeypatch)
    module = core_rt.Module(engine, wasm(SUM))
    made = module.compiled.functions
    assert made is not None and made.begin(0)
    errors = []

    def wake():
        try:
            for _ in range(2000):
                made.ready(0)
                made.wake()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=wake) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert made._functions[0].record.budget == 0


def test_a_wake_up_is_not_lost(monkeypatch):
    """What a guest in another thread counts down may be written over it."""
    engine = engine_of("interpreted", monkeypatch)
    made = core_rt.Module(engine, wasm(SUM)).compiled.functions
    assert made is not None and made.begin(0)
    record = made._functions[0].record
    made.keep_interpreting(0)
    made.ready(0)
    made.wake()
    assert record.budget == 0
    record.budget = (1 << 63) - 5
    made.wake()
    assert record.budget == 0
    made.wake()
    made.keep_interpreting(0)  # for the next thing that is asked for
    made.wake()
    assert record.budget > NEVER


def test_code_may_be_there_at_once(monkeypatch):
    """The lane may be done before the guest's thread goes on."""
    engine, instance = in_background(SUM, monkeypatch)

    def at_once(self, compiled, hot):
        compiled.leave_interpreter(hot.function, hot.loop)
        compiled.functions.ready(hot.function)
        compiled.functions.wake()
        return True

    monkeypatch.setattr("core_rt.compile.background.Background.request", at_once)
    assert instance.exports["sum"](1000) == 500_500
    assert counts(instance.module)["quick_functions"] == 1
    assert instance.exports["sum"](1000) == 500_500
    assert not instance.module.compiled.functions.is_interpreted(0)
    engine.compiler.close()


def test_what_cannot_be_left_is_interpreted_on(monkeypatch):
    """A loop that no machine code takes over ends all the same."""
    instance = started(SUM, monkeypatch, 10)
    monkeypatch.setattr("core_rt.compile.writer.Writer.interpreted_loop", lambda *arguments, **options: None)
    assert instance.exports["sum"](1000) == 500_500
    assert counts(instance.module)["quick_functions"] == 0


@pytest.mark.parametrize("tier", TIERS)
def test_fuel_is_counted_alike(tier, monkeypatch):
    world = world_of(tier, monkeypatch, consume_fuel=True)
    exports = world.load(SUM)
    world.store.fuel = 10_000
    assert exports["sum"](50) == 1275
    used = 10_000 - world.store.fuel
    other = world_of("quick", monkeypatch, consume_fuel=True)
    again = other.load(SUM)
    other.store.fuel = 10_000
    again["sum"](50)
    assert used == 10_000 - other.store.fuel > 400
    world.store.fuel = 300
    with pytest.raises(core_rt.ExhaustionError):
        exports["sum"](1000)
