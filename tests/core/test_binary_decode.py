"""Decoding modules: what comes out, what is refused and where, limits, names."""

from __future__ import annotations

import random

import pytest

from core_rt.binary import limits
from core_rt.binary.decode import decode_module
from core_rt.config import Features
from core_rt.errors import DecodeError, ValidationError
from core_rt.types import FUNCREF, I32, AbsHeap, DefType, FuncType, GlobalType, MemoryType, RefType, TableType, TagType
from core_rt.validate.function import validate_body
from tests.core import wasmbytes as w
from tests.core.support import wasm

EVERYTHING = """(module $kitchen
  (type $v (func))
  (import "m" "f" (func $f (param $p i32) (result i32)))
  (import "m" "t" (table 1 2 funcref))
  (import "m" "g" (global $g i32))
  (import "m" "e" (tag (param i32)))
  (memory (export "mem") 1 3)
  (table $t 4 funcref)
  (table 1 (ref $v) (ref.func $run))
  (global (mut i32) (i32.add (global.get $g) (i32.const 3)))
  (tag (param))
  (func $run (export "run") (local $l i64))
  (func $start)
  (start $start)
  (elem (table $t) (i32.const 1) func $run $f)
  (elem funcref (ref.null func) (ref.func $f))
  (elem declare func $f)
  (data (i32.const 8) "hello")
  (data "passive"))"""


def test_everything_lands_in_its_place():
    m = decode_module(wasm(EVERYTHING))
    unary, nullary = DefType.of(FuncType([I32], [I32])), DefType.of(FuncType())
    assert [(i.module, i.name, i.kind) for i in m.imports] == [
        ("m", "f", "func"), ("m", "t", "table"), ("m", "g", "global"), ("m", "e", "tag")
    ]  # fmt: skip
    assert m.funcs == [unary, nullary, nullary]
    assert m.tables == [TableType(FUNCREF, 1, 2), TableType(FUNCREF, 4), TableType(nullary.ref, 1)]
    assert m.memories == [MemoryType(1, 3)]
    assert m.globals == [GlobalType(I32), GlobalType(I32, True)]
    assert m.tags == [TagType(FuncType([I32])), TagType(FuncType())]
    assert (m.num_imported_funcs, m.num_imported_tables, m.num_imported_memories) == (1, 1, 0)
    assert (m.num_imported_globals, m.num_imported_tags) == (1, 1)
    assert m.table_inits[0] is None and [i[:2] for i in m.table_inits[1]] == [(0xD2, 1)]
    assert [i[:2] for i in m.global_inits[0]] == [(0x23, 0), (0x41, 3), (0x6A, None)]
    assert m.start == 2
    active, passive, declared = m.elements
    assert (active.mode, active.table, active.func_indices, active.inits) == ("active", 1, (1, 0), None)
    assert [i[:2] for i in active.offset] == [(0x41, 1)]
    assert (passive.mode, passive.func_indices, passive.length) == ("passive", None, 2)
    assert [[i[:2] for i in init] for init in passive.inits] == [[(0xD0, AbsHeap.FUNC)], [(0xD2, 0)]]
    assert (declared.mode, declared.func_indices) == ("declarative", (0,))
    assert [bytes(m.data[d.start : d.end]) for d in m.data_segments] == [b"hello", b"passive"]
    assert [d.mode for d in m.data_segments] == ["active", "passive"]
    assert [(e.name, e.kind, e.index) for e in m.exports] == [("mem", "memory", 0), ("run", "func", 1)]
    assert list(m.export_types()) == [("mem", MemoryType(1, 3)), ("run", nullary)]
    assert m.func_refs == {0, 1}
    assert len(m.bodies) == 2 and all(m.data[end - 1] == 0x0B for _, end in m.bodies)


def test_names():
    m = decode_module(wasm(EVERYTHING))
    assert m.names.module == "kitchen"
    assert m.names.functions == {0: "f", 1: "run", 2: "start"}
    assert m.names.locals[1] == {0: "l"}
    assert m.func_name(2) == "start"


def test_functions_without_a_name_are_called_by_import_or_export():
    m = decode_module(wasm('(module (import "a" "b" (func)) (func (export "c")) (func))'))
    assert [m.func_name(i) for i in range(3)] == ["a.b", "c", None]


@pytest.mark.parametrize(
    ("section", "functions"),
    [
        (b"", {}),
        (b"\x01\x09\x02\x00\x01a\x07\x03bcd\xff", {0: "a", 7: "bcd"}),
        (b"\x01\x06\x02\x00\x01a\x01\x09", {0: "a"}),
        (b"\x01\x04\x01\x00\x01\xff", {}),
        (b"\x01\x7f\x01", {}),
        (b"\x09\x01\x00\x01\x04\x01\x00\x01z", {0: "z"}),
    ],
    ids=["empty", "good", "cut", "utf8", "size", "other-first"],
)
def test_a_malformed_name_section_only_loses_names(section, functions):
    data = w.module(("custom", w.name("name") + section))
    assert decode_module(data).names.functions == functions


def test_branch_hints():
    hints = w.vec([w.leb(0) + w.vec([w.leb(3) + w.vec([b"\x01"]), w.leb(9) + w.vec([b"\x07"])])])
    code = ("code", w.vec([w.body(b"\x41\x00\x04\x40\x0b\x0b")]))
    data = w.module(
        ("type", w.vec([w.func_type()])),
        ("func", w.vec([b"\x00"])),
        ("custom", w.name("metadata.code.branch_hint") + hints),
        code,
    )
    m = decode_module(data)
    start = m.bodies[0][0]
    assert m.branch_hints == {0: {start + 3: True}}
    assert validate_body(m, 0).code[1][2] == start + 3, "the hint points at the if"
    assert decode_module(data, Features(branch_hinting=False)).branch_hints == {}


def test_custom_sections_may_stand_anywhere_and_hold_anything():
    last = ("custom", w.name("b") + b"\xff")
    data = w.module(("custom", w.name("a")), ("type", w.vec([])), last, ("func", w.vec([])))
    m = decode_module(data)
    assert [(name, bytes(m.data[start:end])) for name, start, end in m.customs] == [("a", b""), ("b", b"\xff")]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_taken(kind):
    assert decode_module(kind(w.module())).funcs == []


VOID = ("type", w.vec([w.func_type()]))


@pytest.mark.parametrize(
    ("data", "error", "message", "offset"),
    [
        (b"", DecodeError, "unexpected end", 0),
        (b"\x00asm", DecodeError, "unexpected end", 4),
        (b"\x00asn\x01\x00\x00\x00", DecodeError, "magic header not detected", 0),
        (b"\x00asm\x02\x00\x00\x00", DecodeError, "unknown binary version", 4),
        (b"\x00asm\x0d\x00\x01\x00", DecodeError, "unknown binary version: this is a component", 4),
        (w.module((14, b"")), DecodeError, "malformed section id", 8),
        (w.module(VOID, VOID), DecodeError, "unexpected content after last section", 14),
        (w.module(("func", b"\x00"), VOID), DecodeError, "unexpected content after last section", 11),
        (w.PREAMBLE + b"\x01\x05\x01\x60\x00\x00", DecodeError, "section size mismatch", 10),
        (w.PREAMBLE + b"\x01\x06\x01\x60\x00", DecodeError, "length out of bounds", 9),
        (w.PREAMBLE + b"\x01\x03\x01\x60\x00", DecodeError, "unexpected end", 13),
        (w.PREAMBLE + b"\x00\x03\x01", DecodeError, "length out of bounds", 9),
        (w.PREAMBLE + b"\x00\x01\x01a", DecodeError, "unexpected end", 11),
        (w.PREAMBLE + b"\x00\x02\x01", DecodeError, "unexpected end", None),
        (w.module(("type", w.vec([b"\x40"]))), DecodeError, "malformed definition type", 11),
        (w.module(("type", w.vec([w.func_type(b"\x40")]))), DecodeError, "malformed reference type", 13),
        (w.module(VOID, ("func", w.vec([b"\x01"]))), ValidationError, "unknown type 1", 17),
        (w.module(VOID, ("func", w.vec([b"\x00"]))), DecodeError, "function and code section have inconsistent", 18),
        (w.module(("memory", w.vec([b"\x10\x00"]))), DecodeError, "malformed limits flags", 11),
        (w.module(("memory", w.vec([b"\x01\x02\x01"]))), ValidationError, "size minimum must not be greater", 11),
        (w.module(("memory", w.vec([b"\x00" + w.leb(65537)]))), ValidationError, "memory size must be at most", 11),
        (
            w.module(("memory", w.vec([b"\x04" + w.leb(2**48 + 1)]))),
            ValidationError,
            "memory size must be at most 281474976710656 pages",
            11,
        ),
        (w.module(("table", w.vec([b"\x70\x00" + w.leb(2**32)]))), ValidationError, "table size", 12),
        (w.module(VOID, ("table", w.vec([b"\x64\x70\x00\x01"]))), ValidationError, "type mismatch", 17),
        (w.module(("global", w.vec([b"\x7f\x02\x41\x00\x0b"]))), DecodeError, "malformed mutability", 12),
        (w.module(("global", w.vec([b"\x7f\x00\x42\x00\x0b"]))), ValidationError, "type mismatch", 13),
        (w.module(("global", w.vec([b"\x7f\x00\x0b"]))), ValidationError, "type mismatch", 13),
        (w.module(("global", w.vec([b"\x7f\x00\x41\x00\x45\x0b"]))), ValidationError, "constant expression", 15),
        (w.module(("global", w.vec([b"\x7f\x00\x23\x00\x0b"]))), ValidationError, "unknown global 0", 13),
        (w.module(("global", w.vec([b"\x70\x00\xd2\x00\x0b"]))), ValidationError, "unknown function 0", 13),
        (w.module(("global", w.vec([b"\x7f\x00\xff\x0b"]))), DecodeError, "illegal opcode ff", 13),
        (w.module(("export", w.vec([w.name("x") + b"\x00\x00"]))), ValidationError, "unknown function 0", 14),
        (w.module(("export", w.vec([w.name("x") + b"\x05\x00"]))), DecodeError, "malformed export kind", 13),
        (
            w.module(("memory", w.vec([b"\x00\x00"])), ("export", w.vec([w.name("x") + b"\x02\x00"] * 2))),
            ValidationError,
            'duplicate export name "x"',
            20,
        ),
        (w.module(("start", b"\x00")), ValidationError, "unknown function 0", 10),
        (w.module(("import", w.vec([w.name("") + w.name("") + b"\x05"]))), DecodeError, "malformed import kind", 13),
        (w.module(("elem", w.vec([b"\x08"]))), DecodeError, "malformed elements segment kind", 11),
        (w.module(("elem", w.vec([b"\x01\x01\x00"]))), DecodeError, "malformed element kind", 12),
        (w.module(("elem", w.vec([b"\x00\x41\x00\x0b\x00"]))), ValidationError, "unknown table 0", 12),
        (w.module(("data", w.vec([b"\x03\x00"]))), DecodeError, "malformed data segment kind", 11),
        (w.module(("data", w.vec([b"\x00\x41\x00\x0b\x00"]))), ValidationError, "unknown memory 0", 12),
        (w.module(("datacount", b"\x01")), DecodeError, "data count and data section have inconsistent", 11),
        (w.module(("tag", w.vec([b"\x01\x00"]))), DecodeError, "zero byte expected", 11),
        (
            w.module(("type", w.vec([w.func_type(b"", b"\x7f")])), ("tag", w.vec([b"\x00\x00"]))),
            ValidationError,
            "non-empty tag result type",
            18,
        ),
    ],
)
def test_refusals(data, error, message, offset):
    with pytest.raises(error, match=f"^{message}") as caught:
        decode_module(data)
    if offset is not None:
        assert caught.value.offset == offset


def test_a_table_of_another_type_takes_no_elements():
    with pytest.raises(ValidationError, match="type mismatch"):
        decode_module(wasm("(module (table 1 externref) (func $f) (elem (i32.const 0) func $f))"))


def test_elements_written_as_expressions_take_the_fast_form_when_they_can():
    m = decode_module(wasm("(module (func $f) (elem funcref (ref.func $f) (ref.func $f)))"))
    assert m.elements[0].func_indices == (0, 0) and m.elements[0].type is FUNCREF


def test_const_expressions_of_gc():
    m = decode_module(
        wasm("""(module (type $s (struct (field i8) (field f32))) (type $a (array (mut i64)))
          (global (ref $s) (struct.new $s (i32.const 1) (f32.const 2)))
          (global (ref $s) (struct.new_default $s))
          (global (ref null $a) (array.new_fixed $a 2 (i64.const 1) (i64.const 2)))
          (global (ref $a) (array.new $a (i64.const 1) (i32.const 7)))
          (global anyref (ref.i31 (i32.const 4)))
          (global externref (extern.convert_any (ref.i31 (i32.const 4)))))""")
    )
    assert [i[:2] for i in m.global_inits[2]] == [(0x42, 1), (0x42, 2), (0xFB008, (1, 2))]
    assert m.globals[4].content is RefType(True, AbsHeap.ANY)


# ------------------------------------------------------------------------------------------------- limits


def test_limits(monkeypatch):
    monkeypatch.setattr(limits, "MAX_TYPES", 2)
    monkeypatch.setattr(limits, "MAX_PARAMS", 3)
    monkeypatch.setattr(limits, "MAX_BODY_SIZE", 8)
    decode_module(w.module(("type", w.vec([w.func_type()] * 2))))
    for data, what in [
        (w.module(("type", w.vec([w.func_type()] * 3))), "too many types: 3 exceed the implementation limit of 2"),
        (w.module(("type", w.vec([b"\x4e" + w.vec([w.func_type()] * 3)]))), "too many types"),
        (w.module(("type", w.vec([w.func_type(b"\x7f" * 4)]))), "too many parameters"),
        (w.one_func(b"\x01" * 10 + b"\x0b"), "function body too large"),
    ]:
        with pytest.raises(DecodeError, match=what):
            decode_module(data)


def test_a_hundred_memories_and_no_more():
    decode_module(w.module(("memory", w.vec([b"\x00\x00"] * 100))))
    with pytest.raises(DecodeError, match="too many memories"):
        decode_module(w.module(("memory", w.vec([b"\x00\x00"] * 101))))


def test_many_functions_are_delimited_quickly():
    bodies = w.vec([w.body(b"\x0b")] * 20_000)
    data = w.module(VOID, ("func", w.vec([b"\x00"] * 20_000)), ("code", bodies))
    assert len(decode_module(data).bodies) == 20_000


# ------------------------------------------------------------------------------------------------- hostile bytes


def test_mutated_modules_raise_nothing_else():
    """Whatever the bytes are, decoding and validating end in success, `DecodeError` or `ValidationError`."""
    rng = random.Random(7)
    seeds = [wasm(EVERYTHING), w.one_func(b"\x02\x40\x0c\x00\x0b\x0b"), w.module()]
    for _ in range(6000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(8, len(data)) if len(data) > 8 else 0
            choice = rng.random()
            if choice < 0.6:
                data[at] = rng.choice((0, 1, 0x0B, 0x40, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            elif choice < 0.8:
                del data[at : at + 2]
            else:
                data[at:at] = bytes(rng.randrange(256) for _ in range(2))
            if len(data) <= 8:
                break
        try:
            m = decode_module(data)
            for index in range(len(m.bodies)):
                validate_body(m, index)
            _ = m.names, m.branch_hints
        except (DecodeError, ValidationError) as error:
            assert error.offset is None or 0 <= error.offset <= len(data)


def _outcome(data: bytes | memoryview) -> object:
    try:
        module = decode_module(data)
    except (DecodeError, ValidationError) as error:
        return type(error), error.message, error.offset
    return [
        (module.types, module.imports, module.exports, module.funcs, module.bodies, module.customs, module.func_refs),
        [(s.mode, s.func_indices, s.inits) for s in module.elements],
        [*module.data_segments],
    ]


def test_a_large_part_of_a_component_is_read_as_from_a_copy(monkeypatch):
    """Only what comes before its code is copied; what is malformed is refused in the same words, at the same offset."""
    monkeypatch.setattr("core_rt.binary.decode._BULKY", 0)
    data = wasm(EVERYTHING)
    assert isinstance(decode_module(memoryview(data)).data, memoryview)
    chance = random.Random(5)
    for at in range(len(data)):
        broken = data[:at] + bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1))]) + data[at + 1 :]
        assert _outcome(memoryview(broken)) == _outcome(broken)
        assert _outcome(memoryview(data[:at])) == _outcome(data[:at])


def test_many_bodies_are_delimited_as_few_are(monkeypatch):
    data = wasm("(module" + "(func) (func (local i32) (i32.const 300) (drop))" * 40 + ")")
    many = decode_module(data).bodies
    chance = random.Random(3)
    cases = [data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :] for at in range(len(data))]
    found = [_outcome(case) for case in cases]
    monkeypatch.setattr("core_rt.binary.decode.LONG", 1 << 30)
    monkeypatch.setattr("core_rt.binary.reader.LONG", 1 << 30)
    assert decode_module(data).bodies == many
    assert [_outcome(case) for case in cases] == found


def test_of_two_errors_in_a_list_of_types_the_first_is_told():
    data = w.module(("type", w.vec([w.func_type()])), ("func", b"\x04\x00\x07\x00"))
    with pytest.raises(ValidationError, match="unknown type 7") as error:
        decode_module(data)
    assert data[error.value.offset] == 7
