"""Built-ins of error contexts (CanonicalABI.md). The message is kept as it is: the host transforms nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from component_rt.abi.context import LiftLowerContext
from component_rt.canon.builtins import register
from component_rt.handles import trap, trap_if
from core_rt.errors import WasmError

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin

__all__ = ["ErrorContext", "ErrorContextError"]


@attrs.frozen(eq=False)
class ErrorContext:
    """An entry of a handle table. The same one may be in many tables."""

    message: str


@attrs.define(eq=False, init=False, repr=False, slots=False)
class ErrorContextError(WasmError):
    """An error context that a guest gave to the host."""

    debug_message: str

    def __init__(self, debug_message: str) -> None:
        super().__init__(debug_message)
        self.debug_message = debug_message


def _find(instance: ComponentInstance, index: int) -> ErrorContext:
    found = instance.handles.get(index)
    if type(found) is not ErrorContext:
        raise trap(f"handle index {index} used with the wrong type, expected error-context")
    return found


@register("error-context.new")
def _new(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, core = instance.flags, instance.store.core
    load = LiftLowerContext.of(instance, options, instance, False).load_string
    words, at = (core.u64, 2) if options.pointer == 8 else (core.u32, 4)

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        message = load(options.memory.data, words[0], words[at])
        core.u32[0] = instance.handles.add(ErrorContext(message))

    return handler


@register("error-context.debug-message")
def _debug_message(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, core = instance.flags, instance.store.core
    store_string = LiftLowerContext.of(instance, options, instance, False).store_string
    words, at = (core.u64, 2) if options.pointer == 8 else (core.u32, 4)
    size = options.pointer

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        address = words[at]
        found = _find(instance, core.u32[0])
        begin, units = store_string(found.message)
        trap_if(address & (size - 1), "pointer not aligned")
        trap_if(address + 2 * size > options.memory.length, "pointer out of bounds of memory")
        options.memory.data[address : address + 2 * size] = begin.to_bytes(size, "little") + units.to_bytes(
            size, "little"
        )

    return handler


@register("error-context.drop")
def _drop(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, u32 = instance.flags, instance.store.core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        _find(instance, u32[0])
        instance.handles.remove(u32[0])

    return handler
