"""Every struct that Python, C and compiled code share, declared once.

Rules:
- This file depends on nothing outside the standard library: the build script of the C shim loads it by path, before the
  package exists, and writes the C header from it. cffi's cdef and the offsets in compiled code derive from the same rows.
- Field types are `u8 u16 u32 u64 i64 ptr`, laid out as C does on a 64-bit machine. Arrays are `u64[8]`.
- A field that guest code polls or another thread writes is marked by the reader (`volatile`), not here.
- `tests/core/golden/vm_layout.txt` holds the offsets as a table, so that a moved field shows in review.

Magic words stand at offset 0 of every context that is passed as an opaque pointer; who casts asserts them.
"""

from __future__ import annotations

from typing import NamedTuple

CORE_MAGIC = 0x65726F63  # "core"
COMPONENT_MAGIC = 0x706D6F63  # "comp"
HOST_MAGIC = 0x74736F68  # "host"
STORE_MAGIC = 0x726F7473  # "stor"

POISON = 0x5EED_DEAD_0BAD_F00D
"""Value of pointers that are not set yet (non-canonical on x86-64 and aarch64: using it faults)."""

VALUES_CAPACITY = 1024
"""ValRaws in a store's `values` buffer: more than the most parameters or results a function may have."""

POLL_OFFSET = 5 * 4096
"""From a store context to its poll page, which compiled code reads to see whether the host wants in (`native/poll.c`)."""
POLL_SIZE = 4096

VALRAW_SIZE = 16
"""Bytes of a `ValRaw`: one wasm value in memory. Numbers little-endian in the low bytes, a funcref as a pointer to its
`VMFuncRef`, every other reference as the 32-bit compressed reference, v128 in full."""


class Field(NamedTuple):
    name: str
    type: str
    offset: int
    size: int


_SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "ptr": 8}
_C = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t", "i64": "int64_t", "ptr": "void *"}


class Struct:
    """A C struct: `offsets[name]`, `size`, `fields`."""

    __slots__ = ("align", "fields", "name", "offsets", "size")

    def __init__(self, name: str, spec: str, align: int = 8) -> None:
        self.name = name
        self.align = align
        fields: list[Field] = []
        offset = 0
        for item in spec.split(","):
            ctype, field = item.split()
            base, _, count = ctype.partition("[")
            unit = _SIZES[base]
            size = unit * int(count.rstrip("]")) if count else unit
            offset = (offset + unit - 1) & -unit
            fields.append(Field(field, ctype, offset, size))
            offset += size
        self.fields = tuple(fields)
        self.offsets = {f.name: f.offset for f in fields}
        self.size = (offset + align - 1) & -align

    def __getitem__(self, name: str) -> int:
        return self.offsets[name]

    def c_declaration(self) -> str:
        """The struct in C, usable in a header and in a cdef."""
        lines = []
        for field in self.fields:
            base, _, count = field.type.partition("[")
            lines.append(f"  {_C[base]} {field.name}{'[' + count if count else ''};")
        return f"typedef struct {self.name} {{\n" + "\n".join(lines) + f"\n}} {self.name};\n"


VMStoreContext = Struct(
    "VMStoreContext",
    # `interrupt` is polled by guest code at function entries and loop heads: nonzero sends it to builtin `interrupted`.
    # `fuel` counts down; below zero sends the guest to builtin `out_of_fuel`.
    # `running` is the fiber inside, `idle` a list of fibers ready for use (linked by VMFiber.next).
    # `owner` is the token of the thread that is inside, `depth` how many entered calls have not finished.
    "u32 magic,u32 interrupt,i64 fuel,ptr builtins,ptr gc_frame,ptr gc_heap,u64 gc_heap_size,ptr running,ptr idle,"
    # `values` is the store's one ValRaw[VALUES_CAPACITY] buffer: arguments and results of calls in both directions pass through it
    # (each writer is followed at once by its reader, so nested calls and parked fibers cannot mix them up).
    # vm_store_new allocates it with the context. vm_host_call copies context.index to `host_index`; `trapped` is the fiber
    # that trapped last, `engine` the number of the store's engine.
    # Of the garbage collector (heap.c): `gc_runs[2 * c]` is where the next object of size class c goes, `gc_runs[2 * c + 1]` the end of that run of zeroed memory; while `gc_marking` is set, who overwrites a reference in the heap
    # first calls `gc_keep` with the old one; `gc_cycles` counts collections. `exception` is the exnref that is being thrown.
    "u64 owner,u32 depth,u32 closed,u64 epoch_deadline,u64 ticks,ptr next,ptr previous,u64 handle,ptr trapped,ptr values,"
    "u32 host_index,u32 engine,u32 gc_marking,u32 gc_cycles,u32 exception,u32 gc_reserved,u32[80] gc_runs",
)

VMFiber = Struct(
    "VMFiber",
    # One guest stack. `status` is why it was last left (STATUS_*). What the host needs to answer is in `callee`/`values`
    # (host call), `libcall`/`arguments`/`answer` (builtin done by the host), `function` (lazy compile), `trap_*`.
    "ptr sp,ptr host_sp,ptr stack_low,ptr stack_high,ptr mapping,u64 mapping_size,ptr store,ptr next,ptr gc_frame,"
    "ptr outer,u32 status,u32 libcall,ptr callee,ptr values,u64[8] arguments,u64[2] answer,u64 function,ptr vmctx,"
    "u32 trap_code,u32 trap_offset,u64 trap_pc,u64 trap_address,u32 frames_count,u32 frames_more,u64[128] frames,"
    "ptr entry,ptr entry_funcref,ptr entry_values,u64 token,u64 handle",
)

VMCallSite = Struct(
    "VMCallSite",
    # What a call from the host needs to know of the function. `params`: how many; `result`: a RESULT_*.
    "ptr store,ptr array_call,ptr funcref,u32 params,u32 result",
)

CALL_PARAMS = 16
"""The most parameters of a core function that a component lifts (MAX_FLAT_PARAMS)."""
CALL_COPIES = 8
CALL_BYTES = 2048
"""Bytes of a result that are copied out for the host."""

VMLiftedSite = Struct(
    "VMLiftedSite",
    # The same for a component's function (calls.c), whose core function it is. Before it, `copies` blocks of bytes are stored in
    # `memory` at addresses from `realloc`, which go to the `copy_slots` of the arguments; after it, what `mode` says.
    # `entered`: the flags words of the instances that the call enters, outermost first; `own`: those of the innermost.
    "ptr store,ptr array_call,ptr funcref,u32 params,u32 result,ptr realloc_call,ptr realloc_ref,ptr post_call,ptr post_ref,"
    "ptr memory,ptr own,ptr entered,u32 depth,u32 copies,u32 mode,u32 size,u32 align,u32 reserved,"
    f"u32[{CALL_COPIES}] copy_slots,u32[{CALL_COPIES}] copy_aligns",
)

VMContextHeader = Struct(
    "VMContextHeader",
    # `code_table[i]` is the code of defined function i (a stub until it is compiled); in modules that use tail calls it has a second
    # half with the C-convention entries. `type_ids[t]` is DefType.id of module type t. Segments are VMSegment[].
    # `gc_types[t]` is the heap's offset of the VMHeapType of module type t (0 for function types), followed by those of the tags.
    # `interpreted[i]` is the VMInterpreted of a function that is interpreted, or null; the table itself may be null.
    "u32 magic,u32 flags,ptr store,ptr builtins,ptr code_table,ptr type_ids,ptr data_segments,u64 handle,ptr data,ptr gc_types,"
    "ptr interpreted,u64 reserved",
)

InstanceHeader = Struct(
    "InstanceHeader",
    # Stands before the context, in the same allocation: found by subtracting its size from the context pointer. `next` links the
    # instances of a store. The definitions that own something are found by their offset from the context and their number.
    "u32 magic,u32 size,u64 handle,ptr store,ptr next,u32 memories,u32 memory_count,u32 tables,u32 table_count",
    align=16,
)

VMFuncRef = Struct(
    "VMFuncRef",
    # `native_call`: C convention. `tail_call`: tailcc entry or null (function's module has no tail calls: call normally).
    # `array_call(funcref, values)`: entry for the host, null until the host asks for it. `vmctx`: first argument.
    # `signature`: what `array_call` needs when it is the bridge. `handle`: place in the store's list of functions, plus 1.
    "ptr native_call,ptr tail_call,ptr array_call,ptr vmctx,ptr signature,u32 type_id,u32 function,u32 handle,u32 reserved",
)
VMSignature = Struct(
    "VMSignature",
    # How the bridges move values, `core_rt/native/bridge.py`; followed by u32 moves: of the parameters, then of the result or of the
    # address of several results.
    "u32 params,u32 results,u32 stack_bytes,u32 multiple",
)
VMInterpreted = Struct(
    "VMInterpreted",
    # A function for the interpreter (interpret.c). Slots of an activation: `params`, then `locals` that begin as zero, temporaries, and
    # from `constants_at` on the `constant_count` words at `constants`. `outgoing`: words for the arguments of the call that has most.
    # `budget` counts entries and loop heads down to when the host is asked for machine code; `loops[k]` is the code that goes
    # on at the head of loop k, or null. `memory`: offset in the context of the definition of memory 0, or of the import's pointer to it.
    # `polls`: entries and loop heads look whether the host wants in.
    "ptr code,ptr signature,ptr constants,ptr loops,i64 budget,u32 function,u32 imported,u32 params,u32 locals,u32 slots,u32 constants_at,"
    "u32 constant_count,u32 outgoing,u32 memory,u32 memory_imported,u32 polls,u32 reserved",
)
VMFunctionImport = Struct("VMFunctionImport", "ptr native_call,ptr tail_call,ptr vmctx,ptr funcref")
VMTableImport = Struct("VMTableImport", "ptr definition,ptr vmctx")
VMMemoryImport = Struct("VMMemoryImport", "ptr definition,ptr vmctx")
VMGlobalImport = Struct("VMGlobalImport", "ptr definition,ptr vmctx")
VMTagImport = Struct("VMTagImport", "ptr definition,ptr vmctx")

# Table elements are 8 bytes: function tables hold 0 (not initialised yet), 1 (null) or pointer|1; other tables hold the
# compressed reference (0 is null).
# `handle` finds the Python object of a table or memory: number of the instance << 32 | index in its space.
VMTableDefinition = Struct("VMTableDefinition", "ptr base,u64 elements,u64 handle,u64 capacity")
# `base` never moves: the whole reservation is made when the memory is.
VMMemoryDefinition = Struct("VMMemoryDefinition", "ptr base,u64 length,u64 handle,ptr reservation")
VMGlobalDefinition = Struct("VMGlobalDefinition", "u64[2] value", align=16)
VMTagDefinition = Struct("VMTagDefinition", "u32 type_id,u32 flags,u64 handle")
VMSegment = Struct("VMSegment", "ptr base,u64 length")

VMHostFuncContext = Struct(
    "VMHostFuncContext",
    # Context of a function that the host implements: `host_call(context, values)` leaves the fiber for the host.
    # `index` finds the Python function. `funcref` is embedded so that the context needs one allocation.
    "u32 magic,u32 index,ptr store,ptr host_call,ptr data,"
    "ptr native_call,ptr tail_call,ptr array_call,ptr vmctx,ptr signature,u32 type_id,u32 function,u32 handle,u32 reserved",
)

VMGcFrame = Struct(
    # Roots of one activation: `count` compressed references (u32 each) follow the struct.
    "VMGcFrame",
    "ptr previous,u64 count",
)

VMHeapType = Struct(
    # What objects on the store's heap are; it lies in the heap itself and objects have its offset in their first word. `size`: bytes
    # of a struct with its header, or of one element of an array. `refs`: how many offsets of compressed references follow at `refs_at`
    # (for arrays: 1 if the elements are such). `display[d]`: the ancestor of depth d, the type itself being the last; zeros up to 8.
    "VMHeapType",
    "u32 kind,u32 depth,u32 size,u32 refs,u32 refs_at,u32 id,u32[8] display",
    align=4,
)
HEAP_STRUCT, HEAP_ARRAY, HEAP_EXCEPTION = 1, 2, 3
HEAP_HEADER = 8
"""Bytes before the fields of an object: u32 offset of its VMHeapType, u32 length of an array."""
HEAP_DISPLAY = 8
HEAP_CLASSES = (
    *range(16, 65, 8), *range(80, 257, 16), 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2720, 3264, 4096, 5456, 6544, 8192,
    10912, 16384,
)  # fmt: skip
"""Sizes of the heap's cells. Larger objects have whole blocks of `HEAP_BLOCK` bytes."""
HEAP_BLOCK = 32768
VMRoots = Struct("VMRoots", "ptr words,u64 count")
VMHeapStatistics = Struct(
    "VMHeapStatistics",
    "u64 reserved,u64 used,u64 live,u64 collections,u64 pause_total,u64 pause_longest,u64 pauses,u64 allocated,u64 pause_usual",
)

GC_FRAME_CATCHES = 1 << 32
"""Added to `VMGcFrame.count` in functions that catch exceptions: the word before the frame points to the `VMHandler` of the innermost
`try_table` that is open in it, or is null."""
GC_FRAME_STOPS = 1 << 33
"""The `count` of a frame that no exception passes: what is thrown above it and not caught there is a trap."""
VMHandler = Struct(
    # An open `try_table`. `sp`, `fp` and `landing` are where an exception continues; who throws writes `exception` (an exnref).
    "VMHandler",
    "ptr outer,ptr sp,ptr fp,ptr landing,u32 exception,u32 reserved",
)

STRUCTS: tuple[Struct, ...] = (
    VMStoreContext,
    VMFiber,
    VMCallSite,
    VMLiftedSite,
    InstanceHeader,
    VMContextHeader,
    VMFuncRef,
    VMSignature,
    VMInterpreted,
    VMFunctionImport,
    VMTableImport,
    VMMemoryImport,
    VMGlobalImport,
    VMTagImport,
    VMTableDefinition,
    VMMemoryDefinition,
    VMGlobalDefinition,
    VMTagDefinition,
    VMSegment,
    VMHostFuncContext,
    VMGcFrame,
    VMHandler,
    VMHeapType,
    VMRoots,
    VMHeapStatistics,
)

# Why a fiber was left: what `vm_call` and `vm_resume` return.
STATUS_RETURNED = 0  # the entry function returned; its results are in the ValRaw array
STATUS_HOST_CALL = 1  # fiber.callee (a VMHostFuncContext), fiber.values
STATUS_LIBCALL = 2  # fiber.libcall, fiber.arguments; the answer goes to fiber.answer[0]
STATUS_COMPILE = 3  # fiber.vmctx, fiber.function; then resume (the stub reads the code table again)
STATUS_INTERRUPT = 4  # store.interrupt was set: signals, epoch, a yield to others
STATUS_TRAP = 5  # fiber.trap_code, trap_pc, frames; the fiber was reset and is idle again
STATUS_NO_FIBER = 6  # the store has no idle fiber: make one and call again
STATUS_BUSY = 7  # another thread is inside the store
STATUS_CLOSED = 8  # the store was closed
STATUS_NOT_ENTERED = 9  # the component instance may not be entered now
STATUS_OUTCOME = 10  # the call is over, and the guest broke a rule: see `vm_outcome`
STATUSES = {name: value for name, value in globals().items() if name.startswith("STATUS_")}

# What the typed calls (calls.c) return, by `VMCallSite.result`.
RESULT_NONE, RESULT_I32, RESULT_U32, RESULT_I64, RESULT_F32, RESULT_F64 = range(6)
CALL_LEFT = -(1 << 63)
"""Plus a status: what typed calls return instead of a result, when the call is not over, or cannot be made. NaN where a float is
expected. A result that looks like one of these comes as status 0."""
CALL_LEFT_MOST = CALL_LEFT + 15

# What becomes of the result of a component's function, `VMLiftedSite.mode`.
MODE_VALUE = 0  # the core result is all: the call is over
MODE_COPY = 1  # it is the address of `size` bytes, which are copied out: the call is over
MODE_TEXT = 2  # it is the address of a pointer and a length; the call is over if the text could be copied out
MODE_OPEN = 3  # the host lifts it, calls the post-return function and leaves the instances
OUTCOME_REALLOC_UNALIGNED = 1
OUTCOME_REALLOC_BOUNDS = 2
OUTCOME_UNALIGNED = 3
OUTCOME_BOUNDS = 4
OUTCOME_TEXT_BOUNDS = 5
OUTCOME_TEXT_LONG = 6
_CALLS = {n: v for n, v in globals().items() if n.startswith(("RESULT_", "MODE_", "OUTCOME_"))}


class Builtin(NamedTuple):
    """A service that compiled code reaches through the builtin-function array of the store context.

    `result` and `parameters` are LLVM types after the leading `ptr vmctx`; all use the C convention. `home` is "c" (done in
    the shim) or "host" (the shim leaves the fiber with STATUS_LIBCALL and Python answers).
    """

    name: str
    result: str
    parameters: tuple[str, ...]
    home: str


def _builtin(name: str, signature: str, home: str) -> Builtin:
    parameters, _, result = signature.partition("->")
    return Builtin(name, result.strip() or "void", tuple(parameters.split()), home)


BUILTINS: tuple[Builtin, ...] = (
    # raise_trap(vmctx, TrapCode, byte offset in the module | 0xffffffff): does not return
    _builtin("raise_trap", "i32 i32", "c"),
    _builtin("interrupted", "", "c"),
    _builtin("out_of_fuel", "", "host"),
    # definitions are passed by address, so local and imported ones need no variants
    _builtin("memory_grow", "ptr i64 -> i64", "host"),  # (definition, pages) -> old pages | -1
    _builtin("memory_copy", "ptr i64 ptr i64 i64", "c"),  # (to definition, to, from definition, from, n)
    _builtin("memory_fill", "ptr i64 i32 i64", "c"),  # (definition, at, byte, n)
    _builtin("memory_init", "ptr i32 i64 i32 i32", "c"),  # (definition, segment, at, from, n)
    _builtin("data_drop", "i32", "c"),
    _builtin("table_get_lazy", "ptr i64 -> ptr", "c"),  # (definition, index) -> VMFuncRef* | null; element was 0
    _builtin("table_grow", "ptr i64 i64 -> i64", "host"),  # (definition, delta, element as stored) -> old | -1
    _builtin("table_fill", "ptr i64 i64 i64", "host"),  # (definition, at, element as stored, n)
    _builtin("table_copy", "ptr i64 ptr i64 i64", "host"),  # (to definition, to, from definition, from, n)
    _builtin("table_init", "ptr i32 i64 i32 i32", "host"),  # (definition, segment, at, from, n)
    _builtin("elem_drop", "i32", "host"),
    _builtin("ref_func", "i32 -> ptr", "host"),  # (function index) -> VMFuncRef*, never null
    # The heap (heap.c). References are compressed 32-bit values, types are offsets of VMHeapTypes; null arrays were refused before.
    # Only what is of home "host" and `gc_allocate`, `gc_array_new_data` can collect.
    _builtin("gc_allocate", "i32 i64 -> i32", "c"),  # (type, number of elements) -> reference, zeroed
    _builtin("gc_exhausted", "i64", "host"),  # (bytes wanted): does not return
    _builtin("gc_keep", "i32", "c"),  # (a reference that is about to be overwritten)
    _builtin("gc_array_new_data", "i32 i32 i32 i32 -> i32", "c"),  # (type, segment, from, n)
    _builtin("gc_array_new_elem", "i32 i32 i32 i32 -> i32", "host"),  # (type, segment, from, n)
    _builtin("gc_array_init_data", "i32 i32 i32 i32 i32", "c"),  # (array, at, segment, from, n)
    _builtin("gc_array_init_elem", "i32 i32 i32 i32 i32", "host"),  # (array, at, segment, from, n)
    _builtin("gc_array_copy", "i32 i32 i32 i32 i32", "c"),  # (to, at, from, at, n)
    _builtin("gc_array_fill", "i32 i32 i64 i64 i32", "c"),  # (array, at, element's low and high half, n)
    _builtin("gc_is_subtype", "i32 i32 -> i32", "c"),  # (DefType.id, wanted DefType.id); for functions
    _builtin("gc_subtype_asked", "i32 i32 -> i32", "host"),  # the same, when it was not asked before
    # Exceptions (exception.c)
    _builtin(
        "throw_ref", "i32 -> ptr", "c"
    ),  # (exnref, not null) -> VMHandler*; does not return if no guest frame catches
    _builtin("throw_uncaught", "i32", "host"),  # (exnref): does not return
    # Waiting and waking (wait.c): (definition, address that was checked, expected, timeout) -> 0 woken, 1 not equal, 2 timed out
    _builtin("atomic_wait32", "ptr i64 i32 i64 -> i32", "c"),
    _builtin("atomic_wait64", "ptr i64 i64 i64 -> i32", "c"),
    _builtin("atomic_notify", "ptr i64 i32 -> i32", "c"),  # (definition, address, most) -> how many
)
BUILTIN_INDEX = {builtin.name: index for index, builtin in enumerate(BUILTINS)}

_C_OF_LLVM = {"void": "void", "i32": "uint32_t", "i64": "uint64_t", "ptr": "void *"}


def builtin_prototype(builtin: Builtin) -> str:
    """The C prototype of a builtin: `uint64_t vm_builtin_memory_grow(void *vmctx, void *a0, uint64_t a1)`."""
    parameters = ", ".join(["void *vmctx", *(f"{_C_OF_LLVM[p]} a{i}" for i, p in enumerate(builtin.parameters))])
    return f"{_C_OF_LLVM[builtin.result]} vm_builtin_{builtin.name}({parameters})"


def cdef() -> str:
    """All structs for cffi's cdef (and for the header)."""
    return "\n".join(struct.c_declaration() for struct in STRUCTS)


def header() -> str:
    """The C header `vm_layout.h` that the build script writes beside the shim's sources."""
    lines = ["/* Written by core_rt/native/build.py from core_rt/vm/structs.py: edit that. */", "#pragma once"]
    lines += ["#include <stddef.h>", "#include <stdint.h>", cdef()]
    for struct in STRUCTS:
        for field in struct.fields:
            lines.append(
                f'_Static_assert(offsetof({struct.name}, {field.name}) == {field.offset}, "{struct.name}.{field.name}");'
            )
    constants = {**STATUSES, "CORE_MAGIC": CORE_MAGIC, "COMPONENT_MAGIC": COMPONENT_MAGIC, "HOST_MAGIC": HOST_MAGIC}
    constants |= {"HEAP_STRUCT": HEAP_STRUCT, "HEAP_ARRAY": HEAP_ARRAY, "HEAP_EXCEPTION": HEAP_EXCEPTION}
    constants |= {"HEAP_HEADER": HEAP_HEADER, "HEAP_BLOCK": HEAP_BLOCK, "HEAP_CLASS_COUNT": len(HEAP_CLASSES)}
    constants |= {"STORE_MAGIC": STORE_MAGIC, "BUILTIN_COUNT": len(BUILTINS), "VALUES_CAPACITY": VALUES_CAPACITY}
    constants |= {"POLL_OFFSET": POLL_OFFSET, "POLL_SIZE": POLL_SIZE, "CALL_BYTES": CALL_BYTES}
    constants |= {"CALL_PARAMS": CALL_PARAMS, **_CALLS}
    lines += [f"#define {name} {value:#x}u" for name, value in constants.items()]
    lines.append(f"#define HEAP_CLASS_SIZES {{{', '.join(map(str, HEAP_CLASSES))}}}")
    lines += [f"#define BUILTIN_{b.name.upper()} {i}" for i, b in enumerate(BUILTINS)]
    lines += [f"{builtin_prototype(b)};" for b in BUILTINS]
    return "\n".join(lines) + "\n"


def golden() -> str:
    """The layout as a table for review."""
    rows = []
    for struct in STRUCTS:
        rows.append(f"{struct.name} size {struct.size} align {struct.align}")
        rows += [f"  {field.offset:5} {field.type:8} {field.name}" for field in struct.fields]
    rows += [f"builtin {i} {b.result} {b.name}({', '.join(b.parameters)}) {b.home}" for i, b in enumerate(BUILTINS)]
    return "\n".join(rows) + "\n"
