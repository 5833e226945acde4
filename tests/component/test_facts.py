"""What the cache keeps of a component: read back, it is what decoding, validating and planning gave."""

from __future__ import annotations

import marshal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import component_rt as rt
import core_rt
from component_rt import component as component_module
from component_rt import facts
from component_rt.graph import Kind, Unstorable, read_graph, write_graph
from core_rt.record import positional, record

from .guests import encode
from .test_calls import ECHO, NESTED
from .test_resources import COUNTER

TYPES = """(component
  (type $e (enum "a" "b")) (export $e2 "e" (type $e))
  (type $r (record (field "x" u8) (field "y" (list (option string))))) (export $r2 "r" (type $r))
  (type $v (variant (case "one") (case "two" (tuple $r2 $e2)))) (export $v2 "v" (type $v))
  (type $f (flags "p" "q")) (export $f2 "f" (type $f))
  (import "res" (type $res (sub resource)))
  (import "test:types/api@1.2.3" (instance
    (export "r" (type $ir (sub resource)))
    (export "make" (func (param "a" (borrow $ir)) (param "c" (result (list u8) (error string))) (result (own $ir))))))
  (import "use" (func (param "h" (own $res)) (result (tuple f32 f64 char bool s8 s16 u16 s32 u32 s64 u64)))))"""
MODULES = """(component
  (core module $m (type $s (sub (struct (field (mut i8)) (field (ref null any))))) (memory (export "mem") 1 2)
    (table (export "t") 3 funcref) (global (export "g") (mut v128) (v128.const i64x2 1 2)) (tag (export "tag") (param i32))
    (elem (i32.const 0) $f) (data (i32.const 8) "abc") (data "passive")
    (func $f (export "f") (param (ref null $s) i32 f32) (result i64 f64) (i64.const 0) (f64.const 1)))
  (core instance (instantiate $m)))"""


@record
class Leaf:
    name: str


@record(kw_only=True)
class Inner:
    left: Any
    right: Any


KINDS = {Leaf: Kind(lambda o: (o.name,), Leaf), Inner: Kind(lambda o: (o.left, o.right), positional(Inner))}


def test_graphs_keep_values_and_what_is_shared() -> None:
    leaf = Leaf("x")
    holds = (
        leaf,
        [leaf, 5],
        {"k": leaf, (1, "b"): None},
        frozenset([leaf]),
        MappingProxyType({"m": leaf}),
        b"",
        2**70,
        1.5,
    )
    made = read_graph(write_graph(Inner(left=holds, right=leaf), KINDS), KINDS)
    assert isinstance(made, Inner)
    first, listed, mapped, frozen, proxied, *plain = made.left
    assert first.name == "x" and first is made.right is listed[0] is mapped["k"] is proxied["m"]
    assert listed[1] == 5 and mapped[1, "b"] is None and frozen == {first} and type(proxied) is MappingProxyType
    assert plain == [b"", 2**70, 1.5]
    assert [*map(type, read_graph(write_graph((leaf, True, 1, 1.0), KINDS), KINDS))] == [Leaf, bool, int, float]


def test_graphs_of_anything_else_are_refused() -> None:
    with pytest.raises(Unstorable):
        write_graph(Inner(left=object(), right=1), KINDS)
    cycle: list[Any] = [Leaf("x")]
    cycle.append(cycle)
    with pytest.raises((Unstorable, RecursionError)):
        write_graph(cycle, KINDS)


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: d[: len(d) // 2], lambda d: b"i\1\0\0\0", lambda d: b"\xff"]
)
def test_damaged_graphs_are_refused(damage: Any) -> None:
    data = write_graph(Inner(left=Leaf("a"), right=Leaf("b")), KINDS)
    with pytest.raises(ValueError):
        read_graph(damage(data), KINDS)


@pytest.mark.parametrize("text", [ECHO, NESTED, COUNTER, TYPES, MODULES])
def test_facts_of_a_component_come_back(text: str) -> None:
    data = encode(text)
    engine = rt.Engine(core_rt.Config(cache=False))
    component = rt.Component(engine, data)
    kinds = facts._kinds(memoryview(data), engine.config.features)
    first = write_graph((component.type, component.plan), kinds)
    second = write_graph(read_graph(first, kinds), kinds)  # some tuples that were shared are no longer
    type_, plan = read_graph(second, kinds)
    assert marshal.loads(write_graph((type_, plan), kinds)) == marshal.loads(second)
    assert list(type_.imports) == list(component.imports) and list(type_.exports) == list(component.exports)
    for mine, theirs in zip(plan.steps, component.plan.steps, strict=True):
        assert type(mine) is type(theirs)
        if hasattr(mine, "definition") and hasattr(mine.definition, "module"):
            one, other = mine.definition.module, theirs.definition.module
            assert bytes(one.data) == bytes(other.data) and one.bodies == other.bodies
            assert one.types == other.types and one.funcs == other.funcs  # the same objects
            assert list(one.data_segments) == list(other.data_segments)
            assert one.passive_segments == other.passive_segments and one.digest == other.digest


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_module, "_KEPT_FROM", 0)


def _run(engine: rt.Engine) -> list[Any]:
    component = rt.Component(engine, encode(COUNTER))
    with rt.Store(engine) as store:
        api = rt.Linker(engine).instantiate(store, component).exports["test:res/api"]
        with api.Counter(7) as counter:
            value = counter.value()
        return [value, api.dropped(), str(component.world)]


def test_a_known_component_is_not_read(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = core_rt.Config(cache=tmp_path / "code")
    first = _run(rt.Engine(config))
    assert first[:2] == [7, 7]
    component = rt.Component(rt.Engine(config), encode(COUNTER))
    assert "validated" not in component.__dict__
    assert _run(rt.Engine(config)) == first
    other = rt.Component(rt.Engine(config), encode(COUNTER), rt.Features.all())
    assert "validated" in other.__dict__


def test_damaged_facts_are_made_again(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = core_rt.Config(cache=tmp_path / "code")
    engine = rt.Engine(config)
    first = _run(engine)
    component = rt.Component(engine, encode(COUNTER))
    assert engine.cache is not None and component._facts_key is not None
    engine.cache.put(component._facts_key, b"whole, but nothing of ours")
    assert _run(rt.Engine(config)) == first


def test_an_invalid_component_is_refused_every_time(small: None, tmp_path: Path) -> None:
    data = encode("(component (core module $m) (core instance (instantiate $m)))") + b"\x63\x01\x00"
    config = core_rt.Config(cache=tmp_path / "code")
    for _ in range(2):
        with pytest.raises(rt.WasmError):
            rt.Component(rt.Engine(config), data)


def test_many_data_segments_are_read_again_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_FEW_SEGMENTS", 1)
    test_facts_of_a_component_come_back(MODULES)


def test_a_warm_start_loads_neither_compiler_nor_decoder(small: None, tmp_path: Path) -> None:
    engine = rt.Engine(core_rt.Config(cache=tmp_path))
    engine.precompile(encode(COUNTER))
    _ = rt.Component(engine, encode(COUNTER)).plan
    code = f"""
import sys
import component_rt as rt
from component_rt import component
component._KEPT_FROM = 0
engine = rt.Engine(rt.Config(cache={str(tmp_path)!r}))
made = rt.Component(engine, sys.stdin.buffer.read())
with rt.Store(engine) as store:
    api = rt.Linker(engine).instantiate(store, made).exports["test:res/api"]
    print(api.Counter(7).value())
print(*[name for name in ("llvmlite", "core_rt.compile.writer", "core_rt.binary.decode", "component_rt.binary") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=encode(COUNTER), capture_output=True, check=True)
    assert done.stdout.split() == [b"7"]


def test_what_changes_later_is_copied(small: None, tmp_path: Path) -> None:
    data = bytearray(encode(COUNTER))
    engine = rt.Engine(core_rt.Config(cache=tmp_path))
    for _ in range(2):
        component = rt.Component(engine, memoryview(data))
        changed = bytearray(data)
        data[20:] = bytes(len(data) - 20)
        with rt.Store(engine) as store:
            api = rt.Linker(engine).instantiate(store, component).exports["test:res/api"]
            assert api.Counter(3).value() == 3
        data = changed
