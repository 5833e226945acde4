"""Limits that a store puts on its guests."""

from __future__ import annotations

import attrs

__all__ = ["Limits"]


def _count(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} must be a non-negative int, not {value!r}")


@attrs.frozen(kw_only=True)
class Limits:
    """The most that all guests of one store may hold together.

    Going over one fails as the specification allows: an instantiation with `ExhaustionError`, `memory.grow` and
    `table.grow` by answering -1.
    """

    memory_bytes: int = attrs.field(default=64 << 30, validator=_count)
    """Bytes of linear memory, over all memories."""
    table_elements: int = attrs.field(default=20_000_000, validator=_count)
    """Table elements, over all tables (8 bytes each)."""
    instances: int = attrs.field(default=1_000_000, validator=_count)
    memories: int = attrs.field(default=100_000, validator=_count)
    tables: int = attrs.field(default=100_000, validator=_count)
    gc_heap_bytes: int = attrs.field(default=1 << 30, validator=_count)
    """Bytes of the garbage-collected heap."""
    nested_calls: int = attrs.field(default=150, validator=_count)
    """How deep calls may nest guest → host → guest before they count as stack exhaustion."""
