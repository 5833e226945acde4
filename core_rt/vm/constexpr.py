"""Evaluation of constant expressions (spec: "Constant Expressions") to raw 64- or 128-bit values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core_rt.errors import EngineBug
from core_rt.types import AbsHeap, top_of

if TYPE_CHECKING:
    from core_rt.binary.model import ConstExpr
    from core_rt.instance import Instance

_M32 = (1 << 32) - 1
_M64 = (1 << 64) - 1

_BINARY = {
    0x6A: lambda a, b: (a + b) & _M32,
    0x6B: lambda a, b: (a - b) & _M32,
    0x6C: lambda a, b: (a * b) & _M32,
    0x7C: lambda a, b: (a + b) & _M64,
    0x7D: lambda a, b: (a - b) & _M64,
    0x7E: lambda a, b: (a * b) & _M64,
}
_CONST_MASK = {0x41: _M32, 0x42: _M64, 0x43: _M32, 0x44: _M64, 0xFD00C: (1 << 128) - 1}
_END = 0x0B
_GLOBAL_GET = 0x23
_REF_NULL = 0xD0
_REF_FUNC = 0xD2


def constant_offset(expr: ConstExpr | None) -> int | None:
    """The value of an expression that is a single integer constant, unsigned; None for any other."""
    if expr is not None and len(expr) in (1, 2) and expr[0][0] in (0x41, 0x42):
        return int(expr[0][1]) & _CONST_MASK[expr[0][0]]
    return None


def constant_value(expr: ConstExpr) -> int | None:
    """The raw value of an expression that is the same in every instance; None for others."""
    if all(op in _CONST_MASK or op in _BINARY or op in (_REF_NULL, _END) for op, _, _ in expr):
        return evaluate(None, expr)  # type: ignore[arg-type]
    return None


def sum_with_global(expr: ConstExpr) -> tuple[int, int, int] | None:
    """(global, addend, mask) of an expression that is an integer global, maybe with a constant added; None for others.

    Of a lone global the mask is of 64 bits, whatever its type.
    """
    codes = [op for op, _, _ in expr if op != _END]
    if codes == [_GLOBAL_GET]:
        return expr[0][1], 0, _M64
    if codes in ([_GLOBAL_GET, 0x41, 0x6A], [_GLOBAL_GET, 0x42, 0x7C]):
        return expr[0][1], int(expr[1][1]), _CONST_MASK[codes[1]]
    return None


def evaluate(instance: Instance, expr: ConstExpr) -> int:
    """The raw value: numbers as unsigned bit patterns, funcrefs as pointers, other references compressed."""
    stack: list[int] = []
    for op, imm, _ in expr:
        mask = _CONST_MASK.get(op)
        if mask is not None:
            stack.append(imm & mask)
        elif op in _BINARY:
            right = stack.pop()
            stack.append(_BINARY[op](stack.pop(), right))
        elif op == _GLOBAL_GET:
            stack.append(instance.global_raw(imm))
        elif op == _REF_NULL:
            stack.append(0)
        elif op == _REF_FUNC:
            stack.append(instance.funcref(imm))
        elif op != _END:
            stack.append(instance.constant_reference(op, imm, stack))
    if len(stack) != 1:
        raise EngineBug(f"constant expression left {len(stack)} values")
    return stack[0]


def is_funcref(heap: object) -> bool:
    """Whether references to that heap type are pointers to a `VMFuncRef` (all others are compressed)."""
    return top_of(heap) is AbsHeap.FUNC  # type: ignore[arg-type]
