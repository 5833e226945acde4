"""A definition that is made when something is linked with it."""

from __future__ import annotations

from collections.abc import Callable

from core_rt.record import record

__all__ = ["Deferred"]


@record
class Deferred:
    """Stands in a linker for the interface that `make()` answers; it is called once, by the first component that wants it."""

    make: Callable[[], object]
