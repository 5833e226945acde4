"""Whether two value types of different components are the same: equal but for how each component calls its resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from component_rt.valtypes import ResourceType

__all__ = ["same_type"]

Resolve = Callable[[Any], Any]


def same_type(a: Any, resource_a: Resolve, b: Any, resource_b: Resolve) -> bool:
    """`resource_a` and `resource_b` say which resource type of the store an identity means."""
    if a is None or b is None:
        return a is b
    if isinstance(a, ResourceType) and isinstance(b, ResourceType):
        return resource_a(a.id) is resource_b(b.id)
    if type(a) is not type(b) or a.kind != b.kind:
        return False
    if getattr(a, "length", None) != getattr(b, "length", None) or _labels(a) != _labels(b):
        return False
    ours, theirs = a.children(), b.children()
    return len(ours) == len(theirs) and all(same_type(x, resource_a, y, resource_b) for x, y in zip(ours, theirs))


def _labels(of: Any) -> Any:
    """What tells types of one kind apart besides their children."""
    if of.kind == "result":
        return of.ok is None, of.error is None
    if of.kind == "variant":
        return [(case.label, case.t is None) for case in of.cases]
    return getattr(of, "labels", None) or [field.label for field in getattr(of, "fields", ())]
