"""Stores: fuel, epochs, interrupts, limits, references and their collection, linking."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import core_rt
from tests.core.support import World, wasm

SPIN = '(module (func (export "spin") (loop br 0)) (func (export "id") (param i32) (result i32) local.get 0))'


def test_fuel_is_counted_and_runs_out():
    world = World(core_rt.Config(cache=False, consume_fuel=True))
    exports = world.load(SPIN)
    with pytest.raises(core_rt.ExhaustionError, match="fuel"):
        exports["id"](1)
    world.store.fuel = 1000
    assert exports["id"](1) == 1
    left = world.store.fuel
    assert 0 < left < 1000
    with pytest.raises(core_rt.ExhaustionError):
        exports["spin"]()
    assert world.store.fuel == 0


def test_fuel_needs_the_config():
    with pytest.raises(core_rt.WasmError, match="consume_fuel"):
        World().store.fuel = 3


def test_epoch_deadline_stops_a_loop():
    world = World()
    exports = world.load(SPIN)
    world.store.set_epoch_deadline(1)
    assert exports["id"](1) == 1
    timer = threading.Timer(0.05, world.engine.increment_epoch)
    timer.start()
    with pytest.raises(core_rt.Trap) as caught:
        exports["spin"]()
    timer.join()
    assert caught.value.code is core_rt.TrapCode.INTERRUPT
    assert caught.value.frames
    world.store.set_epoch_deadline(5)
    assert exports["id"](2) == 2


def test_ctrl_c_reaches_the_main_thread():
    script = textwrap.dedent(
        f"""
        import core_rt, os, signal, threading, time
        engine = core_rt.Engine(core_rt.Config(cache=False))
        store = core_rt.Store(engine)
        exports = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, {wasm(SPIN)!r})).exports
        exports["id"](1)
        sent = []
        def send():
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.2, send).start()
        try:
            exports["spin"]()
        except KeyboardInterrupt as error:
            print("caught", time.perf_counter() - sent[0], "guest frames" in "".join(error.__notes__))
        print(exports["id"](3))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    words = done.stdout.split()
    assert words[0] == "caught", done.stderr
    assert float(words[1]) < 0.1
    assert words[2:] == ["True", "3"]


def test_guests_run_in_parallel_and_release_the_gil():
    counts = [0]
    stop = threading.Event()

    def count():
        while not stop.is_set():
            counts[0] += 1
            time.sleep(0)

    world = World(core_rt.Config(cache=False, epoch_interruption=False, consume_fuel=True))
    exports = world.load(SPIN)
    world.store.fuel = 300_000_000
    thread = threading.Thread(target=count)
    thread.start()
    before = counts[0]
    with pytest.raises(core_rt.ExhaustionError):
        exports["spin"]()
    after = counts[0]
    stop.set()
    thread.join()
    assert after - before > 10


def test_dropped_references_are_freed_and_live_ones_stay():
    world = World()
    exports: dict = {}

    class Thing:
        pass

    def collect():
        gc.collect()
        world.store.collect()

    world.host("collect", collect)
    exports = world.load(
        """(module (import "host" "collect" (func $collect)) (global $g (mut externref) (ref.null extern))
        (table $t 3 externref)
        (func (export "keep") (param externref) (result externref) call $collect local.get 0)
        (func (export "drop") (param externref) (local.set 0 (ref.null extern)) call $collect)
        (func (export "stack") (param externref) (result externref)
           local.get 0 (local.set 0 (ref.null extern)) call $collect)
        (func (export "set") (param externref) (global.set $g (local.get 0)))
        (func (export "put") (param externref) (table.set $t (i32.const 1) (local.get 0)))
        (func (export "get") (result externref) (table.get $t (i32.const 1)))
        (func (export "through") (param externref) (result externref) (call 1 (local.get 0)))
        (func (export "loop") (param externref i32) (result externref) (local $x externref)
          (loop $l (local.set $x (local.get 0)) (call $collect)
            (br_if $l (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
          (local.get $x)))"""
    )
    for name in ("keep", "stack", "through"):
        thing = Thing()
        ref = weakref.ref(thing)
        assert exports[name](thing) is thing, name
        del thing
        world.store.collect()
        assert ref() is None, name
    thing = Thing()
    assert exports["loop"](thing, 3) is thing
    freed = []
    thing = Thing()
    weakref.finalize(thing, freed.append, True)
    # The caller's own name keeps it alive; hand it over as the only holder.
    holder = [thing]
    del thing
    before = world.store.statistics()["collected"]
    exports["drop"](holder.pop())
    assert world.store.statistics()["collected"] > before
    thing = Thing()
    ref = weakref.ref(thing)
    exports["set"](thing)
    exports["put"](thing)
    del thing
    world.store.collect()
    assert ref() is not None
    exports["set"](None)
    world.store.collect()
    assert exports["get"]() is ref()
    exports["put"](None)
    world.store.collect()
    assert ref() is None
    assert world.store.statistics()["externrefs"] == 0


def test_collection_happens_by_itself():
    world = World()
    identity = world.load('(module (func (export "id") (param externref) (result externref) local.get 0))')["id"]
    for i in range(10_000):
        assert identity((i,)) == (i,)
    statistics = world.store.statistics()
    assert statistics["collections"] > 0
    assert statistics["externrefs"] < 3000


def test_limits():
    limits = core_rt.Limits(memory_bytes=3 << 16, table_elements=10, instances=4)
    world = World(limits=limits)
    exports = world.load(
        """(module (memory (export "m") 1) (table (export "t") 5 funcref)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "tgrow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))"""
    )
    assert exports["grow"](3) == -1
    assert exports["grow"](2) == 1
    assert exports["m"].size == 3
    assert exports["tgrow"](6) == -1
    assert exports["tgrow"](5) == 5
    with pytest.raises(core_rt.ExhaustionError):
        exports["m"].grow(1)
    with pytest.raises(core_rt.ExhaustionError):
        world.load("(module (memory 1))")
    for _ in range(3):
        world.load("(module)")
    with pytest.raises(core_rt.ExhaustionError):
        world.load("(module)")


def test_memory_object():
    world = World()
    exports = world.load(
        """(module (memory (export "m") 1 3) (data (i32.const 4) "hello")
        (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))"""
    )
    memory = exports["m"]
    assert memory.size == 1
    assert memory.read(4, 5) == b"hello"
    memory.write(0, b"\x07")
    assert exports["load"](0) == 7
    memory.data[1] = 9
    assert exports["load"](1) == 9
    assert memory.grow(1) == 1
    assert len(memory.data) == 2 << 16
    assert exports["load"](65536) == 0
    with pytest.raises(core_rt.ExhaustionError):
        memory.grow(2)
    with pytest.raises(IndexError):
        memory.read((2 << 16) - 1, 2)
    with pytest.raises(IndexError):
        memory.write(-1, b"x")


def test_globals_and_tables():
    world = World()
    exports = world.load(
        """(module (global (export "c") i64 (i64.const -7)) (global (export "v") (mut f32) (f32.const 1.5))
        (table (export "t") 2 4 funcref) (elem (i32.const 0) $f) (func $f (export "f") (result i32) i32.const 3)
        (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0))))"""
    )
    assert exports["c"].value == -7
    assert exports["c"].raw == 2**64 - 7
    with pytest.raises(core_rt.WasmError):
        exports["c"].value = 1
    exports["v"].value = 2
    assert exports["v"].value == 2.0
    table = exports["t"]
    assert len(table) == 2
    assert table[0] is exports["f"]
    assert table[1] is None
    table[1] = exports["f"]
    assert exports["call"](1) == 3
    assert table.grow(2, exports["f"]) == 2
    assert exports["call"](3) == 3
    with pytest.raises(IndexError):
        table[4]
    with pytest.raises(TypeError):
        table[0] = 3


def test_link_errors_say_what_is_wanted():
    world = World()
    world.host("print", lambda: None)
    with pytest.raises(core_rt.LinkError, match=r"unknown import.*'host' 'prnt'.*did you mean 'host print'"):
        world.load('(module (import "host" "prnt" (func)))')
    with pytest.raises(core_rt.LinkError, match="incompatible import type"):
        world.load('(module (import "host" "print" (func (param i32))))')
    world.host("print", lambda a: None, "i32")
    world.load('(module (import "host" "print" (func (param i32))))')


def test_module_lists_imports_and_exports():
    engine = core_rt.Engine(core_rt.Config(cache=False))
    module = core_rt.Module(
        engine,
        wasm(
            """(module $n (import "a" "b" (func (param i32))) (memory (export "m") 1 2)
            (func (export "f") (result f64) f64.const 0))"""
        ),
    )
    [(mod, name, type_)] = module.imports
    assert (mod, name) == ("a", "b")
    assert type_.func == core_rt.FuncType([core_rt.I32], [])
    exports = dict(module.exports)
    assert exports["m"] == core_rt.MemoryType(min=1, max=2)
    assert exports["f"].func.results == (core_rt.F64,)
    assert module.name == "n"


def test_instances_and_stores_are_freed():
    engine = core_rt.Engine(core_rt.Config(cache=False))
    module = core_rt.Module(engine, wasm('(module (memory 1) (func (export "f") (result i32) i32.const 1))'))

    def maps() -> int:
        with open(f"/proc/{os.getpid()}/maps") as lines:
            return len(list(lines))

    linker = core_rt.Linker(engine)
    for _ in range(20):
        with core_rt.Store(engine) as store:
            assert linker.instantiate(store, module).exports["f"]() == 1
    before = maps()
    for _ in range(200):
        with core_rt.Store(engine) as store:
            linker.instantiate(store, module).exports["f"]()
    for turn in range(200):  # never closed
        linker.instantiate(core_rt.Store(engine), module).exports["f"]()
        if turn % 10 == 0:
            gc.collect()  # else as many live at once as the collector likes, and the pools keep their stacks
    gc.collect()
    assert maps() < before + 40


def test_signals_are_seen_only_by_the_main_thread():
    world = World()
    exports = world.load(SPIN)
    world.store.set_epoch_deadline(1)
    seen = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: seen.append(threading.current_thread()))
    errors = []

    def run():
        try:
            exports["spin"]()
        except core_rt.Trap as trap:
            errors.append(trap)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        world.engine.increment_epoch()
        thread.join(10)
        signal.signal(signal.SIGUSR1, previous)
    assert seen == [threading.main_thread()]
    assert len(errors) == 1
