"""Where guests spend their time, and what is optimised for that reason.

Theory of operation. At every tick the store tells where its guest is, and the quick code found there is counted. A function found twice
is *warm*: it is optimised in this process, with what it calls, as long as that is little code: a small loop is at full speed a few
dozen milliseconds after it began to matter. A chunk of neighbouring functions found eight times is *hot*: a worker process optimises all of it.
Optimised code is not counted, nor what is being optimised. Whoever is still found in a loop of its quick code is helped out of it (see
osr.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from core_rt.compile.ahead import chunks_of

if TYPE_CHECKING:
    from core_rt.compile.module import CompiledModule

__all__ = ["FAMILY_BYTES", "Heat"]

_SAMPLED_FRAMES: Final = 4
_WARM: Final = 2
_STUCK: Final = 3
_HOT: Final = 8
"""A worker costs half a second of processor time, which pays for programs that run on for about as long; those that ran so far are
likely to."""
FAMILY_BYTES: Final = 3 << 10
"""Bytes of wasm code that are optimised at a time in this process, at most: some 50 ms, during which nobody else gets into LLVM."""
_LOOP_BYTES: Final = 16 << 10
"""Bytes of wasm code of a function whose loops are left, at most: it is compiled in this process, too."""
_MOST_HERE: Final = 32 << 10
"""And in all, of one module. What gets warm afterwards waits to be hot."""


@final
class Heat:
    """Counts for one module. Not thread-safe: stores of several threads may lose counts to each other, which does not matter."""

    def __init__(self, compiled: CompiledModule) -> None:
        self._compiled = compiled
        self._bodies = compiled.module.bodies
        self._chunks = chunks_of(self._bodies)
        self._functions: dict[int, int] = {}
        self._by_chunk: dict[int, int] = {}
        self._left = _MOST_HERE
        self._asked: set[int] = set()
        self._loops: dict[int, int] = {}
        self._quick = compiled.compiler.quick

    def note(self, pcs: Sequence[int]) -> None:
        """A running guest was found at these addresses, innermost first."""
        if not pcs:
            return
        quick, self._quick = self._quick, self._compiled.compiler.quick
        if quick != self._quick:
            return  # the time since the last tick went to the compiler
        self._note_loop(pcs[0])
        found = {self._compiled.quick_function(pc) for pc in pcs[:_SAMPLED_FRAMES]}
        seen = {defined for defined in found if defined is not None and defined not in self._asked}
        if not seen:
            return
        warm = []
        for defined in seen:
            count = self._functions[defined] = self._functions.get(defined, 0) + 1
            start, end = self._bodies[defined]
            if count == _WARM and end - start <= min(FAMILY_BYTES, self._left):
                self._left -= end - start
                warm.append(defined)
        background = self._compiled.compiler.background
        if warm:
            self._asked.update(warm)
            background.request(self._compiled, frozenset(warm))
        for number in {bisect_right(self._chunks, f, key=lambda chunk: chunk.start) - 1 for f in seen - self._asked}:
            count = self._by_chunk[number] = self._by_chunk.get(number, 0) + 1
            if count == _HOT:
                background.request(self._compiled, self._chunks[number])

    def _note_loop(self, pc: int) -> None:
        """A guest that still polls in quick code of a function that has better code may do so for long."""
        defined = self._compiled.quick_function(pc)
        if defined is None or not (defined in self._asked or self._compiled.is_optimised(defined)):
            return
        start, end = self._bodies[defined]
        if end - start > _LOOP_BYTES:
            return
        poll = pc + 1  # frames are addresses inside of calls
        count = self._loops[poll] = self._loops.get(poll, 0) + 1
        if count == _STUCK:
            self._compiled.compiler.background.request(self._compiled, poll)
