"""Atomic instructions: sequentially consistent, naturally aligned (checked), on any memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.handlers import Emit, emits, register
from core_rt.compile.memory import address, checked_address, operand64
from core_rt.compile.roots import spill_roots
from core_rt.errors import TrapCode

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

Memarg = tuple[int, int, int]

_OPERATIONS: Final = ("add", "sub", "and", "or", "xor", "xchg")


def _aligned(f: Emitter, imm: Memarg, index: str, size: int) -> None:
    """Trap unless `index + offset` is a multiple of `size`."""
    if size == 1:
        return
    _, offset, memory = imm
    t = "i64" if f.unit.module.memories[memory].is64 else "i32"
    low = f.let(f"add {t} {index}, {offset & (size - 1)}") if offset & (size - 1) else index
    rest = f.let(f"and {t} {low}, {size - 1}")
    f.trap_if(f.let(f"icmp ne {t} {rest}, 0"), TrapCode.HEAP_MISALIGNED)


def _place(f: Emitter, imm: Memarg, size: int) -> str:
    """Pop the index: the address of an access."""
    _, offset, memory = imm
    index = f.stack.pop()
    _aligned(f, imm, index, size)
    return address(f, memory, index, offset, size)


def _extended(f: Emitter, value: str, narrow: str, whole: str) -> None:
    f.stack.append(value if narrow == whole else f.let(f"zext {narrow} {value} to {whole}"))


def _narrowed(f: Emitter, value: str, narrow: str, whole: str) -> str:
    return value if narrow == whole else f.let(f"trunc {whole} {value} to {narrow}")


def _load(narrow: str, size: int, whole: str) -> Emit:
    def emit(f: Emitter, imm: Memarg) -> None:
        place = _place(f, imm, size)
        _extended(f, f.let(f"load atomic volatile {narrow}, ptr {place} seq_cst, align {size}"), narrow, whole)

    return emit


def _store(narrow: str, size: int, whole: str) -> Emit:
    def emit(f: Emitter, imm: Memarg) -> None:
        value = _narrowed(f, f.stack.pop(), narrow, whole)
        f.out(f"store atomic volatile {narrow} {value}, ptr {_place(f, imm, size)} seq_cst, align {size}")

    return emit


def _modify(operation: str, narrow: str, size: int, whole: str) -> Emit:
    def emit(f: Emitter, imm: Memarg) -> None:
        value = _narrowed(f, f.stack.pop(), narrow, whole)
        old = f.let(
            f"atomicrmw volatile {operation} ptr {_place(f, imm, size)}, {narrow} {value} seq_cst, align {size}"
        )
        _extended(f, old, narrow, whole)

    return emit


def _exchange(narrow: str, size: int, whole: str) -> Emit:
    """Compare and exchange. The expected value is wrapped to the size of the access, as the new one is."""

    def emit(f: Emitter, imm: Memarg) -> None:
        new = _narrowed(f, f.stack.pop(), narrow, whole)
        expected = _narrowed(f, f.stack.pop(), narrow, whole)
        place = _place(f, imm, size)
        pair = f.let(f"cmpxchg volatile ptr {place}, {narrow} {expected}, {narrow} {new} seq_cst seq_cst, align {size}")
        _extended(f, f.let(f"extractvalue {{ {narrow}, i1 }} {pair}, 0"), narrow, whole)

    return emit


def _register() -> None:
    for whole in ("i32", "i64"):
        for narrow, size in (("i8", 1), ("i16", 2), ("i32", 4), ("i64", 8)):
            if size > int(whole[1:]) // 8:
                continue
            full = narrow == whole
            width = "" if full else narrow[1:]
            unsigned = "" if full else "_u"
            register(f"{whole}.atomic.load{width}{unsigned}", _load(narrow, size, whole))
            register(f"{whole}.atomic.store{width}", _store(narrow, size, whole))
            for operation in _OPERATIONS:
                register(f"{whole}.atomic.rmw{width}.{operation}{unsigned}", _modify(operation, narrow, size, whole))
            register(f"{whole}.atomic.rmw{width}.cmpxchg{unsigned}", _exchange(narrow, size, whole))


_register()


def _shared_place(f: Emitter, imm: Memarg, size: int) -> tuple[str, str]:
    """Pop the index: (definition, address in the memory as i64), checked to be aligned and inside."""
    _, offset, memory = imm
    index = f.stack.pop()
    _aligned(f, imm, index, size)
    checked_address(f, memory, index, offset, size)
    wide = operand64(f, f.unit.module.memories[memory].is64, index)
    return f.definition("memory", memory), f.let(f"add i64 {wide}, {offset}")


@emits("memory.atomic.notify")
def _notify(f: Emitter, imm: Memarg) -> None:
    count = f.stack.pop()
    definition, at = _shared_place(f, imm, 4)
    f.stack.append(f.builtin("atomic_notify", definition, at, count))


def _wait(f: Emitter, imm: Memarg, builtin: str, size: int) -> None:
    timeout = f.stack.pop()
    expected = f.stack.pop()
    if not f.unit.module.memories[imm[2]].shared:
        _aligned(f, imm, f.stack[-1], size)
        f.trap_if("true", TrapCode.ATOMIC_WAIT_NON_SHARED)
    definition, at = _shared_place(f, imm, size)
    spill_roots(f)  # the host may be asked while the guest waits
    f.stack.append(f.builtin(builtin, definition, at, expected, timeout))


@emits("memory.atomic.wait32")
def _wait32(f: Emitter, imm: Memarg) -> None:
    _wait(f, imm, "atomic_wait32", 4)


@emits("memory.atomic.wait64")
def _wait64(f: Emitter, imm: Memarg) -> None:
    _wait(f, imm, "atomic_wait64", 8)


@emits("atomic.fence")
def _fence(f: Emitter, imm: Any) -> None:
    f.out("fence seq_cst")
