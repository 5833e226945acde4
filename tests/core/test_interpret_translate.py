"""Bodies become the words that the rules of core_rt/interpret/translate.py say."""

from __future__ import annotations

from bisect import bisect_right

import pytest

import core_rt
from core_rt.interpret.operations import BRANCHES, FUSIBLE, KINDS
from core_rt.interpret.translate import _translated, offsets_of, translate
from core_rt.opcodes import BY_CODE, BY_NAME, OPCODES
from core_rt.validate.function import validate_body
from core_rt.vm import words as w
from tests.core.support import wasm


@pytest.fixture(scope="module")
def engine():
    return core_rt.Engine(core_rt.Config(cache=False))


@pytest.fixture
def translated(engine):
    """The translation of the first defined function of a module, or None, and what it was made from."""

    def of(text):
        module = core_rt.Module(engine, wasm(text))
        body = validate_body(module.decoded, 0)
        return translate(module.decoded, module.layout, body, lambda type_: 0), module, body

    return of


_OWN_WORDS = {"CONST": 1, "SELECT": 1, "MEMORY_INIT": 1}


def walk(translation):
    """(word, (operation, a, b, c)) of each instruction."""
    at, words = 0, translation.words
    while at < len(words):
        word = words[at]
        name = w.OPERATIONS[word & 0xFFFF]
        a, b, c = word >> 16 & 0xFFFF, word >> 32 & 0xFFFF, word >> 48
        yield at, (name, a, b, c)
        at += 1 + _OWN_WORDS.get(name, 0)
        if name == "BR_TABLE":
            at += (word >> 32) + 1
        elif name.startswith("CALL"):
            at += 2 + (name == "CALL_INDIRECT") + (a + 3) // 4
        elif name == "RETURN_MANY":
            at += (a + 3) // 4


def listing(translation):
    """Operations with a, b and c."""
    return [row for _, row in walk(translation)]


def names(translation):
    return [name for name, *_ in listing(translation)]


# ------------------------------------------------------------------------------------------------------- tables


def test_every_word_has_its_instruction():
    mnemonics = {row.mnemonic.upper().replace(".", "_"): row for row in OPCODES}
    for group in (w.UNARY, w.BINARY, w.LOADS, w.STORES):
        for name in group:
            row = mnemonics[name]
            assert KINDS[row.code][1] == w.CODES[name], name
            want = {id(w.UNARY): 1, id(w.BINARY): 2, id(w.LOADS): 1, id(w.STORES): 2}[id(group)]
            assert row.params is not None and len(row.params) == want, name
            assert (row.immediate == "mem") == (group is w.LOADS or group is w.STORES), name
    assert len(set(w.OPERATIONS)) == len(w.OPERATIONS) < 0x1_0000


def test_every_plain_instruction_has_its_word():
    """Numbers only, and nothing that needs a handler: of MVP and the first proposals, all of them."""
    left_out = {"nop", "unreachable"}
    for row in OPCODES:
        plain = (
            row.params is not None and row.results is not None and row.code < 0xD0
        ) or 0xFC000 <= row.code <= 0xFC007
        if (
            plain
            and row.immediate in ("none", "mem")
            and row.mnemonic not in left_out
            and "v" not in (row.params or "") + (row.results or "")
        ):
            assert row.code in KINDS, row.mnemonic
    assert KINDS[BY_NAME["nop"].code] is not None


def test_comparisons_branch_as_they_compare():
    """Each of the branches, tried with numbers."""
    signed = lambda x: x - (x >> 31 << 32)  # noqa: E731
    meaning = {
        "EQ": lambda x, y: x == y, "NE": lambda x, y: x != y,
        "LT_U": lambda x, y: x < y, "GT_U": lambda x, y: x > y, "LE_U": lambda x, y: x <= y, "GE_U": lambda x, y: x >= y,
        "LT_S": lambda x, y: signed(x) < signed(y), "GT_S": lambda x, y: signed(x) > signed(y),
        "LE_S": lambda x, y: signed(x) <= signed(y), "GE_S": lambda x, y: signed(x) >= signed(y),
    }  # fmt: skip
    assert {w.OPERATIONS[code] for code in BRANCHES} == {f"I32_{name}" for name in meaning}
    for code, branches in BRANCHES.items():
        compare = meaning[w.OPERATIONS[code].removeprefix("I32_")]
        for holds, branch in enumerate(branches):
            test = meaning[w.OPERATIONS[branch.operation].removeprefix("BR_")]
            for x in (0, 1, 5, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
                for y in (0, 1, 5, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
                    assert test(*((y, x) if branch.swapped else (x, y))) == (compare(x, y) == bool(holds))


def test_what_can_write_to_a_local_writes_last():
    """Words of one, and none that branches, stores or calls."""
    for code in FUSIBLE:
        name = w.OPERATIONS[code]
        assert name == "MOVE" or "_GET_" in name or name in {*w.UNARY, *w.BINARY, *w.LOADS}


# ------------------------------------------------------------------------------------------------------- rules

I = "(param i32 i32 i32) (result i32)"  # noqa: E741


def test_operands_are_named(translated):
    found, _, _ = translated(f"(module (func {I} (i32.add (i32.mul (local.get 0) (local.get 1)) (i32.const 9))))")
    base = 3 + 1
    assert list(found.constants) == [9] and found.constant_count == 1
    assert listing(found) == [("I32_MUL", base, 0, 1), ("I32_ADD", base, base, 3), ("RETURN_ONE", base, 0, 0)]


def test_results_go_to_locals(translated):
    found, _, _ = translated(
        f"(module (func {I} (local.set 2 (i32.sub (local.get 0) (local.get 1))) (local.tee 0 (i32.clz (local.get 2)))))"
    )
    assert listing(found) == [("I32_SUB", 2, 0, 1), ("I32_CLZ", 0, 2, 0), ("RETURN_ONE", 0, 0, 0)]


def test_locals_that_wait_are_copied(translated):
    found, _, _ = translated(f"""(module (func {I}
      (local.get 0) (local.get 1) (local.get 0) (local.set 0 (local.get 2)) (i32.add) (i32.add)))""")
    assert listing(found) == [
        ("MOVE", 3, 0, 0), ("MOVE", 5, 0, 0), ("MOVE", 0, 2, 0),
        ("I32_ADD", 4, 1, 5), ("I32_ADD", 3, 3, 4), ("RETURN_ONE", 3, 0, 0),
    ]  # fmt: skip


def test_a_result_is_not_written_to_a_local_that_waits(translated):
    """The copy stands between."""
    found, _, _ = translated(
        f"(module (func {I} (local.get 0) (local.set 0 (i32.add (local.get 1) (local.get 2))) (i32.add (local.get 0))))"
    )
    assert listing(found)[:3] == [("I32_ADD", 4, 1, 2), ("MOVE", 3, 0, 0), ("MOVE", 0, 4, 0)]


@pytest.mark.parametrize(
    "inside",
    [
        "(block (br_if 0 (local.get 1)) (local.set 0 (i32.const 1)))",
        "(if (local.get 1) (then (local.set 0 (i32.const 1))))",
        "(if (local.get 1) (then) (else (block (local.set 0 (i32.const 1)))))",
        "(loop (br_if 0 (local.tee 0 (local.get 1))))",
    ],
)
def test_what_is_assigned_inside_is_copied_before(translated, inside):
    found, _, _ = translated(f"(module (func {I} (local.get 0) (local.get 2) {inside} (i32.add)))")
    assert ("MOVE", found_base(found), 0, 0) == listing(found)[0]
    copies = [(a, b) for name, a, b, _ in listing(found) if name == "MOVE" and b == 0]
    assert len(copies) == 1


def found_base(translation):
    return 3 + translation.constant_count


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("(i32.lt_s (local.get 0) (local.get 1))", ("BR_LE_S", 1, 0)),
        ("(i32.eqz (i32.lt_s (local.get 0) (local.get 1)))", ("BR_LT_S", 0, 1)),
        ("(i32.eqz (i32.eqz (i32.ge_u (local.get 0) (local.get 1))))", ("BR_LT_U", 0, 1)),
        ("(i32.eqz (local.get 1))", ("BR_IF", 1)),
        ("(local.tee 2 (i32.eq (local.get 0) (local.get 1)))", ("BR_UNLESS", 2)),
        ("(i64.eq (i64.const 1) (i64.const 2))", ("BR_UNLESS", 5)),
    ],
)
def test_a_comparison_and_its_branch_are_one(translated, condition, wanted):
    found, _, _ = translated(
        f"(module (func {I} (if {condition} (then (drop (i32.clz (local.get 2))))) (local.get 1)))"
    )
    first = next(row for row in listing(found) if row[0].startswith("BR"))
    assert first[: len(wanted)] == wanted


def test_nothing_branches_between_what_is_joined(translated):
    """The block's end lies between comparison and branch, sum and assignment."""
    found, _, _ = translated(f"""(module (func {I}
      (block (result i32) (br_if 0 (i32.const 1) (local.get 2)) (drop) (i32.lt_s (local.get 0) (local.get 1)))
      (if (then (nop)))
      (local.set 0 (block (result i32) (br_if 0 (i32.const 1) (local.get 2)) (drop) (i32.add (local.get 0) (local.get 1))))
      (local.get 0)))""")
    assert names(found).count("I32_LT_S") == 1
    assert [row[1] for row in listing(found) if row[0] == "I32_ADD"] != [0]


def test_dead_code_is_not_there(translated):
    found, _, _ = translated(f"""(module (func {I}
      (block (br 0) (drop (i32.popcnt (local.get 0))) (if (local.get 0) (then (loop (br 0))) (else (unreachable))) (loop (br 1)))
      (if (result i32) (local.get 0)
        (then (return (local.get 1)) (i32.clz) (drop))
        (else (i32.ctz (local.get 1))))
      (br 0) (i32.popcnt)))""")
    assert not {"I32_POPCNT", "I32_CLZ", "UNREACHABLE", "LOOP"} & {*names(found)}
    assert names(found).count("I32_CTZ") == 1


def test_loops_tell_what_lies_at_their_heads(translated):
    found, module, _ = translated(f"""(module (func {I} (local i64)
      (loop)
      (i64.add (local.get 3) (i64.const 1)) (local.get 0)
      (loop (param i32) (result i32) (loop (br_if 0 (local.get 1))))
      (drop) (drop) (local.get 0)))""")
    first, second, third = found.loops
    assert first.operands == () and [str(t) for t in second.operands] == ["i64", "i32"] == [
        str(t) for t in third.operands
    ]
    data = module.decoded.data
    assert [data[loop.offset] for loop in found.loops] == [0x03] * 3
    assert second.place == 4 + found.constant_count
    heads = [i for i, row in enumerate(listing(found)) if row[0] == "LOOP"]
    assert listing(found)[heads[1] - 1] == ("MOVE", second.place + 1, 0, 0)  # for code that takes over there


# ------------------------------------------------------------------------------------------------------- offsets


def offset_of(found, module, body, name):
    starts, offsets = offsets_of(module.decoded, module.layout, body)
    word = next(at for at, row in walk(found) if row[0] == name)
    return offsets[bisect_right(starts, word) - 1]


@pytest.mark.parametrize(
    ("body", "name", "mnemonic"),
    [
        ("(i32.add (local.get 0) (i32.div_u (local.get 0) (local.get 1)))", "I32_DIV_U", "i32.div_u"),
        ("(local.get 0) (if (i32.load (local.get 1)) (then (local.set 0 (i32.const 1))))", "I32_LOAD", "i32.load"),
        (
            "(local.get 0) (if (i32.eqz (i32.load (local.get 1))) (then (local.set 0 (i32.const 1))))",
            "I32_LOAD",
            "i32.load",
        ),
        ("(local.get 0) (local.set 0 (i32.load offset=70000 (local.get 1)))", "I32_LOAD", "i32.load"),
        (
            "(block (br 0) (loop (if (local.get 0) (then) (else (br 1)))) (unreachable)) (unreachable)",
            "UNREACHABLE",
            "unreachable",
        ),
        (
            "(local.get 0) (local.get 0) (local.set 0 (i32.rem_s (local.get 1) (local.get 2))) (drop)",
            "I32_REM_S",
            "i32.rem_s",
        ),
        ("(i32.add (i32.const 1) (call 0 (local.get 0) (local.get 1) (i32.const 5)))", "CALL", "call"),
        (
            "(block (br_if 0 (i32.eqz (i32.eqz (i32.eqz (i32.lt_s (local.get 0) (i32.const 3)))))) (drop (i32.div_s (local.get 0) (local.get 1))))"
            "(local.get 0)",
            "I32_DIV_S",
            "i32.div_s",
        ),
        ("(memory.fill (local.get 0) (local.get 1) (local.get 2)) (local.get 0)", "MEMORY_FILL", "memory.fill"),
    ],
)
def test_words_know_their_instructions(translated, body, name, mnemonic):
    found, module, read = translated(f"(module (memory 1) (func {I} {body}))")
    offset = offset_of(found, module, read, name)
    here = [op for op, _, at in read.code if at == offset]
    assert [BY_CODE[op].mnemonic for op in here] == [mnemonic]


# ------------------------------------------------------------------------------------------------------- what is not interpreted


@pytest.mark.parametrize(
    "text",
    [
        "(func (result i32 i32) (loop) (i32.const 1) (i32.const 2))",
        "(func (param externref))",
        "(func (local funcref))",
        "(func (local v128))",
        "(func (return_call 0))",
        "(func (param i64) (drop (i32.load (local.get 0)))) (memory i64 1)",
        "(func (drop (i32.load 1 (i32.const 0)))) (memory 1) (memory 1)",
        "(func (drop (memory.size 1))) (memory 1) (memory 1)",
        "(func (memory.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 0))) (memory 1) (memory 1)",
        "(func (drop (i32.atomic.load (i32.const 0)))) (memory 1 1 shared)",
        "(func (drop (table.size 0))) (table 1 funcref)",
        "(func (call_indirect (i64.const 0))) (table i64 1 funcref)",
        "(func (call 1 (ref.null extern))) (func (param externref))",
        "(func (drop (ref.is_null (global.get 0)))) (global externref (ref.null extern))",
        "(func (try_table)) ",
        "(func (throw 0)) (tag)",
        "(func (drop (i32x4.extract_lane 0 (v128.const i64x2 0 0))))",
        "(func (data.drop 65536)) " + '(data "")' * 65_537,
    ],
)
def test_what_is_compiled_at_once(translated, text):
    assert translated(f"(module {text})")[0] is None


def test_what_is_not_used_does_not_matter(translated):
    assert translated("(module (func (data.drop 65535)) " + '(data "")' * 65_536 + ")")[0] is not None
    assert translated("(module (func (result i32 i32) (i32.const 1) (i32.const 2)) (memory i64 1))")[0] is not None
    assert translated("(module (func (drop (memory.size))) (memory 1) (memory i64 1))")[0] is not None


def test_limits(translated):
    def locals_(count):
        return translated(
            f"(module (func (result i64) (local {'i64 ' * count}) (i64.add (local.get 0) (local.get {count - 1}))))"
        )[0]

    assert locals_(1998) is not None
    assert locals_(2000) is None and locals_(50_000) is None
    step = "(local.set 0 (i32.clz (local.get 0)))"
    assert translated(f"(module (func (param i32) {step * 0x7FFE}))")[0] is not None
    assert translated(f"(module (func (param i32) {step * 0x7FFF}))")[0] is None
    many = "".join(f"(drop (i32.const {i}))" for i in range(300))
    found, _, _ = translated(f"(module (func {many}))")
    assert found.constant_count == 128 and names(found).count("CONST") == 300 - 128
    deep = "(block " * 300 + "(br_if 299 (i32.const 0))" + ")" * 300
    assert translated(f"(module (func {deep}))")[0] is not None


def _read_on(module, body):
    """How many instructions were looked at before the function was declined."""
    seen = 0

    def watch(translator):
        nonlocal seen
        for instr in body.code:
            seen += 1
            yield instr

    assert _translated(module.decoded, module.layout, body, lambda type_: 0, False, watch) is None
    return seen


def test_what_is_meant_to_harm_is_declined_early(translated):
    """Copies for each of a thousand values at every branch, and all operands looked at by every block, would take minutes and gigabytes."""
    many = "i32 " * 1000
    values = "(local.get 0)" * 1000
    drops = "(drop)" * 1000
    _, module, body = translated(
        f"(module (type $t (func (result {many}))) (func (param i32) (block (type $t) {values} {'(br_if 0 (local.get 0))' * 5000}) {drops}))"
    )
    assert _read_on(module, body) < 1000 + 2 * 50
    blocks = "(block (local.set 0 (local.get 0)))" * 5000
    _, module, body = translated(f"(module (func (param i32) {'(local.get 0)' * 3000} {blocks} {'(drop)' * 3000}))")
    assert _read_on(module, body) <= 3000 + 1
    _, module, body = translated(f"(module (func (param i32) {'(drop (local.get 0))' * 70_000}))")
    assert _read_on(module, body) == 0
