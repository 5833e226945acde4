"""Crossing the border between Python and core modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import wasmtime

import core_rt

from .guests import wat
from .rows import Pair, row

_WAT = """(module
  (import "host" "combine" (func $combine (param i32 i32) (result i32)))
  (memory 1)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "loop") (param $n i32) (result i32) (local $i i32) (local $sum i32)
    (loop $again
      (local.set $sum (call $combine (local.get $sum) (local.get $i)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
    (local.get $sum)))"""
_CALLS_PER_LOOP = 1000


def _combine(a: int, b: int) -> int:
    return (a + b) & 0x7FFF_FFFF


@attrs.frozen
class _Sides:
    """The same module on both sides."""

    engine: core_rt.Engine
    module: core_rt.Module
    linker: core_rt.Linker
    their_engine: wasmtime.Engine
    their_module: wasmtime.Module
    their_linker: wasmtime.Linker


def _sides() -> _Sides:
    wasm = wat(_WAT)
    engine, their_engine = core_rt.Engine(core_rt.Config(cache=False)), wasmtime.Engine()
    linker, their_linker = core_rt.Linker(engine), wasmtime.Linker(their_engine)
    linker.define_func("host", "combine", core_rt.FuncType([core_rt.I32] * 2, [core_rt.I32]), _combine)
    i32 = wasmtime.ValType.i32()
    their_linker.define_func("host", "combine", wasmtime.FuncType([i32, i32], [i32]), _combine)
    module, their_module = core_rt.Module(engine, wasm), wasmtime.Module(their_engine, wasm)
    return _Sides(engine, module, linker, their_engine, their_module, their_linker)


@contextmanager
def _exports(name: str) -> Iterator[tuple[Callable[..., object], Callable[..., object]]]:
    """The same export on both sides, theirs with its store bound."""
    sides = _sides()
    with core_rt.Store(sides.engine) as store:
        ours = sides.linker.instantiate(store, sides.module).exports[name]
        their_store = wasmtime.Store(sides.their_engine)
        theirs = sides.their_linker.instantiate(their_store, sides.their_module).exports(their_store)[name]
        yield ours, lambda *arguments: theirs(their_store, *arguments)


@row("core calls", "add(i32, i32)", target=60)
def _add() -> Iterator[Pair]:
    with _exports("add") as (ours, theirs):
        assert ours(3, 4) == theirs(3, 4) == 7
        yield Pair(lambda: ours(3, 4), lambda: theirs(3, 4), 20_000, 4_000)


@row("core calls", "1000 calls of a host function", target=15)
def _host_calls() -> Iterator[Pair]:
    with _exports("loop") as (ours, theirs):
        assert ours(_CALLS_PER_LOOP) == theirs(_CALLS_PER_LOOP)
        yield Pair(lambda: ours(_CALLS_PER_LOOP), lambda: theirs(_CALLS_PER_LOOP), 5, 5)


@row("core calls", "out-of-bounds trap, raised and caught", target=3)
def _trap() -> Iterator[Pair]:
    def catching(call: Callable[..., object], error: type[Exception]) -> Callable[[], None]:
        def once() -> None:
            try:
                call(70_000)
            except error:
                return
            raise AssertionError("no trap")

        return once

    with _exports("load") as (ours, theirs):
        yield Pair(catching(ours, core_rt.Trap), catching(theirs, wasmtime.Trap), 500, 500)


@row("core calls", "store + instantiate", target=1)
def _instantiate() -> Iterator[Pair]:
    sides = _sides()

    def ours() -> None:
        with core_rt.Store(sides.engine) as store:
            sides.linker.instantiate(store, sides.module)

    def theirs() -> None:
        sides.their_linker.instantiate(wasmtime.Store(sides.their_engine), sides.their_module)

    yield Pair(ours, theirs, 200, 200)
