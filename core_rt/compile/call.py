"""Calls, indirect calls and their tail forms.

Conventions: every function has an entry in the C convention, which calls use; tail calls use entries in LLVM's `tailcc`, which may
jump between functions of any two signatures. Function i of the module has its tail entry in the second half of the
code table. A host function, or any function without a tail entry, is called as usual and its results returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core_rt.compile.control import skip, write_return
from core_rt.compile.emitter import INVARIANT, read_slot
from core_rt.compile.handlers import emits
from core_rt.compile.memory import operand64
from core_rt.compile.roots import leave_frame, spill_roots
from core_rt.compile.signature import Signature
from core_rt.errors import TrapCode
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter
    from core_rt.types import DefType

_NATIVE: Final = s.VMFuncRef["native_call"]
_TAIL: Final = s.VMFuncRef["tail_call"]
_VMCTX: Final = s.VMFuncRef["vmctx"]
_TYPE: Final = s.VMFuncRef["type_id"]
_IMPORT: Final = s.VMFunctionImport.offsets


def pop_arguments(f: Emitter, sig: Signature) -> str:
    """Pop a call's arguments: ", i32 %1, i64 %2"."""
    count = len(sig.params)
    if not count:
        return ""
    stack = f.stack
    arguments = sig.arguments % tuple(stack[-count:])
    del stack[-count:]
    return arguments


def call(f: Emitter, sig: Signature, callee: str, vmctx: str, arguments: str) -> None:
    """Call `callee` in the C convention and push its results."""
    if f.rooted:
        spill_roots(f)
    if sig.multiple:
        area = f.ret_slots(sig)
        f.out(f"call void {callee}(ptr {vmctx}{arguments}, ptr {area})")
        for slot, type_ in enumerate(sig.results):
            f.stack.append(read_slot(f.let, type_, area, slot))
    elif sig.results:
        f.n = n = f.n + 1
        f.out(f"%{n} = call {sig.result} {callee}(ptr {vmctx}{arguments})")
        f.stack.append(f"%{n}")
    else:
        f.out(f"call void {callee}(ptr {vmctx}{arguments})")
    if True in sig.gc_results:
        for value, gc in zip(f.stack[-len(sig.results) :], sig.gc_results):
            if gc:
                f.gc_values.add(value)


def tail_call(f: Emitter, sig: Signature, callee: str, vmctx: str, arguments: str) -> None:
    """Leave the function for `callee`, a `tailcc` entry."""
    leave_frame(f)
    if f.signature.multiple:
        arguments += ", ptr %ret"
    arguments += sig.tail_padding
    if sig.result == "void":
        f.out(f"{f.unit.tail_call} tailcc void {callee}(ptr {vmctx}{arguments})\nret void")
    else:
        value = f.let(f"{f.unit.tail_call} tailcc {sig.result} {callee}(ptr {vmctx}{arguments})")
        f.out(f"ret {sig.result} {value}")


# ------------------------------------------------------------------------------------------------------ direct calls


def _imported(f: Emitter, index: int, field: str) -> str:
    place = f.let(f"getelementptr i8, ptr %0, i64 {f.unit.layout.func_import(index) + _IMPORT[field]}")
    return f.let(f"load ptr, ptr {place}{INVARIANT}")


def _entry(f: Emitter, slot: int) -> str:
    place = f.let(f"getelementptr i8, ptr {f.code_table}, i64 {8 * slot}")
    return f.let(f"load ptr, ptr {place}")


@emits("call")
def _call(f: Emitter, index: int) -> None:
    unit = f.unit
    sig = unit.signature_of(unit.module.funcs[index])
    arguments = pop_arguments(f, sig)
    defined = index - unit.num_imports
    if defined < 0:
        vmctx = _imported(f, index, "vmctx")
        call(f, sig, _imported(f, index, "native_call"), vmctx, arguments)
    elif defined in unit.members:
        call(f, sig, f"@f{defined}", "%0", arguments)
    else:
        call(f, sig, _entry(f, defined), "%0", arguments)


@emits("return_call")
def _return_call(f: Emitter, index: int) -> None:
    unit = f.unit
    sig = unit.signature_of(unit.module.funcs[index])
    arguments = pop_arguments(f, sig)
    f.end_region()
    defined = index - unit.num_imports
    if defined < 0:
        place = f.let(f"getelementptr i8, ptr %0, i64 {unit.layout.func_import(index)}")
        _tail_or_call(f, sig, place, _IMPORT["tail_call"], _IMPORT["native_call"], _IMPORT["vmctx"], arguments)
    elif defined in unit.tail_members:
        tail_call(f, sig, f"@t{defined}", "%0", arguments)
    else:
        tail_call(f, sig, _entry(f, unit.num_defined + defined), "%0", arguments)
    skip(f)


def _tail_or_call(f: Emitter, sig: Signature, place: str, tail: int, native: int, vmctx: int, arguments: str) -> None:
    """Tail-call what the record at `place` describes, or, if it has no tail entry, call it and return."""
    context = f.let(f"load ptr, ptr {f.field(place, vmctx)}{INVARIANT}")
    entry = f.let(f"load ptr, ptr {f.field(place, tail)}")
    missing = f.let(f"icmp eq ptr {entry}, null")
    plain, jump = f.new_block(), f.new_block()
    f.out(f"br i1 {missing}, label %{plain}, label %{jump}")
    f.place(plain)
    callee = f.let(f"load ptr, ptr {f.field(place, native)}")
    height = len(f.stack)
    call(f, sig, callee, context, arguments)
    leave_frame(f)
    write_return(f)
    del f.stack[height:]
    f.place(jump)
    tail_call(f, sig, entry, context, arguments)


# ------------------------------------------------------------------------------------------------------ through references


def call_reference(f: Emitter, sig: Signature, reference: str) -> None:
    """Call a VMFuncRef that is not null."""
    arguments = pop_arguments(f, sig)
    vmctx = f.let(f"load ptr, ptr {f.field(reference, _VMCTX)}")
    callee = f.let(f"load ptr, ptr {f.field(reference, _NATIVE)}")
    call(f, sig, callee, vmctx, arguments)


def tail_call_reference(f: Emitter, sig: Signature, reference: str) -> None:
    """Tail-call a VMFuncRef that is not null."""
    arguments = pop_arguments(f, sig)
    f.end_region()
    _tail_or_call(f, sig, reference, _TAIL, _NATIVE, _VMCTX, arguments)
    skip(f)


def table_element(f: Emitter, table: int, index: str, code: TrapCode) -> str:
    """The address of a table's element; traps beyond its end."""
    type_ = f.unit.module.tables[table]
    index = operand64(f, type_.is64, index)
    definition = f.definition("table", table)
    if type_.max is not None and type_.max == type_.min:
        count = str(type_.min)  # such a table cannot grow
    else:
        count = f.let(f"load i64, ptr {f.field(definition, s.VMTableDefinition['elements'])}{f.unit.alias_vm}")
    f.trap_unless(f.let(f"icmp ult i64 {index}, {count}"), code)
    base = f.let(f"load ptr, ptr {f.field(definition, s.VMTableDefinition['base'])}{f.unit.alias_vm}")
    return f.let(f"getelementptr i64, ptr {base}, i64 {index}")


def load_funcref(f: Emitter, table: int, index: str, code: TrapCode, null: TrapCode | None) -> str:
    """The VMFuncRef of a table's element. Null traps with `null`, or is returned if that is None.

    An element is 0 until it is first looked at; then a builtin makes it.
    """
    place = table_element(f, table, index, code)
    word = f.let(f"load i64, ptr {place}, align 8{f.unit.alias_vm}")
    bits = f.let(f"and i64 {word}, -2")
    quick = f.let(f"inttoptr i64 {bits} to ptr")
    absent = f.let(f"icmp eq i64 {bits}, 0" if null else f"icmp eq i64 {word}, 0")
    slow, then = f.new_block("l"), f.new_block()
    here = f.block
    f.out(f"br i1 {absent}, label %{slow}, label %{then}{f.unlikely}")
    f.place(slow)
    if null:
        f.trap_unless(f.let(f"icmp eq i64 {word}, 0"), null)
    wide = operand64(f, f.unit.module.tables[table].is64, index)
    made = f.builtin("table_get_lazy", f.definition("table", table), wide)
    if null:
        f.trap_if(f.let(f"icmp eq ptr {made}, null"), null)
    slow = f.block
    f.out(f"br label %{then}")
    f.place(then)
    return f.let(f"phi ptr [ {quick}, %{here} ], [ {made}, %{slow} ]")


def check_type(f: Emitter, reference: str, wanted: DefType, type_index: int) -> None:
    """Trap unless a function's type is `wanted` or a subtype of it."""
    actual = f.let(f"load i32, ptr {f.field(reference, _TYPE)}")
    expected = f.unit.type_id(f, type_index)
    same = f.let(f"icmp eq i32 {actual}, {expected}")
    if wanted.final:
        f.trap_unless(same, TrapCode.BAD_SIGNATURE)
        return
    other, then = f.new_block("l"), f.new_block()
    f.out(f"br i1 {same}, label %{then}, label %{other}")
    f.place(other)
    matches = f.builtin("gc_is_subtype", actual, expected)
    f.trap_if(f.let(f"icmp eq i32 {matches}, 0"), TrapCode.BAD_SIGNATURE)
    f.out(f"br label %{then}")
    f.place(then)


def _checked_reference(f: Emitter, imm: tuple[int, int]) -> tuple[Signature, str]:
    type_index, table = imm
    wanted = f.unit.module.types[type_index]
    reference = load_funcref(f, table, f.stack.pop(), TrapCode.UNDEFINED_ELEMENT, TrapCode.UNINITIALIZED_ELEMENT)
    if f.unit.module.tables[table].element.heap is not wanted or not wanted.final:
        check_type(f, reference, wanted, type_index)
    return f.unit.signature_of(wanted), reference


@emits("call_indirect")
def _call_indirect(f: Emitter, imm: tuple[int, int]) -> None:
    call_reference(f, *_checked_reference(f, imm))


@emits("return_call_indirect")
def _return_call_indirect(f: Emitter, imm: tuple[int, int]) -> None:
    tail_call_reference(f, *_checked_reference(f, imm))


def _not_null(f: Emitter) -> str:
    reference = f.stack.pop()
    f.trap_if(f.let(f"icmp eq ptr {reference}, null"), TrapCode.NULL_FUNCTION)
    return reference


@emits("call_ref")
def _call_ref(f: Emitter, type_index: int) -> None:
    call_reference(f, f.unit.signature_of(f.unit.module.types[type_index]), _not_null(f))


@emits("return_call_ref")
def _return_call_ref(f: Emitter, type_index: int) -> None:
    tail_call_reference(f, f.unit.signature_of(f.unit.module.types[type_index]), _not_null(f))
