"""The instructions of the interpreter (`core_rt/native/interpret.c`), declared once for Python and C.

An instruction is one 64-bit word, `operation | a << 16 | b << 32 | c << 48`; some are followed by words of operands. `a`, `b` and
`c` are numbers of 64-bit slots unless the table says otherwise: most are `a = b operation c`. Slots are those of an activation: parameters, other
locals, temporaries, constants. An i32 or f32 has zeros in the upper half of its slot.

As `structs.py`, this file depends on nothing outside the standard library: the build script of the shim loads it by path.
"""

from __future__ import annotations

CONTROL = (
    "MOVE CONST SELECT "  # a = b; a = next word; a = (low half of next word) ? b : c
    "BR BR_IF BR_UNLESS "  # go on at a distance in words (upper half, signed), if slot a is (not) zero
    "BR_EQ BR_NE BR_LT_S BR_LT_U BR_LE_S BR_LE_U "  # the same with a distance in c, if the i32s in a and b compare so
    "BR_TABLE "  # a: index; upper half: number of targets n; n + 1 words: distances from the first of them
    "LOOP "  # the head of loop a
    "FUEL "  # takes as much fuel as the upper half says; traps, if a is set and there is none left
    "RETURN RETURN_ONE RETURN_MANY "  # nothing; slot a; a slots, whose numbers follow, four a word
    "CALL CALL_IMPORT CALL_INDIRECT "  # a: number of arguments, whose slots follow as above; b: slot of the first result
    "UNREACHABLE"
).split()
"""A call's following words, before its arguments: defined function, or offset of the import or table (plus 1 << 32 where that is imported,
1 << 33 where its type is final); VMSignature; for CALL_INDIRECT the type id and, in the upper half, the slot of the index."""

STORAGE = (
    # upper half: offset in the context, of the definition or of the import's pointer to it
    "GLOBAL_GET_32 GLOBAL_GET_64 GLOBAL_SET_32 GLOBAL_SET_64 IMPORTED_GET_32 IMPORTED_GET_64 IMPORTED_SET_32 IMPORTED_SET_64 "
    "MEMORY_SIZE MEMORY_GROW MEMORY_COPY MEMORY_FILL "  # a; a = grow by b; a, b, c as the instruction takes them
    "MEMORY_INIT DATA_DROP"  # a, b, c, and the segment in the next word; segment a
).split()

LOADS = (
    "I32_LOAD I64_LOAD F32_LOAD F64_LOAD I32_LOAD8_S I32_LOAD8_U I32_LOAD16_S I32_LOAD16_U I64_LOAD8_S I64_LOAD8_U I64_LOAD16_S "
    "I64_LOAD16_U I64_LOAD32_S I64_LOAD32_U"
).split()
"""`a` = what lies `c` bytes behind address `b`, which has 64 bits."""
STORES = ("I32_STORE I64_STORE F32_STORE F64_STORE I32_STORE8 I32_STORE16 I64_STORE8 I64_STORE16 I64_STORE32").split()
"""Slot `b` goes to `c` bytes behind address `a`."""

_INTEGER_UNARY = "CLZ CTZ POPCNT"
_INTEGER_BINARY = "ADD SUB MUL DIV_S DIV_U REM_S REM_U AND OR XOR SHL SHR_S SHR_U ROTL ROTR"
_INTEGER_COMPARE = "EQ NE LT_S LT_U GT_S GT_U LE_S LE_U GE_S GE_U"
_FLOAT_UNARY = "ABS NEG CEIL FLOOR TRUNC NEAREST SQRT"
_FLOAT_BINARY = "ADD SUB MUL DIV MIN MAX COPYSIGN"
_FLOAT_COMPARE = "EQ NE LT GT LE GE"


def _named(prefixes: str, names: str) -> list[str]:
    return [f"{prefix}_{name}" for prefix in prefixes.split() for name in names.split()]


UNARY = [
    *_named("I32 I64", f"EQZ {_INTEGER_UNARY}"),
    *_named("F32 F64", _FLOAT_UNARY),
    *("I32_EXTEND8_S", "I32_EXTEND16_S", "I64_EXTEND8_S", "I64_EXTEND16_S", "I64_EXTEND32_S"),
    *("I32_WRAP_I64", "I64_EXTEND_I32_S", "F32_DEMOTE_F64", "F64_PROMOTE_F32"),
    *_named("I32 I64", "TRUNC_F32_S TRUNC_F32_U TRUNC_F64_S TRUNC_F64_U"),
    *_named("I32 I64", "TRUNC_SAT_F32_S TRUNC_SAT_F32_U TRUNC_SAT_F64_S TRUNC_SAT_F64_U"),
    *_named("F32 F64", "CONVERT_I32_S CONVERT_I32_U CONVERT_I64_S CONVERT_I64_U"),
]
BINARY = [
    *_named("I32 I64", f"{_INTEGER_COMPARE} {_INTEGER_BINARY}"),
    *_named("F32 F64", f"{_FLOAT_COMPARE} {_FLOAT_BINARY}"),
]

OPERATIONS: tuple[str, ...] = (*CONTROL, *STORAGE, *LOADS, *STORES, *UNARY, *BINARY)
CODES = {name: code for code, name in enumerate(OPERATIONS)}


def macro() -> str:
    """The C macro that lists the operations in order."""
    return "#define INTERPRETED_OPERATIONS(ROW) " + " ".join(f"ROW({name})" for name in OPERATIONS)
