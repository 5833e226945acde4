"""Program counters to byte offsets in the wasm module, from the `.debug_line` section of an object.

Compiled code that carries debug locations has line = byte offset in the module. Only what LLVM writes is read: DWARF
versions 4 and 5, one file. (DWARF 5, section 6.2.5: the line number program.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial

from core_rt.compile.elf import ElfObject

__all__ = ["LineTable", "line_program", "line_table", "run_line_program"]

_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _SET_COLUMN, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 5, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, at


def _sleb(data: bytes, at: int) -> tuple[int, int]:
    start = at
    value, at = _uleb(data, at)
    bits = 7 * (at - start)
    return (value - (1 << bits) if value >> (bits - 1) & 1 else value), at


class LineTable:
    """Sorted code offsets (in the loaded block) with the module offset that holds from each on (0: unknown)."""

    __slots__ = ("_at", "_lines")

    def __init__(self, rows: list[tuple[int, int]]) -> None:
        rows.sort(key=lambda row: row[0])
        self._at = [at for at, _ in rows]
        self._lines = [line for _, line in rows]

    @classmethod
    def empty(cls) -> LineTable:
        """A table that knows nothing."""
        return cls([])

    def find(self, at: int) -> int | None:
        """The byte offset in the module of the instruction at code offset `at`; None if it has none."""
        index = bisect_right(self._at, at) - 1
        return (self._lines[index] or None) if index >= 0 else None


def line_table(elf: ElfObject) -> LineTable:
    """The line table of an object; empty if it has none."""
    return line_program(elf)()


def line_program(elf: ElfObject) -> Callable[[], LineTable]:
    """What makes the line table of an object, without keeping the object: most are never asked for."""
    data = elf.section(".debug_line") or b""
    starts = {offset: place + addend for offset, place, addend in elf.relocations_of(".debug_line")}
    return partial(run_line_program, data, starts)


def run_line_program(data: bytes, starts: dict[int, int]) -> LineTable:
    """The line table that a `.debug_line` section stands for; `starts` are its relocations, offset to address."""
    rows: list[tuple[int, int]] = []
    if data:
        at = 0
        while at + 4 <= len(data):
            at = _program(data, at, starts, rows)
    return LineTable(rows)


def _program(data: bytes, at: int, starts: dict[int, int], rows: list[tuple[int, int]]) -> int:
    """Run one line number program; returns where the next begins."""
    end = at + 4 + int.from_bytes(data[at : at + 4], "little")
    version = int.from_bytes(data[at + 4 : at + 6], "little")
    at += 6
    if version >= 5:
        at += 2  # address and segment selector size
    header_length = int.from_bytes(data[at : at + 4], "little")
    at += 4
    program = at + header_length
    unit = data[at]
    line_base = int.from_bytes(data[at + 3 : at + 4], "little", signed=True)
    line_range = data[at + 4]
    opcode_base = data[at + 5]
    lengths = data[at + 6 : at + 5 + opcode_base]
    at = program
    address, line = 0, 1
    while at < end:
        opcode = data[at]
        at += 1
        if opcode >= opcode_base:
            opcode -= opcode_base
            address += opcode // line_range * unit
            line += line_base + opcode % line_range
            rows.append((address, line))
        elif opcode == 0:
            size, at = _uleb(data, at)
            if data[at] == _END_SEQUENCE:
                rows.append((address, 0))
                address, line = 0, 1
            elif data[at] == _SET_ADDRESS:
                address = starts.get(at + 1, int.from_bytes(data[at + 1 : at + size], "little"))
            at += size
        elif opcode == _COPY:
            rows.append((address, line))
        elif opcode == _ADVANCE_PC:
            delta, at = _uleb(data, at)
            address += delta * unit
        elif opcode == _ADVANCE_LINE:
            delta, at = _sleb(data, at)
            line += delta
        elif opcode == _CONST_ADD_PC:
            address += (255 - opcode_base) // line_range * unit
        elif opcode == _FIXED_ADVANCE_PC:
            address += int.from_bytes(data[at : at + 2], "little")
            at += 2
        else:
            for _ in range(lengths[opcode - 1]):
                _, at = _uleb(data, at)
    return end
