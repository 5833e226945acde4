"""Exceptions: `throw`, `throw_ref`, `try_table`.

Theory of operation. A function with a `try_table` keeps its `VMGcFrame` (see roots.py) as an *exception frame*: a word before it,
`current`, points to the `VMHandler` of the innermost open `try_table` (null outside of all). Entering one stores the stack
pointer, the frame pointer and the address of the *landing* code in its handler (`callbr`, so that LLVM knows the landing as a
successor) and makes it current; every place where control joins stores what is current there.

`throw` makes an object on the heap, the address of the tag's definition and the payload in it. The builtin `throw_ref` (native/exception.c)
walks the frames to the innermost current handler, writes the exception there and answers with its address; without a handler the host
raises `GuestException` and drops the fiber. Then the thrower loads stack and frame pointer and jumps to the landing, which
compares tags; if no clause wants the exception, it throws on from the handler outside. So what does not throw pays five
stores at a `try_table`, one store where control joins, and that the function's locals live in memory.

What the landing may rely on: `callbr` clobbers every register, so LLVM keeps nothing but stack slots across it. Those could be
reused inside for later values of the same variable, so locals of such a function live in memory, with volatile accesses, and
operands below the `try_table` are put aside in slots of their own, for the landing, and used wherever it is left, so that they have their
places to themselves until then. Values of the preamble never change, and `returns_twice` keeps LLVM from
giving their slots to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.control import edge, open_label, set_current, skip
from core_rt.compile.gc import load_field, new_struct, object_address, type_value
from core_rt.compile.handlers import emits
from core_rt.compile.signature import lltype
from core_rt.errors import TrapCode
from core_rt.vm import structs as s
from core_rt.vm.heap import TAG_OFFSET, exception_layout

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter
    from core_rt.types import ValType

_HANDLER: Final = s.VMHandler.offsets

# All that code for any processor may use, AVX-512's upper half of the vector registers and its masks included: the landing finds them as the
# thrower left them. Names that a processor does not have are ignored.
_X86_CLOBBERS: Final = (
    *"rbx rcx rdx rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(), *[f"xmm{i}" for i in range(32)], *[f"k{i}" for i in range(1, 8)],
    "flags", "memory",
)  # fmt: skip
_ARM_CLOBBERS: Final = (*[f"x{i}" for i in range(1, 29)], "lr", *[f"v{i}" for i in range(32)], "memory")


def _asm(lines: list[str], constraints: str, clobbers: tuple[str, ...]) -> str:
    text = "\\0A".join(lines)
    return f'asm sideeffect "{text}", "{constraints}{"".join([f",~{{{c}}}" for c in clobbers])}"'


def _enter_text(x86: bool) -> str:
    """Fill the handler in the first register; it is the only register that keeps its value up to the landing."""
    sp, fp, landing = _HANDLER["sp"], _HANDLER["fp"], _HANDLER["landing"]
    if x86:
        lines = [
            "leaq ${1:l}(%rip), %rcx",
            f"movq %rsp, {sp}(%rax)",
            f"movq %rbp, {fp}(%rax)",
            f"movq %rcx, {landing}(%rax)",
        ]
        return _asm(lines, "{rax},!i", _X86_CLOBBERS)
    lines = [
        "adrp x1, ${1:l}", "add x1, x1, :lo12:${1:l}", "mov x2, sp",
        f"str x2, [x0, #{sp}]", f"str x29, [x0, #{fp}]", f"str x1, [x0, #{landing}]",
    ]  # fmt: skip
    return _asm(lines, "{x0},!i", _ARM_CLOBBERS)


def _jump_text(x86: bool) -> str:
    """Go to a handler's landing."""
    sp, fp, landing = _HANDLER["sp"], _HANDLER["fp"], _HANDLER["landing"]
    if x86:
        return _asm([f"movq {sp}(%rax), %rsp", f"movq {fp}(%rax), %rbp", f"jmpq *{landing}(%rax)"], "{rax}", ())
    lines = [f"ldr x1, [x0, #{sp}]", f"ldr x29, [x0, #{fp}]", f"ldr x2, [x0, #{landing}]", "mov sp, x1", "br x2"]
    return _asm(lines, "{x0}", ())


ENTER: Final = {"x": _enter_text(True), "w": _enter_text(False)}
JUMP: Final = {"x": _jump_text(True), "w": _jump_text(False)}
"""Inline assembly by letter of the machine's floating-point registers."""


def _go(f: Emitter, handler: str) -> None:
    f.out(f"call void {JUMP[f.unit.float_register]}(ptr {handler})")
    f.out("unreachable")


@emits("throw")
def _throw(f: Emitter, tag: int) -> None:
    layout = exception_layout(f.unit.module.tags[tag].type)
    f.end_region()
    type_ = type_value(f, len(f.unit.module.types) + tag)
    exception = new_struct(f, type_, layout.size, layout.storages, layout.offsets)
    place = object_address(f, exception, TAG_OFFSET)
    f.out(f"store ptr {f.definition('tag', tag)}, ptr {place}, align 8{f.unit.alias_heap}")
    _go(f, f.builtin("throw_ref", exception))
    skip(f)


@emits("throw_ref")
def _throw_ref(f: Emitter, imm: Any) -> None:
    f.end_region()
    reference = f.stack[-1]
    f.trap_if(f.let(f"icmp eq i32 {reference}, 0"), TrapCode.NULL_REFERENCE)
    _go(f, f.builtin("throw_ref", reference))
    skip(f)


# ------------------------------------------------------------------------------------------------------ try_table


@emits("try_table")
def _try_table(f: Emitter, imm: tuple[Any, ...]) -> None:
    if not imm[3]:
        open_label(f, "block", imm)
        return
    f.end_region()
    f.tries += 1
    handler = f.entry(f"%try{f.tries}", f"alloca [{s.VMHandler.size} x i8], align 16")
    below = len(f.stack) - len(imm[0])
    aside = _put_aside(f, f.stack[:below], imm[4])
    f.out(f"store volatile ptr {f.handler}, ptr {f.field(handler, _HANDLER['outer'])}")
    set_current(f, handler)
    landing, body = f.new_block("c"), f.new_block()
    enter = ENTER[f.unit.float_register]
    f.out(f"callbr void {enter}(ptr {handler}) returns_twice to label %{body} [label %{landing}]")
    f.place(landing)
    operands = f.stack
    f.stack = [f.let(f"load volatile {place[0]}, ptr {place[1]}") if place else v for v, place in aside]
    for (old, _), new in zip(aside, f.stack):
        if old in f.gc_values:
            f.gc_values.add(new)
    _land(f, handler, imm[3])
    f.stack = operands
    f.place(body)
    label = open_label(f, "try_table", imm)
    label.handler = f.handler
    label.waiting = [(lltype(t), v) for (v, place), t in zip(aside, imm[4]) if place]
    f.handler = handler
    f.begin_region()


def _put_aside(f: Emitter, values: list[str], types: tuple[ValType, ...]) -> list[tuple[str, tuple[str, str] | None]]:
    """Copy operands to slots that nothing else uses. Constants are left as they are."""
    result: list[tuple[str, tuple[str, str] | None]] = []
    for k, (value, valtype) in enumerate(zip(values, types, strict=True)):
        if value[0] != "%":
            result.append((value, None))
            continue
        type_ = lltype(valtype)
        place = f.entry(f"%aside{f.tries}.{k}", f"alloca {type_}")
        f.out(f"store volatile {type_} {value}, ptr {place}")
        result.append((value, (type_, place)))
    return result


def _land(f: Emitter, handler: str, catches: tuple[tuple[int, int | None, int], ...]) -> None:
    """The code that an exception arrives at: find a clause that wants it, or throw on."""
    f.out(f"store volatile ptr %gc, ptr {f.store_field('gc_frame')}")
    set_current(f, f.handler)
    exception = f.let(f"load volatile i32, ptr {f.field(handler, _HANDLER['exception'])}")
    f.gc_values.add(exception)
    thrown = f.let(f"load ptr, ptr {object_address(f, exception, TAG_OFFSET)}, align 8{f.unit.alias_heap}")
    for kind, tag, depth in catches:
        height = len(f.stack)
        following = ""
        if tag is not None:
            wanted, following = f.new_block(), f.new_block()
            same = f.let(f"icmp eq ptr {thrown}, {f.definition('tag', tag)}")
            f.out(f"br i1 {same}, label %{wanted}, label %{following}")
            f.place(wanted)
            layout = exception_layout(f.unit.module.tags[tag].type)
            base = object_address(f, exception)
            for storage, offset in zip(layout.storages, layout.offsets):
                load_field(f, storage, f.field(base, offset))
        if kind & 1:
            f.stack.append(exception)
        label = f.labels[-1 - depth]
        edge(f, label)
        f.out(f"br label %{label.name}")
        del f.stack[height:]
        if tag is None:
            return  # what follows a clause that takes everything is never looked at
        f.place(following)
    _go(f, f.builtin("throw_ref", exception))
