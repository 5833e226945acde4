"""Random component values arrive in a guest's memory as wasmtime puts them there, and come back unchanged.

    python -m tests.robustness.values --count 2000 [--seed 1]

The guest of a type T has four functions, called from the host or by way of another component. `echo` takes and gives a list<T>; `dump` gives the bytes of the list's elements as they
lie in memory; `flat` gives the core values that a T arrives as; `first` gives the first element of a list<T>.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import wasmtime
import wasmtime.component as their

import component_rt as rt
from tests.wast.component_values import Const, Raised, accepts, accepts_outcome, argument
from tests.wast.script import wasmtime as _encoder  # its import sets the encoder's environment

from .supervise import Report, add_worker_options, run_worker, supervise
from .wit_types import Type, TypeSource

__all__ = ["run"]

assert _encoder is wasmtime
_MOST_FLAT = 16
_ENCODINGS = ("utf8", "utf16", "latin1+utf16")

# `reset` empties the heap and wipes it, so that bytes between fields do not depend on calls before.
_HEAP = """
  (memory (export "memory") 16)
  (global $top (mut i32) (i32.const 1024))
  (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $wanted i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get $align))))
    (global.set $top (i32.add (local.get $at) (local.get $wanted)))
    (memory.copy (local.get $at) (local.get $old)
      (select (local.get $size) (local.get $wanted) (i32.lt_u (local.get $size) (local.get $wanted))))
    (local.get $at))
  (func (export "reset")
    (memory.fill (i32.const 0) (i32.const 0) (global.get $top)) (global.set $top (i32.const 1024)))"""
_GUEST = """(core module $M HEAP
  (func $pair (param i32 i32) (result i32)
    (i32.store (i32.const 512) (local.get 0)) (i32.store (i32.const 516) (local.get 1)) (i32.const 512))
  (func (export "echo") (param i32 i32) (result i32) (call $pair (local.get 0) (local.get 1)))
  (func (export "dump") (param i32 i32) (result i32)
    (call $pair (local.get 0) (i32.mul (local.get 1) (i32.const ELEMENT_SIZE))))
  (func (export "first") (param i32 i32) (result i32) (local.get 0))
  (func (export "flat") (param FLAT_TYPES) (result i32) FLAT_STORES (call $pair (i32.const 0) (i32.const FLAT_SIZE))))
(core instance $m (instantiate $M))"""
# A component in front of the guest: passes every call on, with a memory and an encoding of its own in between.
_RESULT_AT = 0x80000


@attrs.frozen
class Case:
    """A type, values of it, and the guest."""

    of: Type
    values: tuple[Const, ...]
    encoding: str
    front: str | None
    """The string encoding of the component in front, if there is one."""
    wasm: bytes

    @property
    def has_flat(self) -> bool:
        return len(self.of.flat) <= _MOST_FLAT

    @property
    def has_first(self) -> bool:
        return len(self.of.flat) > 1 and bool(self.values)


def make_case(seed: object) -> Case:
    rng = random.Random(f"values/{seed}")
    source = TypeSource(rng)
    of = source.type(rng.randrange(1, 4))
    values = tuple(source.value(of) for _ in range(rng.randrange(4)))
    encoding, front = rng.choice(_ENCODINGS), rng.choice((None, *_ENCODINGS))
    wasm = bytes(wasmtime.wat2wasm(_component_text(source, of, encoding, front)))
    return Case(of, values, encoding, front, wasm)


def _functions(of: Type) -> dict[str, tuple[str, str]]:
    """Parameter and result of each function."""
    many = f"(list {of.text})"
    functions = {"reset": ("", ""), "echo": (many, many), "dump": (many, "(list u8)")}
    if len(of.flat) <= _MOST_FLAT:
        functions["flat"] = (of.text, "(list u8)")
    if len(of.flat) > 1:
        functions["first"] = (many, of.text)
    return functions


def _signature(parameter: str, result: str) -> str:
    return f'(param "a" {parameter}) (result {result})' if parameter else ""


def _lifts(of: Type, core: str, memory: str, encoding: str) -> Iterator[str]:
    options = (
        f'(memory (core memory {memory} "memory")) (realloc (core func {memory} "realloc")) string-encoding={encoding}'
    )
    for name, (parameter, result) in _functions(of).items():
        lifted = f'(canon lift (core func {core} "{name}") {options if parameter else ""})'
        yield f'(func (export "{name}") {_signature(parameter, result)} {lifted})'


def _guest_text(source: TypeSource, of: Type, encoding: str) -> str:
    """The component of the guest itself."""
    flat = of.flat if len(of.flat) <= _MOST_FLAT else []
    stores = " ".join(f"({core}.store (i32.const {8 * i}) (local.get {i}))" for i, core in enumerate(flat))
    module = _GUEST.replace("HEAP", _HEAP).replace("ELEMENT_SIZE", str(of.layout[0]))
    module = module.replace("FLAT_TYPES", " ".join(flat)).replace("FLAT_STORES", stores)
    lines = ["(component $Guest", module.replace("FLAT_SIZE", str(8 * len(flat)))]
    lines += [*_definitions(source), *_lifts(of, "$m", "$m", encoding), ")"]
    return "\n".join(lines)


def _definitions(source: TypeSource) -> list[str]:
    """Each component names the types of its exports itself."""
    return [f'(type $inner-{n} {text}) (export ${n} "{n}" (type $inner-{n}))' for n, text in source.definitions]


def _front_text(source: TypeSource, of: Type, encoding: str) -> str:
    """The component in front, and both linked with each other."""
    functions = _functions(of)
    wanted = [f'(type $inner-{n} {text}) (export "{n}" (type ${n} (eq $inner-{n})))' for n, text in source.definitions]
    wanted += [f'(export "{name}" (func {_signature(*types)}))' for name, types in functions.items()]
    lines = ["(component $Front", f'(import "guest" (instance $guest {" ".join(wanted)}))']
    lines.append(f"(core module $Heap {_HEAP}) (core instance $heap (instantiate $Heap))")
    lines += _definitions(source)
    options = '(memory (core memory $heap "memory")) (realloc (core func $heap "realloc")) string-encoding=' + encoding
    imports, exports, bodies = [], [], []
    for name, (parameter, _) in functions.items():
        lines.append(f'(core func $to-{name} (canon lower (func $guest "{name}") {options if parameter else ""}))')
        cores = (of.flat if name == "flat" else ["i32", "i32"]) if parameter else []
        spelled, passed = " ".join(cores), " ".join(f"(local.get {i})" for i in range(len(cores)))
        imports.append(f'(import "" "{name}" (func ${name} (param {spelled} {"i32" if parameter else ""})))')
        exports.append(f'(export "{name}" (func $to-{name}))')
        if parameter:
            at = f"(i32.const {_RESULT_AT})"
            bodies.append(f'(func (export "{name}") (param {spelled}) (result i32) (call ${name} {passed} {at}) {at})')
        else:
            bodies.append(f'(func (export "{name}") (call $own) (call ${name}))')
    imports.append('(import "" "own" (func $own))')
    exports.append('(export "own" (func $heap "reset"))')
    lines.append(f"(core module $F {' '.join(imports)} {' '.join(bodies)})")
    lines.append(f'(core instance $f (instantiate $F (with "" (instance {" ".join(exports)}))))')
    lines += [*_lifts(of, "$f", "$heap", encoding), ")"]
    return "\n".join(lines)


def _component_text(source: TypeSource, of: Type, encoding: str, front: str | None) -> str:
    """One component that exports the functions of the guest, or of the component in front of it."""
    parts = ["(component", _guest_text(source, of, encoding), "(instance $inner (instantiate $Guest))"]
    if front is not None:
        parts.append(_front_text(source, of, front))
        parts.append('(instance $outer (instantiate $Front (with "guest" (instance $inner))))')
    parts.append(f'(export "test:values/api" (instance {"$inner" if front is None else "$outer"})))')
    return "\n".join(parts)


def _their_value(of: Type, const: Const) -> Any:
    """A value as wasmtime's Python interface takes it."""
    value: Any = const.value
    match of.kind:
        case "list" | "tuple":
            parts = of.types * len(value) if of.kind == "list" else of.types
            items = [_their_value(part, item) for part, item in zip(parts, value)]
            if of.kind == "tuple":
                return tuple(items)
            return bytes(items) if of.types[0].kind == "u8" else items
        case "record":
            record = their.Record()
            for (name, part), (_, item) in zip(of.parts, value):
                assert part is not None
                setattr(record, name, _their_value(part, item))
            return record
        case "flags":
            return set(value)
        case "option" if not _is_tagged(of):
            return None if value is None else _their_value(of.types[0], value)
        case "variant" | "option" | "result":
            part = dict(of.parts)[const.case or ""]
            return their.Variant(const.case or "", None if part is None else _their_value(part, value))
    return value


def _is_tagged(of: Type) -> bool:
    """Does a value of an option come with a tag? It does where the payload could be anything."""
    return object in _classes(of.types[0])


def _classes(of: Type) -> set[type]:
    if of.kind == "option" and not _is_tagged(of):
        return {object} | _classes(of.types[0])
    return {their.Variant} if of.kind in ("variant", "option", "result") else {type(of.kind)}


class _Theirs:
    def __init__(self, case: Case, engine: wasmtime.Engine) -> None:
        self.store = wasmtime.Store(engine)
        component = their.Component(engine, case.wasm)
        self.instance = their.Linker(engine).instantiate(self.store, component)

    def call(self, name: str, *arguments: object) -> Any:
        api = self.instance.get_export_index(self.store, "test:values/api")
        function = self.instance.get_func(self.store, self.instance.get_export_index(self.store, name, api))
        assert function is not None
        return function(self.store, *arguments)


def compare(case: Case, engine: rt.Engine, their_engine: wasmtime.Engine) -> str:
    """Raises `AssertionError` where the engines differ."""
    other = _Theirs(case, their_engine)
    values = [argument(value) for value in case.values]
    their_values = [_their_value(case.of, value) for value in case.values]
    many = Const("list", case.values)
    their_many = _their_value(Type("list", "", (("", case.of),)), many)
    with rt.Store(engine) as store:
        exports = rt.Linker(engine).instantiate(store, rt.Component(engine, case.wasm)).exports["test:values/api"]

        def both(name: str, ours: object, theirs: object) -> tuple[bytes, bytes]:
            exports["reset"]()
            other.call("reset")
            return bytes(exports[name](ours)), bytes(other.call(name, theirs))

        got = exports["echo"](values)
        assert accepts(many, got), f"echo of {case.of}: {got!r}, wanted {case.values}"
        # where strings lie depends on how often an encoder asks for room, which is left open for all but UTF-8
        if {case.encoding, case.front} <= {"utf8", None} or "string" not in _kinds(case.of):
            ours, theirs = both("dump", values, their_many)
            assert ours == theirs, f"memory of {case.of}: {ours.hex()}, wanted {theirs.hex()} for {case.values}"
            if case.has_flat:
                for mine, wanted in zip(values, their_values):
                    ours, theirs = both("flat", mine, wanted)
                    assert ours == theirs, f"flat {case.of}: {ours.hex()}, wanted {theirs.hex()} for {mine}"
        if case.has_first:
            try:
                first: object = exports["first"](values)
            except rt.Err as error:
                first = Raised(error)
            assert accepts_outcome(case.values[0], first), f"first of {case.of}: {first!r}"
    return f"{case.of.kind} through two" if case.front else case.of.kind


def _kinds(of: Type) -> set[str]:
    return {of.kind}.union(*(_kinds(part) for part in of.types))


def _worker(span: list[int], seed: int) -> None:
    engine, their_engine = rt.Engine(rt.Config(cache=False)), wasmtime.Engine()
    one: Callable[[int], str] = lambda index: compare(make_case(f"{seed}/{index}"), engine, their_engine)  # noqa: E731
    run_worker(span, one)


def run(count: int, *, seed: int = 1, first: int = 0) -> Report:
    """`count` random types, each with up to three values, in a worker process."""
    return supervise("tests.robustness.values", ["--seed", str(seed)], count, first=first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--seed", type=int, default=1)
    add_worker_options(parser)
    options = parser.parse_args()
    if options.worker:
        _worker(options.worker, options.seed)
        return 0
    report = run(options.count, seed=options.seed, first=options.first)
    print(report)
    return bool(report.findings)


if __name__ == "__main__":
    sys.exit(main())
