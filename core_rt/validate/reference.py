"""Typing rules of reference, struct, array and i31 instructions.

As in `core_rt.validate.control`: a rule reads the immediates, types the instruction and returns its immediate.
"""

from __future__ import annotations

from typing import Final

from core_rt.binary import limits
from core_rt.types import (
    ARRAYREF,
    EQREF,
    I31REF,
    I32,
    AbsHeap,
    FieldType,
    HeapType,
    PackedType,
    RefType,
    defaultable,
    matches_storage,
    matches_val,
    top_of,
    unpacked,
)
from core_rt.validate.control import Rule
from core_rt.validate.state import BOTTOM_REF, BodyState

__all__ = ["RULES"]

_I31: Final = RefType(False, AbsHeap.I31)
_STRUCT_GET: Final = 0xFB002
_ARRAY_GET: Final = 0xFB00B


def ref_null(s: BodyState, op: int) -> HeapType:
    type_ = s.read_heap_ref(True)
    s.push(type_)
    return type_.heap


def ref_is_null(s: BodyState, op: int) -> RefType | None:
    """The immediate is the operand's type, for the emitter (None in unreachable code)."""
    found = s.pop_ref()
    s.push(I32)
    return found


def ref_func(s: BodyState, op: int) -> int:
    index = s.u32()
    type_ = s.func(index)
    if index not in s.module.func_refs:
        raise s.invalid(f"undeclared function reference {index}")
    s.push(type_.ref)
    return index


def ref_as_non_null(s: BodyState, op: int) -> RefType | None:
    """The immediate is the operand's type, for the emitter (None in unreachable code)."""
    found = s.pop_ref()
    s.push(BOTTOM_REF if found is None else RefType(False, found.heap))
    return found


def ref_eq(s: BodyState, op: int) -> None:
    s.pops((EQREF, EQREF))
    s.push(I32)


def ref_test(s: BodyState, op: int) -> RefType:
    """`ref.test` (0xFB014) and its nullable form."""
    type_ = s.read_heap_ref(bool(op & 1))
    s.pop(RefType(True, top_of(type_.heap)))
    s.push(I32)
    return type_


def ref_cast(s: BodyState, op: int) -> RefType:
    """`ref.cast` (0xFB016) and its nullable form."""
    type_ = s.read_heap_ref(bool(op & 1))
    s.pop(RefType(True, top_of(type_.heap)))
    s.push(type_)
    return type_


def any_convert_extern(s: BodyState, op: int) -> None:
    found = s.pop(RefType(True, AbsHeap.EXTERN))
    s.push(RefType(isinstance(found, RefType) and found.nullable, AbsHeap.ANY))


def extern_convert_any(s: BodyState, op: int) -> None:
    found = s.pop(RefType(True, AbsHeap.ANY))
    s.push(RefType(isinstance(found, RefType) and found.nullable, AbsHeap.EXTERN))


def ref_i31(s: BodyState, op: int) -> None:
    s.pop(I32)
    s.push(_I31)


def i31_get(s: BodyState, op: int) -> None:
    s.pop(I31REF)
    s.push(I32)


# ------------------------------------------------------------------------------------------ structs


def struct_new(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pops(tuple([unpacked(field.storage) for field in s.struct_fields(index)]))
    s.push(s.defined(index).ref)
    return index


def struct_new_default(s: BodyState, op: int) -> int:
    index = s.u32()
    if not all(defaultable(field.storage) for field in s.struct_fields(index)):
        raise s.invalid("field type is not defaultable")
    s.push(s.defined(index).ref)
    return index


def _field(s: BodyState) -> tuple[int, int, FieldType]:
    index, number = s.u32(), s.u32()
    fields = s.struct_fields(index)
    if number >= len(fields):
        raise s.invalid(f"unknown field {number}")
    return index, number, fields[number]


def struct_get(s: BodyState, op: int) -> tuple[int, int]:
    """`struct.get` for unpacked fields, `struct.get_s` and `struct.get_u` for packed ones."""
    index, number, field = _field(s)
    packed = isinstance(field.storage, PackedType)
    if packed == (op == _STRUCT_GET):
        raise s.invalid(f"field is {'packed' if packed else 'unpacked'}")
    s.pop(s.defined(index).ref_null)
    s.push(unpacked(field.storage))
    return index, number


def struct_set(s: BodyState, op: int) -> tuple[int, int]:
    index, number, field = _field(s)
    if not field.mutable:
        raise s.invalid("immutable field")
    s.pops((s.defined(index).ref_null, unpacked(field.storage)))
    return index, number


# ------------------------------------------------------------------------------------------ arrays


def _mutable_array(s: BodyState, index: int) -> FieldType:
    field = s.array_field(index)
    if not field.mutable:
        raise s.invalid("immutable array")
    return field


def array_new(s: BodyState, op: int) -> int:
    index = s.u32()
    s.pops((unpacked(s.array_field(index).storage), I32))
    s.push(s.defined(index).ref)
    return index


def array_new_default(s: BodyState, op: int) -> int:
    index = s.u32()
    if not defaultable(s.array_field(index).storage):
        raise s.invalid("array type is not defaultable")
    s.pop(I32)
    s.push(s.defined(index).ref)
    return index


def array_new_fixed(s: BodyState, op: int) -> tuple[int, int]:
    """Type, number of elements."""
    index = s.u32()
    at = s.pos
    count = s.u32()
    limits.check_limit("elements of array.new_fixed", count, limits.MAX_ARRAY_NEW_FIXED, at)
    s.pops((unpacked(s.array_field(index).storage),) * count)
    s.push(s.defined(index).ref)
    return index, count


def _check_numeric(s: BodyState, field: FieldType) -> None:
    if isinstance(field.storage, RefType):
        raise s.invalid("array type is not numeric or vector")


def _check_segment(s: BodyState, segment: int, field: FieldType) -> None:
    type_ = s.element_type(segment)
    if isinstance(field.storage, PackedType) or not matches_val(type_, field.storage):
        raise s.invalid(f"type mismatch: element segment of {type_} for an array of {field}")


def array_new_data(s: BodyState, op: int) -> tuple[int, int]:
    """Type, segment."""
    index, segment = s.u32(), s.u32()
    _check_numeric(s, s.array_field(index))
    s.check_data(segment)
    s.pops((I32, I32))
    s.push(s.defined(index).ref)
    return index, segment


def array_new_elem(s: BodyState, op: int) -> tuple[int, int]:
    """Type, segment."""
    index, segment = s.u32(), s.u32()
    _check_segment(s, segment, s.array_field(index))
    s.pops((I32, I32))
    s.push(s.defined(index).ref)
    return index, segment


def array_get(s: BodyState, op: int) -> int:
    """`array.get` for unpacked elements, `array.get_s` and `array.get_u` for packed ones."""
    index = s.u32()
    field = s.array_field(index)
    packed = isinstance(field.storage, PackedType)
    if packed == (op == _ARRAY_GET):
        raise s.invalid(f"array is {'packed' if packed else 'unpacked'}")
    s.pops((s.defined(index).ref_null, I32))
    s.push(unpacked(field.storage))
    return index


def array_set(s: BodyState, op: int) -> int:
    index = s.u32()
    field = _mutable_array(s, index)
    s.pops((s.defined(index).ref_null, I32, unpacked(field.storage)))
    return index


def array_len(s: BodyState, op: int) -> None:
    s.pop(ARRAYREF)
    s.push(I32)


def array_fill(s: BodyState, op: int) -> int:
    index = s.u32()
    field = _mutable_array(s, index)
    s.pops((s.defined(index).ref_null, I32, unpacked(field.storage), I32))
    return index


def array_copy(s: BodyState, op: int) -> tuple[int, int]:
    """Target type, source type."""
    target, source = s.u32(), s.u32()
    to = _mutable_array(s, target)
    if not matches_storage(s.array_field(source).storage, to.storage):
        raise s.invalid("array types do not match")
    s.pops((s.defined(target).ref_null, I32, s.defined(source).ref_null, I32, I32))
    return target, source


def array_init_data(s: BodyState, op: int) -> tuple[int, int]:
    """Type, segment."""
    index, segment = s.u32(), s.u32()
    _check_numeric(s, _mutable_array(s, index))
    s.check_data(segment)
    s.pops((s.defined(index).ref_null, I32, I32, I32))
    return index, segment


def array_init_elem(s: BodyState, op: int) -> tuple[int, int]:
    """Type, segment."""
    index, segment = s.u32(), s.u32()
    _check_segment(s, segment, _mutable_array(s, index))
    s.pops((s.defined(index).ref_null, I32, I32, I32))
    return index, segment


RULES: Final[dict[str, Rule]] = {
    "ref.null": ref_null,
    "ref.is_null": ref_is_null,
    "ref.func": ref_func,
    "ref.as_non_null": ref_as_non_null,
    "ref.eq": ref_eq,
    "ref.test": ref_test,
    "ref.test_null": ref_test,
    "ref.cast": ref_cast,
    "ref.cast_null": ref_cast,
    "any.convert_extern": any_convert_extern,
    "extern.convert_any": extern_convert_any,
    "ref.i31": ref_i31,
    "i31.get_s": i31_get,
    "i31.get_u": i31_get,
    "struct.new": struct_new,
    "struct.new_default": struct_new_default,
    "struct.get": struct_get,
    "struct.get_s": struct_get,
    "struct.get_u": struct_get,
    "struct.set": struct_set,
    "array.new": array_new,
    "array.new_default": array_new_default,
    "array.new_fixed": array_new_fixed,
    "array.new_data": array_new_data,
    "array.new_elem": array_new_elem,
    "array.get": array_get,
    "array.get_s": array_get,
    "array.get_u": array_get,
    "array.set": array_set,
    "array.len": array_len,
    "array.fill": array_fill,
    "array.copy": array_copy,
    "array.init_data": array_init_data,
    "array.init_elem": array_init_elem,
}
