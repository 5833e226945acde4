"""Locals, globals, the memory, `drop` and `select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.interpret.translator import NUMBERS, Declined, translates
from core_rt.types import F32, I32
from core_rt.vm.words import CODES

if TYPE_CHECKING:
    from core_rt.interpret.translator import Translator

_NARROW: Final = frozenset((I32, F32))


@translates("local.set")
def _local_set(t: Translator, local: int) -> None:
    value = t.stack.pop()
    if local in t.stack:
        t.settle_local(local)
    elif t.redirect(value, local):
        return
    if value != local:
        t.emit("MOVE", local, value)


@translates("local.tee")
def _local_tee(t: Translator, local: int) -> None:
    _local_set(t, local)
    t.stack.append(local)


@translates("drop")
def _drop(t: Translator, imm: Any) -> None:
    t.stack.pop()


@translates("select")
def _select(t: Translator, valtype: Any) -> None:
    if valtype not in NUMBERS:
        raise Declined
    condition, right, left = t.stack.pop(), t.stack.pop(), t.stack.pop()
    t.emit("SELECT", t.push_place(), left, right)
    t.words.append(condition)
    t.barrier = len(t.words)


def global_access(t: Translator, index: int, what: str, slot: int) -> None:
    """Append an access to a global."""
    content = t.module.globals[index].content
    if content not in NUMBERS:
        raise Declined
    imported, place = t.layout.global_(index)
    name = f"{'IMPORTED' if imported else 'GLOBAL'}_{what}_{32 if content in _NARROW else 64}"
    t.words.append(CODES[name] | slot << 16 | place << 32)


@translates("global.get")
def _global_get(t: Translator, index: int) -> None:
    global_access(t, index, "GET", t.push_place())


@translates("global.set")
def _global_set(t: Translator, index: int) -> None:
    global_access(t, index, "SET", t.stack.pop())


@translates("memory.size")
def _memory_size(t: Translator, memory: int) -> None:
    only_memory(t, memory)
    t.emit("MEMORY_SIZE", t.push_place())
    t.barrier = len(t.words)


@translates("memory.grow")
def _memory_grow(t: Translator, memory: int) -> None:
    only_memory(t, memory)
    pages = t.stack.pop()
    t.emit("MEMORY_GROW", t.push_place(), pages)
    t.barrier = len(t.words)


def memory_three(t: Translator, name: str) -> None:
    """Append an instruction of three operands on the memory."""
    count, source, at = t.stack.pop(), t.stack.pop(), t.stack.pop()
    t.emit(name, at, source, count)


@translates("memory.copy")
def _memory_copy(t: Translator, memories: tuple[int, int]) -> None:
    only_memory(t, *memories)
    memory_three(t, "MEMORY_COPY")


@translates("memory.fill")
def _memory_fill(t: Translator, memory: int) -> None:
    only_memory(t, memory)
    memory_three(t, "MEMORY_FILL")


@translates("memory.init")
def _memory_init(t: Translator, imm: tuple[int, int]) -> None:
    segment, memory = imm
    only_memory(t, memory)
    memory_three(t, "MEMORY_INIT")
    t.words.append(segment)
    t.barrier = len(t.words)


@translates("data.drop")
def _data_drop(t: Translator, segment: int) -> None:
    if segment > 0xFFFF:
        raise Declined
    t.emit("DATA_DROP", segment)
    t.barrier = len(t.words)


def only_memory(t: Translator, *memories: int) -> None:
    """Decline other memories than the first."""
    if any(memories):
        raise Declined
