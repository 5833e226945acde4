"""A call from the host of one lifted function, and how it fails."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from component_rt.abi.errors import explain
from component_rt.abi.mismatch import Mismatch
from component_rt.abi.site import LiftedSite, Refused
from component_rt.handles import trapped
from core_rt import native
from core_rt.errors import StoreError, Trap
from core_rt.native import ffi
from core_rt.vm import structs

if TYPE_CHECKING:
    from component_rt.abi.site import Entry
    from component_rt.canon.lift import LiftedFunc
    from component_rt.handles import CallScope

__all__ = ["GuestCall", "HostCall"]


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
        if isinstance(error, Refused):
            self._take_back(scope)
            raise error.reason from None
        instance = self._instance
        instance.store.core.unwind(error)
        thrown, error = error, trapped(error)
        if isinstance(error, StoreError):  # closed, or in use by another thread: the guest was not entered
            self._take_back(scope)
        elif started or isinstance(error, Trap):
            instance.poison(error)
        else:
            self._take_back(scope)
        if error is not thrown:
            raise error
        if isinstance(error, Mismatch):
            raise explain(self._label, self._type.params, args) from None

    def _take_back(self, scope: CallScope | None) -> None:
        """The call was not made."""
        if self._instance.root.first_trap is None:
            if scope is not None:
                scope.rollback()
            for flags in self.flags:
                flags[0] = 1


class GuestCall(HostCall):
    """What the generated code of a call from the host uses besides the context.

    `outs` are buffers that results are copied to, each with what packed arguments begin with when it is used. A call takes one
    and gives it back, so that calls of several threads never share one.
    """

    __slots__ = ("_core", "_func", "_options", "outs", "site")

    site: LiftedSite

    def __init__(self, lifted: LiftedFunc, label: str) -> None:
        super().__init__(lifted, label)
        self._core = lifted.instance.store.core
        self._options = lifted.options
        self._func = lifted.func
        self.outs: list[tuple[bytes, Any, memoryview]] = []

    def prepare(self, entry: Entry) -> None:
        """Make the site."""
        options = self._options
        self.site = LiftedSite(self._instance, self._func, entry)
        self.site.use(options.memory, options.realloc if entry.blocks else None, options.post_return)

    def make_out(self) -> tuple[bytes, Any, memoryview]:
        """A buffer for one call: what its packed arguments begin with, its bytes, and a view of them."""
        block = ffi.new("uint8_t[]", structs.CALL_BYTES)
        buffer = ffi.buffer(block)
        return self.site.head_with(native.address(block)), buffer, memoryview(buffer)

    def post_return(self, raw: int) -> None:
        """Call the post-return function with the core result."""
        func, own = self._options.post_return, self.flags[-1]
        assert func is not None
        packed = func.head + (raw & (1 << 64) - 1).to_bytes(structs.VALRAW_SIZE, "little")
        own[1] = 0
        left = native.call_int(packed)
        if left <= structs.CALL_LEFT_MOST:
            func.go_on(packed, left)
        own[1] = 1

    def failed(self, error: BaseException, started: bool, scope: CallScope | None, args: tuple[Any, ...]) -> None:
        """As in the base; here a `StoreError` after the start came out of the guest, for what is refused is `Refused`."""
        if started and isinstance(error, StoreError):
            self._instance.poison(error)
        else:
            super().failed(error, started, scope, args)

    def failed_directly(
        self, error: BaseException, started: bool, scope: CallScope | None, args: tuple[Any, ...]
    ) -> None:
        """As `failed`, for calls that enter the instances in C, after everything was lowered."""
        if isinstance(error, Refused):
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
