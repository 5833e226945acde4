"""Leaving quick code for optimised code in the middle of a loop (on-stack replacement), on x86-64.

Theory of operation. A function that loops may never be called again, so its better code must be entered from inside the loop. Its quick code
keeps every local in a slot of its frame. The slots come first in the frame, so where they lie is known (`Frame`): LLVM, when it does not
optimise, lays out a frame in the order of the `alloca`s. A *mark* behind them, written at entry, proves it each time.

When a guest was found several times polling in such a loop although its function has better code, the function is compiled once more,
as one that begins at the head of the loop and gets its locals from the frame of the quick code (`Emitter.resume_at`). At the next tick that
finds the guest at that poll, it is made to go on in a few bytes of code (`bridge`) instead: they call the new function, and return what
it returned to the caller of the old. The old frame stays below until then; nothing in it is looked at again, and it does not show in
backtraces.

A function that loops in the interpreter goes on in quick code in the same way: the interpreter itself calls the new function, with its
slots as the frame (`Frame.of_slots`), and returns what it returned. Operands lie in slots there; what LLVM does with them in quick code is
not known, so its loops can only be left where the operand stack is empty. All this is for functions without references into the heap (whose frames would stay
linked: roots.py), exceptions, tail calls and multiple results.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import attrs

from core_rt.compile.signature import is_gcref, lltype
from core_rt.opcodes import BY_NAME
from core_rt.validate.function import Uses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core_rt.types import ValType
    from core_rt.validate.function import FuncBody

__all__ = ["Frame", "LoopEntry", "bridge", "can_be_left"]

_SIZES: Final = {"i32": 4, "i64": 8, "float": 4, "double": 8, "ptr": 8, "<16 x i8>": 16}
_MOST_LOCALS: Final = 2000
_OPENERS: Final = frozenset(BY_NAME[name].code for name in ("block", "loop", "if", "try_table"))
_END: Final = BY_NAME["end"].code


def can_be_left(body: FuncBody) -> bool:
    """Whether quick code for the function is written so that its loops can be left."""
    return bool(
        body.uses & (Uses.LOOPS | Uses.EXCEPTIONS | Uses.TAIL_CALLS) == Uses.LOOPS
        and len(body.type.results) < 2
        and len(body.locals) <= _MOST_LOCALS
        and not any(is_gcref(t) for t in body.locals)
    )


@attrs.frozen
class Frame:
    """Where a function that can be left keeps what; bytes below its frame pointer."""

    context: int
    locals: tuple[int, ...]
    mark_at: int
    mark: int
    """A number that is unlikely to lie there by chance."""
    operands: tuple[tuple[str, int], ...] = ()
    """LLVM types and places of what lies on the operand stack."""

    @classmethod
    def of(cls, defined: int, locals_: list[ValType]) -> Frame:
        """The frame of defined function `defined`."""
        at = 8
        places = []
        for valtype in locals_:
            size = _SIZES[lltype(valtype)]
            at = (at + 2 * size - 1) & -size
            places.append(at)
        return cls(8, tuple(places), (at + 15) & -8, (defined + 1) * 0x9E37_79B9_7F4A_7C15 & 0x7FFF_FFFF_FFFF_FFFF)

    @classmethod
    def of_slots(cls, count: int, operands: Sequence[ValType], place: int) -> Frame:
        """Locals and operands as the interpreter has them: eight bytes each, upwards from the pointer. `place`: slot of the first operand."""
        found = tuple([(lltype(valtype), -8 * (place + i)) for i, valtype in enumerate(operands)])
        return cls(0, tuple(range(0, -8 * count, -8)), 0, 0, found)


def enclosing(body: FuncBody, offset: int | None) -> frozenset[int]:
    """Offsets of the structured instructions in which the loop at an offset stands, its own included."""
    found: list[int] = []
    for op, _, at in body.code:
        if op in _OPENERS:
            found.append(at)
            if at == offset:
                break
        elif op == _END and found:
            found.pop()
    return frozenset(found)


@attrs.frozen
class LoopEntry:
    """How to get from a poll in quick code to optimised code."""

    bridge: int
    mark_at: int
    mark: int


def bridge(target: int, frame: Frame) -> bytes:
    """Code that calls `target(context, frame pointer)` from inside a function, and then returns from that function.

    Below the stack pointer may lie the slots of a function that calls nothing (the red zone).
    """
    return b"".join(
        [
            b"\x48\x8d\xa4\x24" + struct.pack("<i", -136),  # lea rsp, [rsp - 136]
            b"\x48\x83\xe4\xf0",  # and rsp, -16
            b"\x48\x89\xee",  # mov rsi, rbp
            b"\x48\x8b\xbd" + struct.pack("<i", -frame.context),  # mov rdi, [rbp - context]
            b"\x48\xb8" + struct.pack("<Q", target),  # mov rax, target
            b"\xff\xd0",  # call rax
            b"\xc9\xc3",  # leave; ret
        ]
    )
