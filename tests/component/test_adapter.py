"""Calls between guests: machine code does exactly what the path through Python does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import component_rt as rt
from component_rt import types as t
from component_rt.abi.flat import flatten_types
from component_rt.canon import adapt

from .guests import ALLOCATOR, engine, instantiate
from .test_abi_round_trip import same, values

_MAYBE = {"max_leaves": 8}
# Types that need no name, so that they can be written in place.
UNNAMED = st.recursive(
    st.sampled_from([p for p in t.PRIMITIVES.values() if p is not t.ERROR_CONTEXT]),
    lambda inner: st.one_of(
        inner.map(t.ListType),
        st.lists(inner, min_size=1, max_size=4).map(t.TupleType),
        inner.map(t.OptionType),
        st.builds(t.ResultType, st.none() | inner, st.none() | inner),
    ),
    **_MAYBE,
)


def text_of(of: t.ValType) -> str:
    """A type in the text format."""
    match of:
        case t.ListType(t=inner):
            return f"(list {text_of(inner)})"
        case t.TupleType(ts=ts):
            return f"(tuple {' '.join(map(text_of, ts))})"
        case t.OptionType(t=inner):
            return f"(option {text_of(inner)})"
        case t.ResultType(ok=ok, error=error):
            parts = [text_of(ok)] if ok is not None else []
            return f"(result {' '.join([*parts, *([f'(error {text_of(error)})'] if error is not None else [])])})"
    return of.kind


def linked(callee: str, caller: str, param: str, result: str, encoding: str = "utf8") -> str:
    """Two components: `run` of the outer one is `f` of the inner one, with the same core signature."""
    lift = f'string-encoding={encoding} (memory (core memory $i "mem")) (realloc (core func $i "realloc"))'
    return f"""(component
      (component $C (core module $m {ALLOCATOR} {callee}) (core instance $i (instantiate $m))
        (func (export "f") (param "x" {param}) (result {result}) (canon lift (core func $i "f") {lift})))
      (component $D (import "f" (func $f (param "x" {param}) (result {result})))
        (core module $a {ALLOCATOR}) (core instance $i (instantiate $a))
        (core func $f' (canon lower (func $f) {lift}))
        (core module $m {caller}) (core instance $d (instantiate $m (with "" (instance (export "f" (func $f'))))))
        (func (export "run") (param "x" {param}) (result {result}) (canon lift (core func $d "run") {lift})))
      (instance $c (instantiate $C)) (instance $d (instantiate $D (with "f" (func $c "f"))))
      (export "run" (func $d "run")))"""


ECHO = """(func (export "f") (param i32 i32) (result i32)
  (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))"""
PASS = """(import "" "f" (func $f (param i32 i32 i32)))
  (func (export "run") (param i32 i32) (result i32) (call $f (local.get 0) (local.get 1) (i32.const 32)) (i32.const 32))"""


def run(monkeypatch: pytest.MonkeyPatch, text: str, calls: int, *args: Any) -> Any:
    """Call `run`, with machine code after `calls` calls through Python (0: at once)."""
    monkeypatch.setattr(adapt, "CALLS_BEFORE_COMPILING", calls)
    with rt.Store(engine()) as store:
        return instantiate(store, text).exports["run"](*args)


@settings(max_examples=25, deadline=None)
@given(UNNAMED, st.sampled_from(["utf8", "utf16"]), st.data())
def test_lists_arrive_as_they_were_sent(of: t.ValType, encoding: str, data: st.DataObject) -> None:
    sent = data.draw(values(t.ListType(of)))
    # the caller's module shares the memory that its arguments were lowered to
    caller = PASS.replace('(import "" "f"', '(import "" "mem" (memory 1)) (import "" "f"')
    kind = text_of(t.ListType(of))
    text = linked(ECHO, caller, kind, kind, encoding)
    text = text.replace('(export "f" (func $f\'))', '(export "f" (func $f\')) (export "mem" (memory $i "mem"))')
    with pytest.MonkeyPatch.context() as patch:
        assert same(run(patch, text, 0, sent), sent)


@pytest.mark.parametrize("kind", ["string", "(list u8)"])
def test_short_texts_and_lists_are_copied_whole(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    caller = PASS.replace('(import "" "f"', '(import "" "mem" (memory 1)) (import "" "f"')
    text = linked(ECHO, caller, kind, kind)
    text = text.replace('(export "f" (func $f\'))', '(export "f" (func $f\')) (export "mem" (memory $i "mem"))')
    monkeypatch.setattr(adapt, "CALLS_BEFORE_COMPILING", 0)
    with rt.Store(engine()) as store:
        echo = instantiate(store, text).exports["run"]
        for length in (*range(35), 100, 5000):
            sent = "".join([chr(65 + i % 26) for i in range(length)])
            assert echo(sent if kind == "string" else sent.encode()) == (sent if kind == "string" else sent.encode())


_STORE = {
    "i32": "i64.extend_i32_u",
    "i64": "",
    "f32": "i32.reinterpret_f32 i64.extend_i32_u",
    "f64": "i64.reinterpret_f64",
}


@settings(max_examples=25, deadline=None)
@given(UNNAMED, st.data())
def test_flat_values_are_the_same_either_way(of: t.ValType, data: st.DataObject) -> None:
    flat = flatten_types([of], 4)
    if flat is None:
        return
    params = f"(param {' '.join(flat)})"
    stores = [f"i32.const {64 + 8 * i} local.get {i} {_STORE[core]} i64.store" for i, core in enumerate(flat)]
    callee = f"""(func (export "f") {params} (result i32) {" ".join(stores)}
      (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const {len(flat)})) (i32.const 16))"""
    gets = " ".join(f"local.get {i}" for i in range(len(flat)))
    caller = f"""(import "" "mem" (memory 1)) (import "" "f" (func $f (param {" ".join(flat)} i32)))
      (func (export "run") {params} (result i32) {gets} i32.const 32 call $f i32.const 32)"""
    text = linked(callee, caller, text_of(of), "(list u64)")
    text = text.replace('(export "f" (func $f\'))', '(export "f" (func $f\')) (export "mem" (memory $i "mem"))')
    sent = data.draw(values(of))
    with pytest.MonkeyPatch.context() as patch:
        fast, slow = (run(patch, text, calls, sent) for calls in (0, 1 << 30))
    if not _has_float(of):
        assert fast == slow


def _has_float(of: Any) -> bool:
    """The bits of a NaN are anybody's choice."""
    return of.kind in ("f32", "f64") or any(map(_has_float, of.children()))


BAD = """(component
  (component $C (core module $m {alloc} (func (export "f") (param i32 i32) (result i32) (local.get 1)))
    (core instance $i (instantiate $m))
    (func (export "f") (param "x" {type}) (result u32)
      (canon lift (core func $i "f") (memory (core memory $i "mem")) (realloc (core func $i "realloc")))))
  (component $D (import "f" (func $f (param "x" {type}) (result u32)))
    (core module $a (memory (export "mem") 1) (data (i32.const 0) "\\c3\\28\\e2\\98"))
    (core instance $i (instantiate $a))
    (core func $f' (canon lower (func $f) (memory (core memory $i "mem"))))
    (core module $m (import "" "f" (func $f (param i32 i32) (result i32)))
      (func (export "run") (param i32 i32) (result i32) (call $f (local.get 0) (local.get 1))))
    (core instance $d (instantiate $m (with "" (instance (export "f" (func $f'))))))
    (func (export "run") (param "at" u32) (param "n" u32) (result u32) (canon lift (core func $d "run"))))
  (instance $c (instantiate $C)) (instance $d (instantiate $D (with "f" (func $c "f"))))
  (export "run" (func $d "run")))"""


@pytest.mark.parametrize("calls", [0, 1 << 30], ids=["machine code", "Python"])
@pytest.mark.parametrize(
    ("type_", "at", "n", "message"),
    [
        ("string", 0, 2, "invalid utf-8"),
        ("string", 2, 2, "incomplete utf-8 byte sequence"),
        ("string", 65530, 7, "string content out-of-bounds"),
        ("string", 0, 0xFFFFFFFF, "string content out-of-bounds"),
        ("(list u16)", 1, 1, "unaligned pointer"),
        ("(list u16)", 65534, 2, "list content out-of-bounds"),
        ("(list u64)", 0, 0xFFFFFFFF, "list content out-of-bounds"),
        ("(list bool)", 65537, 0, "list content out-of-bounds"),
        ("(list char)", 0, 1, "invalid `char` bit pattern"),
        ("(list (option u8))", 0, 1, "invalid variant discriminant"),
    ],
)
def test_bad_arguments_trap(
    monkeypatch: pytest.MonkeyPatch, calls: int, type_: str, at: int, n: int, message: str
) -> None:
    with pytest.raises(rt.Trap, match=message):
        run(monkeypatch, BAD.format(alloc=ALLOCATOR, type=type_), calls, at, n)


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_the_change_to_machine_code_does_not_show(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    monkeypatch.setattr(adapt, "CALLS_BEFORE_COMPILING", calls)
    with rt.Store(engine()) as store:
        call = instantiate(store, BAD.format(alloc=ALLOCATOR, type="(list u8)")).exports["run"]
        assert [call(0, n) for n in range(6)] == list(range(6))
        with pytest.raises(rt.Trap):
            call(65536, 1)
        with pytest.raises(rt.InstancePoisoned):
            call(0, 1)
