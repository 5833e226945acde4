"""Typing rules of variable, table and memory instructions whose types depend on what the index names.

As in `core_rt.validate.control`: a rule reads the immediates, types the instruction and returns its immediate.
"""

from __future__ import annotations

from typing import Final

from core_rt.types import I32, I64, ValType
from core_rt.validate.control import Rule
from core_rt.validate.state import BodyState

__all__ = ["RULES"]


def _local(s: BodyState, index: int) -> ValType:
    if index >= len(s.locals):
        raise s.invalid(f"unknown local {index}")
    return s.locals[index]


def local_get(s: BodyState, op: int) -> int:
    index = s.u32()
    type_ = _local(s, index)
    if index in s.unset:
        raise s.invalid(f"uninitialized local {index}")
    s.push(type_)
    return index


def local_set(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pop(_local(s, index))
    s.mark_set(index)
    return index


def local_tee(s: BodyState, op: int) -> int:
    index = local_set(s, op)
    s.push(s.locals[index])
    return index


def global_get(s: BodyState, op: int) -> int:
    index = s.u32()
    globals_ = s.module.globals
    if index >= len(globals_):
        raise s.invalid(f"unknown global {index}")
    s.push(globals_[index].content)
    return index


def global_set(s: BodyState, op: int) -> int:
    index = s.u32()
    globals_ = s.module.globals
    if index >= len(globals_):
        raise s.invalid(f"unknown global {index}")
    if not globals_[index].mutable:
        raise s.invalid(f"immutable global {index}")
    s.pop(globals_[index].content)
    return index


# ------------------------------------------------------------------------------------------ tables


def table_get(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pop(s.table_address(index))
    s.push(s.table(index).element)
    return index


def table_set(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pop(s.table(index).element)
    s.pop(s.table_address(index))
    return index


def table_size(s: BodyState, op: int) -> int:
    index = s.u32()
    s.push(s.table_address(index))
    return index


def table_grow(s: BodyState, op: int) -> int:
    index = s.u32()
    address = s.table_address(index)
    s.pops((s.table(index).element, address))
    s.push(address)
    return index


def table_fill(s: BodyState, op: int) -> int:
    index = s.u32()
    address = s.table_address(index)
    s.pops((address, s.table(index).element, address))
    return index


def table_copy(s: BodyState, op: int) -> tuple[int, int]:
    target, source = s.table_index(), s.table_index()
    to, from_ = s.table_address(target), s.table_address(source)
    s.check_elements(s.table(source).element, s.table(target).element)
    s.pops((to, from_, I64 if to is from_ is I64 else I32))
    return target, source


def table_init(s: BodyState, op: int) -> tuple[int, int]:
    """Segment, table."""
    segment = s.u32()
    index = s.table_index()
    address = s.table_address(index)
    s.check_elements(s.element_type(segment), s.table(index).element)
    s.pops((address, I32, I32))
    return segment, index


def elem_drop(s: BodyState, op: int) -> int:
    index = s.u32()
    s.element_type(index)
    return index


# ------------------------------------------------------------------------------------------ memories


def memory_size(s: BodyState, op: int) -> int:
    index = s.memory_index()
    s.push(s.memory_address(index))
    return index


def memory_grow(s: BodyState, op: int) -> int:
    index = s.memory_index()
    address = s.memory_address(index)
    s.pop(address)
    s.push(address)
    return index


def memory_fill(s: BodyState, op: int) -> int:
    index = s.memory_index()
    address = s.memory_address(index)
    s.pops((address, I32, address))
    return index


def memory_copy(s: BodyState, op: int) -> tuple[int, int]:
    target, source = s.memory_index(), s.memory_index()
    to, from_ = s.memory_address(target), s.memory_address(source)
    s.pops((to, from_, I64 if to is from_ is I64 else I32))
    return target, source


def memory_init(s: BodyState, op: int) -> tuple[int, int]:
    """Segment, memory."""
    segment = s.u32()
    index = s.memory_index()
    address = s.memory_address(index)
    s.check_data(segment)
    s.pops((address, I32, I32))
    return segment, index


def data_drop(s: BodyState, op: int) -> int:
    index = s.u32()
    s.check_data(index)
    return index


RULES: Final[dict[str, Rule]] = {
    "local.get": local_get,
    "local.set": local_set,
    "local.tee": local_tee,
    "global.get": global_get,
    "global.set": global_set,
    "table.get": table_get,
    "table.set": table_set,
    "table.size": table_size,
    "table.grow": table_grow,
    "table.fill": table_fill,
    "table.copy": table_copy,
    "table.init": table_init,
    "elem.drop": elem_drop,
    "memory.size": memory_size,
    "memory.grow": memory_grow,
    "memory.fill": memory_fill,
    "memory.copy": memory_copy,
    "memory.init": memory_init,
    "data.drop": data_drop,
}
