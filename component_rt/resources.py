"""Resources as Python sees them.

*Guest resources*: a Python object of a class made for the resource type stands for an `own` handle that the host holds (or,
inside a host function, for a borrow). It is a context manager; `close()` drops the handle, which runs the guest's
destructor. One that is never closed is reported (`ResourceWarning`, with the line where it came from) and dropped at the
next chance.

*Host resources*: any Python object. While guests own it, it has a number (its *rep*) in the store's `HostResources`; when
the last own handle to it is dropped, its `close()` is called if there is one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from component_rt.abi.mismatch import HandleMismatch
from component_rt.handles import CallScope, ResourceType, trap
from component_rt.values import Err, Ok, Some

if TYPE_CHECKING:
    from component_rt.store import Store

__all__ = ["GuestResource", "HostResources", "lift_borrow", "lift_own", "lower_borrow", "lower_own"]


class GuestResource:
    """A resource that a guest implements. Classes for actual resource types derive from this.

    Raises `ValueError` when used after it was closed or given away.
    """

    __slots__ = ("__weakref__", "_owned", "_place", "_rep", "num_lends")
    _resource_type: ClassVar[ResourceType]

    _owned: bool
    _rep: int | None
    num_lends: int
    """Calls that borrow it right now."""
    _place: tuple[str, int] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{cls.__name__} has no constructor")

    @property
    def closed(self) -> bool:
        """Whether the handle was dropped or given away."""
        return self._rep is None

    def close(self) -> None:
        """Drop the handle: the guest's destructor runs. Closing twice is fine.

        Raises `ValueError` while a call borrows the resource, and what the destructor raises (`Trap`).
        """
        if self._rep is None or not self._owned:
            return
        if self.num_lends:
            raise ValueError(f"{type(self).__name__} cannot be closed while a call borrows it")
        rep, self._rep = self._rep, None
        rt = self._resource_type
        if rt.impl is not None:
            rt.impl.store.drop_guest_resource(rt, rep)

    def __enter__(self) -> Any:
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        GuestResource.close(self)  # the resource may have a method of that name

    def _check(self) -> int:
        if self._rep is None:
            raise ValueError(self._gone())
        return self._rep

    def _gone(self) -> str:
        return f"this {type(self).__name__} was closed or given away"

    def __del__(self) -> None:
        rep = getattr(self, "_rep", None)
        if rep is None or not self._owned:
            return
        rt = self._resource_type
        store = rt.impl.store if rt.impl is not None else None
        if store is None or store.closed or rt.impl is None or rt.impl.root.first_trap is not None:
            return
        store.orphans.append((rt, rep))
        place = "" if self._place is None else f", which came from {self._place[0]}:{self._place[1]}"
        warnings.warn(f"unclosed {self!r}{place}", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = "closed" if self._rep is None else f"rep={self._rep}" if self._owned else f"borrowed, rep={self._rep}"
        return f"<{type(self).__name__} {state}>"


def _caller(inside: int = 4) -> tuple[str, int] | None:
    """The nearest line outside this package and generated code, after `inside` frames: this, `wrap`, the context's, generated code."""
    frame = sys._getframe(inside)
    for _ in range(12):
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if module.startswith("trio."):
            break  # a task of the store: who called is not on this stack
        if code.co_filename != "<canonical abi>" and not module.startswith("component_rt."):
            return code.co_filename, frame.f_lineno
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None


def came_here(value: Any) -> None:
    """Let resources inside the result of a call have come from the line that awaited it."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, GuestResource):
            if value._owned:
                value._place = _caller(2)
        elif isinstance(value, (list, tuple)):
            pending += value
        elif isinstance(value, (Ok, Err, Some)):
            pending.append(value.value)
        elif hasattr(type(value), "__wit_type__"):
            pending += getattr(value, "__dict__", {}).values()


def resource_class(rt: ResourceType) -> type[GuestResource]:
    """The class of a guest resource type's objects; a bare one if no namespace has made one."""
    if rt.py_class is None and rt.complete is not None:
        complete, rt.complete = rt.complete, None
        complete()
    if rt.py_class is None:
        from wit.names import kebab_to_camel

        rt.py_class = type(kebab_to_camel(rt.name), (GuestResource,), {"_resource_type": rt, "__slots__": ()})
    return rt.py_class  # type: ignore[no-any-return]


def lift_own(rt: ResourceType) -> Callable[[int], Any]:
    """`wrap(rep)`: the Python object for a resource that a guest gives to the host."""
    if rt.impl is None:
        return rt.host.take  # type: ignore[no-any-return]
    new = object.__new__

    def wrap(rep: int) -> GuestResource:
        made: GuestResource = new(rt.py_class or resource_class(rt))
        made._rep = rep
        made._owned = True
        made.num_lends = 0
        made._place = _caller()
        return made

    return wrap


def lift_borrow(rt: ResourceType) -> Callable[[int, CallScope], Any]:
    """`wrap(rep, scope)`: the Python object for a resource that a guest lends to the host for a call."""
    if rt.impl is None:
        get = rt.host.get
        return lambda rep, scope: get(rep)

    def wrap(rep: int, scope: CallScope) -> GuestResource:
        made: GuestResource = object.__new__(rt.py_class or resource_class(rt))
        made._rep, made._owned, made.num_lends, made._place = rep, False, 0, None
        scope.cleanups.append(lambda: setattr(made, "_rep", None))
        return made

    return wrap


def _guest_object(rt: ResourceType, value: Any) -> GuestResource:
    if not isinstance(value, GuestResource) or value._resource_type is not rt:
        raise HandleMismatch(TypeError, value, f"{value!r} is no {rt.name} of this instance")
    if value._rep is None:
        raise HandleMismatch(ValueError, value, value._gone())
    return value


def lower_own(rt: ResourceType) -> Callable[[Any, CallScope], int]:
    """`unwrap(value, scope)`: the rep of a resource that the host gives to a guest."""
    if rt.impl is None:
        return rt.host.lower_own  # type: ignore[no-any-return]

    def unwrap(value: Any, scope: CallScope) -> int:
        resource = _guest_object(rt, value)
        if not resource._owned:
            raise HandleMismatch(ValueError, value, f"{value!r} is borrowed and cannot be given away")
        if resource.num_lends:
            raise HandleMismatch(ValueError, value, f"{value!r} cannot be given away while a call borrows it")
        rep, resource._rep = resource._rep, None
        assert rep is not None
        scope.moved.append(lambda: setattr(resource, "_rep", rep))
        return rep

    return unwrap


def lower_borrow(rt: ResourceType) -> Callable[[Any, CallScope], int]:
    """`unwrap(value, scope)`: the rep of a resource that the host lends to a guest until `scope` is released."""
    if rt.impl is None:
        return rt.host.lower_borrow  # type: ignore[no-any-return]

    def unwrap(value: Any, scope: CallScope) -> int:
        if type(value) is not rt.py_class or value._rep is None:
            _guest_object(rt, value)
        scope.add_lender(value)
        return value._rep  # type: ignore[no-any-return]

    return unwrap


class HostResources:
    """Objects of one host resource type that guests hold, by rep.

    `count[id(object)]` is how many own handles exist for an object: the same object may be given out several times, and is
    closed when the last of them is dropped.
    """

    __slots__ = ("counts", "free", "name", "objects", "py_class", "store")

    def __init__(self, store: Store, name: str, py_class: Any = None) -> None:
        self.store = store
        self.name = name
        self.py_class = py_class
        self.objects: list[Any] = [None]
        self.free: list[int] = []
        self.counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.objects) - 1 - len(self.free)

    def _add(self, value: Any) -> int:
        if value is None or (self.py_class is not None and not isinstance(value, self.py_class)):
            wanted = self.name if self.py_class is None else getattr(self.py_class, "__qualname__", self.py_class)
            raise HandleMismatch(TypeError, value, f"{value!r} is no {wanted}")
        if self.free:
            rep = self.free.pop()
            self.objects[rep] = value
            return rep
        self.objects.append(value)
        return len(self.objects) - 1

    def get(self, rep: int) -> Any:
        """The object that `rep` stands for."""
        try:
            value = self.objects[rep]
        except IndexError:
            value = None
        if value is None:
            raise trap(f"unknown host resource {rep}")
        return value

    def _remove(self, rep: int) -> Any:
        value = self.get(rep)
        self.objects[rep] = None
        self.free.append(rep)
        return value

    def _forget(self, value: Any) -> bool:
        """One own handle less; True if it was the last."""
        left = self.counts.get(id(value), 1) - 1
        if left:
            self.counts[id(value)] = left
            return False
        self.counts.pop(id(value), None)
        return True

    def lower_own(self, value: Any, scope: CallScope) -> int:
        """A rep for an object that a guest will own."""
        rep = self._add(value)
        self.counts[id(value)] = self.counts.get(id(value), 0) + 1
        scope.moved.append(lambda: self.take(rep) and None)
        return rep

    def lower_borrow(self, value: Any, scope: CallScope) -> int:
        """A rep for an object that is lent until `scope` is released."""
        rep = self._add(value)
        scope.cleanups.append(lambda: self._remove(rep) and None)
        return rep

    def take(self, rep: int) -> Any:
        """The object behind an own handle that came back to the host."""
        value = self._remove(rep)
        self._forget(value)
        return value

    def drop(self, rep: int) -> None:
        """A guest dropped an own handle."""
        value = self._remove(rep)
        if self._forget(value):
            self.store.close_host_resource(value)

    def close(self) -> Iterator[Exception]:
        """The store is closed: every object that guests still own is closed. Gives what that raised."""
        owned = {id(value): value for value in self.objects if value is not None and id(value) in self.counts}
        self.objects, self.free, self.counts = [None], [], {}
        for value in owned.values():
            try:
                self.store.close_host_resource(value)
            except Exception as error:
                yield error
