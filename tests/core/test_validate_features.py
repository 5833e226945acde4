"""Every proposal can be switched off, and the refusal names the switch; `Config` refuses nonsense."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from core_rt.binary.decode import decode_module
from core_rt.config import Config, Features
from core_rt.errors import DecodeError, ValidationError
from core_rt.types import MemoryType
from core_rt.validate.function import validate_body
from core_rt.validate.module import validate_module_bodies
from tests.core import wasmbytes as w
from tests.core.support import wasm

ALL = Features()
I64S = " ".join(["(i64.const 1)"] * 4)

# Proposal → modules that need it and nothing else that is switched off with it.
SAMPLES: dict[str, list[str]] = {
    "mutable_global": [
        '(module (import "" "" (global (mut i32))))',
        '(module (global (export "x") (mut i32) (i32.const 0)))',
    ],
    "sign_extension": ["(module (func (drop (i32.extend8_s (i32.const 0)))))"],
    "saturating_float_to_int": ["(module (func (drop (i32.trunc_sat_f32_s (f32.const 0)))))"],
    "multi_value": ["(module (func (result i32 i32) unreachable))", "(module (func (i32.const 0) (block (param i32) drop)))"],
    "bulk_memory": [
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
        '(module (memory 1) (data "x"))',
    ],
    "reference_types": [
        "(module (func (param externref)))",
        "(module (table 1 funcref) (table 1 funcref))",
        "(module (table 1 funcref) (func (drop (table.size 0))))",
    ],
    "tail_call": ["(module (func $f (return_call $f)))"],
    "extended_const": ["(module (global i32 (i32.add (i32.const 1) (i32.const 2))))"],
    "function_references": [
        "(module (type $v (func)) (func (param (ref $v)) (call_ref $v (local.get 0))))",
        "(module (table 1 funcref (ref.null func)))",
    ],
    "gc": [
        "(module (type (struct)))",
        "(module (rec (type (func))))",
        "(module (func (param anyref)))",
        "(module (func (drop (ref.i31 (i32.const 0)))))",
        "(module (global i32 (i32.const 0)) (global i32 (global.get 0)))",
    ],
    "exceptions": ["(module (tag))", "(module (func (param exnref)))", "(module (func (try_table)))"],
    "simd": ["(module (func (param v128)))", "(module (func (drop (i8x16.splat (i32.const 0)))))"],
    "relaxed_simd": ["(module (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))"],
    "memory64": ["(module (memory i64 1))", "(module (table i64 1 funcref))"],
    "multi_memory": [
        "(module (memory 1) (memory 1))",
        '(module (import "" "" (memory 1)) (memory 1))',
    ],
    "threads": [
        "(module (memory 1 2 shared))",
        "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
        "(module (func atomic.fence))",
    ],
    "custom_page_sizes": ["(module (memory 1 (pagesize 1)))"],
    "compact_imports": [
        '(module (import "a" (item "b" (func)) (item "c" (memory 1))))',
        '(module (import "a" (item "b") (item "c") (global i32)))',
    ],
    "wide_arithmetic": [f"(module (func {I64S} i64.add128 drop drop))", "(module (func (param i64) (local.get 0) "
                        "(local.get 0) i64.mul_wide_u drop drop))"],
}  # fmt: skip

# What must go with a proposal when it is switched off.
DEPENDENTS = {
    "reference_types": ("function_references", "gc", "exceptions"),
    "function_references": ("gc",),
    "simd": ("relaxed_simd",),
}


def load(data: bytes, features: Features) -> None:
    validate_module_bodies(decode_module(data, features))


@pytest.mark.parametrize(("flag", "text"), [(flag, text) for flag, texts in SAMPLES.items() for text in texts])
def test_switch(flag, text):
    data = wasm(text)
    load(data, ALL)
    off = dict.fromkeys((flag, *DEPENDENTS.get(flag, ())), False)
    with pytest.raises((DecodeError, ValidationError), match=rf"Config\({flag}=True\)"):
        load(data, attrs.evolve(ALL, **off))


def test_every_proposal_has_a_sample():
    assert set(SAMPLES) == {field.name for field in attrs.fields(Features)} - {"branch_hinting"}


def test_the_mvp_needs_no_proposal():
    none = Features(**{field.name: False for field in attrs.fields(Features)})
    load(
        wasm("""(module (memory 1) (table 1 funcref) (type $v (func)) (global (mut i32) (i32.const 0))
          (elem (i32.const 0) $f) (data (i32.const 0) "x")
          (func $f (export "f") (param i32) (result i32) (call_indirect (type $v) (i32.const 0))
            (drop (memory.grow (i32.const 1))) (i32.load (local.get 0))))"""),
        none,
    )


def test_reserved_bytes_are_zero_without_multi_memory():
    data = w.one_func(b"\x3f\x80\x00\x1a\x0b", before=[("memory", w.vec([b"\x00\x01"]))])
    load(data, Features())
    with pytest.raises(DecodeError, match="zero byte expected"):
        load(data, Features(multi_memory=False))


def test_atomics_are_exactly_aligned():
    memory = ("memory", w.vec([b"\x03\x01\x01"]))
    load(w.one_func(b"\x41\x00\xfe\x10\x02\x00\x1a\x0b", before=[memory]), ALL)
    for align in (0, 1, 3):
        with pytest.raises(ValidationError, match=r"^a(lignment|tomic)"):
            load(w.one_func(b"\x41\x00\xfe\x10" + bytes([align]) + b"\x00\x1a\x0b", before=[memory]), ALL)


def test_shared_memories_have_a_maximum():
    with pytest.raises(ValidationError, match="shared memory must have maximum"):
        decode_module(w.module(("memory", w.vec([b"\x02\x01"]))), ALL)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("(memory 1 7 (pagesize 1))", MemoryType(1, 7, page_size_log2=0)),
        ("(memory 4294967295 (pagesize 1))", MemoryType(2**32 - 1, page_size_log2=0)),
        ("(memory 1 (pagesize 65536))", MemoryType(1)),
    ],
)
def test_custom_page_sizes(text, type_):
    assert decode_module(wasm(f"(module {text})"), ALL).memories == [type_]


def test_pages_of_one_byte_are_fewer_than_addresses():
    with pytest.raises(ValidationError, match="at most 4294967295 pages"):
        decode_module(w.module(("memory", w.vec([b"\x08\x80\x80\x80\x80\x10\x00"]))), ALL)


def test_compact_imports():
    text = """(module (import "a" (item "f" (func (param i32))) (item "" (memory 1)))
      (import "b" (item "x") (item "y") (func)) (import "" "" (global i32)))"""
    module = decode_module(wasm(text), ALL)
    assert [(i.module, i.name, str(i.type).split()[0]) for i in module.imports] == [
        ("a", "f", "(func"), ("a", "", "(memory"), ("b", "x", "(func"), ("b", "y", "(func"), ("", "", "(global"),
    ]  # fmt: skip
    assert (module.num_imported_funcs, module.num_imported_memories, module.num_imported_globals) == (3, 1, 1)


def test_sections_of_tags_are_part_of_exceptions():
    with pytest.raises(DecodeError, match=r"exceptions=True"):
        decode_module(w.module(("tag", w.vec([]))), Features(exceptions=False))


def test_other_page_sizes_are_invalid():
    with pytest.raises(ValidationError, match="invalid custom page size"):
        decode_module(w.module(("memory", w.vec([b"\x08\x01\x0c"]))), ALL)


def test_wide_arithmetic_takes_four_and_gives_two():
    module = decode_module(wasm(f"(module (func (result i64 i64) {I64S} i64.sub128))"), ALL)
    assert validate_body(module, 0).code[4][:2] == (0xFC014, None)


# ------------------------------------------------------------------------------------------------- Config


def test_defaults():
    config = Config()
    assert config.features == Features()
    assert (config.opt_level, config.tiers, config.cache, config.consume_fuel) == (2, "lazy", True, False)
    assert config.features.gc and config.features.threads


def test_proposals_are_fields_of_their_own():
    assert Config(threads=False, simd=False, relaxed_simd=False).features == Features(
        threads=False, simd=False, relaxed_simd=False
    )
    assert Config(cache=Path("/somewhere")).cache == "/somewhere"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"opt_level": 4}, ValueError, "opt_level"),
        ({"opt_level": True}, TypeError, "opt_level"),
        ({"tiers": "fast"}, ValueError, "tiers"),
        ({"max_wasm_stack": 100}, ValueError, "max_wasm_stack"),
        ({"memory_reservation": -1}, ValueError, "memory_reservation"),
        ({"memory_guard": "big"}, TypeError, "memory_guard"),
        ({"tick_seconds": 0}, ValueError, "tick_seconds"),
        ({"consume_fuel": 1}, TypeError, "consume_fuel"),
        ({"simd": "yes"}, TypeError, "simd"),
        ({"simd": False}, ValueError, "relaxed_simd=True needs simd=True"),
        ({"function_references": False}, ValueError, "gc=True needs function_references=True"),
    ],
)
def test_nonsense(settings, error, message):
    with pytest.raises(error, match=message):
        Config(**settings)


def test_only_keywords():
    with pytest.raises(TypeError):
        Config(2)
