"""Linking by name, version and type; what is missing is said in WIT."""

from __future__ import annotations

import types
from typing import Any

import pytest
import wasmtime

import component_rt as rt
import core_rt

from .guests import engine, instantiate, load
from .test_resources import COUNTER

LOG = """(component
  (import "example:app/log@0.2.3" (instance $log
    (type $level' (enum "low" "high"))
    (export "level" (type $level (eq $level')))
    (export "set-level" (func (param "to" $level)))
    (export "count" (func (result u32)))))
  (core func $count (canon lower (func $log "count")))
  (core func $set (canon lower (func $log "set-level")))
  (core module $m (import "" "count" (func $count (result i32))) (import "" "set" (func $set (param i32)))
    (func (export "run") (result i32) (call $set (i32.const 1)) (call $count)))
  (core instance $i (instantiate $m (with "" (instance (export "count" (func $count)) (export "set" (func $set))))))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))"""


class Log:
    def __init__(self) -> None:
        self.level: Any = None

    def set_level(self, to: Any) -> None:
        self.level = to

    def count(self) -> int:
        return 3


def run(name: str, item: Any) -> int:
    with rt.Store(engine()) as store:
        linker = rt.Linker(engine())
        linker.define(name, item)
        return linker.instantiate(store, load(LOG)).exports["run"]()  # type: ignore[no-any-return]


def test_an_object_a_module_or_a_mapping() -> None:
    log = Log()
    assert run("example:app/log@0.2.3", log) == 3
    assert log.level.name == "HIGH"
    module = types.ModuleType("log")
    module.set_level = lambda to: None  # type: ignore[attr-defined]
    module.count = lambda: 4  # type: ignore[attr-defined]
    assert run("example:app/log", module) == 4
    assert run("example:app/log", {"set-level": lambda to: None, "count": lambda: 5}) == 5


@pytest.mark.parametrize("version", ["", "@0.2.3", "@0.2.0", "@0.2.99"])
def test_compatible_versions(version: str) -> None:
    assert run(f"example:app/log{version}", Log()) == 3


@pytest.mark.parametrize("version", ["@0.3.0", "@1.0.0", "@0.2.3-rc.1"])
def test_other_versions(version: str) -> None:
    if version == "@0.2.3-rc.1":
        assert run(f"example:app/log{version}", Log()) == 3  # the same canonical version, 0.2
        return
    with pytest.raises(rt.LinkError, match="unknown import"):
        run(f"example:app/log{version}", Log())


def test_the_newest_compatible_definition_is_taken() -> None:
    with rt.Store(engine()) as store:
        linker = rt.Linker(engine())
        for patch, count in ((1, 1), (10, 10), (9, 9)):
            linker.define(
                f"example:app/log@0.2.{patch}", {"set_level": lambda to: None, "count": lambda count=count: count}
            )
        assert linker.instantiate(store, load(LOG)).exports["run"]() == 10


def test_what_is_missing_is_printed_as_wit() -> None:
    with pytest.raises(rt.LinkError) as caught:
        run("example:app/lag@0.2.3", Log())
    text = str(caught.value)
    assert "unknown import `example:app/log@0.2.3`" in text
    assert "did you mean `example:app/lag@0.2.3`?" in text
    assert "set-level: func(to: level);" in text
    assert "count: func() -> u32;" in text


def test_a_missing_function_of_an_interface() -> None:
    with pytest.raises(rt.LinkError) as caught:
        run("example:app/log", {"set_level": lambda to: None, "cont": lambda: 1})
    text = str(caught.value)
    assert "import `example:app/log@0.2.3.count`: the mapping has no `count`; did you mean `cont`?" in text
    assert "wanted: count: func() -> u32" in text


@pytest.mark.parametrize("count", [lambda a: 1, lambda *, key: 1, 7, lambda a, b=1: 1])
def test_what_cannot_be_called_like_that(count: Any) -> None:
    with pytest.raises(rt.LinkError, match="count"):
        run("example:app/log", {"set_level": lambda to: None, "count": count})


@pytest.mark.parametrize("count", [lambda *args: 1, lambda a=1: 1, lambda **options: 1])
def test_what_can(count: Any) -> None:
    assert run("example:app/log", {"set_level": lambda to: None, "count": count}) == 1


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(rt.LinkError) as caught:
        run("example:app/log", {"set_level": 1})
    assert "set-level" in str(caught.value)
    assert "count" in str(caught.value)


def test_redefinition_replaces() -> None:
    with rt.Store(engine()) as store:
        linker = rt.Linker(engine())
        component = load(LOG)
        for want in (1, 2):
            linker.define("example:app/log", {"set_level": lambda to: None, "count": lambda want=want: want})
            assert linker.instantiate(store, component).exports["run"]() == want


def test_unknown_imports_as_traps() -> None:
    with rt.Store(engine()) as store:
        linker = rt.Linker(engine())
        component = load(LOG)
        linker.define_unknown_imports_as_traps(component)
        instance = linker.instantiate(store, component)
        with pytest.raises(rt.Trap) as caught:
            instance.exports["run"]()
        assert caught.value.code is rt.TrapCode.UNKNOWN_IMPORT
        assert "example:app/log@0.2.3.set-level" in str(caught.value)


CLIENT = """(component
  (import "test:res/api" (instance $api
    (export "counter" (type $c (sub resource)))
    (export "[constructor]counter" (func (param "n" u32) (result (own $c))))
    (export "[method]counter.value" (func (param "self" (borrow $c)) (result u32)))
    (export "dropped" (func (result u32)))))
  (alias export $api "counter" (type $c))
  (core func $new (canon lower (func $api "[constructor]counter")))
  (core func $value (canon lower (func $api "[method]counter.value")))
  (core func $drop (canon resource.drop $c))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "value" (func $value (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "run") (param i32) (result i32) (local $h i32) (local $v i32)
      (local.set $h (call $new (local.get 0)))
      (local.set $v (call $value (local.get $h)))
      (call $drop (local.get $h))
      (local.get $v)))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new)) (export "value" (func $value))
    (export "drop" (func $drop))))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run"))))"""


def test_one_component_serves_another() -> None:
    with rt.Store(engine()) as store:
        server = instantiate(store, COUNTER)
        client = instantiate(store, CLIENT, **{"test:res/api": server.exports["test:res/api"]})
        assert client.exports["run"](11) == 11
        assert server.exports["test:res/api"].dropped() == 11


def test_an_instance_of_another_store_is_refused() -> None:
    with rt.Store(engine()) as one, rt.Store(engine()) as two:
        server = instantiate(one, COUNTER)
        with pytest.raises(rt.StoreError, match="another store"):
            instantiate(two, CLIENT, **{"test:res/api": server.exports["test:res/api"]})


def test_an_instance_of_another_shape_is_refused() -> None:
    with rt.Store(engine()) as store:
        server = instantiate(store, COUNTER)
        text = CLIENT.replace('(export "dropped" (func (result u32)))', '(export "dropped" (func (result u64)))')
        with pytest.raises(rt.LinkError, match="the other instance has"):
            instantiate(store, text, **{"test:res/api": server.exports["test:res/api"]})


def test_a_missing_method_or_constructor() -> None:
    class Sink:
        pass

    with pytest.raises(rt.LinkError) as caught, rt.Store(engine()) as store:
        instantiate(store, CLIENT, **{"test:res/api": {"Counter": Sink, "dropped": lambda: 0}})
    assert "does not take 1 argument" in str(caught.value) or "Sink" in str(caught.value)
    assert "has no `value`" in str(caught.value)


def test_exports_are_found_in_several_ways() -> None:
    with rt.Store(engine()) as store:
        instance = instantiate(store, COUNTER)
        exports = instance.exports
        assert exports["test:res/api"] is exports.api
        assert list(exports) == ["test:res/api"]
        assert "test:res/api" in exports
        assert exports.api["dropped"]() == 0
        with pytest.raises(KeyError, match=r"did you mean `test:res/api`\?"):
            exports["test:res/apt"]
        with pytest.raises(AttributeError, match=r"did you mean `dropped`\?"):
            _ = exports.api.droped


def test_exports_named_like_methods_of_a_mapping() -> None:
    names = ["get", "items", "keys", "values", "store"]
    exports = "".join(f'(func (export "{n}") (result u32) (canon lift (core func $i "f")))' for n in names)
    text = f"""(component (core module $m (func (export "f") (result i32) (i32.const 9)))
      (core instance $i (instantiate $m)) {exports})"""
    with rt.Store(engine()) as store:
        found = instantiate(store, text).exports
        assert [getattr(found, name)() for name in names] == [9] * 5


MODULE_USER = """(component
  (import "lib" (core module $lib
    (import "env" "tick" (func))
    (export "f" (func (param i32) (result i32)))
    (export "mem" (memory 1))))
  (core module $env (func (export "tick")))
  (core instance $e (instantiate $env))
  (core instance $i (instantiate $lib (with "env" (instance $e))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "f"))))"""


@pytest.mark.parametrize(
    "module, problem",
    [
        (
            '(import "env" "tick" (func)) (memory (export "mem") 2) (func (export "f") (param i32) (result i32) local.get 0)',
            None,
        ),
        (
            '(memory (export "mem") 1) (func (export "f") (param i32) (result i32) local.get 0) (func (export "g"))',
            None,
        ),
        ('(memory (export "mem") 1)', "`f`"),
        ('(memory (export "mem") 1) (func (export "f") (param i64) (result i64) local.get 0)', "`f`"),
        ('(memory (export "mem") 0) (func (export "f") (param i32) (result i32) local.get 0)', "`mem`"),
        (
            '(import "env" "tock" (func)) (memory (export "mem") 1) (func (export "f") (param i32) (result i32) local.get 0)',
            "env::tock",
        ),
    ],
)
def test_a_core_module_is_checked(module: str, problem: str | None) -> None:
    lib = core_rt.Module(engine(), bytes(wasmtime.wat2wasm(f"(module {module})")))
    with rt.Store(engine()) as store:
        if problem is None:
            assert instantiate(store, MODULE_USER, lib=lib).exports["run"](7) == 7
            return
        with pytest.raises(rt.LinkError, match="import `lib`: the module does not fit") as caught:
            instantiate(store, MODULE_USER, lib=lib)
        assert problem in str(caught.value)


def test_something_else_than_a_core_module() -> None:
    with (
        rt.Store(engine()) as store,
        pytest.raises(rt.LinkError, match=r"import `lib`: the Log object is no core_rt\.Module"),
    ):
        instantiate(store, MODULE_USER, lib=Log())


TWO = CLIENT.replace(
    '(import "test:res/api" (instance $api',
    """(import "other:res/api" (instance $other (export "counter" (type (sub resource)))))
  (import "test:res/api" (instance $api""",
)
SAME = TWO.replace('(export "counter" (type $c (sub resource)))', '(export "counter" (type $c (eq $o)))').replace(
    '(import "test:res/api"', '(alias export $other "counter" (type $o)) (import "test:res/api"'
)


def test_resources_of_two_instances_are_not_the_same() -> None:
    with rt.Store(engine()) as store:
        one, two = (instantiate(store, COUNTER).exports["test:res/api"] for _ in range(2))
        assert instantiate(store, TWO, **{"other:res/api": one, "test:res/api": two}).exports["run"](3) == 3
        assert instantiate(store, SAME, **{"other:res/api": one, "test:res/api": one}).exports["run"](4) == 4
        with pytest.raises(rt.LinkError, match="not the same"):
            instantiate(store, SAME, **{"other:res/api": one, "test:res/api": two})


def test_functions_and_classes_of_other_instances_one_by_one() -> None:
    with rt.Store(engine()) as store:
        one, two = (instantiate(store, COUNTER).exports["test:res/api"] for _ in range(2))
        assert (
            instantiate(store, CLIENT, **{"test:res/api": {"Counter": one.Counter, "dropped": two.dropped}}).exports[
                "run"
            ](5)
            == 5
        )
        assert (one.dropped(), two.dropped()) == (5, 0)
        make = """(component
          (import "test:res/api" (instance $api (export "counter" (type $c (sub resource)))))
          (alias export $api "counter" (type $c))
          (import "take" (func $take (param "c" (own $c)))))"""
        taker = instantiate(store, TAKER, **{"test:res/api": two})
        assert instantiate(store, make, **{"test:res/api": two, "take": taker.exports["take"]})
        with pytest.raises(rt.LinkError, match="of another resource type"):
            instantiate(store, make, **{"test:res/api": one, "take": taker.exports["take"]})


TAKER = """(component
  (import "test:res/api" (instance $api (export "counter" (type $c (sub resource)))))
  (alias export $api "counter" (type $c))
  (core module $m (func (export "take") (param i32)))
  (core instance $i (instantiate $m))
  (func (export "take") (param "c" (own $c)) (canon lift (core func $i "take"))))"""
