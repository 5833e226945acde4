"""Arguments of exports that run as tasks: by position or by name, and as many as there are parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wit.names import kebab_to_snake

if TYPE_CHECKING:
    from component_rt.canon.lift import LiftedFunc

__all__ = ["bind_arguments"]


class bind_arguments:
    """`bind(*args, **kwargs)` gives the arguments in order. Raises `TypeError` as Python does."""

    __slots__ = ("_function", "count")

    def __init__(self, lifted: LiftedFunc, name: str) -> None:
        params = [kebab_to_snake(param) for param, _ in lifted.type.params]
        self.count = len(params)
        # Generated, so that Python words the errors; parameters are numbered where a name is none of Python's.
        names = [param if param.isidentifier() else f"a{i}" for i, param in enumerate(params)]
        names = [f"a{i}" if names.count(n) > 1 else n for i, n in enumerate(names)]
        scope: dict[str, Any] = {}
        try:
            exec(f"def bind({', '.join(names)}): return ({''.join(n + ', ' for n in names)})", scope)
        except SyntaxError:
            names = [f"a{i}" for i in range(len(names))]
            exec(f"def bind({', '.join(names)}): return ({''.join(n + ', ' for n in names)})", scope)
        self._function = scope["bind"]
        self._function.__name__ = self._function.__qualname__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return self._function(*args, **kwargs)  # type: ignore[no-any-return]
