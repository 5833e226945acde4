"""Entering and leaving guests, and the stacks they run on.

`call`, `resume` and `resume_running` are the C functions themselves, for hot paths. They return a `STATUS_*` of
`core_rt.vm.structs`, or -1 when the fiber is not one that may be resumed (our own fault).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from core_rt.errors import StoreError
from core_rt.native.lib import CData, bug, exhausted, ffi, lib

if TYPE_CHECKING:
    from core_rt.native.store import StoreContext

__all__ = [
    "FiberStacks",
    "abandon",
    "backtrace",
    "call",
    "call_float",
    "call_int",
    "call_into",
    "catches",
    "divert",
    "frames",
    "is_parked",
    "left",
    "lifted_end_float",
    "lifted_end_int",
    "lifted_float",
    "lifted_int",
    "outcome",
    "park",
    "result_float",
    "result_int",
    "resume",
    "resume_running",
    "running",
    "thread_token",
]

call: Final[Callable[[CData], int]] = lib.vm_call
"""`call(VMCallSite *)`: enter a guest on an idle fiber of the site's store."""
call_int: Final[Callable[[bytes], int]] = lib.vm_call_int
"""`call_int(packed)`: the result as an int (0 for none), or `CALL_LEFT` plus a status.

`packed` is the address of the `VMCallSite` and a word of padding, then the arguments as ValRaws.
"""
call_float: Final[Callable[[bytes], float]] = lib.vm_call_float
"""The same for a float; NaN may stand for a status: see `left`."""
call_into: Final[Callable[[CData, bytes, CData], int]] = lib.vm_call_into
"""`call_into(VMCallSite *, arguments, uint64_t *)`: the call with values in a buffer of the caller's; a status."""
lifted_int: Final[Callable[[bytes], int]] = lib.vm_lifted_int
"""As `call_int` for a function of a component: `calls.c` says what `packed` is. It must be kept until the call is over."""
lifted_float: Final[Callable[[bytes], float]] = lib.vm_lifted_float
lifted_end_int: Final[Callable[[int], int]] = lib.vm_lifted_end_int
"""What `lifted_int` would have returned, for a call of a component's function that ended after it had left. Takes a `RESULT_*`."""
lifted_end_float: Final[Callable[[int], float]] = lib.vm_lifted_end_float
left: Final[Callable[[], int]] = lib.vm_left
"""The status of this thread's last typed call that answered NaN; 0 when that is the result."""
outcome: Final[Callable[[], int]] = lib.vm_outcome
"""What was wrong in the call of a component's function that ended last on this thread, `OUTCOME_*`."""
result_int: Final[Callable[[int], int]] = lib.vm_result_int
"""The result, of a `RESULT_*`, of the call that ended last on this thread."""
result_float: Final[Callable[[int], float]] = lib.vm_result_float
resume: Final[Callable[[CData], int]] = lib.vm_resume
"""`resume(VMFiber *)`: continue a fiber that was left; a parked one is attached again, by whatever thread calls."""
resume_running: Final[Callable[[CData], int]] = lib.vm_resume_running
"""`resume_running(VMStoreContext *)`: continue the fiber that was left last."""
running: Final[Callable[[CData], CData]] = lib.vm_running
"""`running(VMStoreContext *)`: the innermost attached fiber as `VMFiber *`, null when there is none."""
thread_token: Final[Callable[[], int]] = lib.vm_thread_token
"""What `VMStoreContext.owner` holds while the calling thread is inside."""


def park(fiber: CData) -> None:
    """Detach the innermost fiber of its store, which then is free for other calls; `resume` attaches it again."""
    _check(lib.vm_park(fiber), "park")


def abandon(fiber: CData) -> None:
    """Drop what is suspended on a fiber (the innermost one of its store, or a parked one); the fiber is idle again."""
    _check(lib.vm_abandon(fiber), "abandon")


def catches(fiber: CData) -> bool:
    """Whether an exception from the host function that a fiber waits for would arrive at one of its `try_table`s."""
    return bool(lib.vm_catches(fiber))


def is_parked(fiber: CData) -> bool:
    """Whether the fiber was parked and neither resumed nor abandoned since."""
    return bool(lib.vm_is_parked(fiber))


def frames(fiber: CData) -> list[int]:
    """The program counters that a trap left in the fiber, innermost first, at most 128 (`frames_more`: how many more).

    Each is an address inside the instruction being executed: for calls that is the return address less one.
    """
    count = fiber.frames_count
    return ffi.unpack(fiber.frames, count) if count else []


def backtrace(fiber: CData) -> list[int]:
    """The same for a fiber that was left or parked."""
    lib.vm_backtrace(fiber)
    return frames(fiber)


def divert(fiber: CData, pc: int, to: int, mark_at: int, mark: int) -> bool:
    """Have a guest that was left at the poll at `pc` go on at `to`, in the same frame; `mark` must stand `mark_at` bytes below its pointer."""
    return bool(lib.vm_divert(fiber, pc, to, mark_at, mark))


def _check(status: int, what: str) -> None:
    if status > 0:
        raise StoreError("the store is in use by another thread")
    if status < 0:
        bug(f"{what}: the fiber is not suspended, or not the innermost of its store")


class FiberStacks:
    """The fibers of one store: stacks of `size` bytes each (plus a guard region), pooled between stores when freed."""

    __slots__ = ("_store", "count", "size")

    def __init__(self, store: StoreContext, size: int = 1 << 20) -> None:
        self._store = store
        self.size = size
        self.count = 0
        """How many fibers there are."""

    def new(self) -> CData:
        """Make one more fiber, a `VMFiber *`, for the store's next call. `ExhaustionError` when there is no memory."""
        fiber = lib.vm_fiber_new(self._store.context, self.size)
        if fiber == ffi.NULL:
            exhausted(f"no stack of {self.size} bytes for a guest")
        self.count += 1
        return fiber

    def free(self, fiber: CData) -> None:
        """Free an idle or parked fiber now; the others go with the store."""
        status = lib.vm_fiber_free(fiber)
        _check(status, "free")
        self.count -= 1

    def statistics(self) -> dict[str, int]:
        """`fibers` and the `bytes` of address space of their stacks."""
        return {"fibers": self.count, "bytes": self.count * self.size}

    def close(self) -> None:
        """Free all stacks, with what is suspended on them. `StoreError` while a guest is being run. May be repeated.

        Parked fibers may be abandoned (nothing happens) or resumed (`STATUS_CLOSED`) until the context is closed.
        """
        if self._store.closed:
            return
        status = lib.vm_fibers_close(self._store.context)
        if status:
            raise StoreError("the store is in use")
        self.count = 0
