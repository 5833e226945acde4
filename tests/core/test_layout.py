"""Offsets that Python, C and compiled code share: a moved one shows in `golden/vm_layout.txt` (BLESS=1 writes it)."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from core_rt.binary.decode import decode_module
from core_rt.config import DEFAULT_FEATURES
from core_rt.native import ffi
from core_rt.vm import structs
from core_rt.vm.layout import ModuleLayout
from tests.core.support import wasm

GOLDEN = Path(__file__).parent / "golden" / "vm_layout.txt"


def test_the_table_is_as_reviewed():
    if os.environ.get("BLESS"):
        GOLDEN.write_text(structs.golden())
    assert structs.golden() == GOLDEN.read_text()


@pytest.mark.parametrize("struct", structs.STRUCTS, ids=lambda s: s.name)
def test_c_lays_the_structs_out_the_same(struct):
    ctype = ffi.typeof(struct.name)
    assert {name: field.offset for name, field in ctype.fields} == struct.offsets
    assert ffi.sizeof(ctype) <= struct.size


def test_regions_of_a_context_do_not_overlap():
    module = decode_module(
        wasm(
            """(module (import "a" "f" (func)) (import "a" "g" (global i32)) (import "a" "t" (table 1 funcref))
            (memory 1) (table 1 funcref) (table 1 externref) (global i32 (i32.const 1)) (global i64 (i64.const 1))
            (tag) (func $x (export "x")) (func $y) (elem declare func $y))"""
        ),
        DEFAULT_FEATURES,
    )
    layout = ModuleLayout.of(module)
    spans = [(0, structs.VMContextHeader.size)]
    spans.append((layout.func_import(0), structs.VMFunctionImport.size))
    for place, count, struct in (
        (layout.table, 3, structs.VMTableDefinition),
        (layout.memory, 1, structs.VMMemoryDefinition),
        (layout.global_, 3, structs.VMGlobalDefinition),
        (layout.tag, 1, structs.VMTagDefinition),
    ):
        for index in range(count):
            imported, offset = place(index)
            assert imported == (index == 0 and place in (layout.table, layout.global_))
            spans.append((offset, structs.VMTableImport.size if imported else struct.size))
    spans += [(layout.funcref(func), structs.VMFuncRef.size) for func in (1, 2)]
    spans.sort()
    for (start, size), (following, _) in itertools.pairwise(spans):
        assert start + size <= following
    assert spans[-1][0] + spans[-1][1] <= layout.size
    assert layout.global_(1)[1] % 16 == 0
