"""Arguments of exports that run as tasks: by position or by name, and as many as there are parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from wit.names import kebab_to_snake

if TYPE_CHECKING:
    from component_rt.types import FuncType

__all__ = ["bind_arguments"]


def bind_arguments(type_: FuncType, name: str) -> Binder:
    """How Python's arguments become those of an export `name` of that type."""
    return _binder(name, *[param for param, _ in type_.params])


@functools.lru_cache(maxsize=4096)
def _binder(name: str, *labels: str) -> Binder:
    params = [kebab_to_snake(label) for label in labels]
    # Generated, so that Python words the errors; parameters are numbered where a name is none of Python's.
    names = [param if param.isidentifier() else f"a{i}" for i, param in enumerate(params)]
    names = [f"a{i}" if names.count(n) > 1 else n for i, n in enumerate(names)]
    scope: dict[str, Any] = {}
    try:
        exec(f"def bind({', '.join(names)}): return ({''.join(n + ', ' for n in names)})", scope)
    except SyntaxError:
        names = [f"a{i}" for i in range(len(names))]
        exec(f"def bind({', '.join(names)}): return ({''.join(n + ', ' for n in names)})", scope)
    function = scope["bind"]
    function.__name__ = function.__qualname__ = name
    return Binder(len(params), function)


class Binder(NamedTuple):
    """`arguments(*args, **kwargs)` gives the `number` arguments in order. Raises `TypeError` as Python does."""

    number: int
    arguments: Callable[..., tuple[Any, ...]]
