"""The one place where WASI's host code meets the values of the canonical ABI.

Value classes are made per component when it is linked, so host code takes and gives values that describe themselves:
records go out as mappings, enums as the label, flags as a collection of labels, variants as a `Case`. What comes in is
a member or a case of a component's own classes; the functions here read it by name and accept the outgoing forms as
well, so that everything can be driven from plain Python.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable
from typing import Any, NoReturn

from component_rt.values import Case, Err, Ok, Some

__all__ = ["Case", "Err", "Ok", "Some", "enum_name", "fail", "field", "flag_names", "split_case", "variant"]

variant = Case


def fail(error: object = None) -> NoReturn:
    """End the host function with the error side of its result."""
    raise Err(error)


def _kebab(name: str) -> str:
    return name.lower().replace("_", "-")


def enum_name(value: Any) -> str:
    """The label of an enum's member (or of a name given as text), in lower case."""
    return _kebab(value if isinstance(value, str) else value.name)


@functools.lru_cache(maxsize=512)
def _members(value: enum.Flag) -> frozenset[str]:
    return frozenset(_kebab(member.name) for member in value if member.name is not None)


def flag_names(value: Any) -> frozenset[str]:
    """The labels set in a flags value (or of labels given as a collection), in lower case."""
    if isinstance(value, enum.Flag):
        return _members(value)
    if isinstance(value, str):
        return frozenset((_kebab(value),))
    names: Iterable[Any] = value or ()
    return frozenset(map(enum_name, names))


def split_case(value: Any) -> tuple[str, Any]:
    """A variant's value taken apart: the case's label in lower case, and its payload (None without one)."""
    if isinstance(value, str):
        return _kebab(value), None
    return value.label.lower(), value.value


def field(record: Any, name: str) -> Any:
    """A field of a record given as an object or as a mapping; `name` in snake_case."""
    try:
        return getattr(record, name)
    except AttributeError:
        return record[name]
