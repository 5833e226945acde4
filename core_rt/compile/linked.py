"""Optimised code of a module as the cache keeps it: linked, so that a start only maps it.

Theory of operation. `link` loads the units of a module one behind the other into one block, relocated as far as that is possible
without knowing where the block will stand: entirely, in practice, since code reaches everything outside through its context.
Behind the block are tables of 32-bit words that are read where they lie: which entry of the code table begins where, which function
an address belongs to, and the line number programs, which only a backtrace runs. Putting a module of ten thousand functions
into service so is one `mmap` and one pass over its code table.

    head | the block, from a page's start | entries | units | functions | absolute | starts | programs

A module that keeps growing (what is found hot in the background) is linked anew from its units, which `stored` keeps.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from core_rt.compile.cache import PAGE, Buffer
from core_rt.compile.elf import ElfObject
from core_rt.compile.image import LoadedObject, functions_of
from core_rt.compile.lines import run_line_program
from core_rt.compile.stored import StoredUnit
from core_rt.compile.symbols import SYMBOL
from core_rt.native import CodeArena, enter_code

__all__ = ["LinkedCode", "link"]

_MAGIC: Final = b"linked 1"
_HEAD: Final = struct.Struct("<8sQ6Q")
"""Magic, bytes of the block, words of each table."""
_WORD: Final = "I"
assert array(_WORD).itemsize == 4
_NONE: Final = 0xFFFF_FFFF
_UNIT_WORDS: Final = 8
"""Of a unit: offset in the block, size; first function, number of them; first start, number; offset of its line program, length."""
_FUNCTION_WORDS: Final = 4
"""Start and end in the unit, defined function, whether it is a frame."""
_START_WORDS: Final = 2
_MOST: Final = 1 << 30
_U64: Final = struct.Struct("<Q")


def link(units: Iterable[StoredUnit], functions: int) -> Iterator[Buffer]:
    """The parts of what `LinkedCode` reads. `functions`: how many the module defines."""
    entries = array(_WORD, [_NONE]) * (2 * functions)
    table, rows, absolute, starts = array(_WORD), array(_WORD), array(_WORD), array(_WORD)
    blocks: list[Buffer] = []
    programs: list[Buffer] = []
    at = program_at = 0
    for unit in units:
        elf = ElfObject.parse(unit.code)
        fill = -at % max(elf.align, 16)
        blocks.append(bytes(fill))
        at += fill
        addresses: list[int] = []
        blocks.append(elf.load(at, addresses))
        absolute.extend([at + offset for offset in addresses])
        found = functions_of(elf, unit.wrappers)
        program, places = elf.section(".debug_line") or b"", elf.relocations_of(".debug_line")
        table.extend(
            (at, elf.size, len(rows) // _FUNCTION_WORDS, len(found))
            + (len(starts) // _START_WORDS, len(places), program_at, len(program))
        )
        for row in found:
            rows.extend(row)
        for offset, place, addend in places:
            starts.extend((offset, place + addend))
        for name in elf.exported:
            symbol = SYMBOL.fullmatch(name)
            if symbol is not None:
                entries[int(symbol[2]) + (functions if symbol[1] == "t" else 0)] = at + elf.functions[name][0]
        programs.append(program)
        at += elf.size
        program_at += len(program)
    tables = (entries, table, rows, absolute, starts)
    yield _HEAD.pack(_MAGIC, at, *map(len, tables), program_at).ljust(PAGE, b"\0")
    yield from blocks
    yield bytes(-at % 8)
    for words in tables:
        yield words.tobytes()
    yield from programs


class LinkedCode:
    """Linked code, from a view of what `link` made. `ValueError` where it is not that."""

    __slots__ = (
        "_absolute",
        "_block",
        "_entries",
        "_parts",
        "_programs",
        "_rows",
        "_starts",
        "_units",
        "address",
        "size",
        "units",
    )

    def __init__(self, contents: memoryview) -> None:
        if len(contents) < PAGE or bytes(contents[:8]) != _MAGIC:
            raise ValueError("no linked code")
        _, self.size, *lengths, programs = _HEAD.unpack_from(contents)
        end = PAGE + self.size
        self._block = contents[PAGE:end]
        end += -self.size % 8
        if self.size > _MOST or max(lengths) > _MOST or end + 4 * sum(lengths) + programs != len(contents):
            raise ValueError("linked code is cut off")
        tables = []
        for length in lengths:
            tables.append(contents[end : end + 4 * length].cast(_WORD))
            end += 4 * length
        self._entries, self._units, self._rows, self._absolute, self._starts = tables
        self._programs = contents[end:]
        self._parts: dict[int, LoadedObject] = {}
        self.units = len(self._units) // _UNIT_WORDS
        self.address = 0
        """Where the block stands, once it is loaded."""

    def load(self, arena: CodeArena, fd: int | None) -> None:
        """Put the block into the arena; mapped from the file `fd`, where the contents lie from the start, if that can be."""
        if fd is not None and not self._absolute:
            try:
                self.address = arena.map(fd, PAGE, self.size)
                if isinstance(
                    self._block.obj, mmap.mmap
                ):  # the checksum was taken through pages that are not needed again
                    self._block.obj.madvise(mmap.MADV_DONTNEED, PAGE, max(PAGE, self.size & -PAGE))
                return
            except OSError:  # a file system whose files must not run
                pass
        view, self.address = arena.alloc(self.size, PAGE)
        view[:] = self._block
        for at in self._absolute:
            _U64.pack_into(view, at, _U64.unpack_from(view, at)[0] + self.address)
        arena.publish()

    def enter(self, table: int, length: int) -> int:
        """Write addresses to the code table at `table`, of `length` entries; returns how many were written."""
        if len(self._entries) != length:
            raise ValueError("linked code of another module")
        return enter_code(table, self._entries, self.address)

    def part(self, at: int) -> LoadedObject | None:
        """The unit that offset `at` in the block lies in, as an object of its own."""
        units = self._units
        found = bisect_right(range(len(units) // _UNIT_WORDS), at, key=lambda i: units[_UNIT_WORDS * i]) - 1
        if found < 0:
            return None
        part = self._parts.get(found)
        if part is None:
            part = self._parts[found] = self._part(*units[_UNIT_WORDS * found : _UNIT_WORDS * (found + 1)])
        return part

    def _part(
        self, at: int, size: int, row: int, rows: int, start: int, starts: int, program: int, length: int
    ) -> LoadedObject:
        words = self._rows[_FUNCTION_WORDS * row : _FUNCTION_WORDS * (row + rows)].tolist()
        functions = [
            (begin, end, defined, bool(frame))
            for begin, end, defined, frame in zip(words[0::4], words[1::4], words[2::4], words[3::4], strict=True)
        ]
        pairs = self._starts[_START_WORDS * start : _START_WORDS * (start + starts)].tolist()
        places = dict(zip(pairs[0::2], pairs[1::2], strict=True))
        make_lines = partial(run_line_program, bytes(self._programs[program : program + length]), places)
        return LoadedObject(self.address + at, size, functions, {}, frozenset(), True, 0, make_lines)
