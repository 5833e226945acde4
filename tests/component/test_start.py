"""Values that are imported and exported, and the start function (the feature `values`)."""

from __future__ import annotations

import pytest

import component_rt as rt

from .guests import engine

# (component
#   (core module $m (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))
#   (core instance $i (instantiate $m))
#   (func $f (param "a" u32) (result u32) (canon lift (core func $i "f")))
#   (import "n" (value $n u32))
#   (start $f (value $n) (result (value $r)))
#   (export "r" (value $r)))
START = bytes.fromhex(
    "0061736d0d00010001310061736d0100000001060160017f017f03020100070501016600000a09010700200041016a0b"
    "0009046e616d650002016d0204010000000708014001016179007906070100000100016608060100000000000a070100"
    "016e0201790904000100010b0701000172020100002d0e636f6d706f6e656e742d6e616d65010600110100016d010600"
    "1201000169010501010001660105020100016e"
)


def run(value: object) -> object:
    component = rt.Component(engine(), START, rt.Features.all())
    linker = rt.Linker(engine())
    linker.define("n", value)
    with rt.Store(engine()) as store:
        return linker.instantiate(store, component).exports["r"]


def test_the_start_function_runs_with_imported_values() -> None:
    assert run(41) == 42


def test_a_value_that_does_not_fit() -> None:
    with pytest.raises(TypeError, match="parameter `a`"):
        run("x")


def test_a_missing_value() -> None:
    component = rt.Component(engine(), START, rt.Features.all())
    with rt.Store(engine()) as store, pytest.raises(rt.LinkError, match="n: value u32"):
        rt.Linker(engine()).instantiate(store, component)
