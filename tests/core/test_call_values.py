"""What goes in and comes out of core functions, and that threads which share a store never see each other's values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import core_rt
from core_rt.func import PLAIN_CALLS
from tests.core.support import wasm
from tests.crowd import crowd

SAME = {"i32": "i32", "i64": "i64", "f32": "f32", "f64": "f64"}
TEXT = (
    "(module"
    + "".join([f'(func (export "{t}") (param {t}) (result {t}) (local.get 0))' for t in SAME])
    + """(func (export "mixed") (param i32 f64 i64 f32) (result f64)
      (f64.add (f64.add (f64.convert_i32_s (local.get 0)) (local.get 1))
        (f64.add (f64.convert_i64_s (local.get 2)) (f64.promote_f32 (local.get 3)))))
    (func (export "swap") (param i64 i32 f32) (result f32 i32 i64) (local.get 2) (local.get 1) (local.get 0))
    (func (export "v") (param v128 i32) (result v128) (local.get 0))
    (func (export "ref") (param externref i32) (result externref) (local.get 0))
    (func (export "self") (param funcref) (result funcref) (local.get 0))
    (func (export "nothing")))"""
)


@pytest.fixture(autouse=True, params=[0, PLAIN_CALLS], ids=["generated", "plain"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with code made for the signatures, and without."""
    monkeypatch.setattr("core_rt.func.PLAIN_CALLS", request.param)
    monkeypatch.setattr("core_rt.func._classes", {})


@pytest.fixture
def exports() -> Any:
    engine = core_rt.Engine(core_rt.Config(cache=False))
    with core_rt.Store(engine) as store:
        yield core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm(TEXT))).exports


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("i32", (1 << 32) - 1, -1),
        ("i32", -(1 << 31), -(1 << 31)),
        ("i32", True, 1),
        ("i64", (1 << 64) - 1, -1),
        ("i64", -(1 << 63), -(1 << 63)),  # what the C call answers for "not over"
        ("i64", 3 - (1 << 63), 3 - (1 << 63)),
        ("i64", 1 << 63, -(1 << 63)),
        ("f32", 0.1, 0.10000000149011612),
        ("f32", 1e300, math.inf),
        ("f32", -math.inf, -math.inf),
        ("f64", 3, 3.0),
        ("f64", 1e300, 1e300),
    ],
)
def test_numbers_come_back(exports: Any, name: str, given: Any, found: Any) -> None:
    assert exports[name](given) == found


def test_nan_comes_back(exports: Any) -> None:
    for name in ("f32", "f64"):
        assert all(math.isnan(exports[name](math.nan)) for _ in range(3))


@pytest.mark.parametrize(
    ("name", "given"), [("i32", 1 << 32), ("i32", 1.0), ("i32", "1"), ("i64", 1 << 64), ("i64", None), ("f64", "1")]
)
def test_what_does_not_fit_is_named(exports: Any, name: str, given: Any) -> None:
    for _ in range(2):  # before there is a site, and after
        with pytest.raises((TypeError, OverflowError), match="argument 1"):
            exports[name](given)
    assert exports[name](1) == 1


def test_an_index_is_an_integer(exports: Any) -> None:
    class Index:
        def __index__(self) -> int:
            return 7

    assert exports["i32"](Index()) == 7


def test_other_shapes(exports: Any) -> None:
    assert exports["mixed"](1, 0.5, -3, 0.25) == -1.25
    assert exports["mixed"]((1 << 32) - 1, 0, (1 << 64) - 1, 0) == -2.0
    assert exports["swap"](-1, 2, 0.5) == (0.5, 2, -1)
    assert exports["v"](bytes(range(16)), 1) == bytes(range(16))
    thing = object()
    assert exports["ref"](thing, 1) is thing
    assert exports["ref"](None, 1) is None
    assert exports["self"](exports["i32"]) is exports["i32"]
    assert exports["self"](None) is None
    assert exports["nothing"]() is None


def test_threads_that_share_a_store_get_their_own_results_or_are_refused(exports: Any) -> None:
    def work(number: int) -> Callable[[], object]:
        wanted = number, number, (number, number, number), 4 * number

        def once() -> object:
            found = (
                exports["i32"](number),
                exports["f64"](number),
                exports["swap"](number, number, number),
                exports["mixed"](number, number, number, number),
            )
            return None if found == wanted else found

        return once

    assert not crowd([work(number) for number in range(1, 4)], 0.2)
