"""How a value type looks in a ValRaw."""

from __future__ import annotations

from typing import Final

from core_rt.types import F32, F64, I32, I64, V128, AbsHeap, RefType, ValType, top_of

__all__ = ["KINDS", "kind_of"]

KINDS: Final[dict[object, str]] = {I32: "i32", I64: "i64", F32: "f32", F64: "f64", V128: "v128"}


def kind_of(type_: ValType) -> str:
    """`i32 i64 f32 f64 v128 func ref`."""
    if isinstance(type_, RefType):
        return "func" if top_of(type_.heap) is AbsHeap.FUNC else "ref"
    return KINDS[type_]
