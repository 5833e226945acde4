"""Loads, stores and the other memory instructions. `address` is the one place that turns an operand into an address.

Rules:
- A memory's `base` never changes, so it is loaded at entry and marked invariant. Its length does.
- 32-bit memories with pages of 64 KiB have 8 GiB and a page of address space behind `base`: every `base + index + offset` lies in it and
  what is not accessible faults. Other memories are checked here.
- Accesses are `volatile`: an access that would trap is an effect, which LLVM must neither drop nor move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.emitter import INVARIANT
from core_rt.compile.handlers import Emit, emits, register
from core_rt.errors import TrapCode
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

_LENGTH: Final = s.VMMemoryDefinition["length"]


def needs_no_check(f: Emitter, memory: int) -> bool:
    """Whether the reservation behind the memory covers every address that an instruction can form."""
    type_ = f.unit.module.memories[memory]
    return not type_.is64 and type_.page_size_log2 == 16


def base(f: Emitter, memory: int) -> str:
    """The address of byte 0 of a memory."""
    name = f"%mem{memory}"
    if name not in f.preamble:
        definition = f.definition_at_entry("memory", memory)
        f.entry(name, f"load ptr, ptr {definition}{INVARIANT}")
    return name


def address(f: Emitter, memory: int, index: str, offset: int, size: int) -> str:
    """The address of `size` bytes at `index + offset`; traps, or leads to a fault, when they are not all in the memory."""
    start = base(f, memory)
    if needs_no_check(f, memory):
        if index[0] != "%":
            offset += int(index) & 0xFFFF_FFFF
        else:
            wide = f.known.get(index) or f.wide(index)
            f.n = n = f.n + 1
            if offset:  # one instruction for both; the size of the array does not matter
                f.out(f"%{n} = getelementptr [1 x i8], ptr {start}, i64 {wide}, i64 {offset}")
            else:
                f.out(f"%{n} = getelementptr i8, ptr {start}, i64 {wide}")
            return f"%{n}"
        if not offset:
            return start
        f.n = n = f.n + 1
        f.out(f"%{n} = getelementptr i8, ptr {start}, i64 {offset}")
        return f"%{n}"
    return checked_address(f, memory, index, offset, size)


def checked_address(f: Emitter, memory: int, index: str, offset: int, size: int) -> str:
    """As `address`, with an explicit check: index <= length - (offset + size), where that does not wrap."""
    end = offset + size
    wide = index if f.unit.module.memories[memory].is64 else f.let(f"zext i32 {index} to i64")
    if end > 1 << 62:
        f.trap_if("true", TrapCode.MEMORY_OUT_OF_BOUNDS)
        end = offset = 0
    length = f.let(f"load i64, ptr {length_place(f, memory)}{f.unit.alias_vm}")
    room = f.let(f"sub i64 {length}, {end}")
    too_small = f.let(f"icmp ult i64 {length}, {end}")
    beyond = f.let(f"icmp ugt i64 {wide}, {room}")
    f.trap_if(f.let(f"or i1 {too_small}, {beyond}"), TrapCode.MEMORY_OUT_OF_BOUNDS)
    at = f.let(f"getelementptr i8, ptr {base(f, memory)}, i64 {wide}")
    return f.field(at, offset)


def length_place(f: Emitter, memory: int) -> str:
    """The address of the memory's length in bytes."""
    return f.field(f.definition("memory", memory), _LENGTH)


def operand64(f: Emitter, is64: bool, value: str) -> str:
    """An index or count of a 32- or 64-bit memory or table as i64."""
    if is64:
        return value
    if value[0] != "%":
        return str(int(value) & 0xFFFF_FFFF)
    return f.wide(value)


# ------------------------------------------------------------------------------------------------------ loads, stores


def _load(lltype: str, size: int, extend: str | None, to: str) -> Emit:
    def emit(f: Emitter, imm: tuple[int, int, int]) -> None:
        _, offset, memory = imm
        stack = f.stack
        at = address(f, memory, stack[-1], offset, size)
        f.n = n = f.n + 1
        f.out(f"%{n} = load volatile {lltype}, ptr {at}, align 1{f.unit.alias_guest}")
        if extend is not None:
            f.n = n = n + 1
            f.out(f"%{n} = {extend} {lltype} %{n - 1} to {to}")
        stack[-1] = f"%{n}"

    return emit


def _store(lltype: str, size: int, whole: str) -> Emit:
    def emit(f: Emitter, imm: tuple[int, int, int]) -> None:
        _, offset, memory = imm
        value = f.stack.pop()
        if lltype != whole:
            value = f.let(f"trunc {whole} {value} to {lltype}")
        at = address(f, memory, f.stack.pop(), offset, size)
        f.out(f"store volatile {lltype} {value}, ptr {at}, align 1{f.unit.alias_guest}")

    return emit


def _register() -> None:
    for t, lltype, size in (("i32", "i32", 4), ("i64", "i64", 8), ("f32", "float", 4), ("f64", "double", 8)):
        register(f"{t}.load", _load(lltype, size, None, lltype))
        register(f"{t}.store", _store(lltype, size, lltype))
    for t in ("i32", "i64"):
        for width in (8, 16, 32):
            if f"i{width}" != t:
                register(f"{t}.load{width}_s", _load(f"i{width}", width // 8, "sext", t))
                register(f"{t}.load{width}_u", _load(f"i{width}", width // 8, "zext", t))
                register(f"{t}.store{width}", _store(f"i{width}", width // 8, t))


_register()


# ------------------------------------------------------------------------------------------------------ the whole memory


@emits("memory.size")
def _size(f: Emitter, memory: int) -> None:
    type_ = f.unit.module.memories[memory]
    length = f.let(f"load i64, ptr {length_place(f, memory)}{f.unit.alias_vm}")
    pages = f.let(f"lshr i64 {length}, {type_.page_size_log2}")
    f.stack.append(pages if type_.is64 else f.let(f"trunc i64 {pages} to i32"))


@emits("memory.grow")
def _grow(f: Emitter, memory: int) -> None:
    is64 = f.unit.module.memories[memory].is64
    pages = operand64(f, is64, f.stack.pop())
    old = f.builtin("memory_grow", f.definition("memory", memory), pages)
    f.stack.append(old if is64 else f.let(f"trunc i64 {old} to i32"))


@emits("memory.fill")
def _fill(f: Emitter, memory: int) -> None:
    is64 = f.unit.module.memories[memory].is64
    count = operand64(f, is64, f.stack.pop())
    byte = f.stack.pop()
    at = operand64(f, is64, f.stack.pop())
    f.builtin("memory_fill", f.definition("memory", memory), at, byte, count)


@emits("memory.copy")
def _copy(f: Emitter, memories: tuple[int, int]) -> None:
    to, from_ = memories
    to64, from64 = (f.unit.module.memories[m].is64 for m in memories)
    count = operand64(f, to64 and from64, f.stack.pop())
    source = operand64(f, from64, f.stack.pop())
    at = operand64(f, to64, f.stack.pop())
    f.builtin("memory_copy", f.definition("memory", to), at, f.definition("memory", from_), source, count)


@emits("memory.init")
def _init(f: Emitter, imm: tuple[int, int]) -> None:
    segment, memory = imm
    count = f.stack.pop()
    source = f.stack.pop()
    at = operand64(f, f.unit.module.memories[memory].is64, f.stack.pop())
    f.builtin("memory_init", f.definition("memory", memory), str(segment), at, source, count)


@emits("data.drop")
def _data_drop(f: Emitter, segment: int) -> None:
    f.builtin("data_drop", str(segment))


__all__: list[Any] = ["address", "base", "checked_address", "length_place", "operand64"]
