"""How wasm types look in LLVM: value types, function signatures, the calling convention.

Native convention: `R f(ptr vmctx, params...)`. No result is `void`, one is returned, several go to an array of ValRaw
slots whose address is the last parameter, `ptr %ret`. The values in those slots are written zero-extended to 8 bytes,
so the array can be one that the host reads.
"""

from __future__ import annotations

from typing import Final

from core_rt.record import record
from core_rt.types import F32, F64, I32, I64, V128, AbsHeap, DefType, FuncType, RefType, ValType

__all__ = ["ZERO", "Signature", "is_funcref", "is_gcref", "lltype", "signature"]

_NUMBERS: Final[dict[ValType, str]] = {I32: "i32", I64: "i64", F32: "float", F64: "double", V128: "<16 x i8>"}

_FLOATS: Final = frozenset(("float", "double", "<16 x i8>"))

ZERO: Final = {
    "i32": "0", "i64": "0", "float": "0.0", "double": "0.0", "<16 x i8>": "zeroinitializer", "ptr": "null",
}  # fmt: skip
"""LLVM type → its zero, which is also the default value of the wasm types that it stands for."""


def is_funcref(valtype: ValType) -> bool:
    """Whether values of the type are addresses of VMFuncRefs."""
    if not isinstance(valtype, RefType):
        return False
    heap = valtype.heap
    if isinstance(heap, DefType):
        return heap.kind == "func"
    return heap is AbsHeap.FUNC or heap is AbsHeap.NOFUNC


def is_gcref(valtype: ValType) -> bool:
    """Whether values of the type are compressed references into the store's heap."""
    return isinstance(valtype, RefType) and not is_funcref(valtype)


def lltype(valtype: ValType) -> str:
    """The LLVM type of values of a wasm type."""
    number = _NUMBERS.get(valtype)
    if number is not None:
        return number
    return "ptr" if is_funcref(valtype) else "i32"


@record
class Signature:
    """A function type in LLVM's terms."""

    params: tuple[str, ...]
    results: tuple[str, ...]
    result: str
    """What the function returns: "void" for none and for several."""
    arguments: str
    """printf-like template of the arguments after the context: ", i32 %s, i64 %s"."""
    multiple: bool
    """Several results: the caller passes `ptr %ret` last."""
    key: str
    """Equal for types that are called alike."""
    gc_results: tuple[bool, ...]
    """Which results are references into the heap."""

    tail_padding: str
    """What a `tailcc` entry takes, and is given, after all else: a value that nobody reads, or nothing ("")."""

    @property
    def on_stack(self) -> bool:
        """Whether x86-64's registers do not hold all arguments: six integers or pointers (context and `ret` are two), eight floats."""
        floats = sum(1 for t in self.params if t in _FLOATS)
        return floats > 8 or len(self.params) - floats + 1 + self.multiple > 6

    def declare(self, convention: str, name: str) -> str:
        """`tailcc i32 @name(ptr %0, i64 %1, ptr %ret)`"""
        params = "".join([f", {t} %{i}" for i, t in enumerate(self.params, 1)])
        ret = ", ptr %ret" if self.multiple else ""
        if convention and self.tail_padding:
            ret += ", <16 x i8> %pad"
        return f"{convention}{self.result} @{name}(ptr %0{params}{ret})"


_shapes: dict[tuple[tuple[str, ...], tuple[str, ...], tuple[bool, ...]], Signature] = {}


def signature(functype: FuncType) -> Signature:
    """The signature of a function type; cached for the process by its LLVM types."""
    params = tuple([lltype(t) for t in functype.params])
    results = tuple([lltype(t) for t in functype.results])
    gc_results = tuple([is_gcref(t) for t in functype.results])
    sig = _shapes.get((params, results, gc_results))
    if sig is None:
        multiple = len(results) > 1
        sig = Signature(
            params,
            results,
            results[0] if len(results) == 1 else "void",
            "".join([f", {t} %s" for t in params]),
            multiple,
            f"{' '.join(params)}|{' '.join(results)}",
            gc_results,
            _tail_padding(params, multiple),
        )
        _shapes[params, results, gc_results] = sig
    return sig


def _tail_padding(params: tuple[str, ...], multiple: bool) -> str:
    """LLVM 22 on x86-64 is at odds with itself about how much stack a `tailcc` callee pops when a vector is passed there and the size
    of all is not a multiple of 16: the caller rounds up, the callee does not. One more vector makes it a multiple."""
    integers, floats, size, vector = 1, 0, 0, False
    for type_ in (*params, "ptr") if multiple else params:
        if type_ in _FLOATS:
            floats += 1
            spilled = floats > 8
        else:
            integers += 1
            spilled = integers > 6
        if spilled:
            if type_[0] == "<":
                vector = True
                size = (size + 15 & -16) + 8
            size += 8
    return ", <16 x i8> poison" if vector and size % 16 else ""
