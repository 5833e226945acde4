"""Bodies: the records that the emitter reads, and what is refused, where, in which words."""

from __future__ import annotations

import pytest

from core_rt.binary import limits
from core_rt.binary.decode import decode_module
from core_rt.binary.model import DecodedModule
from core_rt.errors import DecodeError, ValidationError
from core_rt.opcodes import BY_CODE, BY_NAME, OPCODES
from core_rt.types import F32, F64, FUNCREF, I32, I64, V128, AbsHeap, FuncType, RefType
from core_rt.validate.function import FuncBody, Uses, validate_body
from core_rt.validate.module import validate_module_bodies
from tests.core import wasmbytes as w
from tests.core.support import wasm


def last_body(text: str) -> tuple[DecodedModule, FuncBody]:
    module = decode_module(wasm(text))
    return module, validate_body(module, len(module.bodies) - 1)


def records(text: str) -> list[tuple[str, object]]:
    """Mnemonics and immediates of the last function."""
    return [(BY_CODE[op].mnemonic, imm) for op, imm, _ in last_body(text)[1].code]


def code(text: str, params: str = "", rest: str = "") -> list[tuple[str, object]]:
    return records(f"(module {rest} (func {params} {text}))")[:-1]


# ------------------------------------------------------------------------------------------------- records


def test_offsets_are_those_of_the_module():
    module, body = last_body(
        "(module (func (param i32) (local i64 i64) (drop (i32.add (local.get 0) (i32.const 500)))))"
    )
    names = [BY_CODE[op].mnemonic for op, _, _ in body.code]
    assert names == ["local.get", "i32.const", "i32.add", "drop", "end"]
    for op, _, offset in body.code:
        assert module.data[offset] == op
    assert body.code[-1][2] == module.bodies[0][1] - 1
    assert body.type == FuncType([I32]) and body.locals == [I32, I64, I64]


@pytest.mark.parametrize(
    ("text", "params", "rest", "expected"),
    [
        ("i32.const -1 drop", "", "", ("i32.const", -1)),
        ("i32.const 0x80000000 drop", "", "", ("i32.const", -(2**31))),
        ("i64.const -9223372036854775808 drop", "", "", ("i64.const", -(2**63))),
        ("f32.const -0 drop", "", "", ("f32.const", 0x80000000)),
        ("f32.const nan:0x200000 drop", "", "", ("f32.const", 0x7FA00000)),
        ("f64.const 1 drop", "", "", ("f64.const", 0x3FF0000000000000)),
        ("v128.const i32x4 1 0 0 0x80000000 drop", "", "", ("v128.const", 1 | 1 << 127)),
        ("i32.load8_u offset=1000 drop", "", "", None),
        ("ref.null func drop", "", "", ("ref.null", AbsHeap.FUNC)),
        ("br_table 0 0 0", "(param i32)", "", None),
    ],
)
def test_immediates_of_constants(text, params, rest, expected):
    if expected is not None:
        assert code(text, params, rest)[0] == expected


MEM = "(memory 1) (memory 1)"
DATA = '(data "x") (data "y")'
TABLES = "(table 1 funcref) (table 2 funcref) (elem func) (elem func)"
GC = """(type $s (struct (field (mut i32)) (field (mut i8)))) (type $a (array (mut i32))) (type $p (array (mut i8)))
    (type $r (array (mut funcref)))"""


@pytest.mark.parametrize(
    ("text", "rest", "expected"),
    [
        ("(drop (i32.load offset=8 align=2 (i32.const 0)))", MEM, ("i32.load", (1, 8, 0))),
        ("(drop (i64.load 1 offset=70000 (i32.const 0)))", MEM, ("i64.load", (3, 70000, 1))),
        ("(f64.store offset=200 (i32.const 0) (f64.const 0))", MEM, ("f64.store", (3, 200, 0))),
        ("(drop (v128.load16_lane offset=4 5 (i32.const 0) (v128.const i64x2 0 0)))", MEM,
         ("v128.load16_lane", (1, 4, 0, 5))),
        ("(drop (i16x8.extract_lane_s 7 (v128.const i64x2 0 0)))", "", ("i16x8.extract_lane_s", 7)),
        ("(drop (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 (v128.const i64x2 0 0) (v128.const i64x2 0 0)))", "",
         ("i8x16.shuffle", (*range(15), 31))),
        ("(memory.init 1 1 (i32.const 0) (i32.const 0) (i32.const 0))", MEM + DATA, ("memory.init", (1, 1))),
        ("(data.drop 1)", DATA, ("data.drop", 1)),
        ("(memory.copy 1 0 (i32.const 0) (i32.const 0) (i32.const 0))", MEM, ("memory.copy", (1, 0))),
        ("(memory.fill 1 (i32.const 0) (i32.const 0) (i32.const 0))", MEM, ("memory.fill", 1)),
        ("(drop (memory.grow 1 (i32.const 0)))", MEM, ("memory.grow", 1)),
        ("(table.init 1 0 (i32.const 0) (i32.const 0) (i32.const 0))", TABLES, ("table.init", (0, 1))),
        ("(table.copy 1 0 (i32.const 0) (i32.const 0) (i32.const 0))", TABLES, ("table.copy", (1, 0))),
        ("(table.set 1 (i32.const 0) (ref.null func))", TABLES, ("table.set", 1)),
        ("(call_indirect 1 (type $v) (i32.const 0))", TABLES + "(type $v (func))", ("call_indirect", (0, 1))),
        ("(drop (select (result i64) (i64.const 0) (i64.const 0) (i32.const 0)))", "", ("select", I64)),
        ("(drop (select (i64.const 0) (i64.const 0) (i32.const 0)))", "", ("select", I64)),
        ("(drop (struct.get_s $s 1 (struct.new_default $s)))", GC, ("struct.get_s", (0, 1))),
        ("(drop (array.new_fixed $a 2 (i32.const 0) (i32.const 0)))", GC, ("array.new_fixed", (1, 2))),
        ("(drop (array.new_data $a 1 (i32.const 0) (i32.const 0)))", GC + DATA, ("array.new_data", (1, 1))),
        ("(array.copy $a $a (ref.null $a) (i32.const 0) (ref.null $a) (i32.const 0) (i32.const 0))", GC,
         ("array.copy", (1, 1))),
        ("(drop (ref.test (ref i31) (ref.null any)))", GC, ("ref.test", RefType(False, AbsHeap.I31))),
        ("(drop (ref.cast (ref null eq) (ref.null any)))", GC, ("ref.cast_null", RefType(True, AbsHeap.EQ))),
        ("(block (result anyref) (br_on_cast 0 anyref (ref i31) (ref.null any))) drop", GC,
         ("br_on_cast", (0, RefType(True, AbsHeap.ANY), RefType(False, AbsHeap.I31)))),
    ],
)  # fmt: skip
def test_immediates(text, rest, expected):
    assert expected in code(text, rest=rest)


def test_blocks_say_their_types_and_what_they_assign():
    found = code(
        """(block (result i32)
             (loop (param) (local.set 0 (i32.const 1)) (if (local.get 1) (then (local.set 2 (i64.const 1)))
               (else (local.set 3 (i64.const 1)))) (br_if 0 (local.get 1)))
             (local.tee 1 (i32.const 2)))
           drop""",
        "(param i32 i32) (local i64 i64)",
    )
    blocks = {name: imm for name, imm in found if name in ("block", "loop", "if")}
    assert blocks["block"] == ((), (I32,), {0, 1, 2, 3})
    assert blocks["loop"] == ((), (), {0, 2, 3})
    assert blocks["if"] == ((), (), {2, 3})


def test_block_parameters():
    text = "(i32.const 1) (f32.const 2) (block (param i32 f32) (result f64) (drop) (drop) (f64.const 1)) drop"
    assert ("block", ((I32, F32), (F64,), set())) in code(text)


def test_try_table():
    found = code(
        """(block $a (result i32) (block $b (result exnref)
             (try_table (catch $e $a) (catch_all_ref $b) (local.set 0 (i32.const 1)))
             (return)) drop (i32.const 1)) drop""",
        "(local i32)",
        "(tag $e (param i32))",
    )
    (imm,) = [imm for name, imm in found if name == "try_table"]
    assert imm == ((), (), {0}, ((0, 0, 1), (3, None, 0)), ())


def test_br_table():
    assert ("br_table", ((1, 0, 1), 0)) in code("(block (block (br_table 1 0 1 0 (local.get 0))))", "(param i32)")


def test_unreachable_code_is_recorded_too():
    found = code("unreachable i32.add drop (br 0) select f32.neg drop")
    assert [name for name, _ in found] == ["unreachable", "i32.add", "drop", "br", "select", "f32.neg", "drop"]


@pytest.mark.parametrize(
    ("module", "uses"),
    [
        ("(module (func (param i32)))", Uses(0)),
        ("(module (func (loop)))", Uses.LOOPS),
        ("(module (func $f call $f))", Uses.CALLS),
        ("(module (func $f return_call $f))", Uses.CALLS | Uses.TAIL_CALLS),
        ("(module (memory 1) (func (drop (i32.load (i32.const 0)))))", Uses.MEMORY),
        ("(module (func (param externref)))", Uses.REFS),
        ("(module (func (result funcref) unreachable))", Uses.REFS),
        ("(module (func (drop (v128.const i64x2 0 0))))", Uses.SIMD),
        ("(module (tag) (func (throw 0)))", Uses.EXCEPTIONS),
        ("(module (func (drop (i31.get_s (ref.i31 (i32.const 0))))))", Uses.REFS | Uses.GC),
        ("(module (func (br_table 0 (i32.const 0))))", Uses.BRANCH_TABLES),
    ],
)
def test_uses(module, uses):
    assert last_body(module)[1].uses == uses


def test_every_instruction_has_a_row_and_a_rule():
    from core_rt.config import DEFAULT_FEATURES
    from core_rt.validate.dispatch import dispatch_for

    rules = dispatch_for(DEFAULT_FEATURES).rules
    assert set(rules) == set(BY_CODE) and len(OPCODES) == len(BY_CODE)
    assert BY_NAME["memory.copy"].code == 0xFC00A and BY_NAME["i64.load32_u"].width == 4
    assert BY_NAME["v128.load"].width == 16 and BY_NAME["i64.atomic.rmw32.cmpxchg_u"].code == 0xFE04E


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "rest", "message"),
    [
        ("i32.add drop", "", r"type mismatch: instruction requires \[i32 i32\] but stack has \[\]"),
        ("(drop (i32.add (i32.const 0) (i64.const 0)))", "", r"requires \[i32 i32\] but stack has \[i32 i64\]"),
        ("(f32.const 0) (i32.eqz) drop", "", "type mismatch"),
        ("i32.const 0", "", "type mismatch: 1 values more"),
        ("(block (result i32))", "", "type mismatch"),
        ("(if (i32.const 0) (then (i32.const 1))) drop", "", "type mismatch"),
        ("(if (result i32) (i32.const 0) (then (i32.const 1))) drop", "", "type mismatch: if without else"),
        ("(i32.const 1) (block (drop))", "", "type mismatch"),
        ("(local.get 0) drop", "", "unknown local 0"),
        ("(br 1)", "", "unknown label 1"),
        ("(call 1)", "", "unknown function 1"),
        ("(global.set 0 (i32.const 0))", "(global i32 (i32.const 0))", "immutable global"),
        ("(global.get 0) drop", "", "unknown global 0"),
        ("(drop (i32.load (i32.const 0)))", "", "unknown memory 0"),
        ("(i32.store8 align=2 (i32.const 0) (i32.const 0))", "(memory 1)", "alignment must not be larger than natural"),
        ("(drop (i64.load align=16 (i32.const 0)))", "(memory 1)", "alignment must not be larger than natural"),
        ("(drop (i32.load (i64.const 0)))", "(memory 1)", "type mismatch"),
        ("(drop (i32.load (i32.const 0)))", "(memory i64 1)", "type mismatch"),
        ("(table.set 0 (i32.const 0) (ref.null extern))", "(table 1 funcref)", "type mismatch"),
        ("(call_indirect (type $v) (i32.const 0))", "(type $v (func)) (table 1 externref)", "type mismatch"),
        ("(elem.drop 3)", "", "unknown elem segment 3"),
        ("(data.drop 1)", '(data "")', "unknown data segment 1"),
        ("(drop (ref.func 0))", "", "undeclared function reference 0"),
        ("(drop (select (ref.null func) (ref.null func) (i32.const 0)))", "", "type mismatch: select without a type"),
        ("(drop (select (i32.const 0) (i64.const 0) (i32.const 0)))", "", "type mismatch: select of"),
        ("(drop (i8x16.extract_lane_s 16 (v128.const i64x2 0 0)))", "", "invalid lane index"),
        ("(throw 0)", "", "unknown tag 0"),
        ("(struct.set 0 0 (ref.null 0) (i32.const 0))", "(type (struct (field i32)))", "immutable field"),
        ("(drop (struct.get 0 0 (ref.null 0)))", "(type (struct (field i8)))", "field is packed"),
        ("(drop (struct.get_u 0 0 (ref.null 0)))", "(type (struct (field i32)))", "field is unpacked"),
        ("(drop (array.get 0 (ref.null 0) (i32.const 0)))", "(type (struct))", "non-array type 0"),
        ("(array.set 0 (ref.null 0) (i32.const 0) (i32.const 0))", "(type (array i32))", "immutable array"),
        ("(drop (struct.new_default 0))", "(type (struct (field (ref any))))", "field type is not defaultable"),
        ("(return_call 0)", "(func $g (result i32) unreachable)", "type mismatch: tail call"),
        ("(block (result i32) (block (br_table 0 1 (i32.const 0))) (i32.const 0)) drop", "", "type mismatch: labels"),
        ("(unreachable) (block (result i32) (ref.as_non_null) (i32.eqz)) drop", "", "type mismatch"),
    ],
)  # fmt: skip
def test_invalid(text, rest, message):
    module = decode_module(wasm(f"(module {rest} (func {text}))"))
    with pytest.raises(ValidationError, match=message) as caught:
        validate_module_bodies(module)
    start, end = module.bodies[-1]
    assert start <= caught.value.offset < end


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (b"\x00", DecodeError, "unexpected end of section or function"),
        (b"\x41", DecodeError, "unexpected end of section or function"),
        (b"\x0b\x0b", DecodeError, "section size mismatch"),
        (b"\x05\x0b", DecodeError, "misplaced ELSE opcode"),
        (b"\x41\x00\x04\x40\x05\x05\x0b\x0b", DecodeError, "misplaced ELSE opcode"),
        (b"\x06\x0b", DecodeError, "illegal opcode 06"),
        (b"\xff\x0b", DecodeError, "illegal opcode ff"),
        (b"\xfc\x7f\x0b", DecodeError, "illegal opcode fc"),
        (b"\xfd\xff\xff\xff\xff\x0f\x0b", DecodeError, "illegal opcode fd"),
        (b"\xfd\x80\x80\x80\x80\x80\x00\x0b", DecodeError, "integer representation too long"),
        (b"\x41\x80\x80\x80\x80\x10\x1a\x0b", DecodeError, "integer too large"),
        (b"\x02\x41\x0b\x0b", DecodeError, "malformed reference type"),
        (b"\x02\x05\x0b\x0b", ValidationError, "unknown type 5"),
        (b"\xd0\x05\x1a\x0b", ValidationError, "unknown type 5"),
        (b"\xd0\x40\x1a\x0b", DecodeError, "malformed heap type"),
        (b"\x00\x1c\x02\x7f\x7f\x0b", ValidationError, "invalid result arity"),
        (b"\xfb\x18\x04\x00\x70\x70\x0b", DecodeError, "malformed br_on_cast flags"),
        (b"\x1f\x40\x01\x04\x00\x0b\x0b", DecodeError, "malformed catch clause"),
        (b"\x00\xfc\x08\x00\x00\x0b", ValidationError, "unknown memory 0"),
        (b"\xfc\x09\x00\x0b", DecodeError, "data count section required"),
        (b"\x41\x00\x28\x80\x01\x00\x1a\x0b", DecodeError, "malformed memop flags"),
    ],
)
def test_malformed(raw, error, message):
    module = decode_module(w.one_func(raw))
    with pytest.raises(error, match=message) as caught:
        validate_body(module, 0)
    start, end = module.bodies[0]
    assert start <= caught.value.offset <= end


def test_errors_point_at_the_instruction():
    module = decode_module(w.one_func(b"\x01\x01\x45\x1a\x0b"))
    with pytest.raises(ValidationError) as caught:
        validate_body(module, 0)
    assert caught.value.offset == module.bodies[0][0] + 1 + 2


def test_a_body_does_not_read_into_the_next():
    bodies = w.vec([w.body(b"\x02\x40\x0b"), w.body(b"\x0b")])
    module = decode_module(w.module(("type", w.vec([w.func_type()])), ("func", w.vec([b"\x00"] * 2)), ("code", bodies)))
    with pytest.raises(DecodeError, match="unexpected end"):
        validate_body(module, 0)
    validate_body(module, 1)


def test_offsets_of_32_bit_memories_end_at_4_gib():
    for offset, ok in ((2**32 - 1, True), (2**32, False), (2**64 - 1, False)):
        memory = ("memory", w.vec([b"\x00\x01"]))
        module = decode_module(w.one_func(b"\x41\x00\x28\x02" + w.leb(offset) + b"\x1a\x0b", before=[memory]))
        if ok:
            assert validate_body(module, 0).code[1][1] == (2, offset, 0)
        else:
            with pytest.raises(ValidationError, match="offset out of range"):
                validate_body(module, 0)


# ------------------------------------------------------------------------------------------------- locals


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("(local.set $x (ref.func 0)) (drop (local.get $x))", True),
        ("(drop (local.get $x))", False),
        ("(drop (local.tee $x (ref.func 0))) (drop (local.get $x))", True),
        ("(block (local.set $x (ref.func 0))) (drop (local.get $x))", False),
        ("(block (local.set $x (ref.func 0)) (drop (local.get $x)))", True),
        ("(local.set $x (ref.func 0)) (block (drop (local.get $x)))", True),
        ("(if (i32.const 0) (then (local.set $x (ref.func 0))) (else (drop (local.get $x))))", False),
        ("(loop (local.set $x (ref.func 0)) (br 0)) (drop (local.get $x))", False),
        ("(unreachable) (drop (local.get $x))", False),
    ],
)
def test_non_nullable_locals_must_be_set_first(text, ok):
    module = decode_module(wasm(f"(module (elem declare func 0) (func (local $x (ref func)) {text}))"))
    if ok:
        validate_body(module, 0)
    else:
        with pytest.raises(ValidationError, match="uninitialized local 0"):
            validate_body(module, 0)


def test_parameters_are_set():
    validate_module_bodies(decode_module(wasm("(module (func (param (ref func)) (drop (local.get 0))))")))


def test_too_many_locals():
    ok = w.one_func(b"\x0b", locals_=[(limits.MAX_LOCALS, b"\x7f")])
    assert len(validate_body(decode_module(ok), 0).locals) == limits.MAX_LOCALS
    for locals_ in ([(limits.MAX_LOCALS + 1, b"\x7f")], [(2**32 - 1, b"\x7f")], [(2**32 - 1, b"\x7f")] * 2):
        with pytest.raises(DecodeError, match="too many locals"):
            validate_body(decode_module(w.one_func(b"\x0b", locals_=locals_)), 0)


# ------------------------------------------------------------------------------------------------- depth and size


def test_nesting_is_not_python_recursion_and_has_an_end():
    depth = 20_000
    validate_body(decode_module(w.one_func(b"\x02\x40" * depth + b"\x0b" * depth + b"\x0b")), 0)
    depth = limits.MAX_BLOCK_DEPTH + 1
    with pytest.raises(DecodeError, match="too many nested blocks"):
        validate_body(decode_module(w.one_func(b"\x02\x40" * depth + b"\x0b" * depth + b"\x0b")), 0)


def test_assigned_sets_of_deep_blocks_are_shared_but_complete():
    depth, locals_ = 2000, 1000
    sets = b"".join(b"\x41\x00\x21" + w.leb(i) for i in range(locals_))
    body = validate_body(
        decode_module(w.one_func(b"\x03\x40" * depth + sets + b"\x0b" * depth + b"\x0b", locals_=[(locals_, b"\x7f")])),
        0,
    )
    assigned = [imm[2] for op, imm, _ in body.code if op == 3]
    assert len(assigned) == depth and all(a == set(range(locals_)) for a in assigned)
    assert len({id(a) for a in assigned}) < 300, "memory must not grow with depth times locals"


def test_a_call_of_many_parameters():
    many = b"\x7f" * 1000
    data = w.module(
        ("type", w.vec([w.func_type(many, many)])),
        ("func", w.vec([b"\x00"] * 2)),
        ("code", w.vec([w.body(b"\x00\x0b"), w.body(b"\x00" + b"\x10\x00" * 500 + b"\x0b")])),
    )
    assert len(validate_body(decode_module(data), 1).code) == 502


def test_subtypes_on_the_stack():
    validate_module_bodies(
        decode_module(
            wasm("""(module (type $a (sub (struct))) (type $b (sub $a (struct (field i32))))
              (func $take (param (ref null $a) eqref anyref))
              (func (param (ref $b)) (call $take (local.get 0) (local.get 0) (local.get 0)))
              (func (param (ref null $b)) (result (ref $a))
                (block $null (br_on_null $null (local.get 0)) (return)) (struct.new $a))
              (func (result v128) (local funcref) (local.set 0 (ref.null nofunc)) (v128.const i64x2 0 0)))""")
        )
    )


def test_select_yields_the_known_type_of_the_two():
    _, body = last_body("(module (func (result f32) unreachable (f32.const 1) (i32.const 0) select))")
    assert body.type.results == (F32,)
    with pytest.raises(ValidationError, match="type mismatch"):
        last_body("(module (func (result f64) unreachable (f32.const 1) (i32.const 0) select))")


def test_value_types_of_results():
    _, body = last_body(
        "(module (func (result i64 v128 funcref) (i64.const 0) (v128.const i64x2 0 0) (ref.null func)))"
    )
    assert body.type.results == (I64, V128, FUNCREF)
