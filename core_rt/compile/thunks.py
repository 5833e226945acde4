"""Trampolines between the host's arrays of values and the native convention, one per LLVM signature.

An *array trampoline* is how the host calls: `void (VMFuncRef *, ValRaw *)` loads the arguments from the array, calls the
function in the native convention and stores the results in the array from slot 0.

A *host trampoline* is what a guest calls for a host function: its context is a `VMHostFuncContext`; it stores the arguments
in the store's values buffer, leaves for the host through `host_call`, and loads the results from the same buffer.
"""

from __future__ import annotations

from collections.abc import Callable

from core_rt.compile.emitter import read_slot, write_slot
from core_rt.compile.signature import Signature
from core_rt.compile.unit import ATTRIBUTES
from core_rt.vm import structs as s

__all__ = ["array_trampoline", "host_trampoline"]

_FUNCREF = s.VMFuncRef.offsets
_HOST = s.VMHostFuncContext.offsets


class _Lines:
    """Lines with named values."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def let(self, text: str) -> str:
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"{name} = {text}")
        return name

    def load(self, base: str, offset: int) -> str:
        return self.let(f"load ptr, ptr {self.let(f'getelementptr i8, ptr {base}, i64 {offset}')}")


def array_trampoline(sig: Signature, name: str = "array") -> str:
    """The LLVM text of an array trampoline."""
    t = _Lines()
    arguments = [f"{type_} {read_slot(t.let, type_, '%values', i)}" for i, type_ in enumerate(sig.params)]
    callee = t.load("%funcref", _FUNCREF["native_call"])
    arguments.insert(0, f"ptr {t.load('%funcref', _FUNCREF['vmctx'])}")
    if sig.multiple:  # slots as the callee writes them are slots as the host reads them
        arguments.append("ptr %values")
    called = f"call {sig.result} {callee}({', '.join(arguments)})"
    if sig.result == "void":
        t.lines.append(called)
    else:
        write_slot(t.let, t.lines.append, sig.result, t.let(called), "%values", 0)
    return "\n".join(
        [f"define hidden void @{name}(ptr %funcref, ptr %values) #0 {{", *t.lines, "ret void", "}", ATTRIBUTES, ""]
    )


def host_trampoline(sig: Signature, name: str = "host") -> str:
    """The LLVM text of a host trampoline."""
    t = _Lines()
    out: Callable[[str], None] = t.lines.append
    store = t.load("%0", _HOST["store"])
    values = t.load(store, s.VMStoreContext["values"])
    for i, type_ in enumerate(sig.params):
        write_slot(t.let, out, type_, f"%{i + 1}", values, i)
    leave = t.load("%0", _HOST["host_call"])
    out(f"call void {leave}(ptr %0, ptr {values})")
    if sig.multiple:
        for i, type_ in enumerate(sig.results):
            write_slot(t.let, out, type_, read_slot(t.let, type_, values, i), "%ret", i)
        out("ret void")
    elif sig.results:
        out(f"ret {sig.result} {read_slot(t.let, sig.result, values, 0)}")
    else:
        out("ret void")
    return "\n".join([f"define hidden {sig.declare('', name)} #0 {{", "entry:", *t.lines, "}", ATTRIBUTES, ""])
