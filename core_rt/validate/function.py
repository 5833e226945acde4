"""`validate_body`: one pass over a function body that decodes, validates and yields what the emitter reads.

Theory of operation: most bodies are plain and valid, and C reads them (`core_rt.validate.plain`); what it leaves is done
here. The algorithm is that of the specification's appendix, over a stack of types (`BodyState`). The
loop in `_run` knows a handful of frequent instructions and does them without a call while their typing is plain (the
operands are on the stack and exactly of the types wanted); whatever is not so plain goes to the rule of the instruction
in `dispatch`, which starts over after the opcode. So the loop is only ever a short cut, as the C code is: leaving out any
`if` of it changes nothing but the time.

An instruction's record is `(op, imm, offset)`. Immediates are as the table in `core_rt.opcodes` says; further kinds:

==============  =====================================================================================================
labels          br_table: `(labels, default)`
indirect        `(type, table)`
select          the operands' `ValType`, also where the instruction names none (None: unknown, in unreachable code)
heap            ref.null: the heap type; ref.test, ref.cast: the `RefType`
cast            `(label, source RefType, target RefType)`
try             `(params, results, assigned, catches, below)`, a catch being `(kind, tag or None, label)`, `below` the types
                of the operands under the parameters, where there is a catch
loop            where operands lie under the parameters: `(params, results, assigned, their types or None for very many)`
elemtable       `(segment, table)`;  tables `(target, source)`
datamem         `(segment, memory)`;  mems `(target, source)`
field           `(type, field)`;  typecount `(type, count)`;  types `(target type, source type)`
typedata        `(type, segment)`;  typeelem the same
==============  =====================================================================================================

`assigned` of a block, loop, if or try_table is the set of locals that `local.set` or `local.tee` gives a value anywhere
inside, nested ones included (a superset in blocks nested more than 256 deep). Code that cannot be reached is validated
and recorded like any other. The last record is the function's `end`.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from core_rt.binary.model import DecodedModule, Instr
from core_rt.binary.reader import UNEXPECTED_END, sleb, uleb
from core_rt.errors import DecodeError, ValidationError
from core_rt.opcodes import OPCODES, PREFIXES, Opcode
from core_rt.types import I32, FuncType, RefType, ValType
from core_rt.validate.dispatch import BINARY, GET, I32_CONST, LOAD, SET, STORE, UNARY, dispatch_for, illegal
from core_rt.validate.plain import read_plain
from core_rt.validate.state import FUNC, BodyState

__all__ = ["FuncBody", "Uses", "validate_body"]


class Uses(enum.IntFlag):
    """What occurs in a body."""

    CALLS = 1
    """Any call, tail calls included."""
    TAIL_CALLS = 2
    LOOPS = 4
    REFS = 8
    """A local, operand or result may be a reference."""
    EXCEPTIONS = 16
    MEMORY = 32
    """Loads, stores and other instructions on memories."""
    TABLES = 64
    GC = 128
    """Structs, arrays, i31, casts."""
    SIMD = 256
    ATOMICS = 512
    BRANCH_TABLES = 1024


@attrs.frozen(eq=False)
class FuncBody:
    """A validated body. `locals` are the types of all locals, parameters first."""

    type: FuncType
    locals: list[ValType]
    code: list[Instr]
    uses: Uses


_CALLS: Final = frozenset({"call", "call_indirect", "call_ref"})
_FAMILY_USES: Final = {
    "exception": Uses.EXCEPTIONS,
    "memory": Uses.MEMORY,
    "simd_memory": Uses.MEMORY | Uses.SIMD,
    "table": Uses.TABLES,
    "reference": Uses.REFS,
    "gc": Uses.GC | Uses.REFS,
    "atomic": Uses.ATOMICS | Uses.MEMORY,
}


def _uses_of(row: Opcode) -> Uses:
    uses = _FAMILY_USES.get(row.family, Uses(0))
    if row.family.startswith("simd"):
        uses |= Uses.SIMD
    if row.mnemonic in _CALLS:
        uses |= Uses.CALLS
    if row.mnemonic.startswith("return_call"):
        uses |= Uses.CALLS | Uses.TAIL_CALLS
    if row.mnemonic == "loop":
        uses |= Uses.LOOPS
    if row.mnemonic == "br_table":
        uses |= Uses.BRANCH_TABLES
    if row.mnemonic.endswith("call_indirect"):
        uses |= Uses.TABLES
    if row.mnemonic.endswith("call_ref") or row.mnemonic in ("throw_ref", "br_on_null", "br_on_non_null", "table.get"):
        uses |= Uses.REFS
    return uses


_USES: Final = {row.code: uses for row in OPCODES if (uses := _uses_of(row))}


def validate_body(module: DecodedModule, defined_index: int) -> FuncBody:
    """Decode and validate the body of the module's defined function `defined_index` (imports not counted).

    Raises `DecodeError` (malformed) or `ValidationError` (invalid), both with the offset in the module.
    """
    start, end = module.bodies[defined_index]
    func_type = module.funcs[module.num_imported_funcs + defined_index].func
    plain = read_plain(module, defined_index)
    if plain is not None:
        return FuncBody(func_type, plain[0], plain[1], _uses(plain[2]))
    state = BodyState(module, func_type, bytes(module.data[start:end]))
    try:
        state.read_locals()
        state.enter(FUNC, (), func_type.results)
        _run(state, start)
        if state.pos != end - start:
            raise DecodeError("section size mismatch: END opcode before the body's end", state.pos)
    except IndexError:
        raise DecodeError(UNEXPECTED_END, end) from None
    except (DecodeError, ValidationError) as error:
        raise type(error)(error.message, start + (error.offset or 0)) from None
    uses = _uses({instr[0] for instr in state.code})
    if any(isinstance(t, RefType) for t in {*state.locals, *state.func_type.results}):
        uses |= Uses.REFS
    return FuncBody(func_type, state.locals, state.code, uses)


def _uses(ops: set[int]) -> Uses:
    uses = Uses(0)
    table = _USES
    for op in ops:
        found = table.get(op)
        if found is not None:
            uses |= found
    return uses


def _run(state: BodyState, base: int) -> None:
    """The loop. `base` is the body's offset in the module; positions are local to the body."""
    tables = dispatch_for(state.features)
    fast, operands, rules = tables.fast, tables.operands, tables.rules
    data, pos, stack, frames = state.data, state.pos, state.stack, state.frames
    locals_, unset, memories = state.locals, state.unset, state.module.memories
    count = len(locals_)
    plain_memory = bool(memories) and not memories[0].is64
    append, push, pop = state.code.append, stack.append, stack.pop
    height, assigned = state.height, state.assigned
    while frames:
        at = pos
        op = data[pos]
        pos += 1
        kind = fast[op]
        if kind == GET:
            x = data[pos]
            pos += 1
            if x >= 0x80:
                x, pos = uleb(data, pos - 1, 32)
            if x < count and x not in unset:
                push(locals_[x])
                append((op, x, base + at))
                continue
        elif kind == I32_CONST:
            x = data[pos]
            pos += 1
            if x >= 0x80:
                x, pos = sleb(data, pos - 1, 32)
            elif x >= 0x40:
                x -= 0x80
            push(I32)
            append((op, x, base + at))
            continue
        elif kind == BINARY:
            t, result = operands[op]
            if len(stack) - height >= 2 and stack[-1] is t and stack[-2] is t:
                pop()
                stack[-1] = result
                append((op, None, base + at))
                continue
        elif kind == SET:
            x = data[pos]
            pos += 1
            if x >= 0x80:
                x, pos = uleb(data, pos - 1, 32)
            if x < count and len(stack) > height and stack[-1] is locals_[x] and not unset:
                if op == 0x21:
                    pop()
                assigned.add(x)
                append((op, x, base + at))
                continue
        elif kind == UNARY:
            t, result = operands[op]
            if len(stack) > height and stack[-1] is t:
                stack[-1] = result
                append((op, None, base + at))
                continue
        elif kind == LOAD or kind == STORE:
            natural, t = operands[op]
            align = data[pos]
            offset = data[pos + 1]
            pos += 2
            if offset >= 0x80:
                offset, pos = uleb(data, pos - 1, 64)
            # A flags byte up to the natural alignment names no memory; 5 bytes are what a 32-bit offset may take.
            if align <= natural and plain_memory and offset < 0x1_0000_0000 and pos - at <= 7:
                if kind == LOAD:
                    if len(stack) > height and stack[-1] is I32:
                        stack[-1] = t
                        append((op, (align, offset, 0), base + at))
                        continue
                elif len(stack) - height >= 2 and stack[-1] is t and stack[-2] is I32:
                    pop()
                    pop()
                    append((op, (align, offset, 0), base + at))
                    continue
        pos = at + 1
        if op in PREFIXES:
            sub, pos = uleb(data, pos, 32)
            op = op << 12 | (sub if sub < 0x1000 else 0xFFF)
        rule = rules.get(op)
        if rule is None:
            raise illegal(op, at)
        state.at = at
        state.pos = pos
        append((op, rule(state, op), base + at))
        pos = state.pos
        height = state.height
        assigned = state.assigned
    state.pos = pos
