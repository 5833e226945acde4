"""Handle tables and resource types at run time (CanonicalABI.md, "Table State" and "Resource State")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from core_rt.errors import ExhaustionError, GuestException, Trap, TrapCode
from core_rt.record import mutable

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance

__all__ = ["CallScope", "ResourceHandle", "ResourceType", "Table", "trap", "trap_if", "trapped"]

MAX_LENGTH: Final = (1 << 28) - 1


def trap(message: str) -> Trap:
    """A trap for a breach of the canonical ABI."""
    return Trap(TrapCode.CANONICAL_ABI, message)


def trap_if(condition: object, message: str) -> None:
    """Trap with `message` if `condition`: the guest's fault, never ours."""
    if condition:
        raise Trap(TrapCode.CANONICAL_ABI, message)


def trapped(error: BaseException) -> BaseException:
    """What `error` is outside of the component that it comes out of.

    No exception of core WebAssembly leaves a component: one that nobody caught is a trap (`call_and_trap_on_throw`).
    """
    if isinstance(error, GuestException):
        made = Trap(TrapCode.UNCAUGHT_EXCEPTION, None, error.frames)
        made.__cause__ = error
        return made
    return error


class Table:
    """Things of one component instance by index: from 1, freed indices are used again, last freed first.

    `limit` bounds how many there may be at a time (a host limit: `ExhaustionError`).
    """

    __slots__ = ("array", "free", "limit")

    def __init__(self, limit: int = MAX_LENGTH) -> None:
        self.array: list[Any] = [None]
        self.free: list[int] = []
        self.limit = min(limit, MAX_LENGTH)

    def __iter__(self) -> Iterator[Any]:
        return (element for element in self.array if element is not None)

    def __len__(self) -> int:
        return len(self.array) - 1 - len(self.free)

    def get(self, index: int) -> Any:
        """The element at `index`; traps where there is none."""
        try:
            element = self.array[index]
        except IndexError:
            element = None
        if element is None:
            raise Trap(TrapCode.CANONICAL_ABI, f"unknown handle index {index}")
        return element

    def add(self, element: object) -> int:
        """Put `element` in; returns its index."""
        if self.free:
            index = self.free.pop()
            self.array[index] = element
            return index
        index = len(self.array)
        if index > self.limit:
            if self.limit == MAX_LENGTH:
                raise Trap(TrapCode.CANONICAL_ABI, "resource table has no free keys")
            raise ExhaustionError(f"a component instance may not hold more than {self.limit} handles")
        self.array.append(element)
        return index

    def remove(self, index: int) -> Any:
        """Take the element at `index` out; traps where there is none."""
        element = self.get(index)
        self.array[index] = None
        self.free.append(index)
        return element


@mutable
class ResourceType:
    """A resource type of a running instance, or of the host (`impl` is None).

    `dtor(rep)` ends a resource; None where there is nothing to do. That of a guest is a `canon.resource.Destructor`: whoever calls
    it has entered `impl`.
    """

    impl: ComponentInstance | None
    name: str
    dtor: Any = None
    py_class: Any = None
    """The class of its Python objects; made when first needed (guest resources), or given (host resources)."""
    host: Any = None
    """For a host resource type: the store's `HostResources`."""
    complete: Callable[[], object] | None = None
    """Gives the class its name and methods; called once, when the class is first needed."""

    def __str__(self) -> str:
        return self.name


class ResourceHandle:
    """An entry of a handle table: an `own` or `borrow` handle (`borrow_scope` is the call that lent it)."""

    __slots__ = ("borrow_scope", "num_lends", "own", "rep", "rt")

    def __init__(self, rt: ResourceType, rep: int, own: bool, borrow_scope: CallScope | None = None) -> None:
        self.rt = rt
        self.rep = rep
        self.own = own
        self.borrow_scope = borrow_scope
        self.num_lends = 0


class CallScope:
    """What a call lends and moves.

    Callee side (a `Task` of the specification): `num_borrows` counts borrow handles that the callee has not dropped yet.
    Caller side (a `Subtask`): lenders are handles that must not be moved before the call is over. `moved` are undo
    functions for the case that lowering fails half-way.
    """

    __slots__ = ("_cleanups", "_lenders", "_moved", "num_borrows")

    def __init__(self) -> None:
        self.num_borrows = 0
        # Most calls pass no resources: lists are made when something is put into them.
        self._cleanups: list[Callable[[], None]] | None = None
        self._lenders: list[Any] | None = None
        self._moved: list[Callable[[], None]] | None = None

    @property
    def cleanups(self) -> list[Callable[[], None]]:
        """What is to be done when the call is over."""
        if self._cleanups is None:
            self._cleanups = []
        return self._cleanups

    @property
    def moved(self) -> list[Callable[[], None]]:
        """How to take back what was moved."""
        if self._moved is None:
            self._moved = []
        return self._moved

    def add_lender(self, handle: Any) -> None:
        """Keep `handle` from being moved until the call is over."""
        handle.num_lends += 1
        if self._lenders is None:
            self._lenders = []
        self._lenders.append(handle)

    def release(self) -> None:
        """The call is over: what was lent may be moved again."""
        lenders, self._lenders = self._lenders, None
        for handle in lenders or ():
            handle.num_lends -= 1
        self._moved = None
        cleanups, self._cleanups = self._cleanups, None
        for cleanup in cleanups or ():
            cleanup()

    def finish(self) -> None:
        """The callee has returned its result: trap if it kept borrow handles."""
        if self.num_borrows:
            raise Trap(TrapCode.CANONICAL_ABI, "borrow handles still remain at the end of the call")

    def rollback(self) -> None:
        """The callee was never called: give back what was moved and lent."""
        for undo in reversed(self._moved or ()):
            undo()
        self.release()


_KIND = {True: "guest-defined", False: "host-defined"}


def resource_handle(handles: Table, index: int, rt: ResourceType) -> ResourceHandle:
    """The handle at `index`, which must be one of resource type `rt`."""
    handle = handles.get(index)
    if type(handle) is not ResourceHandle:
        raise trap(f"handle index {index} used with the wrong type, expected {_KIND[rt.impl is not None]} resource")
    if handle.rt is not rt:
        expected, found = _KIND[rt.impl is not None], _KIND[handle.rt.impl is not None]
        different = "a different " if expected == found else "a "
        raise trap(
            f"handle index {index} used with the wrong type, expected {expected} resource but found {different}{found} resource"
        )
    return handle


def remove_own(handles: Table, index: int, rt: ResourceType) -> int:
    """Take the `own` handle at `index` out of the table; returns its rep (`lift_own`)."""
    handle = resource_handle(handles, index, rt)
    if handle.num_lends:
        raise trap("cannot remove owned resource while borrowed")
    if not handle.own:
        raise trap("cannot lift own resource from a borrow")
    handles.array[index] = None
    handles.free.append(index)
    return handle.rep
