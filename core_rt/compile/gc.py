"""Structs, arrays, i31 and casts.

Objects are reached through `%heap`, the address of the store's heap, and have the offset of their `VMHeapType` in their header; layouts
are in core_rt/vm/heap.py. Rules:
- What types are called at run time differs from store to store, so it is loaded from `VMContextHeader.gc_types` at entry.
- A small object is cut from the run of its size class here (see native/heap.c); only when that is used up a builtin is called, in a cold
  block which writes the roots down first. The operands of the instruction are roots too, so they are popped afterwards.
- Before a reference in an object is overwritten, and only while the collector marks, it is shown the old one.
- Nothing is at offset 0 of the heap but zeros: a test may read the header of null.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.control import branch_if
from core_rt.compile.emitter import INVARIANT
from core_rt.compile.handlers import emits
from core_rt.compile.roots import cold_spill, spill_roots
from core_rt.compile.signature import is_funcref, is_gcref, lltype
from core_rt.errors import TrapCode
from core_rt.types import AbsHeap, DefType, PackedType, RefType, StorageType
from core_rt.vm import structs as s
from core_rt.vm.heap import layout_of, uses_heap

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

_STORE: Final = s.VMStoreContext.offsets
_TYPES: Final = s.VMContextHeader["gc_types"]
_KIND: Final = s.VMHeapType["kind"]
_DEPTH: Final = s.VMHeapType["depth"]
_DISPLAY: Final = s.VMHeapType["display"]
_HEADER: Final = s.HEAP_HEADER

_TOPS: Final = (AbsHeap.ANY, AbsHeap.EXTERN, AbsHeap.EXN, AbsHeap.FUNC)
_BOTTOMS: Final = (AbsHeap.NONE, AbsHeap.NOEXTERN, AbsHeap.NOEXN, AbsHeap.NOFUNC)
_KINDS: Final = {AbsHeap.STRUCT: s.HEAP_STRUCT, AbsHeap.ARRAY: s.HEAP_ARRAY}


# ------------------------------------------------------------------------------------------------------ addresses


def heap(f: Emitter) -> str:
    """The address of the heap. A module without objects of its own may be instantiated before there is a heap."""
    place = f.store_field("gc_heap")
    if uses_heap(f.unit.module):
        return f.entry("%heap", f"load ptr, ptr {place}{INVARIANT}")
    return f.let(f"load ptr, ptr {place}")


def object_address(f: Emitter, reference: str, offset: int = 0) -> str:
    """The address of byte `offset` of an object."""
    base = heap(f)
    wide = f.let(f"zext i32 {reference} to i64")
    place = f.let(f"getelementptr i8, ptr {base}, i64 {wide}")
    return f.field(place, offset)


def type_value(f: Emitter, index: int) -> str:
    """The run-time type of module type `index`, or of the exceptions of tag `index - number of types`."""
    f.entry_pointer("%gctypes", "%0", _TYPES)
    place = f.entry(f"%gct{index}.p", f"getelementptr i8, ptr %gctypes, i64 {4 * index}")
    return f.entry(f"%gct{index}", f"load i32, ptr {place}{INVARIANT}")


def index_of(f: Emitter, type_: DefType) -> int:
    """The module's index of one of its types."""
    return f.unit.module.types.index(type_)


def load_field(f: Emitter, storage: StorageType, place: str, signed: bool = False) -> None:
    """Push the value of a field."""
    alias = f.unit.alias_heap
    if isinstance(storage, PackedType):
        bits = 8 * storage.size
        narrow = f.let(f"load i{bits}, ptr {place}, align {storage.size}{alias}")
        f.push(f"{'sext' if signed else 'zext'} i{bits} {narrow} to i32")
        return
    f.push(f"load {lltype(storage)}, ptr {place}, align {_align(storage)}{alias}")
    if is_gcref(storage):
        f.gc_values.add(f.stack[-1])


def store_field(f: Emitter, storage: StorageType, place: str, value: str) -> None:
    """Write a field, of a new object or one whose old reference was seen to."""
    if isinstance(storage, PackedType):
        bits = 8 * storage.size
        value = f.let(f"trunc i32 {value} to i{bits}")
        f.out(f"store i{bits} {value}, ptr {place}, align {storage.size}{f.unit.alias_heap}")
    else:
        f.out(f"store {lltype(storage)} {value}, ptr {place}, align {_align(storage)}{f.unit.alias_heap}")


def _align(storage: StorageType) -> int:
    if isinstance(storage, RefType):
        return 8 if is_funcref(storage) else 4
    return min(storage.size, 8)


def _keep_old(f: Emitter, storage: StorageType, place: str) -> None:
    """Before a field is overwritten."""
    if not isinstance(storage, RefType) or is_funcref(storage):
        return
    marking = f.let(f"load i32, ptr {f.store_field('gc_marking')}")
    bit = f.let(f"icmp ne i32 {marking}, 0")
    keep, then = f.new_block("k"), f.new_block()
    f.out(f"br i1 {bit}, label %{keep}, label %{then}{f.unlikely}")
    index = s.BUILTIN_INDEX["gc_keep"]
    f.cold += [
        f"{keep}:",
        f"%{keep}.o = load i32, ptr {place}, align 4",
        f"%{keep}.p = getelementptr i8, ptr {f.builtins}, i64 {8 * index}",
        f"%{keep}.f = load ptr, ptr %{keep}.p{INVARIANT}",
        f"call void %{keep}.f(ptr %0, i32 %{keep}.o)",
        f"br label %{then}",
    ]
    f.place(then)


# ------------------------------------------------------------------------------------------------------ allocation


def allocate(f: Emitter, type_: str, size: int, length: int = 0) -> str:
    """A zeroed object of `size` bytes (`length` elements). The operand stack is kept alive."""
    if size > s.HEAP_CLASSES[-1]:
        spill_roots(f)
        return f.builtin("gc_allocate", type_, str(length))
    number = bisect_left(s.HEAP_CLASSES, size)
    at = f.entry(f"%run{number}", f"getelementptr i8, ptr {f.store}, i64 {_STORE['gc_runs'] + 8 * number}")
    end = f.entry(f"%run{number}.e", f"getelementptr i8, ptr {f.store}, i64 {_STORE['gc_runs'] + 8 * number + 4}")
    alias = f.unit.alias_vm
    cell = f.let(f"load i32, ptr {at}, align 4{alias}")
    limit = f.let(f"load i32, ptr {end}, align 4{alias}")
    full = f.let(f"icmp eq i32 {cell}, {limit}")
    slow, quick, then = f.new_block("n"), f.new_block(), f.new_block()
    f.out(f"br i1 {full}, label %{slow}, label %{quick}{f.unlikely}")
    index = s.BUILTIN_INDEX["gc_allocate"]
    f.cold += [
        f"{slow}:",
        *cold_spill(f, slow),
        f"%{slow}.p = getelementptr i8, ptr {f.builtins}, i64 {8 * index}",
        f"%{slow}.f = load ptr, ptr %{slow}.p{INVARIANT}",
        f"%{slow}.v = call i32 %{slow}.f(ptr %0, i32 {type_}, i64 {length})",
        f"br label %{then}",
    ]
    f.place(quick)
    following = f.let(f"add i32 {cell}, {s.HEAP_CLASSES[number]}")
    f.out(f"store i32 {following}, ptr {at}, align 4{alias}")
    header = f.let(f"zext i32 {type_} to i64")
    if length:
        header = f.let(f"or i64 {header}, {length << 32}")
    f.out(f"store i64 {header}, ptr {object_address(f, cell)}, align 8{f.unit.alias_heap}")
    f.out(f"br label %{then}")
    f.place(then)
    return f.let(f"phi i32 [ {cell}, %{quick} ], [ %{slow}.v, %{slow} ]")


def _push_object(f: Emitter, reference: str) -> None:
    f.stack.append(reference)
    f.gc_values.add(reference)


def _not_null(f: Emitter, reference: str, code: TrapCode) -> None:
    f.trap_if(f.let(f"icmp eq i32 {reference}, 0"), code)


# ------------------------------------------------------------------------------------------------------ structs


def new_struct(f: Emitter, type_: str, size: int, storages: tuple[StorageType, ...], offsets: tuple[int, ...]) -> str:
    """An object with fields from the operand stack, which are popped."""
    reference = allocate(f, type_, size)
    count = len(offsets)
    if count:
        base = object_address(f, reference)
        values = f.stack[-count:]
        del f.stack[-count:]
        for storage, offset, value in zip(storages, offsets, values):
            store_field(f, storage, f.field(base, offset), value)
    return reference


@emits("struct.new")
def _struct_new(f: Emitter, index: int) -> None:
    layout = layout_of(f.unit.module.types[index])
    _push_object(f, new_struct(f, type_value(f, index), layout.size, layout.storages, layout.offsets))


@emits("struct.new_default")
def _struct_new_default(f: Emitter, index: int) -> None:
    _push_object(f, allocate(f, type_value(f, index), layout_of(f.unit.module.types[index]).size))


def _field(f: Emitter, imm: tuple[int, int]) -> tuple[StorageType, str]:
    index, number = imm
    layout = layout_of(f.unit.module.types[index])
    reference = f.stack.pop()
    _not_null(f, reference, TrapCode.NULL_STRUCTURE)
    return layout.storages[number], object_address(f, reference, layout.offsets[number])


@emits("struct.get", "struct.get_u")
def _struct_get(f: Emitter, imm: tuple[int, int]) -> None:
    storage, place = _field(f, imm)
    load_field(f, storage, place)


@emits("struct.get_s")
def _struct_get_s(f: Emitter, imm: tuple[int, int]) -> None:
    storage, place = _field(f, imm)
    load_field(f, storage, place, signed=True)


@emits("struct.set")
def _struct_set(f: Emitter, imm: tuple[int, int]) -> None:
    value = f.stack.pop()
    storage, place = _field(f, imm)
    _keep_old(f, storage, place)
    store_field(f, storage, place, value)


# ------------------------------------------------------------------------------------------------------ arrays


def _storage(f: Emitter, index: int) -> StorageType:
    return layout_of(f.unit.module.types[index]).storages[0]


def _halves(f: Emitter, storage: StorageType, value: str) -> tuple[str, str]:
    """A value as the two 64-bit halves that a builtin takes."""
    type_ = "i32" if isinstance(storage, PackedType) else lltype(storage)
    if type_ == "i64":
        return value, "0"
    if type_ == "i32":
        return f.let(f"zext i32 {value} to i64"), "0"
    if type_ == "float":
        bits = f.let(f"bitcast float {value} to i32")
        return f.let(f"zext i32 {bits} to i64"), "0"
    if type_ == "double":
        return f.let(f"bitcast double {value} to i64"), "0"
    if type_ == "ptr":
        return f.let(f"ptrtoint ptr {value} to i64"), "0"
    pair = f.let(f"bitcast <16 x i8> {value} to <2 x i64>")
    return f.let(f"extractelement <2 x i64> {pair}, i32 0"), f.let(f"extractelement <2 x i64> {pair}, i32 1")


def _new_array(f: Emitter, index: int, length: str) -> str:
    if length.isdigit():
        size = _HEADER + int(length) * layout_of(f.unit.module.types[index]).size
        if size <= s.HEAP_CLASSES[-1]:
            return allocate(f, type_value(f, index), size, int(length))
    spill_roots(f)
    return f.builtin("gc_allocate", type_value(f, index), f.let(f"zext i32 {length} to i64"))


@emits("array.new")
def _array_new(f: Emitter, index: int) -> None:
    length = f.stack[-1]
    reference = _new_array(f, index, length)
    f.stack.pop()
    value = f.stack.pop()
    if value not in ("0", "0.0", "null", "zeroinitializer"):
        low, high = _halves(f, _storage(f, index), value)
        f.builtin("gc_array_fill", reference, "0", low, high, length)
    _push_object(f, reference)


@emits("array.new_default")
def _array_new_default(f: Emitter, index: int) -> None:
    reference = _new_array(f, index, f.stack[-1])
    f.stack.pop()
    _push_object(f, reference)


@emits("array.new_fixed")
def _array_new_fixed(f: Emitter, imm: tuple[int, int]) -> None:
    index, count = imm
    layout = layout_of(f.unit.module.types[index])
    reference = allocate(f, type_value(f, index), _HEADER + count * layout.size, count)
    if count:
        base = object_address(f, reference, _HEADER)
        values = f.stack[-count:]
        del f.stack[-count:]
        for number, value in enumerate(values):
            store_field(f, layout.storages[0], f.field(base, number * layout.size), value)
    _push_object(f, reference)


def _segment_operands(f: Emitter, index: int, builtin: str, segment: int) -> None:
    spill_roots(f)
    count = f.stack.pop()
    start = f.stack.pop()
    _push_object(f, f.builtin(builtin, type_value(f, index), str(segment), start, count))


@emits("array.new_data")
def _array_new_data(f: Emitter, imm: tuple[int, int]) -> None:
    _segment_operands(f, imm[0], "gc_array_new_data", imm[1])


@emits("array.new_elem")
def _array_new_elem(f: Emitter, imm: tuple[int, int]) -> None:
    _segment_operands(f, imm[0], "gc_array_new_elem", imm[1])


def _array_length(f: Emitter, reference: str) -> str:
    _not_null(f, reference, TrapCode.NULL_ARRAY)
    return f.let(f"load i32, ptr {object_address(f, reference, 4)}, align 4{f.unit.alias_heap}")


def _element(f: Emitter, index: int, reference: str, at: str) -> tuple[StorageType, str]:
    layout = layout_of(f.unit.module.types[index])
    length = _array_length(f, reference)
    f.trap_unless(f.let(f"icmp ult i32 {at}, {length}"), TrapCode.ARRAY_OUT_OF_BOUNDS)
    base = object_address(f, reference, _HEADER)
    wide = f.let(f"zext i32 {at} to i64")
    return layout.storages[0], f.let(f"getelementptr [{layout.size} x i8], ptr {base}, i64 {wide}")


def _get(f: Emitter, index: int, signed: bool) -> None:
    at = f.stack.pop()
    storage, place = _element(f, index, f.stack.pop(), at)
    load_field(f, storage, place, signed)


@emits("array.get", "array.get_u")
def _array_get(f: Emitter, index: int) -> None:
    _get(f, index, signed=False)


@emits("array.get_s")
def _array_get_s(f: Emitter, index: int) -> None:
    _get(f, index, signed=True)


@emits("array.set")
def _array_set(f: Emitter, index: int) -> None:
    value = f.stack.pop()
    at = f.stack.pop()
    storage, place = _element(f, index, f.stack.pop(), at)
    _keep_old(f, storage, place)
    store_field(f, storage, place, value)


@emits("array.len")
def _array_len(f: Emitter, imm: Any) -> None:
    f.stack.append(_array_length(f, f.stack.pop()))


@emits("array.fill")
def _array_fill(f: Emitter, index: int) -> None:
    count = f.stack.pop()
    value = f.stack.pop()
    start = f.stack.pop()
    reference = f.stack.pop()
    _not_null(f, reference, TrapCode.NULL_ARRAY)
    low, high = _halves(f, _storage(f, index), value)
    f.builtin("gc_array_fill", reference, start, low, high, count)


@emits("array.copy")
def _array_copy(f: Emitter, imm: tuple[int, int]) -> None:
    to, to_start, source, start, count = f.stack[-5:]
    del f.stack[-5:]
    _not_null(f, to, TrapCode.NULL_ARRAY)
    _not_null(f, source, TrapCode.NULL_ARRAY)
    f.builtin("gc_array_copy", to, to_start, source, start, count)


def _init(f: Emitter, builtin: str, segment: int) -> None:
    reference, at, start, count = f.stack[-4:]
    _not_null(f, reference, TrapCode.NULL_ARRAY)
    f.builtin(builtin, reference, at, str(segment), start, count)
    del f.stack[-4:]


@emits("array.init_data")
def _array_init_data(f: Emitter, imm: tuple[int, int]) -> None:
    _init(f, "gc_array_init_data", imm[1])


@emits("array.init_elem")
def _array_init_elem(f: Emitter, imm: tuple[int, int]) -> None:
    _init(f, "gc_array_init_elem", imm[1])


# ------------------------------------------------------------------------------------------------------ i31, conversions


@emits("ref.i31")
def _ref_i31(f: Emitter, imm: Any) -> None:
    shifted = f.let(f"shl i32 {f.stack.pop()}, 1")
    f.push(f"or i32 {shifted}, 1")


def _i31(f: Emitter, shift: str) -> None:
    reference = f.stack.pop()
    _not_null(f, reference, TrapCode.NULL_I31)
    f.push(f"{shift} i32 {reference}, 1")


@emits("i31.get_s")
def _i31_get_s(f: Emitter, imm: Any) -> None:
    _i31(f, "ashr")


@emits("i31.get_u")
def _i31_get_u(f: Emitter, imm: Any) -> None:
    _i31(f, "lshr")


@emits("any.convert_extern", "extern.convert_any")
def _convert(f: Emitter, imm: Any) -> None:
    """Both are the same word."""


# ------------------------------------------------------------------------------------------------------ casts


def _edge(f: Emitter, edges: list[tuple[str, str]], bit: str, value: str, then: str) -> None:
    """Where `bit` is true the answer is `value` (i1), known at `then`; else go on."""
    other = f.new_block()
    edges.append((value, f.block))
    f.out(f"br i1 {bit}, label %{then}, label %{other}")
    f.place(other)


def test(f: Emitter, reference: str, target: RefType) -> str:
    """i1: whether a reference is of a type."""
    wanted, null = target.heap, "true" if target.nullable else "false"
    if isinstance(wanted, DefType) and wanted.kind == "func":
        return _test_function(f, reference, wanted, null)
    type_ = lltype(target)
    zero = "null" if type_ == "ptr" else "0"
    if wanted in _BOTTOMS or wanted in _TOPS:
        if target.nullable and wanted in _TOPS:
            return "true"
        if not target.nullable and wanted in _BOTTOMS:
            return "false"
        return f.let(f"icmp {'eq' if wanted in _BOTTOMS else 'ne'} {type_} {reference}, {zero}")
    is_null = f.let(f"icmp eq i32 {reference}, 0")
    if wanted is AbsHeap.I31:
        bit = f.let(f"trunc i32 {reference} to i1")
    elif wanted is AbsHeap.EQ:
        low = f.let(f"and i32 {reference}, 3")
        bit = f.let(f"icmp ne i32 {low}, 2")
    else:
        return _test_object(f, reference, wanted, null, is_null)
    if target.nullable:
        return f.let(f"or i1 {bit}, {is_null}")
    return f.let(f"select i1 {is_null}, i1 false, i1 {bit}")


def _test_object(f: Emitter, reference: str, wanted: AbsHeap | DefType, null: str, is_null: str) -> str:
    """For struct and array types, which are told by the object's header."""
    edges: list[tuple[str, str]] = []
    then = f.new_block()
    _edge(f, edges, is_null, null, then)
    low = f.let(f"and i32 {reference}, 3")
    _edge(f, edges, f.let(f"icmp ne i32 {low}, 0"), "false", then)
    place = object_address(f, reference)
    actual = f.let(f"load i32, ptr {place}, align 8{f.unit.alias_heap}")
    if isinstance(wanted, DefType) and wanted.final:
        bit = f.let(f"icmp eq i32 {actual}, {type_value(f, index_of(f, wanted))}")
    elif isinstance(wanted, DefType):
        expected = type_value(f, index_of(f, wanted))
        info = object_address(f, actual)
        if wanted.depth < s.HEAP_DISPLAY:
            at = f.field(info, _DISPLAY + 4 * wanted.depth)
        else:  # the root, which is another type, where there is no ancestor so deep
            depth = f.let(f"load i32, ptr {f.field(info, _DEPTH)}, align 4{INVARIANT}")
            deep = f.let(f"icmp uge i32 {depth}, {wanted.depth}")
            offset = f.let(f"select i1 {deep}, i64 {_DISPLAY + 4 * wanted.depth}, i64 {_DISPLAY}")
            at = f.let(f"getelementptr i8, ptr {info}, i64 {offset}")
        ancestor = f.let(f"load i32, ptr {at}, align 4{INVARIANT}")
        bit = f.let(f"icmp eq i32 {ancestor}, {expected}")
    else:
        info = object_address(f, actual, _KIND)
        kind = f.let(f"load i32, ptr {info}, align 4{INVARIANT}")
        bit = f.let(f"icmp eq i32 {kind}, {_KINDS[wanted]}")
    edges.append((bit, f.block))
    f.out(f"br label %{then}")
    f.place(then)
    return f.let(f"phi i1 {', '.join([f'[ {value}, %{block} ]' for value, block in edges])}")


def _test_function(f: Emitter, reference: str, wanted: DefType, null: str) -> str:
    edges: list[tuple[str, str]] = []
    then = f.new_block()
    _edge(f, edges, f.let(f"icmp eq ptr {reference}, null"), null, then)
    actual = f.let(f"load i32, ptr {f.field(reference, s.VMFuncRef['type_id'])}")
    expected = f.unit.type_id(f, index_of(f, wanted))
    bit = f.let(f"icmp eq i32 {actual}, {expected}")
    if not wanted.final:
        _edge(f, edges, bit, "true", then)
        bit = f.let(f"icmp ne i32 {f.builtin('gc_is_subtype', actual, expected)}, 0")
    edges.append((bit, f.block))
    f.out(f"br label %{then}")
    f.place(then)
    return f.let(f"phi i1 {', '.join([f'[ {value}, %{block} ]' for value, block in edges])}")


@emits("ref.test", "ref.test_null")
def _ref_test(f: Emitter, target: RefType) -> None:
    f.push_bool(test(f, f.stack.pop(), target))


@emits("ref.cast", "ref.cast_null")
def _ref_cast(f: Emitter, target: RefType) -> None:
    f.trap_unless(test(f, f.stack[-1], target), TrapCode.CAST_FAILURE)


@emits("br_on_cast")
def _br_on_cast(f: Emitter, imm: tuple[int, RefType, RefType]) -> None:
    branch_if(f, test(f, f.stack[-1], imm[2]), imm[0])


@emits("br_on_cast_fail")
def _br_on_cast_fail(f: Emitter, imm: tuple[int, RefType, RefType]) -> None:
    bit = test(f, f.stack[-1], imm[2])
    branch_if(f, f.let(f"xor i1 {bit}, true"), imm[0])


__all__ = ["allocate", "heap", "new_struct", "object_address", "test", "type_value"]
