"""Constant expressions: initial values of globals, tables and segments (spec: "Validation", "Constant Expressions").

First the instructions are read, refusing what is not constant, then they are typed: an expression that breaks both
rules is told the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from core_rt.binary import limits
from core_rt.binary.model import ConstExpr, DecodedModule
from core_rt.binary.reader import Reader
from core_rt.binary.typeread import TypeReader, feature_error
from core_rt.errors import DecodeError, ValidationError
from core_rt.opcodes import BY_CODE, BY_NAME, PREFIXES
from core_rt.types import (
    F32,
    F64,
    I32,
    I64,
    V128,
    AbsHeap,
    ArrayType,
    DefType,
    FieldType,
    RefType,
    StructType,
    ValType,
    defaultable,
    matches_val,
    unpacked,
)

__all__ = ["read_const"]

_END: Final = 0x0B
_LETTER: Final[dict[str, ValType]] = {"i": I32, "I": I64, "f": F32, "F": F64, "v": V128}


def _typecount(reader: Reader, types: TypeReader) -> tuple[int, int]:
    index, offset = reader.u32(), reader.pos
    count = reader.u32()
    limits.check_limit("elements of array.new_fixed", count, limits.MAX_ARRAY_NEW_FIXED, offset)
    return index, count


def _nothing(reader: Reader, types: TypeReader) -> None:
    return None


def _index(reader: Reader, types: TypeReader) -> int:
    return reader.u32()


# Immediate kind → how to read it.
_IMMEDIATES: Final[dict[str, Callable[[Reader, TypeReader], Any]]] = {
    "none": _nothing,
    "i32": lambda reader, types: reader.s32(),
    "i64": lambda reader, types: reader.s64(),
    "f32": lambda reader, types: int.from_bytes(reader.take(4), "little"),
    "f64": lambda reader, types: int.from_bytes(reader.take(8), "little"),
    "v128": lambda reader, types: int.from_bytes(reader.take(16), "little"),
    "global": _index,
    "func": _index,
    "type": _index,
    "heap": lambda reader, types: types.heap(),
    "typecount": _typecount,
}

_CONSTANT: Final = frozenset(
    BY_NAME[name].code
    for name in (
        "i32.const i64.const f32.const f64.const v128.const global.get ref.null ref.func ref.i31 "
        "i32.add i32.sub i32.mul i64.add i64.sub i64.mul struct.new struct.new_default "
        "array.new array.new_default array.new_fixed any.convert_extern extern.convert_any"
    ).split()
)
_EXTENDED: Final = frozenset(BY_NAME[f"{t}.{op}"].code for t in ("i32", "i64") for op in ("add", "sub", "mul"))


def read_opcode(reader: Reader) -> int:
    """The next opcode, combined with its prefix. Raises `DecodeError` for one that does not exist."""
    offset = reader.pos
    op = reader.byte()
    if op in PREFIXES:
        sub = reader.u32()
        if sub > 0xFFF or (op << 12 | sub) not in BY_CODE:
            raise DecodeError(f"illegal opcode {op:02x} {sub:02x}", offset)
        return op << 12 | sub
    if op not in BY_CODE:
        raise DecodeError(f"illegal opcode {op:02x}", offset)
    return op


def read_const(module: DecodedModule, types: TypeReader, want: ValType) -> ConstExpr:
    """Read an expression and its `end`; check that it is constant and yields one value of type `want`."""
    reader = types.reader
    start = reader.pos
    code: ConstExpr = []
    while True:
        offset = reader.pos
        op = read_opcode(reader)
        if op == _END:
            break
        if op not in _CONSTANT:
            if op == 0x05:
                raise DecodeError("END opcode expected", offset)
            raise ValidationError(f"constant expression required: {BY_CODE[op].mnemonic} is not constant", offset)
        row = BY_CODE[op]
        if op in _EXTENDED and not module.features.extended_const:
            raise feature_error("constant expression required", row.mnemonic, "extended_const", offset)
        if row.proposal is not None and not getattr(module.features, row.proposal):
            raise feature_error("illegal opcode", row.mnemonic, row.proposal, offset)
        imm = _IMMEDIATES[row.immediate](reader, types)
        if op == 0x23:
            _check_global(module, imm, offset)
        code.append((op, imm, offset))
    stack = _Typing(module)
    for instr in code:
        stack.apply(*instr)
    if len(stack.types) != 1 or not matches_val(stack.types[0], want):
        raise ValidationError(f"type mismatch: constant expression has {stack.types} instead of [{want}]", start)
    return code


def _check_global(module: DecodedModule, index: int, offset: int) -> None:
    if index >= len(module.globals):
        raise ValidationError(f"unknown global {index}", offset)
    if module.globals[index].mutable:
        raise ValidationError(f"constant expression required: global {index} is mutable", offset)
    if index >= module.num_imported_globals and not module.features.gc:
        raise feature_error(f"unknown global {index}", "a module's own global in a constant expression", "gc", offset)


class _Typing:
    """The operand stack of one expression."""

    __slots__ = ("module", "offset", "types")

    def __init__(self, module: DecodedModule) -> None:
        self.module = module
        self.types: list[ValType] = []
        self.offset = 0

    def pop(self, want: ValType) -> ValType:
        if not self.types:
            raise ValidationError(f"type mismatch: {want} expected, but nothing on the stack", self.offset)
        found = self.types.pop()
        if not matches_val(found, want):
            raise ValidationError(f"type mismatch: {want} expected, {found} found", self.offset)
        return found

    def apply(self, op: int, imm: Any, offset: int) -> None:
        self.offset = offset
        row = BY_CODE[op]
        if row.params is not None and row.results is not None:
            for letter in reversed(row.params):
                self.pop(_LETTER[letter])
            self.types.extend(_LETTER[letter] for letter in row.results)
        else:
            _RULES[row.mnemonic](self, imm)

    def global_get(self, index: int) -> None:
        self.types.append(self.module.globals[index].content)

    def ref_null(self, heap: AbsHeap | DefType) -> None:
        self.types.append(RefType(True, heap))

    def ref_func(self, index: int) -> None:
        if index >= len(self.module.funcs):
            raise ValidationError(f"unknown function {index}", self.offset)
        self.module.func_refs.add(index)
        self.types.append(self.module.funcs[index].ref)

    def ref_i31(self, _: None) -> None:
        self.pop(I32)
        self.types.append(RefType(False, AbsHeap.I31))

    def _defined(self, index: int) -> DefType:
        if index >= len(self.module.types):
            raise ValidationError(f"unknown type {index}", self.offset)
        return self.module.types[index]

    def _struct(self, index: int) -> tuple[FieldType, ...]:
        composite = self._defined(index).composite
        if not isinstance(composite, StructType):
            raise ValidationError(f"non-structure type {index}", self.offset)
        return composite.fields

    def _array(self, index: int) -> FieldType:
        composite = self._defined(index).composite
        if not isinstance(composite, ArrayType):
            raise ValidationError(f"non-array type {index}", self.offset)
        return composite.field

    def _made(self, index: int) -> None:
        self.types.append(self.module.types[index].ref)

    def struct_new(self, index: int) -> None:
        for field in reversed(self._struct(index)):
            self.pop(unpacked(field.storage))
        self._made(index)

    def struct_new_default(self, index: int) -> None:
        if not all(defaultable(field.storage) for field in self._struct(index)):
            raise ValidationError("field type is not defaultable", self.offset)
        self._made(index)

    def array_new(self, index: int) -> None:
        field = self._array(index)
        self.pop(I32)
        self.pop(unpacked(field.storage))
        self._made(index)

    def array_new_default(self, index: int) -> None:
        if not defaultable(self._array(index).storage):
            raise ValidationError("array type is not defaultable", self.offset)
        self.pop(I32)
        self._made(index)

    def array_new_fixed(self, imm: tuple[int, int]) -> None:
        index, count = imm
        want = unpacked(self._array(index).storage)
        for _ in range(count):
            self.pop(want)
        self._made(index)

    def _convert(self, source: AbsHeap, target: AbsHeap) -> None:
        found = self.pop(RefType(True, source))
        assert isinstance(found, RefType)
        self.types.append(RefType(found.nullable, target))

    def any_convert_extern(self, _: None) -> None:
        self._convert(AbsHeap.EXTERN, AbsHeap.ANY)

    def extern_convert_any(self, _: None) -> None:
        self._convert(AbsHeap.ANY, AbsHeap.EXTERN)


_RULES: Final[dict[str, Callable[[_Typing, Any], None]]] = {
    "global.get": _Typing.global_get,
    "ref.null": _Typing.ref_null,
    "ref.func": _Typing.ref_func,
    "ref.i31": _Typing.ref_i31,
    "struct.new": _Typing.struct_new,
    "struct.new_default": _Typing.struct_new_default,
    "array.new": _Typing.array_new,
    "array.new_default": _Typing.array_new_default,
    "array.new_fixed": _Typing.array_new_fixed,
    "any.convert_extern": _Typing.any_convert_extern,
    "extern.convert_any": _Typing.extern_convert_any,
}
