"""Roots: references into the store's heap that live in compiled code.

A function that holds such references across something that may collect garbage keeps a `VMGcFrame`, linked in the
store context. Before each such point the live references (locals and operand stack) are written to its slots and their number
to `count`; the collector reads exactly those. Objects do not move, so nothing is read back. The frame is linked at entry and
taken out before every return; whoever resets a fiber (a trap, an exception) resets the chain with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core_rt.compile.signature import is_gcref
from core_rt.opcodes import BY_NAME, OPCODES
from core_rt.types import FuncType
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.compile.emitter import Emitter

_GET: Final = BY_NAME["local.get"].code
_LOOP: Final = BY_NAME["loop"].code
_END: Final = BY_NAME["end"].code
_OPENERS: Final = frozenset(row.code for row in OPCODES if row.mnemonic in ("block", "loop", "if", "try_table"))

_COUNT = s.VMGcFrame["count"]
_PREVIOUS = s.VMGcFrame["previous"]
_SLOTS = s.VMGcFrame.size
CURRENT: Final = -8
"""Offset from an exception frame of the pointer to its current handler."""


def live_roots(f: Emitter) -> list[str]:
    """The references that are live here, each once."""
    gc = f.gc_values
    locals_ = [f.locals[i] for i in _live_locals(f) if i not in f.slots]
    return list(dict.fromkeys([v for v in locals_ + f.stack if v in gc]))


def _slots(f: Emitter) -> list[int]:
    """Locals in memory that hold references."""
    return [i for i in _live_locals(f) if i in f.slots] if f.slots else []


def _live_locals(f: Emitter) -> list[int]:
    """Locals of reference types that may still be read: what is dead must not keep an object alive."""
    if f.last_reads is None:
        f.last_reads = _last_reads(f)
    offset = f.offset
    return [i for i, last in f.last_reads.items() if last > offset]


def _last_reads(f: Emitter) -> dict[int, int]:
    """Local of reference type → offset of its last `local.get`, or of the end of the outermost loop around that."""
    last = {i: 0 for i, t in enumerate(f.body.locals) if is_gcref(t)}
    loops: list[bool] = []  # is a loop, of every open construct
    depth = 0
    pending: set[int] = set()
    for op, imm, offset in f.body.code:
        if op == _GET:
            if imm in last:
                last[imm] = offset
                if depth:
                    pending.add(imm)
        elif op in _OPENERS:
            loops.append(op == _LOOP)
            depth += op == _LOOP
        elif op == _END and loops:
            depth -= loops.pop()
            if not depth and pending:
                last.update(dict.fromkeys(pending, offset))
                pending.clear()
    return last


def spill_roots(f: Emitter) -> None:
    """Write the live references to the frame: before a call."""
    if not f.rooted:
        return
    roots = live_roots(f) + [f.let(f"load {f.slot_access}i32, ptr %local{i}") for i in _slots(f)]
    if not roots and not f.gc_slots:
        return
    f.gc_slots = max(f.gc_slots, len(roots), 1)
    for slot, value in enumerate(roots):
        place = f.let(f"getelementptr i8, ptr %gc, i64 {_SLOTS + 4 * slot}")
        f.out(f"store i32 {value}, ptr {place}, align 4")
    place = f.let(f"getelementptr i8, ptr %gc, i64 {_COUNT}")
    f.out(f"store i64 {len(roots) | _flag(f)}, ptr {place}, align 8")


def cold_spill(f: Emitter, label: str) -> list[str]:
    """As `spill_roots`, as lines for a cold block."""
    if not f.rooted:
        return []
    roots = live_roots(f)
    lines = []
    for i in _slots(f):
        lines.append(f"%{label}.l{i} = load {f.slot_access}i32, ptr %local{i}")
        roots.append(f"%{label}.l{i}")
    if not roots and not f.gc_slots:
        return []
    f.gc_slots = max(f.gc_slots, len(roots), 1)
    for slot, value in enumerate(roots):
        lines.append(f"%{label}.r{slot} = getelementptr i8, ptr %gc, i64 {_SLOTS + 4 * slot}")
        lines.append(f"store i32 {value}, ptr %{label}.r{slot}, align 4")
    lines.append(f"%{label}.rc = getelementptr i8, ptr %gc, i64 {_COUNT}")
    lines.append(f"store i64 {len(roots) | _flag(f)}, ptr %{label}.rc, align 8")
    return lines


def _flag(f: Emitter) -> int:
    """What is added to `count` in an exception frame."""
    return s.GC_FRAME_CATCHES if f.catches else 0


def leave_frame(f: Emitter) -> None:
    """Take the frame out of the chain: before a return. Whether there is one is known only at the end, so a line is kept."""
    if f.unit.collects or f.catches:
        f.gc_leaves.append(len(f.lines))
        f.out("")


def frame_lines(f: Emitter) -> list[str]:
    """The text that makes and links the frame, for the end of the preamble; fills the lines that `leave_frame` kept."""
    if not f.gc_slots:
        return []
    head = f.store_field("gc_frame")
    for line in f.gc_leaves:
        f.lines[line] = f"store ptr %gc.previous, ptr {head}, align 8"
    size = _SLOTS + 4 * f.gc_slots
    first = [f"%gc = alloca [{size} x i8], align 16"]
    if f.catches:
        first = [
            f"%gc.block = alloca [{size + 16} x i8], align 16",
            "%gc = getelementptr i8, ptr %gc.block, i64 16",
            f"%gc.current = getelementptr i8, ptr %gc, i64 {CURRENT}",
            "store volatile ptr null, ptr %gc.current",
        ]
    return [
        *first,
        f"%gc.previous = load ptr, ptr {head}, align 8",
        f"%gc.link = getelementptr i8, ptr %gc, i64 {_PREVIOUS}",
        "store ptr %gc.previous, ptr %gc.link, align 8",
        f"%gc.count = getelementptr i8, ptr %gc, i64 {_COUNT}",
        f"store i64 {_flag(f)}, ptr %gc.count, align 8",
        f"store ptr %gc, ptr {head}, align 8",
    ]


def collects(module: DecodedModule) -> bool:
    """Whether references into the heap can reach the module's code at all."""
    for type_ in module.types:
        composite = type_.composite
        if not isinstance(composite, FuncType) or any(is_gcref(t) for t in composite.params + composite.results):
            return True
    return any(is_gcref(t.element) for t in module.tables) or any(is_gcref(g.content) for g in module.globals)
