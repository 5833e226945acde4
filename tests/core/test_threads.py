"""Shared memories in several stores and threads: atomics, waiting, waking, interruption."""

from __future__ import annotations

import threading
import time

import pytest

import core_rt
from tests.core.support import wasm

GUEST = wasm(
    """(module (memory (import "host" "memory") 1 16 shared)
    (func (export "add") (param $n i32)
      (loop $l (drop (i32.atomic.rmw.add (i32.const 64) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "wait") (param i32 i32 i64) (result i32)
      (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
      (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "notify") (param i32 i32) (result i32) (memory.atomic.notify (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "load") (param i32) (result i32) (i32.atomic.load (local.get 0)))
    ;; a lock in a word, and a counter that it guards
    (func $lock (loop $again
      (if (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1)) (then
        (drop (memory.atomic.wait32 (i32.const 0) (i32.const 1) (i64.const -1)))
        (br $again)))))
    (func $unlock
      (i32.atomic.store (i32.const 0) (i32.const 0))
      (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
    (func (export "guarded") (param $n i32)
      (loop $l
        (call $lock)
        (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
        (call $unlock)
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"""
)
TYPE = core_rt.MemoryType(1, 16, shared=True)


class Side:
    """One store with an instance on the memory."""

    def __init__(self, engine: core_rt.Engine, memory: core_rt.Memory | None = None) -> None:
        self.store = core_rt.Store(engine)
        self.memory = core_rt.Memory(self.store, TYPE) if memory is None else memory.share(self.store)
        linker = core_rt.Linker(engine)
        linker.define("host", "memory", self.memory)
        self.exports = linker.instantiate(self.store, core_rt.Module(engine, GUEST)).exports


@pytest.fixture
def engine():
    return core_rt.Engine(core_rt.Config(cache=False))


def run(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_atomics_count_and_locks_guard(engine):
    first = Side(engine)
    second = Side(engine, first.memory)
    run(lambda: first.exports["add"](200_000), lambda: second.exports["add"](200_000))
    assert first.exports["load"](64) == 400_000
    run(lambda: first.exports["guarded"](3000), lambda: second.exports["guarded"](3000))
    assert second.exports["load"](8) == 6000


def test_wait_and_notify(engine):
    first = Side(engine)
    second = Side(engine, first.memory)
    assert first.exports["wait"](128, 1, -1) == 1
    started = time.perf_counter()
    assert first.exports["wait"](128, 0, 30_000_000) == 2
    assert first.exports["wait64"](128, 0, 0) == 2
    assert 0.03 <= time.perf_counter() - started < 5
    assert first.exports["notify"](128, 5) == 0
    answers = []

    def wake():
        while not (woken := second.exports["notify"](128, 1)):
            time.sleep(0.001)
        answers.append(woken)

    run(lambda: answers.append(("woken", first.exports["wait64"](128, 0, -1))), wake)
    assert sorted(map(str, answers)) == ["('woken', 0)", "1"]


def test_growth_is_seen_everywhere(engine):
    first = Side(engine)
    second = Side(engine, first.memory)
    assert first.exports["grow"](2) == 1
    assert second.exports["size"]() == 3
    second.memory.data[150_000] = 7
    assert first.memory.read(150_000, 1) == b"\x07"
    first.store.close()
    assert second.memory.read(150_000, 1) == b"\x07"
    second.exports["grow"](1)
    second.store.close()


def test_waiting_is_interrupted_by_the_deadline(engine):
    side = Side(engine)
    side.store.set_epoch_deadline(1)
    timer = threading.Timer(0.05, engine.increment_epoch)
    timer.start()
    with pytest.raises(core_rt.Trap) as caught:
        side.exports["wait"](0, 0, -1)
    timer.join()
    assert caught.value.code is core_rt.TrapCode.INTERRUPT
    # Whoever was dropped is in no list any more.
    side.store.set_epoch_deadline(1000)
    assert side.exports["notify"](0, 10) == 0


def test_traps(engine):
    side = Side(engine)
    for call in (lambda: side.exports["wait"](2, 0, 0), lambda: side.exports["wait64"](4, 0, 0)):
        with pytest.raises(core_rt.Trap, match="unaligned atomic"):
            call()
    with pytest.raises(core_rt.Trap, match="out of bounds"):
        side.exports["wait"](65536 * 16, 0, 0)
    with pytest.raises(core_rt.Trap, match="out of bounds"):
        side.exports["notify"](65536 * 16, 0)
    store = core_rt.Store(engine)
    alone = core_rt.Linker(engine).instantiate(
        store,
        core_rt.Module(
            engine,
            wasm(
                """(module (memory 1)
                (func (export "wait") (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))
                (func (export "notify") (result i32) (memory.atomic.notify (i32.const 0) (i32.const 1))))"""
            ),
        ),
    )
    assert alone.exports["notify"]() == 0
    with pytest.raises(core_rt.Trap, match="expected shared memory"):
        alone.exports["wait"]()


def test_only_shared_memories_are_shared(engine):
    store = core_rt.Store(engine)
    memory = core_rt.Memory(store, core_rt.MemoryType(1))
    with pytest.raises(TypeError, match="shared"):
        memory.share(core_rt.Store(engine))
