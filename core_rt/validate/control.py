"""Typing rules of control, exception and parametric instructions.

Each rule takes the state, positioned after the opcode, and the opcode; it reads the immediates, types the instruction
and returns the immediate for the instruction's record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from core_rt.binary import limits
from core_rt.binary.typeread import feature_error
from core_rt.errors import DecodeError
from core_rt.types import (
    EXNREF,
    FUNCREF,
    I32,
    I64,
    AbsHeap,
    FuncType,
    RefType,
    ValType,
    matches_ref,
    matches_results,
    matches_val,
)
from core_rt.validate.state import BOTTOM, BOTTOM_REF, ELSE, IF, LOOP, BodyState

__all__ = ["RULES", "Rule"]

Rule: TypeAlias = Callable[[BodyState, int], Any]

_EMPTY: Final[tuple[ValType, ...]] = ()
_BELOW_MOST: Final = 64
_EXN: Final = RefType(False, AbsHeap.EXN)


def unreachable(s: BodyState, op: int) -> None:
    s.set_unreachable()


def _block_type(s: BodyState) -> tuple[tuple[ValType, ...], tuple[ValType, ...]]:
    byte = s.data[s.pos]
    if byte == 0x40:
        s.pos += 1
        return _EMPTY, _EMPTY
    found = s.types.values.get(byte)
    if found is not None:
        s.pos += 1
        return _EMPTY, (found,)
    if byte & 0xC0 == 0x40:
        return _EMPTY, (s.read_value_type(),)
    at = s.pos
    index = s.s33()
    if index < 0:
        raise DecodeError("malformed block type", at)
    if not s.features.multi_value:
        raise feature_error("malformed block type", "a type index", "multi_value", at)
    type_ = s.func_of_type(index)
    return type_.params, type_.results


def block(s: BodyState, op: int) -> tuple[Any, ...]:
    """`block`, `loop` and `if`. A `loop` entered with operands tells their types, unless there are very many: else None."""
    params, results = _block_type(s)
    if op == IF:
        s.pop(I32)
    s.pops(params)
    if op == LOOP and s.stack:
        below = tuple(s.stack) if len(s.stack) <= _BELOW_MOST else None
        return params, results, s.enter(op, params, results).assigned, below
    frame = s.enter(op, params, results)
    return params, results, frame.assigned


def else_(s: BodyState, op: int) -> None:
    frame = s.frames[-1]
    if frame.op != IF:
        raise DecodeError("misplaced ELSE opcode", s.at)
    s.leave()
    again = s.enter(ELSE, frame.params, frame.results)
    # Both arms have one set: it is the `if` that the emitters ask.
    again.assigned = s.assigned = frame.assigned


def end(s: BodyState, op: int) -> None:
    frame = s.leave()
    if frame.op == IF and not matches_results(frame.params, frame.results):
        raise s.invalid(
            f"type mismatch: if without else has parameters {list(frame.params)}, results {list(frame.results)}"
        )
    s.stack.extend(frame.results)


def br(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pops(s.label(index))
    s.set_unreachable()
    return index


def br_if(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pop(I32)
    labels = s.label(index)
    if labels:
        s.pops(labels)
        s.stack.extend(labels)
    return index


def br_table(s: BodyState, op: int) -> tuple[tuple[int, ...], int]:
    at = s.pos
    count = s.u32()
    if count > len(s.data) - s.pos:
        raise DecodeError("length out of bounds", at)
    limits.check_limit("labels of a br_table", count, limits.MAX_BR_TABLE, at)
    read = s.u32
    targets = tuple([read() for _ in range(count)])
    default = s.u32()
    s.pop(I32)
    labels = s.label(default)
    # Each list of types once: there are fewer of those than a hostile module can have labels.
    for other in {id(types): types for types in map(s.label, set(targets))}.values():
        if len(other) != len(labels):
            raise s.invalid("type mismatch: labels of one br_table take different numbers of values")
        if other != labels:
            s.check_top(other)
    s.pops(labels)
    s.set_unreachable()
    return targets, default


def return_(s: BodyState, op: int) -> None:
    s.pops(s.func_type.results)
    s.set_unreachable()


def _call(s: BodyState, type_: FuncType) -> None:
    s.pops(type_.params)
    s.stack.extend(type_.results)


def _tail_call(s: BodyState, type_: FuncType) -> None:
    if not matches_results(type_.results, s.func_type.results):
        raise s.invalid(
            f"type mismatch: tail call of a function with results {list(type_.results)} "
            f"in one with {list(s.func_type.results)}"
        )
    s.pops(type_.params)
    s.set_unreachable()


def call(s: BodyState, op: int) -> int:
    index = s.u32()
    _call(s, s.func(index).func)
    return index


def return_call(s: BodyState, op: int) -> int:
    index = s.u32()
    _tail_call(s, s.func(index).func)
    return index


def _indirect(s: BodyState) -> tuple[int, int, FuncType]:
    type_index = s.u32()
    table_index = s.table_index()
    table = s.table(table_index)
    type_ = s.func_of_type(type_index)
    if not matches_ref(table.element, FUNCREF):
        raise s.invalid(f"type mismatch: a table of functions expected, not of {table.element}")
    s.pop(I64 if table.is64 else I32)
    return type_index, table_index, type_


def call_indirect(s: BodyState, op: int) -> tuple[int, int]:
    type_index, table_index, type_ = _indirect(s)
    _call(s, type_)
    return type_index, table_index


def return_call_indirect(s: BodyState, op: int) -> tuple[int, int]:
    type_index, table_index, type_ = _indirect(s)
    _tail_call(s, type_)
    return type_index, table_index


def call_ref(s: BodyState, op: int) -> int:
    index = s.u32()
    type_ = s.func_of_type(index)
    s.pop(s.defined(index).ref_null)
    _call(s, type_)
    return index


def return_call_ref(s: BodyState, op: int) -> int:
    index = s.u32()
    type_ = s.func_of_type(index)
    s.pop(s.defined(index).ref_null)
    _tail_call(s, type_)
    return index


# ------------------------------------------------------------------------------------------ branches on references


def _branch_through(s: BodyState, labels: tuple[ValType, ...]) -> None:
    """A conditional branch that falls through: the operands are then known as the label's types."""
    s.pops(labels)
    s.stack.extend(labels)


def br_on_null(s: BodyState, op: int) -> tuple[int, RefType | None]:
    """The immediate carries the operand's type, which the emitter needs."""
    index = s.u32()
    found = s.pop_ref()
    _branch_through(s, s.label(index))
    s.push(BOTTOM_REF if found is None else RefType(False, found.heap))
    return index, found


def _last_label_ref(s: BodyState, index: int) -> tuple[tuple[ValType, ...], RefType]:
    labels = s.label(index)
    last = labels[-1] if labels else None
    if not isinstance(last, RefType):
        raise s.invalid(f"type mismatch: label {index} takes no reference last: {list(labels)}")
    return labels[:-1], last


def br_on_non_null(s: BodyState, op: int) -> tuple[int, RefType]:
    """The immediate carries the type of the label's reference."""
    index = s.u32()
    before, last = _last_label_ref(s, index)
    s.pop(RefType(True, last.heap))
    _branch_through(s, before)
    return index, last


def br_on_cast(s: BodyState, op: int) -> tuple[int, RefType, RefType]:
    """`br_on_cast` and `br_on_cast_fail`: label, source type, target type."""
    at = s.pos
    flags = s.byte()
    if flags > 3:
        raise DecodeError("malformed br_on_cast flags", at)
    index = s.u32()
    source = s.read_heap_ref(bool(flags & 1))
    target = s.read_heap_ref(bool(flags & 2))
    if not matches_ref(target, source):
        raise s.invalid(f"type mismatch on cast: {target} does not match {source}")
    # What is left of the source type when the target type has been taken away.
    rest = RefType(False, source.heap) if target.nullable else source
    taken, passed = (target, rest) if op & 1 == 0 else (rest, target)
    before, last = _last_label_ref(s, index)
    if not matches_val(taken, last):
        raise s.invalid(f"type mismatch: label {index} takes {last}, not {taken}")
    s.pop(source)
    _branch_through(s, before)
    s.push(passed)
    return index, source, target


# ------------------------------------------------------------------------------------------ exceptions


def throw(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pops(s.tag(index).params)
    s.set_unreachable()
    return index


def throw_ref(s: BodyState, op: int) -> None:
    s.pop(EXNREF)
    s.set_unreachable()


def try_table(s: BodyState, op: int) -> tuple[Any, ...]:
    """Catches are `(kind, tag, label)`: kind 0 catch, 1 catch_ref, 2 catch_all, 3 catch_all_ref (the last two without a
    tag: None). Labels count from outside the `try_table`."""
    params, results = _block_type(s)
    at = s.pos
    count = s.u32()
    limits.check_limit("catch clauses", count, limits.MAX_CATCHES, at)
    catches = []
    for _ in range(count):
        kind = s.byte()
        if kind > 3:
            raise DecodeError("malformed catch clause", s.pos - 1)
        tag = s.u32() if kind < 2 else None
        label = s.u32()
        given = s.tag(tag).params if tag is not None else _EMPTY
        if kind & 1:
            given = (*given, _EXN)
        if not matches_results(given, s.label(label)):
            raise s.invalid(f"type mismatch: catch gives {list(given)}, label {label} takes {list(s.label(label))}")
        catches.append((kind, tag, label))
    s.pops(params)
    # Where operands wait below, compiled code has to put them aside: it needs their types, and a bound on their number.
    below = tuple(s.stack) if catches else ()
    s.waiting += len(below)
    limits.check_limit("operands below try_table", s.waiting, limits.MAX_WAITING, at)
    frame = s.enter(op, params, results)
    return params, results, frame.assigned, tuple(catches), below


# ------------------------------------------------------------------------------------------ parametric


def drop(s: BodyState, op: int) -> None:
    s.pop_any()


def select(s: BodyState, op: int) -> ValType | None:
    """0x1b: both operands of one numeric or vector type; 0x1c: of the type given.

    Either way the record has the type, for the emitters; None where unreachable code leaves it unknown.
    """
    if op == 0x1C:
        at = s.pos
        count = s.u32()
        if count != 1:
            raise s.invalid("invalid result arity") if count < len(s.data) else DecodeError("length out of bounds", at)
        type_ = s.read_value_type()
        s.pops((type_, type_, I32))
        s.push(type_)
        return type_
    s.pop(I32)
    second, first = s.pop_any(), s.pop_any()
    for found in (first, second):
        if isinstance(found, RefType) or found is BOTTOM_REF:
            raise s.invalid(f"type mismatch: select without a type takes no {found}")
    if first is not second and first is not BOTTOM and second is not BOTTOM:
        raise s.invalid(f"type mismatch: select of {first} and {second}")
    result = second if first is BOTTOM else first
    s.push(result)
    return None if result is BOTTOM else result


RULES: Final[dict[str, Rule]] = {
    "unreachable": unreachable,
    "block": block,
    "loop": block,
    "if": block,
    "else": else_,
    "end": end,
    "br": br,
    "br_if": br_if,
    "br_table": br_table,
    "return": return_,
    "call": call,
    "call_indirect": call_indirect,
    "return_call": return_call,
    "return_call_indirect": return_call_indirect,
    "call_ref": call_ref,
    "return_call_ref": return_call_ref,
    "br_on_null": br_on_null,
    "br_on_non_null": br_on_non_null,
    "br_on_cast": br_on_cast,
    "br_on_cast_fail": br_on_cast,
    "throw": throw,
    "throw_ref": throw_ref,
    "try_table": try_table,
    "drop": drop,
    "select": select,
}
