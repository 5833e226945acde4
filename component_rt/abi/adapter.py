"""Calls from one guest to another as machine code: lifting and lowering fused, memory to memory, no Python.

An *adapter* has the caller's core signature. It walks the component type once while code is emitted: each scalar goes from
a source (the caller's flat values, or memory) to a sink (the callee's flat values, or memory), checked on the way; lists and
strings are allocated in the target with its `realloc` and copied. The result goes back in the same way.

```
block (one for each lowered function; `%0` of the entry stub and of the adapter)
  magic, store | callee, data (what the stub jumps to) | VMFuncRef of the stub | AdapterData | entered flags ...
```

The stub jumps to `callee(data, ...)`. That is at first a host function which makes the call through Python and has the adapter
compiled when it sees that the function is used; then `callee` is the adapter. So instantiation compiles nothing.

Adapters exist for types without resources and asynchronous values, for 32-bit memories, and for UTF-8 and UTF-16 strings
that keep their encoding (`adaptable.py`); whatever else goes through Python.

What is wrong is reported by calling a host function with a number that `REASONS` translates; it does not return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from component_rt import types as t
from component_rt.abi.adaptable import has_strings
from component_rt.abi.adapter_block import CANNOT_ENTER, CANNOT_LEAVE, VMAdapter
from component_rt.abi.layout import layout
from component_rt.abi.translate import (
    BACK,
    LLVM_OF,
    THERE,
    Code,
    FlatSink,
    FlatSource,
    Memory,
    allocate,
    check_range,
    move_fields,
    native_address,
    set_flag,
    translate,
)
from component_rt.abi.utf_checks import CHECK_UTF8, CHECK_UTF16
from component_rt.vmcontext import MAY_ENTER, MAY_LEAVE
from core_rt.compile.unit import ATTRIBUTES
from core_rt.vm.structs import GC_FRAME_STOPS, VMGcFrame, VMStoreContext

if TYPE_CHECKING:
    from component_rt.abi.adapter_code import AdapterSignature
    from component_rt.abi.flat import Flattened

__all__ = ["adapter_text"]


def _enter(c: Code, signature: AdapterSignature) -> None:
    """Check and clear the flags that stand in the way of the call."""
    leave = c.let(f"load i32, ptr {c.at(c.field('caller_flags'), 4 * MAY_LEAVE)}")
    c.fail_if(c.let(f"icmp eq i32 {leave}, 0"), CANNOT_LEAVE)
    for check in (True, False):
        for index in range(signature.entered):
            flags = c.let(f"load ptr, ptr {c.at('%0', VMAdapter.size + 8 * index)}")
            place = c.at(flags, 4 * MAY_ENTER)
            if check:
                c.fail_if(c.let(f"icmp eq i32 {c.let(f'load i32, ptr {place}')}, 0"), CANNOT_ENTER)
            else:
                c.out(f"store i32 0, ptr {place}")


def _leave(c: Code, signature: AdapterSignature) -> None:
    for index in range(signature.entered):
        flags = c.let(f"load ptr, ptr {c.at('%0', VMAdapter.size + 8 * index)}")
        c.out(f"store i32 1, ptr {c.at(flags, 4 * MAY_ENTER)}")


def _guard(c: Code) -> tuple[str, str]:
    """Link a frame that exceptions do not pass; the place of the link and what was there."""
    frame = c.alloca(f"[{VMGcFrame.size} x i8], align 16")
    head = c.at(c.field("store"), VMStoreContext["gc_frame"])
    previous = c.let(f"load ptr, ptr {head}")
    c.out(f"store ptr {previous}, ptr {c.at(frame, VMGcFrame['previous'])}")
    c.out(f"store i64 {GC_FRAME_STOPS}, ptr {c.at(frame, VMGcFrame['count'])}")
    c.out(f"store ptr {frame}, ptr {head}")
    return head, previous


def _arguments(c: Code, signature: AdapterSignature, caller: Flattened, callee: Flattened) -> list[str]:
    """Translate the parameters; the core arguments for the callee."""
    types = [of for _, of in signature.type.params]
    if caller.spilled_params:
        size, align = layout(t.TupleType(types), 4)
        address = c.let("zext i32 %1 to i64")
        check_range(c, THERE.source, address, str(size), align, "pointer out of bounds of memory")
        source = Memory(native_address(c, THERE.source, address))
        target = allocate(c, THERE, str(size), align, "pointer out of bounds of memory")
        move_fields(c, types, source, Memory(native_address(c, THERE.target, target)), THERE)
        return [f"i32 {c.let(f'trunc i64 {target} to i32')}"]
    slots = [(f"%{i}", LLVM_OF[core]) for i, core in enumerate(caller.params, 1)]
    places = [(c.alloca(LLVM_OF[core]), LLVM_OF[core]) for core in callee.params]
    for place, type_ in places:
        c.out(f"store {type_} {'0.0' if type_ in ('float', 'double') else '0'}, ptr {place}")
    move_fields(c, types, FlatSource(slots), FlatSink(places), THERE)
    return [f"{type_} {c.let(f'load {type_}, ptr {place}')}" for place, type_ in places]


def _results(c: Code, signature: AdapterSignature, caller: Flattened, callee: Flattened, raw: str | None) -> str:
    """Translate the result `raw` of the callee; the `ret` instruction."""
    of = signature.type.result
    if of is None or raw is None:
        return "ret void"
    if callee.spilled_result:
        size, align = layout(of, 4)
        address = c.let(f"zext i32 {raw} to i64")
        check_range(c, BACK.source, address, str(size), align, "pointer out of bounds of memory")
        back = c.let(f"zext i32 %{len(caller.params)} to i64")
        check_range(c, BACK.target, back, str(size), align, "pointer out of bounds of memory")
        translate(
            c, of, Memory(native_address(c, BACK.source, address)), Memory(native_address(c, BACK.target, back)), BACK
        )
        return "ret void"
    [core] = callee.results
    place = (c.alloca(LLVM_OF[core]), LLVM_OF[core])
    translate(c, of, FlatSource([(raw, LLVM_OF[core])]), FlatSink([place]), BACK)
    return f"ret {place[1]} {c.let(f'load {place[1]}, ptr {place[0]}')}"


def adapter_text(signature: AdapterSignature) -> str:
    """The LLVM text of an adapter, named `adapter`."""
    caller, callee = signature.flattened
    c = Code(signature.encoding)
    _enter(c, signature)
    guard = _guard(c) if signature.guarded else None
    arguments = _arguments(c, signature, caller, callee)
    call, data = c.field("target_call"), c.field("target_data")
    result = LLVM_OF[callee.results[0]] if callee.results else "void"
    text = f"call {result} {call}({', '.join([f'ptr {data}', *arguments])})"
    raw = None
    if callee.results:
        raw = c.let(text)
    else:
        c.out(text)
    ret = _results(c, signature, caller, callee, raw)
    if signature.post_return:
        post, post_data = c.field("post_call"), c.field("post_data")
        set_flag(c, "callee_flags", MAY_LEAVE, 0)
        c.out(f"call void {post}({', '.join([f'ptr {post_data}', *([f'{result} {raw}'] if raw else [])])})")
        set_flag(c, "callee_flags", MAY_LEAVE, 1)
    if guard:
        c.out(f"store ptr {guard[1]}, ptr {guard[0]}")
    _leave(c, signature)
    params = "".join(f", {LLVM_OF[core]} %{i}" for i, core in enumerate(caller.params, 1))
    returned = LLVM_OF[caller.results[0]] if caller.results else "void"
    head = f"define hidden {returned} @adapter(ptr %0{params}) #0 {{"
    strings = "" if not has_strings(signature.type) else CHECK_UTF8 if signature.encoding == "utf8" else CHECK_UTF16
    return "\n".join([head, "entry:", *c.entry, *c.lines, ret, "}", strings, ATTRIBUTES, ""])
