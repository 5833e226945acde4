"""`record`: a class decorator for the records inside the runtime (syntax, definitions, steps of a plan).

These are `attrs.frozen(eq=False)` in all but the price. Loading a component for the first time in a process makes a hundred
such classes, and attrs takes half a millisecond for each, which would be most of the time to a first result when machine
code comes from the cache. Here a class takes some tens of microseconds, since the code of its `__init__` is not compiled: it
is that of any other record with as many fields, under other names. Values that users see stay attrs classes.

Rules: fields are the annotations (but `ClassVar`s), those of the bases first; defaults have to be immutable, since they are
shared; records are compared by identity. That nobody assigns to a field later is the type checker's business.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType
from typing import Any, TypeVar, dataclass_transform, overload

__all__ = ["mutable", "positional", "record"]

T = TypeVar("T")


@overload
def record(cls: type[T]) -> type[T]: ...
@overload
def record(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(eq_default=False, frozen_default=True)
def record(cls: type[T] | None = None, *, kw_only: bool = False) -> Any:
    """Make a record of a class: slots, `__init__`, `__repr__` and `__match_args__`; all arguments by keyword if `kw_only`."""
    return (lambda c: _make(c, kw_only)) if cls is None else _make(cls, kw_only)


@dataclass_transform(eq_default=False)
def mutable(cls: type[T]) -> type[T]:
    """As `record`, of a class whose fields may be assigned to."""
    return _make(cls, False)


def _make(cls: type[Any], kw_only: bool) -> type[Any]:
    body = dict(cls.__dict__)
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    inherited: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited.update(base.__dict__.get("__record__", {}))
    own = [name for name, hint in cls.__annotations__.items() if not hint.startswith("ClassVar")]
    fields = inherited | {name: body.pop(name, _REQUIRED) for name in own}
    slots = [name for name in own if name not in inherited]
    body["__slots__"] = tuple(
        slots if any(base.__weakrefoffset__ for base in cls.__bases__) else [*slots, "__weakref__"]
    )
    body["__record__"] = fields
    body["__match_args__"] = () if kw_only else tuple(fields)
    body["__init__"] = _init(fields, kw_only, cls.__qualname__)
    body.setdefault("__repr__", _repr)
    meta: Any = type(cls)
    return meta(cls.__name__, cls.__bases__, body)  # type: ignore[no-any-return]


_REQUIRED = object()


def _init(fields: dict[str, Any], kw_only: bool, owner: str) -> FunctionType:
    names = tuple(fields)
    defaults = {name: value for name, value in fields.items() if value is not _REQUIRED}
    code = _assignments(len(names)).replace(
        co_varnames=("self", *names),
        co_names=names,
        co_argcount=1 if kw_only else 1 + len(names),
        co_kwonlyargcount=len(names) if kw_only else 0,
        co_qualname=f"{owner}.__init__",
    )
    made = FunctionType(code, {})
    if kw_only:
        made.__kwdefaults__ = defaults
    else:
        if tuple(defaults) != names[len(names) - len(defaults) :]:
            raise TypeError(f"a field of {owner} without a default comes after one with a default")
        made.__defaults__ = tuple(defaults.values())
    return made


def positional(cls: type[T]) -> Callable[..., T]:
    """A maker of a record that takes all its fields by position, also where the class wants keywords."""
    names = tuple(cls.__record__)  # type: ignore[attr-defined]
    code = _assignments(len(names))
    assign = FunctionType(code.replace(co_varnames=("self", *names), co_names=names), {})

    def make(*values: Any) -> T:
        made = object.__new__(cls)
        assign(made, *values)
        return made

    return make


@cache
def _assignments(count: int) -> CodeType:
    """The code of an `__init__` that assigns its `count` arguments to as many attributes."""
    names = [f"a{i}" for i in range(count)]
    body = "\n".join([f" self.{name} = {name}" for name in names]) or " pass"
    code = compile(f"def __init__(self, {', '.join(names)}):\n{body}\n", "<record>", "exec")
    return next(const for const in code.co_consts if isinstance(const, CodeType))


def _repr(self: Any) -> str:
    shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in type(self).__record__])
    return f"{type(self).__name__}({shown})"
