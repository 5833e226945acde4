"""Python source under construction: indented lines, fresh names, and constants that the code refers to by name."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import CodeType

__all__ = ["Source", "compile_source"]


@functools.lru_cache(maxsize=512)
def compile_source(text: str) -> CodeType:
    """The code object of generated source; signatures of the same shape share it."""
    return compile(text, "<canonical abi>", "exec")


# Names of typed views of the store's buffer (`abi.context`), which a stem and a number may add up to.
_TAKEN = frozenset({"u32", "i32", "u64", "i64", "f32", "f64"})


class Source:
    """Lines of one generated factory function.

    `constants` are the globals of the generated code. Helper functions go to `helpers` (each a finished block), lines
    of the part being written to `lines`.
    """

    __slots__ = ("_count", "_depth", "_names", "_texts", "constants", "helpers", "lines")

    def __init__(self) -> None:
        self.constants: dict[str, object] = {}
        self.helpers: list[str] = []
        self.lines: list[str] = []
        self._names: dict[int, str] = {}
        self._texts: dict[str, str] = {}
        self._depth = 1
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A name that is not in use."""
        self._count += 1
        name = f"{stem}{self._count}"
        return self.fresh(stem) if name in _TAKEN else name

    def constant(self, value: object, stem: str) -> str:
        """A name for `value`; the same object gets the same name. `value` is kept alive."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = self.fresh(stem)
            self.constants[name] = value
        return name

    def line(self, text: str) -> None:
        """Append a line at the present indentation."""
        self.lines.append("    " * self._depth + text)

    @contextlib.contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Append `header` and indent what is written inside."""
        self.line(header)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    @contextlib.contextmanager
    def helper(self, header: str) -> Iterator[None]:
        """Write a function beside the present one: `header` is `def name(...):`."""
        outer, depth = self.lines, self._depth
        self.lines, self._depth = [], 1
        try:
            with self.block(header):
                yield
            self.helpers.append("\n".join(self.lines))
        finally:
            self.lines, self._depth = outer, depth

    def text(self, header: str, setup: list[str], footer: str) -> str:
        """The whole factory: `header`, `setup` lines, helpers, the lines, `footer`."""
        parts = [header, *[f"    {line}" for line in setup], *self.helpers, *self.lines, f"    {footer}", ""]
        return "\n".join(parts)
