"""Lowered functions that call another guest directly: the block, the stub in front, and the change to machine code.

The first calls go through Python. What is called more often has an adapter compiled (`abi/adapter.py`) and put in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from component_rt.abi.adaptable import is_adaptable
from component_rt.abi.adapter_block import CANNOT_ENTER, CANNOT_LEAVE, REASONS, VMAdapter
from component_rt.abi.adapter_code import AdapterSignature
from component_rt.handles import trap
from core_rt import native
from core_rt.func import func_at, host_func
from core_rt.native import ffi
from core_rt.types import I32, DefType, FuncType
from core_rt.vm.structs import HOST_MAGIC, VMFuncRef

if TYPE_CHECKING:
    from component_rt.canon.lift import LiftedFunc
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from core_rt.func import Func

__all__ = ["adapted", "can_adapt"]

CALLS_BEFORE_COMPILING = 1000
"""An adapter takes 3 to 10 ms to compile, and LLVM 30 more to load; calls through Python take some µs."""
_RAISE = FuncType((I32,), ())
_FUNCREF = VMFuncRef.offsets


def can_adapt(caller: ComponentInstance, callee: LiftedFunc, options: RuntimeOptions) -> bool:
    """Whether machine code can make the call: no tasks that need keeping, one tree, 32-bit memories, simple types."""
    target = callee.instance
    return (
        caller.root is target.root
        and not caller.uses_tasks
        and options.pointer == callee.options.pointer == 4
        and is_adaptable(callee.type, (options.encoding, callee.options.encoding))
    )


def _entry(func: Func | None) -> tuple[int, int]:
    """Code and context of a core function."""
    if func is None:
        return 0, 0
    ref = ffi.cast("VMFuncRef *", func.address)
    return native.address(ref.native_call), native.address(ref.vmctx)


def adapted(
    caller: ComponentInstance,
    callee: LiftedFunc,
    options: RuntimeOptions,
    core_type: FuncType,
    make_slow: Callable[[], Callable[[], object]],
) -> Func:
    """The core function: a stub over a block that begins by calling Python (`make_slow()` gives the handler)."""
    core = caller.store.core
    deftype = DefType.of(core_type)
    entered = callee.instance.entering_set(caller)
    block = native.new_block(VMAdapter.size + 8 * len(entered))
    base = native.address(block)

    def put(field: str, value: int) -> None:
        ffi.cast("uint64_t *", base + VMAdapter[field])[0] = value

    slow: Callable[[], object] | None = None
    calls = 0

    def through_python() -> object:
        nonlocal slow, calls
        if slow is None:
            slow = make_slow()
        calls += 1
        if calls == CALLS_BEFORE_COMPILING:
            switch()
        return slow()

    def switch() -> None:
        """From now on the stub calls machine code."""
        signature = AdapterSignature(
            type=callee.type,
            encoding=options.encoding,
            post_return=callee.options.has_post_return,
            entered=len(entered),
            guarded=caller.uses_tags,
        )
        _fill(put, caller, callee, options)
        for index, instance in enumerate(entered):
            ffi.cast("uint64_t *", base + VMAdapter.size)[index] = native.address(instance.flags)
        put("data", base)
        put("callee", callee.code.cache.adapters.adapter(core.engine, signature))

    host = host_func(core, deftype, through_python, None)
    ffi.memmove(
        ffi.cast("char *", base + VMAdapter["ref_native_call"]), ffi.cast("char *", host.address), VMFuncRef.size
    )
    call, data = _entry(host)
    ffi.cast("uint32_t *", base)[0] = HOST_MAGIC
    put("store", native.address(core.context))
    put("callee", call)
    put("data", data)
    put("ref_native_call", callee.code.cache.adapters.stub)
    put("ref_vmctx", base)
    put("ref_array_call", 0)
    ffi.cast("uint32_t *", base + VMAdapter["ref_handle"])[0] = 0
    core.keep((block, host, callee.code.cache.adapters))
    if not CALLS_BEFORE_COMPILING:
        switch()
    return func_at(core, base + VMAdapter["ref_native_call"], deftype, None, (block, host))


def _fill(
    put: Callable[[str, int], None], caller: ComponentInstance, callee: LiftedFunc, options: RuntimeOptions
) -> None:
    """Everything that the adapter reads from its block."""
    core = caller.store.core
    target = callee.instance

    def refuse() -> None:
        reason = core.u32[0]
        if reason == CANNOT_LEAVE:
            caller.cannot_leave()
        if reason == CANNOT_ENTER:
            target.refuse()
        raise trap(REASONS[reason])

    raiser = host_func(core, DefType.of(_RAISE), refuse, None)
    put("caller_flags", native.address(caller.flags))
    put("callee_flags", native.address(target.flags))
    for name, func in (
        ("target", callee.func),
        ("realloc", callee.options.realloc),
        ("back", options.realloc),
        ("post", callee.options.post_return),
        ("raise", raiser),
    ):
        call, data = _entry(func)
        put(f"{name}_call", call)
        put(f"{name}_data", data)
    put("builtins", native.address(core.context.builtins))
    for name, memory in (("from_memory", options.memory), ("to_memory", callee.options.memory)):
        put(name, 0 if memory is None else native.address(memory.definition))
