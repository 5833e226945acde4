"""References and tables.

Function references are addresses of VMFuncRefs (`ptr`), all others compressed 32-bit references (`i32`); null is zero in both.
A function table stores `pointer | 1`, and 0 where the element was not looked at yet; other tables store the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core_rt.compile.call import load_funcref, table_element
from core_rt.compile.control import branch_if
from core_rt.compile.handlers import emits
from core_rt.compile.memory import operand64
from core_rt.compile.signature import ZERO, is_funcref, lltype
from core_rt.errors import TrapCode
from core_rt.types import RefType
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter
    from core_rt.types import HeapType


@emits("ref.null")
def _null(f: Emitter, heap: HeapType) -> None:
    f.stack.append(ZERO[lltype(RefType(True, heap))])


@emits("ref.func")
def _func(f: Emitter, index: int) -> None:
    f.stack.append(f.builtin("ref_func", str(index)))


@emits("ref.is_null")
def _is_null(f: Emitter, valtype: RefType) -> None:
    t = lltype(valtype)
    f.push_bool(f.let(f"icmp eq {t} {f.stack.pop()}, {ZERO[t]}"))


@emits("ref.as_non_null")
def _as_non_null(f: Emitter, valtype: RefType) -> None:
    t = lltype(valtype)
    f.trap_if(f.let(f"icmp eq {t} {f.stack[-1]}, {ZERO[t]}"), TrapCode.NULL_REFERENCE)


@emits("br_on_null")
def _br_on_null(f: Emitter, imm: tuple[int, RefType]) -> None:
    depth, valtype = imm
    t = lltype(valtype)
    reference = f.stack.pop()
    branch_if(f, f.let(f"icmp eq {t} {reference}, {ZERO[t]}"), depth)
    f.stack.append(reference)


@emits("br_on_non_null")
def _br_on_non_null(f: Emitter, imm: tuple[int, RefType]) -> None:
    depth, valtype = imm
    t = lltype(valtype)
    branch_if(f, f.let(f"icmp ne {t} {f.stack[-1]}, {ZERO[t]}"), depth)
    f.stack.pop()


@emits("ref.eq")
def _eq(f: Emitter, imm: Any) -> None:
    b = f.stack.pop()
    f.push_bool(f.let(f"icmp eq i32 {f.stack.pop()}, {b}"))


# ------------------------------------------------------------------------------------------------------ tables


def _stored(f: Emitter, element: RefType, value: str) -> str:
    """The 8 bytes that a table keeps for a reference."""
    if is_funcref(element):
        bits = f.let(f"ptrtoint ptr {value} to i64")
        return f.let(f"or i64 {bits}, 1")
    return f.let(f"zext i32 {value} to i64")


@emits("table.get")
def _get(f: Emitter, table: int) -> None:
    element = f.unit.module.tables[table].element
    index = f.stack.pop()
    if is_funcref(element):
        f.stack.append(load_funcref(f, table, index, TrapCode.TABLE_OUT_OF_BOUNDS, None))
        return
    place = table_element(f, table, index, TrapCode.TABLE_OUT_OF_BOUNDS)
    f.push(f"load i32, ptr {place}, align 8{f.unit.alias_vm}")
    f.gc_values.add(f.stack[-1])


@emits("table.set")
def _set(f: Emitter, table: int) -> None:
    element = f.unit.module.tables[table].element
    value = f.stack.pop()
    place = table_element(f, table, f.stack.pop(), TrapCode.TABLE_OUT_OF_BOUNDS)
    f.out(f"store i64 {_stored(f, element, value)}, ptr {place}, align 8{f.unit.alias_vm}")


@emits("table.size")
def _size(f: Emitter, table: int) -> None:
    place = f.field(f.definition("table", table), s.VMTableDefinition["elements"])
    count = f.let(f"load i64, ptr {place}{f.unit.alias_vm}")
    f.stack.append(count if f.unit.module.tables[table].is64 else f.let(f"trunc i64 {count} to i32"))


@emits("table.grow")
def _grow(f: Emitter, table: int) -> None:
    type_ = f.unit.module.tables[table]
    count = operand64(f, type_.is64, f.stack.pop())
    value = _stored(f, type_.element, f.stack[-1])
    old = f.builtin("table_grow", f.definition("table", table), count, value)
    f.stack[-1] = old if type_.is64 else f.let(f"trunc i64 {old} to i32")


@emits("table.fill")
def _fill(f: Emitter, table: int) -> None:
    type_ = f.unit.module.tables[table]
    count = operand64(f, type_.is64, f.stack.pop())
    value = _stored(f, type_.element, f.stack.pop())
    at = operand64(f, type_.is64, f.stack.pop())
    f.builtin("table_fill", f.definition("table", table), at, value, count)


@emits("table.copy")
def _copy(f: Emitter, tables: tuple[int, int]) -> None:
    to, from_ = tables
    to64, from64 = (f.unit.module.tables[t].is64 for t in tables)
    count = operand64(f, to64 and from64, f.stack.pop())
    source = operand64(f, from64, f.stack.pop())
    at = operand64(f, to64, f.stack.pop())
    f.builtin("table_copy", f.definition("table", to), at, f.definition("table", from_), source, count)


@emits("table.init")
def _init(f: Emitter, imm: tuple[int, int]) -> None:
    segment, table = imm
    count = f.stack.pop()
    source = f.stack.pop()
    at = operand64(f, f.unit.module.tables[table].is64, f.stack.pop())
    f.builtin("table_init", f.definition("table", table), str(segment), at, source, count)


@emits("elem.drop")
def _elem_drop(f: Emitter, segment: int) -> None:
    f.builtin("elem_drop", str(segment))
