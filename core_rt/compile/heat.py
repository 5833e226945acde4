"""Where guests spend their time, and what is optimised for that reason.

Theory of operation. At every tick the store tells where its guest is, and the quick code found there is counted, unless a guest waited
for the compiler since the last tick. A function found twice is *warm*: if it is small, it is optimised in this process, with what it calls
as long as that is little; so a small loop is at full speed some dozen milliseconds after it began to matter. Others are *hot* when
found eight times: a worker process optimises them, which takes half a second or more. Optimised code is not counted, nor what is being
optimised. Whoever is still found in a loop of its quick code is helped out of it (see osr.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from core_rt.compile.workers import Family

if TYPE_CHECKING:
    from core_rt.compile.module import CompiledModule

__all__ = ["FAMILY_BYTES", "Heat"]

_SAMPLED_FRAMES: Final = 4
_LEAST: Final = 0.0005
"""Seconds of its thread's time in which a guest must have run since the last tick for this one to tell something."""
_WARM: Final = 2
_STUCK: Final = 3
_HOT: Final = 8
"""A worker costs half a second of processor time, which pays for programs that run on for about as long; those that ran so far are
likely to."""
FAMILY_BYTES: Final = 3 << 10
"""Bytes of wasm code that are optimised at a time in this process, at most: some 50 ms, during which nobody else gets into LLVM."""
_LOOP_BYTES: Final = 16 << 10
"""Bytes of wasm code of a function whose loops are left, at most: it is compiled in this process, too."""
_WORKER_BYTES: Final = 8 << 10
"""Bytes of wasm code that a worker optimises with a hot function because the function calls it."""
_MOST_HERE: Final = 32 << 10
"""And in all, of one module. What gets warm afterwards waits to be hot."""


@final
class Heat:
    """Counts for one module. Not thread-safe: stores of several threads may lose counts to each other, which does not matter."""

    def __init__(self, compiled: CompiledModule) -> None:
        self._compiled = compiled
        self._bodies = compiled.module.bodies
        self._functions: dict[int, int] = {}
        self._left = _MOST_HERE
        self._asked: set[int] = set()
        self._loops: dict[int, int] = {}
        self._quick = compiled.compiler.quick
        self._time = -1.0

    def note(self, pcs: Sequence[int]) -> None:
        """A running guest was found at these addresses, innermost first."""
        if not pcs:
            return
        quick, self._quick = self._quick, self._compiled.compiler.quick
        if quick != self._quick:
            return  # the time since the last tick went to the compiler
        since, self._time = self._time, time.thread_time()
        if 0 <= self._time - since < _LEAST:
            return  # or to other programs
        self._note_loop(pcs[0])
        found = {self._compiled.quick_function(pc) for pc in pcs[:_SAMPLED_FRAMES]}
        seen = {defined for defined in found if defined is not None and defined not in self._asked}
        if not seen:
            return
        warm, hot = [], []
        for defined in seen:
            count = self._functions[defined] = self._functions.get(defined, 0) + 1
            start, end = self._bodies[defined]
            size = end - start
            if count == _WARM and size <= min(FAMILY_BYTES, self._left):
                self._left -= size
                warm.append(defined)
            elif count == _HOT:
                hot.append(Family((defined,), size + _WORKER_BYTES))
        background = self._compiled.compiler.background
        self._asked.update(warm)
        if warm:
            background.request(self._compiled, frozenset(warm))
        for family in hot:
            self._asked.update(family.functions)
            background.request(self._compiled, family)

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
