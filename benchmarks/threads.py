"""Two threads of Python, each with a store and an instance of its own, and one shared memory: atomics, waiting and waking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

import core_rt

from .rows import Missing, Pair, row

_GUEST = """
(module
  (memory (import "host" "memory") 1 1 shared)
  (func (export "add") (param $at i32) (param $times i32)
    (loop $again
      (drop (i32.atomic.rmw.add (local.get $at) (i32.const 1)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
  ;; a lock in a word, and a counter after it that the lock guards
  (func (export "guarded") (param $at i32) (param $times i32)
    (loop $again
      (loop $lock
        (if (i32.atomic.rmw.cmpxchg (local.get $at) (i32.const 0) (i32.const 1)) (then
          (drop (memory.atomic.wait32 (local.get $at) (i32.const 1) (i64.const -1)))
          (br $lock))))
      (i32.store offset=64 (local.get $at) (i32.add (i32.load offset=64 (local.get $at)) (i32.const 1)))
      (i32.atomic.store (local.get $at) (i32.const 0))
      (drop (memory.atomic.notify (local.get $at) (i32.const 1)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
  ;; a word goes from one side to the other and back; each waits for its turn
  (func (export "turns") (param $mine i32) (param $times i32)
    (loop $again
      (block $come
        (loop $wait
          (br_if $come (i32.eq (i32.and (i32.atomic.load (i32.const 1024)) (i32.const 1)) (local.get $mine)))
          (drop (memory.atomic.wait32 (i32.const 1024) (i32.sub (i32.const 1) (local.get $mine)) (i64.const -1)))
          (br $wait)))
      (i32.atomic.store (i32.const 1024) (i32.sub (i32.const 1) (local.get $mine)))
      (drop (memory.atomic.notify (i32.const 1024) (i32.const 1)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
"""
Call = Callable[[str, int, int], object]


def _ours(wasm: bytes) -> Iterator[Call]:
    engine = core_rt.Engine(core_rt.Config(cache=False, tiers="optimized"))
    module = core_rt.Module(engine, wasm)
    memory: core_rt.Memory | None = None
    for _ in range(2):
        store, linker = core_rt.Store(engine), core_rt.Linker(engine)
        if memory is None:
            memory = here = core_rt.Memory(store, core_rt.MemoryType(1, 1, shared=True))
        else:
            here = memory.share(store)
        linker.define("host", "memory", here)
        exports = linker.instantiate(store, module).exports
        yield lambda name, at, times, exports=exports: exports[name](at, times)  # type: ignore[misc]


class _Shared(getattr(wasmtime, "SharedMemory", object)):  # type: ignore[misc]
    """A shared memory that can be imported: wasmtime-py 50 passes a pointer to the pointer, which ctypes refuses."""

    def _as_extern(self) -> Any:
        union = ffi.wasmtime_extern_union(sharedmemory=self.ptr())
        return ffi.wasmtime_extern_t(ffi.WASMTIME_EXTERN_SHAREDMEMORY, union)


def _theirs(wasm: bytes) -> Iterator[Call]:
    if not hasattr(wasmtime, "SharedMemory"):
        raise Missing("this wasmtime has no shared memories")
    config = wasmtime.Config()
    config.wasm_threads = config.shared_memory = True
    engine = wasmtime.Engine(config)
    module = wasmtime.Module(engine, wasm)
    memory = _Shared(engine, wasmtime.MemoryType(wasmtime.Limits(1, 1), shared=True))
    for _ in range(2):
        store = wasmtime.Store(engine)
        exports = wasmtime.Instance(store, module, [memory]).exports(store)
        yield lambda name, at, times, store=store, exports=exports: exports[name](store, at, times)  # type: ignore[misc]


def _together(calls: list[Call], name: str, places: tuple[int, int], times: int) -> Callable[[], None]:
    """Both calls at once, in a thread each."""

    def run() -> None:
        threads = [threading.Thread(target=call, args=(name, at, times)) for call, at in zip(calls, places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def _program(name: str, places: tuple[int, int], times: int) -> Iterator[Pair]:
    wasm = bytes(wasmtime.wat2wasm(_GUEST))
    ours, theirs = (_together(list(side), name, places, times) for side in (_ours(wasm), _theirs(wasm)))
    yield Pair(ours, theirs, 1, 1, repeats=5)


def _register(export: str, places: tuple[int, int], times: int, name: str, target: float | None) -> None:
    row("threads", name, target=target)(lambda: _program(export, places, times))


# Atomic additions take as long as the processor takes for them, here as there.
_register("add", (0, 4096), 1_000_000, "1 000 000 atomic additions each, to words of their own", 0.9)
_register("add", (0, 0), 300_000, "300 000 atomic additions each, to the same word", None)
_register("guarded", (0, 0), 30_000, "30 000 times each: lock, count, unlock", None)
_register("turns", (0, 1), 2_000, "2000 turns each, waiting for the other", None)
