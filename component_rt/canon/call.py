"""A call from the host of one lifted function: the site for the C call, and what happens when it does not simply answer."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from component_rt.abi.blocks import HEAD
from component_rt.abi.context import HOST_WORDS
from component_rt.abi.errors import explain
from component_rt.abi.mismatch import Mismatch
from component_rt.handles import trapped
from core_rt import native
from core_rt.errors import StoreError, Trap, TrapCode
from core_rt.native import ffi
from core_rt.vm import structs

if TYPE_CHECKING:
    from component_rt.abi.call import Entry
    from component_rt.canon.lift import LiftedFunc
    from component_rt.handles import CallScope

__all__ = ["GuestCall", "HostCall"]

_WRONG = {
    structs.OUTCOME_REALLOC_UNALIGNED: HOST_WORDS.realloc_unaligned,
    structs.OUTCOME_REALLOC_BOUNDS: HOST_WORDS.realloc_out_of_bounds,
    structs.OUTCOME_UNALIGNED: HOST_WORDS.unaligned,
    structs.OUTCOME_BOUNDS: "pointer out of bounds of memory",
    structs.OUTCOME_TEXT_BOUNDS: HOST_WORDS.string_out_of_bounds,
    structs.OUTCOME_TEXT_LONG: "string is too long",
}


class HostCall:
    """How a call from the host fails."""

    __slots__ = ("_instance", "_label", "_type", "flags", "refuse")

    def __init__(self, lifted: LiftedFunc, label: str) -> None:
        instance = lifted.instance
        self._instance = instance
        self._label = label
        self._type = lifted.type
        self.flags = [member.flags for member in instance.chain]
        self.refuse = instance.refuse

    def failed(self, error: BaseException, started: bool, scope: CallScope | None, args: tuple[Any, ...]) -> None:
        """`error` ends the call: undo what lowering did, or poison the instance if the guest had begun to run."""
        instance = self._instance
        instance.store.core.unwind(error)
        thrown, error = error, trapped(error)
        if isinstance(error, StoreError):
            # Closed, or in use by another thread: that thread's call goes on, and switches the flags back.
            if not instance.store.core.context.depth:
                for flags in self.flags:
                    flags[0] = 1
        elif started or isinstance(error, Trap):
            instance.poison(error)
        elif instance.root.first_trap is None:
            if scope is not None:
                scope.rollback()
            for flags in self.flags:
                flags[0] = 1
        if error is not thrown:
            raise error
        if isinstance(error, Mismatch):
            raise explain(self._label, self._type.params, args) from None


class _Refused(Exception):
    """The guest was not entered, because of `reason`."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


class GuestCall(HostCall):
    """What the generated code of a call from the host uses besides the context.

    `head`: what packed arguments begin with; `outs`: buffers that results are copied to, each with such a beginning. A call
    takes one and gives it back, so that calls of several threads never share one.
    """

    __slots__ = ("_core", "_keep", "_options", "_post_head", "_site", "head", "outs")

    def __init__(self, lifted: LiftedFunc, label: str) -> None:
        super().__init__(lifted, label)
        self._core = lifted.instance.store.core
        self._options = lifted.options
        self._keep: Any = lifted.func
        self.outs: list[tuple[bytes, Any, memoryview]] = []

    def prepare(self, entry: Entry) -> None:
        """Make the site."""
        options, target = self._options, self._keep.site
        self._site = site = ffi.new("VMLiftedSite *")
        site.store, site.array_call, site.funcref = target.store, target.array_call, target.funcref
        site.params, site.result, site.mode = entry.params, entry.result, entry.mode
        site.size, site.align = entry.size, entry.align
        site.own = self.flags[-1]
        if options.memory is not None:
            site.memory = options.memory.definition
        if entry.blocks:
            assert options.realloc is not None  # validation demands it
            realloc = options.realloc.site
            site.realloc_call, site.realloc_ref = realloc.array_call, realloc.funcref
            site.copies = len(entry.blocks)
            for index, (slot, align) in enumerate(entry.blocks):
                site.copy_slots[index], site.copy_aligns[index] = slot, align
        if options.post_return is not None:
            post = options.post_return.site
            site.post_call, site.post_ref = post.array_call, post.funcref
        if entry.direct:
            entered = ffi.new("void *[]", self.flags)
            site.entered, site.depth = entered, len(self.flags)
            self._keep = (self._keep, entered)
        self.head = self._head(0)

    def _head(self, out: int) -> bytes:
        return struct.pack("<QQ", native.address(self._site), out).ljust(HEAD, b"\0")

    def make_out(self) -> tuple[bytes, Any, memoryview]:
        """A buffer for one call: what its packed arguments begin with, its bytes, and a view of them."""
        block = ffi.new("uint8_t[]", structs.CALL_BYTES)
        buffer = ffi.buffer(block)
        return self._head(native.address(block)), buffer, memoryview(buffer)

    def answer(self, packed: bytes) -> Any:
        """The C call answered `CALL_LEFT` or NaN: go on with the call, if it is not over."""
        kind, core = self._site.result, self._core
        floats = kind >= structs.RESULT_F32
        status = native.left()
        if status == structs.STATUS_NO_FIBER:
            core.add_fiber()
            result = native.lifted_float(packed) if floats else native.lifted_int(packed)
            over = result == result if floats else result != structs.CALL_LEFT
            return result if over else self.answer(packed)
        if status == structs.STATUS_OUTCOME:
            raise Trap(TrapCode.CANONICAL_ABI, _WRONG[native.outcome()])
        if status in (structs.STATUS_NOT_ENTERED, structs.STATUS_BUSY, structs.STATUS_CLOSED):
            try:
                if status == structs.STATUS_NOT_ENTERED:
                    self.refuse()
                core.finish(None, status)
            except BaseException as error:
                raise _Refused(error) from None
        if status:
            core.finish(None, status)
            wrong = native.outcome()
            if wrong:
                raise Trap(TrapCode.CANONICAL_ABI, _WRONG[wrong])
        return native.result_float(kind) if floats else native.result_int(kind)

    def post_return(self, raw: int) -> None:
        """Call the post-return function with the core result."""
        func, own = self._options.post_return, self.flags[-1]
        assert func is not None
        packed = func.head + (raw & (1 << 64) - 1).to_bytes(structs.VALRAW_SIZE, "little")
        own[1] = 0
        if native.call_int(packed) == structs.CALL_LEFT:
            func.go_on(packed)
        own[1] = 1

    def failed_directly(
        self, error: BaseException, started: bool, scope: CallScope | None, args: tuple[Any, ...]
    ) -> None:
        """As `failed`, for calls that enter the instances in C, after everything was lowered."""
        if isinstance(error, _Refused):
            if scope is not None:
                scope.rollback()
            raise error.reason
        self._core.unwind(error)
        thrown, error = error, trapped(error)
        if started:
            self._instance.poison(error)
        elif scope is not None:
            scope.rollback()
        if error is not thrown:
            raise error
        if not started and isinstance(error, (Mismatch, UnicodeEncodeError, struct.error)):
            raise explain(self._label, self._type.params, args) from None
