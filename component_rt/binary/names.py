"""The `component-name` section (Binary.md, "Name Section"), which never makes a component invalid."""

from __future__ import annotations

from component_rt.binary.reader import Reader
from component_rt.binary.types import read_sort
from component_rt.model import Names, Sort
from core_rt.errors import DecodeError

__all__ = ["read_names"]


def read_names(r: Reader, before: Names) -> Names:
    """The names in `r`, added to those of an earlier section of that name."""
    component = before.component
    sorts: dict[Sort, dict[int, str]] = {sort: dict(names) for sort, names in before.sorts.items()}
    try:
        while r.pos < r.end:
            kind = r.u8()
            body = r.sub(r.u32())
            if kind == 0:
                component = body.name()
            elif kind == 1:
                sort = read_sort(body, "name sort")
                names = sorts.setdefault(sort, {})
                for _ in range(body.u32()):
                    index = body.u32()
                    names[index] = body.name()
    except DecodeError:
        pass
    return Names(component, sorts)
