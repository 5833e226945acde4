"""Crossing the border between Python and components, and between one component and another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import attrs
import wasmtime
import wasmtime.component as their_component

import core_rt

from .guests import guest, wat
from .rows import Pair, row

# The guest gives back where its argument already lies, so that the time is the crossing's.
_API = """(component
  (component $C
    (core module $M
      (memory (export "memory") 16)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
      (func (export "echo") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))
      (func (export "echo-point") (param i32 i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1))
        (i32.store (i32.const 24) (local.get 2)) (i32.const 16))
      (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
    (core instance $m (instantiate $M))
    (core module $D (func (export "destroy") (param i32)))
    (core instance $d (instantiate $D))
    (type $counter (resource (rep i32) (dtor (core func $d "destroy"))))
    (core func $new (canon resource.new $counter))
    (core module $R
      (import "" "new" (func $new (param i32) (result i32)))
      (func (export "make") (param i32) (result i32) (call $new (local.get 0)))
      (func (export "get") (param i32) (result i32) (local.get 0)))
    (core instance $r (instantiate $R (with "" (instance (export "new" (func $new))))))
    (export $Counter "counter" (type $counter))
    (type $point (record (field "x" s32) (field "y" s32) (field "z" s32)))
    (export $Point "point" (type $point))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $m "add")))
    (func (export "echo") (param "a" string) (result string) (canon lift (core func $m "echo")
      (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
    (func (export "numbers") (param "a" (list u32)) (result (list u32)) (canon lift (core func $m "echo")
      (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
    (func (export "bytes") (param "a" (list u8)) (result (list u8)) (canon lift (core func $m "echo")
      (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
    (func (export "echo-point") (param "a" $Point) (result $Point) (canon lift (core func $m "echo-point")
      (memory (core memory $m "memory"))))
    (func (export "[constructor]counter") (param "n" u32) (result (own $Counter))
      (canon lift (core func $r "make")))
    (func (export "[method]counter.get") (param "self" (borrow $Counter)) (result u32)
      (canon lift (core func $r "get"))))
  (instance $c (instantiate $C))
  (export "bench:guest/api" (instance $c)))"""

_ECHO = """(component
  (core module $M
    (memory (export "memory") 16)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
  (core instance $m (instantiate $M))
  (func (export "echo") (param "a" string) (result string) (canon lift (core func $m "echo")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"""

_CALLS_PER_RUN = 1000
# `run` calls the other component `n` times with a string of 16 bytes.
_PAIR = """(component
  (component $Callee
    (core module $M
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "length") (param i32 i32) (result i32) (local.get 1)))
    (core instance $m (instantiate $M))
    (func (export "length") (param "a" string) (result u32) (canon lift (core func $m "length")
      (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))
  (component $Caller
    (import "length" (func $length (param "a" string) (result u32)))
    (core module $Memory (memory (export "memory") 1) (data (i32.const 0) "hello world 1234"))
    (core instance $memory (instantiate $Memory))
    (core func $lowered (canon lower (func $length) (memory (core memory $memory "memory"))))
    (core module $M
      (import "" "length" (func $length (param i32 i32) (result i32)))
      (func (export "run") (param $n i32) (result i32) (local $sum i32)
        (loop $again
          (local.set $sum (i32.add (local.get $sum) (call $length (i32.const 0) (i32.const 16))))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $sum)))
    (core instance $m (instantiate $M (with "" (instance (export "length" (func $lowered))))))
    (func (export "run") (param "n" u32) (result u32) (canon lift (core func $m "run"))))
  (instance $callee (instantiate $Callee))
  (instance $caller (instantiate $Caller (with "length" (func $callee "length"))))
  (export "run" (func $caller "run")))"""


@attrs.frozen
class _Sides:
    """The same component on both sides, ready to be instantiated."""

    engine: Any
    linker: Any
    component: Any
    their_engine: wasmtime.Engine
    their_linker: Any
    their_component: Any


@cache
def _sides(text: str) -> _Sides:
    import component_rt as rt

    wasm = wat(text)
    engine, their_engine = rt.Engine(core_rt.Config(cache=False)), wasmtime.Engine()
    return _Sides(
        engine,
        rt.Linker(engine),
        rt.Component(engine, wasm),
        their_engine,
        their_component.Linker(their_engine),
        their_component.Component(their_engine, wasm),
    )


class _Theirs:
    """One instance over there, with its store."""

    def __init__(self, text: str) -> None:
        sides = _sides(text)
        self.store = wasmtime.Store(sides.their_engine)
        self.instance = sides.their_linker.instantiate(self.store, sides.their_component)

    def function(self, name: str, interface: str | None = "bench:guest/api") -> Callable[..., Any]:
        where = self.instance.get_export_index(self.store, interface) if interface else None
        index = self.instance.get_export_index(self.store, name, where)
        function, store = self.instance.get_func(self.store, index), self.store
        assert function is not None
        return lambda *arguments: function(store, *arguments)


@contextmanager
def _api() -> Iterator[tuple[Any, _Theirs]]:
    import component_rt as rt

    sides = _sides(_API)
    with rt.Store(sides.engine) as store:
        instance = sides.linker.instantiate(store, sides.component)
        yield instance.exports["bench:guest/api"], _Theirs(_API)


def _echo(name: str, argument: Any, loops: int, their_loops: int) -> Iterator[Pair]:
    with _api() as (api, other):
        ours, theirs = getattr(api, name), other.function(name)
        mine, wanted = ours(argument), theirs(argument)
        assert list(mine) == list(wanted) == list(argument), name
        yield Pair(lambda: ours(argument), lambda: theirs(argument), loops, their_loops)


@row("component calls", "add(u32, u32)", target=25)
def _add() -> Iterator[Pair]:
    with _api() as (api, other):
        ours, theirs = api.add, other.function("add")
        assert ours(3, 4) == theirs(3, 4) == 7
        yield Pair(lambda: ours(3, 4), lambda: theirs(3, 4), 10_000, 3_000)


@row("component calls", "echo of a string of 16 bytes", target=10)
def _short_string() -> Iterator[Pair]:
    return _echo("echo", "hello world 1234", 5_000, 3_000)


@row("component calls", "echo of a string of 300 kB", target=4)
def _long_string() -> Iterator[Pair]:
    return _echo("echo", "x" * 300_000, 50, 20)


@row("component calls", "echo of list<u32> with 1000 elements", target=30)
def _numbers() -> Iterator[Pair]:
    return _echo("numbers", list(range(1000)), 200, 20)


@row("component calls", "echo of list<u8> with 100 kB", target=1000)
def _bytes() -> Iterator[Pair]:
    return _echo("bytes", bytes(100_000), 200, 2)


@row("component calls", "echo of a record with three fields", target=10)
def _record() -> Iterator[Pair]:
    with _api() as (api, other):
        ours, theirs = api.echo_point, other.function("echo-point")
        point, their_point = api.Point(x=1, y=-2, z=3), their_component.Record()
        their_point.x, their_point.y, their_point.z = 1, -2, 3
        assert ours(point) == point
        assert theirs(their_point).y == -2
        yield Pair(lambda: ours(point), lambda: theirs(their_point), 5_000, 2_000)


@row("component calls", "a guest's resource: made, used twice, dropped")
def _resource() -> Iterator[Pair]:
    with _api() as (api, other):
        make, get = other.function("[constructor]counter"), other.function("[method]counter.get")
        counter, their_store = api.Counter, other.store

        def ours() -> int:
            with counter(5) as made:
                return made.get() + made.get()

        def theirs() -> int:
            made = make(5)
            total = get(made) + get(made)
            made.drop(their_store)
            return total

        assert ours() == theirs() == 10
        yield Pair(ours, theirs, 2_000, 1_000)


@row("component calls", "1000 calls from guest to guest with a string of 16 bytes")
def _between_guests() -> Iterator[Pair]:
    import component_rt as rt

    sides = _sides(_PAIR)
    with rt.Store(sides.engine) as store:
        ours = sides.linker.instantiate(store, sides.component).exports["run"]
        theirs = _Theirs(_PAIR).function("run", None)
        assert ours(_CALLS_PER_RUN) == theirs(_CALLS_PER_RUN) == 16 * _CALLS_PER_RUN
        yield Pair(lambda: ours(_CALLS_PER_RUN), lambda: theirs(_CALLS_PER_RUN), 20, 20)


def _instantiations(text: str) -> Pair:
    import component_rt as rt

    sides = _sides(text)

    def ours() -> None:
        with rt.Store(sides.engine) as store:
            sides.linker.instantiate(store, sides.component)

    def theirs() -> None:
        sides.their_linker.instantiate(wasmtime.Store(sides.their_engine), sides.their_component)

    return Pair(ours, theirs, 200, 200)


@row("component calls", "store + instantiate, one module", target=1)
def _instantiate_echo() -> Iterator[Pair]:
    yield _instantiations(_ECHO)


@row("component calls", "store + instantiate, three modules and a resource", target=0.5)
def _instantiate_api() -> Iterator[Pair]:
    yield _instantiations(_API)


@row("component calls", "store + instantiate, a JavaScript guest of eleven modules", target=0.5)
def _instantiate_guest() -> Iterator[Pair]:
    import component_rt as rt

    wasm = guest("kitchen/kitchen_qjs_stub.wasm").read_bytes()
    engine, their_engine = rt.Engine(core_rt.Config(cache=False)), wasmtime.Engine()
    linker, their_linker = rt.Linker(engine), their_component.Linker(their_engine)
    component, theirs_of = rt.Component(engine, wasm), their_component.Component(their_engine, wasm)
    linker.define_unknown_imports_as_traps(component)
    their_linker.define_unknown_imports_as_traps(theirs_of)

    def ours() -> None:
        with rt.Store(engine) as store:
            linker.instantiate(store, component)

    def theirs() -> None:
        store = wasmtime.Store(their_engine)
        store.set_wasi(wasmtime.WasiConfig())
        their_linker.instantiate(store, theirs_of)

    yield Pair(ours, theirs, 20, 20)
