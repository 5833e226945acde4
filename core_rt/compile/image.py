"""Loaded objects: machine code in the arena and what is known about the addresses in it."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from core_rt.compile.elf import ElfObject
from core_rt.compile.lines import LineTable, line_program
from core_rt.compile.symbols import SYMBOL
from core_rt.record import mutable

if TYPE_CHECKING:
    from core_rt.compile.linked import LinkedCode
    from core_rt.native import CodeArena

__all__ = ["CodeMap", "LoadedObject", "functions_of", "load"]


@mutable
class LoadedObject:
    """An object in place. `lines` is read (or made) when first asked for."""

    address: int
    size: int
    functions: list[tuple[int, int, int, bool]]
    """(start, end, defined function, whether it is a body that lines belong to), sorted; offsets from `address`."""
    entries: dict[str, int]
    """Symbol → address."""
    exported: frozenset[str]
    """Symbols that may be called from outside."""
    lined: bool
    """It carries its own line table, as optimised code does."""
    text_hash: int
    """Of the code before it was relocated."""
    make_lines: Callable[[], LineTable] | None
    _lines: LineTable | None = None

    def part(self, at: int) -> LoadedObject | None:
        """The object that offset `at` lies in: this one. (`LinkedCode` has many.)"""
        return self

    @property
    def lines(self) -> LineTable | None:
        """The line table; None where it cannot be told."""
        if self._lines is None and self.make_lines is not None:
            self._lines = self.make_lines()
            self.make_lines = None
        return self._lines


def functions_of(elf: ElfObject, wrappers: Container[str]) -> list[tuple[int, int, int, bool]]:
    """`LoadedObject.functions` of an object. `wrappers`: symbols that are no frames."""
    functions = []
    for name, (at, size) in elf.functions.items():
        found = SYMBOL.match(name)
        if found is not None:
            functions.append((at, at + size, int(found[2]), name not in wrappers))
    functions.sort()
    return functions


def load(
    arena: CodeArena,
    data: bytes,
    wrappers: frozenset[str] = frozenset(),
    *,
    lined: bool = False,
) -> LoadedObject:
    """Put an object into the arena. `lined`: it carries its own line table. `wrappers`: symbols that are no frames."""
    elf = ElfObject.parse(data)
    view, address = arena.alloc(elf.size, max(elf.align, 16))
    view[: elf.size] = elf.load(address)
    arena.publish()
    functions = functions_of(elf, wrappers)
    make_lines = line_program(elf) if lined else None
    entries = {name: address + at for name, (at, _) in elf.functions.items()}
    return LoadedObject(
        address, elf.size, functions, entries, elf.exported, lined, hash(elf.section(".text")), make_lines
    )


class CodeMap:
    """Which loaded object an address belongs to."""

    __slots__ = ("_objects", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._objects: dict[int, LoadedObject | LinkedCode] = {}

    def add(self, loaded: LoadedObject | LinkedCode) -> None:
        """Note what was loaded."""
        self._objects[loaded.address] = loaded
        insort(self._starts, loaded.address)

    def find(self, pc: int) -> tuple[LoadedObject, int] | None:
        """The object at an address and the index in its `functions`; None if no function of ours is there."""
        index = bisect_right(self._starts, pc) - 1
        if index < 0:
            return None
        start = self._starts[index]
        loaded = self._objects[start].part(pc - start)
        if loaded is None:
            return None
        at = pc - loaded.address
        found = bisect_right(loaded.functions, at, key=lambda row: row[0]) - 1
        if found < 0 or at >= loaded.functions[found][1]:
            return None
        return loaded, found

    def __len__(self) -> int:
        return len(self._starts)
