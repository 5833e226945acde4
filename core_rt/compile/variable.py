"""Locals, globals, `drop` and `select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core_rt.compile.emitter import INVARIANT
from core_rt.compile.handlers import emits
from core_rt.compile.signature import is_gcref, lltype
from core_rt.types import ValType

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter


def _load(f: Emitter, index: int) -> str:
    value = f.let(f"load {f.slot_access}{f.local_types[index]}, ptr %local{index}")
    if f.collects and is_gcref(f.body.locals[index]):
        f.gc_values.add(value)
    if not f.slot_access:
        f.known[index] = value
    return value


def _store(f: Emitter, index: int, value: str) -> None:
    f.out(f"store {f.slot_access}{f.local_types[index]} {value}, ptr %local{index}")
    if not f.slot_access:
        f.known[index] = value


@emits("local.get")
def _local_get(f: Emitter, index: int) -> None:
    f.stack.append(f.locals[index] or f.known.get(index) or _load(f, index))


@emits("local.set")
def _local_set(f: Emitter, index: int) -> None:
    value = f.stack.pop()
    if f.locals[index]:
        f.locals[index] = value
    else:
        _store(f, index, value)
    f.bool_line = -1  # the value now has a second user: `condition` must not take its text back


@emits("local.tee")
def _local_tee(f: Emitter, index: int) -> None:
    if f.locals[index]:
        f.locals[index] = f.stack[-1]
    else:
        _store(f, index, f.stack[-1])
    f.bool_line = -1


@emits("global.get")
def _global_get(f: Emitter, index: int) -> None:
    type_ = f.unit.module.globals[index]
    place = f.definition("global_", index)
    invariant = "" if type_.mutable else INVARIANT
    f.push(f"load {lltype(type_.content)}, ptr {place}, align 16{invariant}{f.unit.alias_vm}")
    if is_gcref(type_.content):
        f.gc_values.add(f.stack[-1])


@emits("global.set")
def _global_set(f: Emitter, index: int) -> None:
    type_ = f.unit.module.globals[index]
    place = f.definition("global_", index)
    f.out(f"store {lltype(type_.content)} {f.stack.pop()}, ptr {place}, align 16{f.unit.alias_vm}")


@emits("drop")
def _drop(f: Emitter, imm: Any) -> None:
    f.stack.pop()


@emits("select")
def _select(f: Emitter, valtype: ValType) -> None:
    stack = f.stack
    bit = f.condition(stack.pop())
    b = stack.pop()
    a = stack.pop()
    t = lltype(valtype)
    f.push(f"select i1 {bit}, {t} {a}, {t} {b}")
    if a in f.gc_values or b in f.gc_values:
        f.gc_values.add(stack[-1])
