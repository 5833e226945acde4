"""Calls of functions of the module, of imports, and through tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core_rt.interpret.translator import NUMBERS, Declined, translates

if TYPE_CHECKING:
    from core_rt.interpret.translator import Translator
    from core_rt.types import DefType, FuncType


def finish_call(t: Translator, name: str, type_: DefType, *operands: int) -> None:
    """Append a call of a function of a type with the arguments on the stack."""
    func: FuncType = type_.func
    if not (NUMBERS.issuperset(func.params) and NUMBERS.issuperset(func.results)):
        raise Declined
    count, results = len(func.params), len(func.results)
    arguments = t.stack[len(t.stack) - count :]
    del t.stack[len(t.stack) - count :]
    t.outgoing = max(t.outgoing, count, results)
    t.emit(name, count, t.base + len(t.stack))
    t.words += (operands[0], t.signature(type_), *operands[1:])
    t.list_slots(arguments)
    for _ in range(results):
        t.push_place()
    t.barrier = len(t.words)


@translates("call")
def _call(t: Translator, index: int) -> None:
    type_ = t.module.funcs[index]
    defined = index - t.module.num_imported_funcs
    if defined < 0:
        finish_call(t, "CALL_IMPORT", type_, t.layout.func_import(index))
    else:
        finish_call(t, "CALL", type_, defined)


@translates("call_indirect")
def _call_indirect(t: Translator, imm: tuple[int, int]) -> None:
    type_index, table = imm
    if t.module.tables[table].is64:
        raise Declined
    type_ = t.module.types[type_index]
    imported, place = t.layout.table(table)
    index = t.stack.pop()
    where = place | imported << 32 | type_.final << 33
    finish_call(t, "CALL_INDIRECT", type_, where, type_.id | index << 32)
