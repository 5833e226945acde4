"""Calls in both directions: values, errors, nesting, exceptions."""

from __future__ import annotations

import gc
import math
import threading

import pytest

import core_rt
from core_rt.func import PLAIN_CALLS
from tests.core.support import World, types

ECHO = """(module
  (func (export "i32") (param i32) (result i32) local.get 0)
  (func (export "i64") (param i64) (result i64) local.get 0)
  (func (export "f32") (param f32) (result f32) local.get 0)
  (func (export "f64") (param f64) (result f64) local.get 0)
  (func (export "ref") (param externref) (result externref) local.get 0)
  (func (export "fun") (param funcref) (result funcref) local.get 0)
  (func (export "none"))
  (func (export "swap") (param i32 f64 externref) (result externref f64 i32) local.get 2 local.get 1 local.get 0))"""


@pytest.fixture(autouse=True, params=[0, PLAIN_CALLS], ids=["generated", "plain"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with code made for the signatures, and without."""
    monkeypatch.setattr("core_rt.func.PLAIN_CALLS", request.param)
    monkeypatch.setattr("core_rt.func._classes", {})


@pytest.fixture
def echo() -> object:
    return World().load(ECHO)


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("i32", 7, 7),
        ("i32", -1, -1),
        ("i32", 2**32 - 1, -1),
        ("i32", 2**31, -(2**31)),
        ("i64", 2**64 - 1, -1),
        ("i64", -(2**63), -(2**63)),
        ("f32", 1.5, 1.5),
        ("f32", 3, 3.0),
        ("f64", math.inf, math.inf),
        ("f64", 0.1, 0.1),
        ("ref", None, None),
        ("ref", "text", "text"),
        ("fun", None, None),
    ],
)
def test_values_go_in_and_come_out(echo, name, given, found):
    result = echo[name](given)
    assert result == found
    assert type(result) is type(found)


def test_no_result_and_several(echo):
    marker = object()
    assert echo["none"]() is None
    assert echo["swap"](1, 2.5, marker) == (marker, 2.5, 1)
    assert echo["swap"](2**32 - 1, 2.5, marker) == (marker, 2.5, -1)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("i32", 2**32, OverflowError),
        ("i32", -(2**31) - 1, OverflowError),
        ("i64", 2**64, OverflowError),
        ("i32", 1.5, TypeError),
        ("i32", "1", TypeError),
        ("i32", None, TypeError),
        ("f64", "x", TypeError),
        ("f64", 10**400, OverflowError),
        ("fun", 3, TypeError),
    ],
)
def test_wrong_arguments_are_refused_before_the_guest_runs(echo, name, value, error):
    with pytest.raises(error):
        echo[name](value)
    assert echo["i32"](5) == 5


def test_wrong_number_of_arguments(echo):
    with pytest.raises(TypeError, match=r"function \[i32\] -> \[i32\]\(\) missing 1 required"):
        echo["i32"]()
    with pytest.raises(TypeError, match=r"function \[i32\] -> \[i32\]\(\) takes"):
        echo["i32"](1, 2)
    with pytest.raises(TypeError):
        echo["i32"].call_raw([])


def test_raw_calls_keep_bits(echo):
    signalling = 0x7FA0_0001
    assert echo["f32"].call_raw([signalling]) == [signalling]
    assert echo["i64"].call_raw([2**64 - 1]) == [2**64 - 1]
    marker = object()
    assert echo["ref"].call_raw([marker])[0] is marker


def test_functions_keep_their_identity(echo):
    function = echo["i32"]
    assert echo["fun"](function) is function
    assert echo["i32"] is function


def test_host_function_values():
    world = World()
    seen = []

    def host(*args):
        seen.append(args)
        return 2**32 - 1, -1.5, args[2]

    world.host("f", host, "i32 i64 externref f32", "i32 f64 externref")
    run = world.load(
        """(module (import "host" "f" (func $f (param i32 i64 externref f32) (result i32 f64 externref)))
        (func (export "run") (param i32 i64 externref f32) (result i32 f64 externref)
          (call $f (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"""
    )["run"]
    marker = object()
    assert run(-5, 2**40, marker, 0.5) == (-1, -1.5, marker)
    assert seen == [(-5, 2**40, marker, 0.5)]


@pytest.mark.parametrize("wrong", ["text", 2**40, 1.5, None])
def test_host_function_with_a_wrong_result(wrong):
    world = World()
    world.host("f", lambda: wrong, "", "i32")
    run = world.load('(module (import "host" "f" (func $f (result i32))) (func (export "run") (result i32) call $f))')[
        "run"
    ]
    with pytest.raises((TypeError, OverflowError)):
        run()
    assert world.store.statistics()["running"] == 0


def test_host_exceptions_pass_unchanged_with_notes():
    world = World()

    class Special(BaseException):
        pass

    error = Special("x")

    def fail():
        raise error

    world.host("f", fail)
    exports = world.load(
        """(module $app (import "host" "f" (func $f)) (func $inner call $f)
        (func $outer (export "run") call $inner) (func (export "ok") (result i32) i32.const 4))"""
    )
    with pytest.raises(Special) as caught:
        exports["run"]()
    assert caught.value is error
    notes = "\n".join(error.__notes__)
    assert "inner" in notes
    assert "outer" in notes
    assert exports["ok"]() == 4


def test_nested_calls_and_exceptions_inside():
    world = World()
    exports: dict = {}

    def host(n):
        if n == 0:
            raise KeyError("bottom")
        try:
            return exports["down"](n - 1) + 1
        except KeyError:
            if n == 3:
                return 100
            raise

    world.host("up", host, "i32", "i32")
    exports = world.load(
        """(module (import "host" "up" (func $up (param i32) (result i32)))
        (func (export "down") (param i32) (result i32) (call $up (local.get 0))))"""
    )
    assert exports["down"](5) == 102
    with pytest.raises(KeyError):
        exports["down"](2)
    assert world.store.statistics()["running"] == 0


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("unreachable", "UNREACHABLE", "unreachable"),
        ("i32.const 1 i32.const 0 i32.div_s drop", "INTEGER_DIVISION_BY_ZERO", "integer divide by zero"),
        ("i32.const 0x80000000 i32.const -1 i32.div_s drop", "INTEGER_OVERFLOW", "integer overflow"),
        ("f32.const nan i32.trunc_f32_s drop", "BAD_CONVERSION_TO_INTEGER", "invalid conversion to integer"),
        ("i32.const 65536 i32.load drop", "MEMORY_OUT_OF_BOUNDS", "out of bounds memory access"),
        (
            "i32.const -1 i32.const 0 i32.store8 offset=4294967295",
            "MEMORY_OUT_OF_BOUNDS",
            "out of bounds memory access",
        ),
        ("i32.const 9 call_indirect", "UNDEFINED_ELEMENT", "undefined element"),
        ("i32.const 0 call_indirect", "UNINITIALIZED_ELEMENT", "uninitialized element"),
        ("i32.const 1 call_indirect (param i32) (result i32)", "BAD_SIGNATURE", "indirect call type mismatch"),
        ("i32.const 5 table.get drop", "TABLE_OUT_OF_BOUNDS", "out of bounds table access"),
        ("call $self", "STACK_OVERFLOW", "call stack exhausted"),
    ],
)
def test_traps(body, code, text):
    if "(param i32)" in body:
        body = "i32.const 0 " + body + " drop"
    exports = World().load(
        f"""(module $m (memory 1) (table 3 funcref) (elem (i32.const 1) $ok)
        (func $self (export "run") {body}) (func $ok (export "ok") (result i32) i32.const 1))"""
    )
    for _ in range(2):
        with pytest.raises(core_rt.Trap) as caught:
            exports["run"]()
        trap = caught.value
        assert trap.code is core_rt.TrapCode[code]
        assert str(trap).startswith(text)
        assert trap.frames[0].name == "self"
        assert trap.frames[0].module == "m"
        assert exports["ok"]() == 1


def test_trap_frames_name_functions_and_offsets():
    world = World()
    text = (
        """(module $m (func $a unreachable) (func $b nop call $a) (func $c (export "run") i32.const 1 drop call $b))"""
    )
    from tests.core.support import wasm

    data = wasm(text)
    exports = world.load(text)
    with pytest.raises(core_rt.Trap) as caught:
        exports["run"]()
    frames = caught.value.frames
    assert [f.name for f in frames] == ["a", "b", "c"]
    assert data[frames[0].offset] == 0x00
    assert data[frames[1].offset] == 0x10
    assert data[frames[2].offset] == 0x10


def test_recursion_through_host_functions_is_stack_exhaustion():
    world = World()
    exports: dict = {}
    world.host("again", lambda: exports["run"]())
    exports = world.load('(module (import "host" "again" (func $again)) (func (export "run") call $again))')
    gc.collect()  # finalizers of what other tests left would have no room down there
    with pytest.raises(core_rt.Trap) as caught:
        exports["run"]()
    assert caught.value.code is core_rt.TrapCode.STACK_OVERFLOW
    assert world.store.statistics()["running"] == 0


def test_a_store_in_two_threads_is_refused():
    world = World()
    inside, leave = threading.Event(), threading.Event()

    def wait():
        inside.set()
        leave.wait(10)

    world.host("wait", wait)
    exports = world.load(
        """(module (import "host" "wait" (func $wait)) (func (export "run") call $wait)
        (func (export "id") (param i32) (result i32) local.get 0))"""
    )
    run, identity = exports["run"], exports["id"]
    thread = threading.Thread(target=run)
    thread.start()
    inside.wait(10)
    try:
        with pytest.raises(core_rt.StoreError, match="another thread"):
            identity(1)
    finally:
        leave.set()
        thread.join()
    assert identity(2) == 2


def test_closed_stores_refuse_everything():
    world = World()
    exports = world.load(
        """(module (memory (export "m") 1) (table (export "t") 1 funcref) (global (export "g") (mut i32) (i32.const 0))
        (func (export "f")))"""
    )
    items = dict(exports.items())
    view = items["m"].data
    world.store.close()
    world.store.close()
    view[0] = 1  # still memory, for as long as somebody holds it
    for use in (
        items["f"],
        lambda: items["m"].data,
        lambda: items["m"].size,
        lambda: items["t"].get(0),
        lambda: items["g"].value,
        lambda: world.load("(module)"),
        lambda: items["f"].call_raw([]),
    ):
        with pytest.raises(core_rt.StoreError):
            use()


def test_items_of_another_store_are_refused():
    one, two = World(), World()
    function = one.load(ECHO)["i32"]
    with pytest.raises(core_rt.StoreError):
        two.load(ECHO)["fun"](function)
    linker = core_rt.Linker(one.engine)
    linker.define("host", "f", function)
    store = core_rt.Store(one.engine)
    from tests.core.support import wasm

    module = core_rt.Module(one.engine, wasm('(module (import "host" "f" (func (param i32) (result i32))))'))
    with pytest.raises(core_rt.StoreError):
        linker.instantiate(store, module)


def test_from_python_is_callable_from_the_host_too():
    world = World()
    function = core_rt.Func.from_python(
        world.store, core_rt.FuncType(types("i32 i32"), types("i32")), lambda a, b: a * b
    )
    assert function(6, 7) == 42
