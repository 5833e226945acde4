"""Component values in Python: `Some`, `Ok`, `Err`, `Case`, and the classes made for named types.

A record, variant, enum or flags type of a component becomes a Python class, found on the namespace that uses the type.
Classes belong to *label and structure*: two interfaces that mean the same type (`use types.{point}`) share one class, so
that a value can travel between them. Their equality is by value; `match` works.

| type | class |
|---|---|
| record | attrs class, frozen |
| variant | an abstract base and one frozen attrs class per case with `value` (payload-free cases have none: `value` is None) |
| enum | `enum.Enum`, values are the case indices |
| flags | `enum.Flag`, bit i for label i |
"""

from __future__ import annotations

import enum
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from component_rt import types as t
from wit.names import kebab_to_camel, kebab_to_shouty, kebab_to_snake

__all__ = [
    "Case",
    "Err",
    "Ok",
    "Some",
    "VariantValue",
    "adopt",
    "adopt_variant",
    "class_of",
    "is_nominal",
    "outcome_of",
]

T = TypeVar("T")
C = TypeVar("C", bound=type)


@attrs.frozen
class Some(Generic[T]):
    """A present `option` whose payload is an option itself: `option<option<u8>>` is None, Some(None) or Some(7)."""

    value: T
    __match_args__ = ("value",)


@attrs.frozen
class Ok(Generic[T]):
    """A successful `result` that is not a function's own result."""

    value: T = None  # type: ignore[assignment]
    __match_args__ = ("value",)


@attrs.define(eq=False, init=False, repr=False)
class Err(Exception):
    """A failed `result`: a value inside other values, raised where it is a function's own result.

    `value` is the payload (None if the type has none). Equality is by value.
    """

    value: Any
    __match_args__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.value = value

    def __eq__(self, other: object) -> bool:
        return self.value == other.value if isinstance(other, Err) else NotImplemented

    def __hash__(self) -> int:
        return hash((Err, self.value))

    def __repr__(self) -> str:
        return f"Err({self.value!r})"

    def __str__(self) -> str:
        return str(self.value)


@attrs.frozen
class Case:
    """A case of any variant by its WIT label, for hosts that do not have the component's classes at hand."""

    label: str
    value: Any = None


class VariantValue:
    """Base of the bases of all variants: `label` is the case's WIT label, `value` its payload."""

    __slots__ = ()
    label: str
    value: Any = None


_NOMINAL = frozenset({"record", "variant", "enum", "flags"})
_classes: weakref.WeakValueDictionary[tuple[str | None, t.ValType], type] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def is_nominal(of: object) -> bool:
    """Whether values of this type are instances of a class of its own."""
    return isinstance(of, t.ValType) and of.kind in _NOMINAL


_adopted: dict[tuple[str, str | None, tuple[str, ...]], type] = {}


def adopt(kind: str, label: str, *labels: str) -> Callable[[C], C]:
    """Let the decorated class stand for every record, enum or flags type of this name with these labels.

    Generated bindings use it, so that values from components are of the classes that the bindings declare. It has to
    happen before a component of that type is loaded. A record class takes its fields by position, in order; the
    members of an enum have the case indices as values, those of flags the bits.
    """

    def decorate(cls: C) -> C:
        _adopted[kind, label, labels] = cls
        for key in [key for key in _classes if key[0] == label]:
            _classes.pop(key, None)
        return cls

    return decorate


def adopt_variant(label: str, base: type[VariantValue], *cases: type[VariantValue]) -> None:
    """`adopt` for a variant: its base and, in order, the classes of its cases, which have the cases' `label`s."""
    base.__cases__ = cases  # type: ignore[attr-defined]
    adopt("variant", label, *(case.label for case in cases))(base)


def _adopted_class(of: Any, label: str | None) -> type | None:
    match of.kind:
        case "record":
            labels = tuple(field.label for field in of.fields)
        case "variant":
            labels = tuple(case.label for case in of.cases)
        case _:
            labels = of.labels
    return _adopted.get((of.kind, label, labels))


def class_of(of: t.ValType) -> Any:
    """The Python class of a record, variant, enum or flags type."""
    label = None if of.name is None else of.name.label
    key = (label, of.canonical)
    made = _classes.get(key)
    if made is None:
        with _lock:
            made = _classes.get(key)
            if made is None:
                made = _adopted_class(of, label)
                if made is None:
                    made = _MAKERS[of.kind](of, kebab_to_camel(label) if label else of.kind.capitalize())
                _classes[key] = made
    return made


def _unique(names: list[str]) -> list[str]:
    """Attribute names must differ even where labels differ by case only (which validation forbids, but cheaply so)."""
    seen: set[str] = set()
    out = []
    for name in names:
        while name in seen:
            name += "_"
        seen.add(name)
        out.append(name)
    return out


def field_names(of: t.RecordType) -> list[str]:
    """Python attribute names of a record's fields."""
    return _unique(["self_" if field.label == "self" else kebab_to_snake(field.label) for field in of.fields])


def _record(of: t.RecordType, name: str) -> type:
    # slots=False: a frozen class then fills its __dict__ directly, which is twice as fast as object.__setattr__.
    return attrs.make_class(
        name,
        {field: attrs.field() for field in field_names(of)},
        frozen=True,
        slots=False,
        class_body={"__module__": __name__, "__wit_type__": of, "__doc__": f"WIT: {of.spelled()}"},
    )


def _variant(of: t.VariantType, name: str) -> type:
    doc = f"WIT: {of.spelled()}"
    base = type(name, (VariantValue,), {"__module__": __name__, "__wit_type__": of, "__doc__": doc, "__slots__": ()})
    cases = []
    for case, camel in zip(of.cases, _unique([kebab_to_camel(case.label) for case in of.cases])):
        fields = {} if case.t is None else {"value": attrs.field()}
        body = {"__module__": __name__, "label": case.label, "__doc__": f"Case `{case.label}` of `{name}`."}
        # `Option.None_`, since `Option.None` is no Python, but `Option_None`.
        whole = f"{name}_{camel.removesuffix('_')}"
        made = attrs.make_class(whole, fields, bases=(base,), frozen=True, slots=False, class_body=body)
        setattr(base, camel, made)
        cases.append(made)
    base.__cases__ = cases  # type: ignore[attr-defined]
    return base


def _enum_names(labels: tuple[str, ...]) -> list[str]:
    return _unique([kebab_to_shouty(label) for label in labels])


def _enum(of: t.EnumType, name: str) -> Any:
    members = [(label, index) for index, label in enumerate(_enum_names(of.labels))]
    return _member_class(enum.Enum, of, name, members)


def _flags(of: t.FlagsType, name: str) -> Any:
    members = [(label, 1 << index) for index, label in enumerate(_enum_names(of.labels))]
    return _member_class(enum.Flag, of, name, members, boundary=enum.STRICT)


def _member_class(make: Any, of: t.ValType, name: str, members: list[tuple[str, int]], **options: Any) -> Any:
    made = make(name, members, module=__name__, **options)
    made.__wit_type__ = of
    made.__doc__ = f"WIT: {of.spelled()}"
    return made


_MAKERS: dict[str, Callable[..., type]] = {"record": _record, "variant": _variant, "enum": _enum, "flags": _flags}


def outcome_of(result: Any, error: BaseException | None) -> tuple[Any, Err | None]:
    """Result, or `Err`; any other error is raised."""
    if error is None:
        return result, None
    if isinstance(error, Err):
        return None, error
    raise error
