"""Guest exceptions, the host's half: see `core_rt/compile/exception.py` for how they travel.

An exception is an `ExceptionObject` among the store's references; an `exnref` is the compressed reference to it. Tags are told apart
by the addresses of their definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from core_rt.errors import GuestException
from core_rt.native import address, ffi
from core_rt.types import V128, RefType, TagType, ValType
from core_rt.values import from_raw
from core_rt.vm import structs
from core_rt.vm.backtrace import Backtrace
from core_rt.vm.constexpr import is_funcref

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["ExceptionObject", "throw", "throw_ref"]

_COUNT_CATCHES = structs.GC_FRAME_CATCHES
_CURRENT = -8
"""Where an exception frame's pointer to its handler is, from the frame."""
_M64 = (1 << 64) - 1


@attrs.define(eq=False)
class ExceptionObject:
    """A guest exception: its tag (the address of a VMTagDefinition), payload as raw words, and where it was thrown."""

    tag: int
    type: TagType
    values: list[int]
    frames: Backtrace

    @property
    def references(self) -> list[int]:
        """Payload words that are references into the store's heap."""
        return [raw for t, raw in zip(self.type.type.func.params, self.values) if _is_reference(t)]


def _is_reference(type_: ValType) -> bool:
    return isinstance(type_, RefType) and not is_funcref(type_.heap)


def throw(store: Store, fiber: Any) -> int:
    """Builtin `throw`: (tag index, ValRaw*) -> the handler that takes the exception. Raises `GuestException` if there is none."""
    tag = store.instance_of(fiber.vmctx).tags[fiber.arguments[0]]
    words = ffi.cast("uint64_t *", fiber.arguments[1])
    count = len(tag.type.type.func.params)
    raws = words[0 : 2 * count]
    params = tag.type.type.func.params
    values = [raws[2 * i] | raws[2 * i + 1] << 64 if t is V128 else raws[2 * i] for i, t in enumerate(params)]
    exception = ExceptionObject(address(tag.definition), tag.type, values, Backtrace.of_fiber(store, fiber))
    return _deliver(store, fiber, exception, store.refs.hold(exception))


def throw_ref(store: Store, fiber: Any) -> int:
    """Builtin `throw_ref`: (exnref) -> the handler, as `throw`."""
    reference = fiber.arguments[0]
    return _deliver(store, fiber, store.refs.held(reference), reference)


def _deliver(store: Store, fiber: Any, exception: ExceptionObject, reference: int) -> int:
    frame = fiber.gc_frame
    while frame:
        head = ffi.cast("VMGcFrame *", frame)
        if head.count & _COUNT_CATCHES:
            current = ffi.cast("VMHandler **", address(frame) + _CURRENT)[0]
            if current:
                current.tag = ffi.cast("void *", exception.tag)
                current.exception = reference
                words = store.u64
                for i, raw in enumerate(exception.values):
                    words[2 * i] = raw & _M64
                    words[2 * i + 1] = raw >> 64
                return address(current)
        frame = head.previous
    raise uncaught(store, exception)


def uncaught(store: Store, exception: ExceptionObject) -> GuestException:
    """The error for the host when no guest frame catches."""
    definition = ffi.cast("VMTagDefinition *", exception.tag)
    tag = store.tags[definition.handle - 1]
    values = [from_raw(store, t, raw) for t, raw in zip(exception.type.type.func.params, exception.values)]
    return GuestException(tag, values, exception.frames())
