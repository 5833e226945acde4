"""Guests made by hand for the tests of the C shim: LLVM text, one function each, and a context to run them with."""

from __future__ import annotations

import functools
import struct
from typing import Any

import llvmlite.binding as llvm

from core_rt import native
from core_rt.native import ffi
from core_rt.vm import structs as s

ATTRIBUTES = 'nounwind "frame-pointer"="all" "probe-stack"="inline-asm"'


@functools.cache
def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(opt=1, reloc="pic", codemodel="small")


def machine_code(ir: str) -> bytes:
    """The `.text` of a module with one function and no relocations."""
    module = llvm.parse_assembly(ir)
    module.verify()
    data = _machine().emit_object(module)
    headers, entry_size, count, names = (*struct.unpack_from("<Q", data, 40), *struct.unpack_from("<HHH", data, 58))
    rows = [struct.unpack_from("<IIQQQQIIQQ", data, headers + i * entry_size) for i in range(count)]
    name_of = {i: data[rows[names][4] + r[0] :].split(b"\0", 1)[0] for i, r in enumerate(rows)}
    assert b".rela.text" not in name_of.values(), ir
    text = next(r for i, r in enumerate(rows) if name_of[i] == b".text")
    return data[text[4] : text[4] + text[5]]


def builtin(name: str) -> str:
    """IR: `%b` is the builtin, found through `%vm`."""
    return f"""
  %bs = getelementptr i8, ptr %vm, i64 {s.VMContextHeader["builtins"]}
  %ba = load ptr, ptr %bs
  %bp = getelementptr i8, ptr %ba, i64 {8 * s.BUILTIN_INDEX[name]}
  %b = load ptr, ptr %bp
"""


HOST_CALL = f"""
  %hp = getelementptr i8, ptr %vm, i64 {s.VMContextHeader["data"]}
  %host = load ptr, ptr %hp
  %fp = getelementptr i8, ptr %host, i64 {s.VMHostFuncContext["host_call"]}
  %hc = load ptr, ptr %fp
"""
"""IR: `%host` is the guest's one host function's context, `%hc` what to call with it."""

INTERRUPT_CHECK = f"""
  %sp = getelementptr i8, ptr %vm, i64 {s.VMContextHeader["store"]}
  %st = load ptr, ptr %sp
  %ip = getelementptr i8, ptr %st, i64 {s.VMStoreContext["interrupt"]}
  %iv = load volatile i32, ptr %ip
"""


class Guest:
    """A store with a context, some memory and a code arena; `call(ir)` runs `void f(ptr vm, ptr values)`."""

    def __init__(self, stacks: int = 1, stack_size: int = 256 << 10, store: native.StoreContext | None = None) -> None:
        self.store = store or native.StoreContext()
        self.context = self.store.context
        self.fibers = native.FiberStacks(self.store, stack_size)
        for _ in range(stacks):
            self.fibers.new()
        self.arena = native.CodeArena()
        self.memory = native.Reservation(1 << 20, 65536)
        self.definition = ffi.new("VMMemoryDefinition *")
        self.definition.base = native.pointer(self.memory.base)
        self.definition.length = 65536
        self.segments = ffi.new("VMSegment[2]")
        self.segment_bytes = ffi.new("char[]", b"0123456789")
        self.segments[0].base, self.segments[0].length = self.segment_bytes, 10
        self.host = ffi.new("VMHostFuncContext *")
        self.host.magic, self.host.index, self.host.store = s.HOST_MAGIC, 7, self.context
        self.host.host_call = native.pointer(native.host_call_address)
        self.vm = ffi.new("VMContextHeader *")
        self.vm.magic, self.vm.store, self.vm.builtins = s.CORE_MAGIC, self.context, self.context.builtins
        self.vm.data = self.host
        self.vm.data_segments = self.segments
        self.values = ffi.cast("uint64_t *", self.context.values)

    def code(self, body: str, signature: str = "void @f(ptr %vm, ptr %values)", tail: str = "") -> int:
        """The address of a function with that body, in the arena."""
        return self.arena.write(machine_code(f"define {signature} {ATTRIBUTES} {{\nentry:\n{body}\n}}\n{tail}"))

    def site(self, address: int, funcref: Any = None) -> Any:
        site = ffi.new("VMCallSite *")
        site.store = self.context
        site.array_call = native.pointer(address)
        site.funcref = self.vm if funcref is None else funcref
        return site

    def call(self, body: str) -> int:
        """Compile and call; the status."""
        self.last = self.site(self.code(body))
        return native.call(self.last)

    @property
    def fiber(self) -> Any:
        return native.running(self.context)

    @property
    def trapped(self) -> Any:
        return ffi.cast("VMFiber *", self.context.trapped)

    def idle_count(self) -> int:
        """How many fibers are on the idle list (not the ones that were given back from outside)."""
        count, fiber = 0, self.context.idle
        while fiber != ffi.NULL:
            count, fiber = count + 1, ffi.cast("VMFiber *", fiber).next
        return count

    def at_rest(self) -> bool:
        """Nobody inside: what must hold between calls."""
        c = self.context
        return bool(c.owner == 0 and c.depth == 0 and c.running == ffi.NULL and c.gc_frame == ffi.NULL)

    def close(self) -> None:
        self.fibers.close()
        self.store.close()
        self.arena.close()
        self.memory.close()
