"""`validate_body`: one pass over a function body that decodes, validates and yields what the emitter reads.

Most bodies are plain and valid, and C reads them (`core_rt.validate.plain`); what it leaves is read by
`core_rt.validate.careful`.

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

from core_rt.binary.model import DecodedModule, Instr
from core_rt.opcodes import BY_CODE, Opcode
from core_rt.record import record
from core_rt.types import FuncType, RefType, ValType
from core_rt.validate.plain import read_plain

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


@record
class FuncBody:
    """A validated body. `locals` are the types of all locals, parameters first."""

    type: FuncType
    locals: list[ValType]
    code: list[Instr]
    uses: Uses


_CALLS: Final = frozenset({"call", "call_indirect", "call_ref"})
_FAMILY_USES: Final = {
    "exception": Uses.EXCEPTIONS.value,
    "memory": Uses.MEMORY.value,
    "simd_memory": (Uses.MEMORY | Uses.SIMD).value,
    "table": Uses.TABLES.value,
    "reference": Uses.REFS.value,
    "gc": (Uses.GC | Uses.REFS).value,
    "atomic": (Uses.ATOMICS | Uses.MEMORY).value,
}
_NAMED_USES: Final = {"loop": Uses.LOOPS.value, "br_table": Uses.BRANCH_TABLES.value}
_REFERENCES: Final = frozenset({"throw_ref", "br_on_null", "br_on_non_null", "table.get"})


def _uses_of(row: Opcode) -> int:
    """As plain numbers: those of an enumeration take microseconds to combine."""
    mnemonic = row.mnemonic
    uses = _FAMILY_USES.get(row.family, 0) | _NAMED_USES.get(mnemonic, 0)
    if row.family.startswith("simd"):
        uses |= Uses.SIMD.value
    if mnemonic in _CALLS:
        uses |= Uses.CALLS.value
    if mnemonic.startswith("return_call"):
        uses |= Uses.CALLS.value | Uses.TAIL_CALLS.value
    if mnemonic.endswith("call_indirect"):
        uses |= Uses.TABLES.value
    if mnemonic.endswith("call_ref") or mnemonic in _REFERENCES:
        uses |= Uses.REFS.value
    return uses


def validate_body(module: DecodedModule, defined_index: int) -> FuncBody:
    """Decode and validate the body of the module's defined function `defined_index` (imports not counted).

    Raises `DecodeError` (malformed) or `ValidationError` (invalid), both with the offset in the module.
    """
    func_type = module.funcs[module.num_imported_funcs + defined_index].func
    plain = read_plain(module, defined_index)
    if plain is not None:
        return FuncBody(func_type, plain[0], plain[1], _uses(plain[2]))
    from core_rt.validate.careful import read_carefully  # seldom needed, and large

    locals_, code = read_carefully(module, defined_index)
    uses = _uses({instr[0] for instr in code})
    if any(isinstance(t, RefType) for t in {*locals_, *func_type.results}):
        uses |= Uses.REFS
    return FuncBody(func_type, locals_, code, uses)


_known_uses: dict[int, int] = {}


def _uses(ops: set[int]) -> Uses:
    uses = 0
    for op in ops:
        found = _known_uses.get(op)
        if found is None:
            found = _known_uses[op] = _uses_of(BY_CODE[op])
        uses |= found
    return Uses(uses)
