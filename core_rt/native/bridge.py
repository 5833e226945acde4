"""Signatures for the bridges of `bridge.c`: where each parameter and the result travel in the C convention.

Kinds are those of `core_rt.kinds.kind_of`: `i32 i64 f32 f64 v128 func ref`. The first integer register holds the context.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final

from core_rt.native.lib import CData, ffi, lib

__all__ = ["array_bridge", "host_bridge", "signature"]

array_bridge: Final[CData] = lib.vm_array_bridge_address()
"""`array_call` of a `VMFuncRef` whose `signature` is set."""
host_bridge: Final[CData] = lib.vm_host_bridge_address()
"""`native_call` of a `VMHostFuncContext` whose `signature` is set."""

_INTEGER_REGISTERS = 6 if platform.machine() in ("x86_64", "AMD64") else 8
_VECTOR_REGISTERS = 8
_IN_REGISTER = {"i32": 0, "ref": 0, "i64": 1, "func": 1, "f32": 2, "f64": 3, "v128": 4}
_STACK4, _STACK8, _STACK16 = 5, 6, 7
_ON_STACK = {
    "i32": _STACK4,
    "ref": _STACK4,
    "f32": _STACK4,
    "i64": _STACK8,
    "func": _STACK8,
    "f64": _STACK8,
    "v128": _STACK16,
}
_HEAD = ffi.sizeof("VMSignature")


def signature(params: Sequence[str], results: Sequence[str]) -> CData:
    """A `VMSignature *` with its moves, which the caller keeps."""
    integers, vectors, stack = 1, 0, 0
    moves = []
    multiple = len(results) > 1
    for kind in (*params, *(["func"] if multiple else [])):
        if _IN_REGISTER[kind] <= 1 and integers < _INTEGER_REGISTERS:
            moves.append(_IN_REGISTER[kind] | integers << 8)
            integers += 1
        elif _IN_REGISTER[kind] > 1 and vectors < _VECTOR_REGISTERS:
            moves.append(_IN_REGISTER[kind] | vectors << 8)
            vectors += 1
        else:
            how = _ON_STACK[kind]
            if how == _STACK16:
                stack = (stack + 15) & -16
            moves.append(how | stack << 8)
            stack += 16 if how == _STACK16 else 8
    moves += [_IN_REGISTER[kind] for kind in results]
    block = ffi.new("uint32_t[]", _HEAD // 4 + len(moves))
    head = ffi.cast("VMSignature *", block)
    head.params = len(params)
    head.results = len(results)
    head.stack_bytes = (stack + 15) & -16
    head.multiple = multiple
    block[_HEAD // 4 : _HEAD // 4 + len(moves)] = moves
    return block
