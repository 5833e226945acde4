"""Instances: one contiguous block of header and `VMContext`, and what its module exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, TypeAlias, final

from core_rt import native
from core_rt.errors import EngineBug, ExhaustionError, LinkError, StoreError, Trap, TrapCode
from core_rt.func import Func, func_at
from core_rt.globals import Global
from core_rt.memory import Memory
from core_rt.native import ffi
from core_rt.native import instantiate as make
from core_rt.native import instantiate_linked as make_linked
from core_rt.table import Table
from core_rt.tag import Tag
from core_rt.types import V128, DefType, ExternType, GlobalType, MemoryType, TableType, TagType, matches_extern
from core_rt.vm import structs
from core_rt.vm.constexpr import evaluate, is_funcref

if TYPE_CHECKING:
    from core_rt.binary.model import ConstExpr, DataSegment, ElementSegment
    from core_rt.module import Module
    from core_rt.store import Store
    from core_rt.vm.template import Late

__all__ = ["Extern", "Instance", "instantiate"]

Extern: TypeAlias = Func | Memory | Table | Global | Tag

_M64 = (1 << 64) - 1
_LAYOUT = {"memory": "memory", "table": "table", "global": "global_", "tag": "tag"}
"""Methods of `ModuleLayout`."""


def instantiate(store: Store, module: Module, imports: Sequence[Extern], run_start: bool = True) -> Instance:
    """Instantiate with the imports in the module's order. Raises `LinkError`, `Trap`, `ExhaustionError`.

    Without `run_start`, calling `Instance.start` is left to the caller.
    As the specification says, what active segments wrote before a later one trapped stays written.
    """
    store.check()
    if module.engine is not store.engine:
        raise StoreError("the module was made with another engine than the store")
    check_imports(store, module, imports)
    return Instance(store, module, imports, run_start=run_start)


def check_imports(store: Store, module: Module, imports: Sequence[Extern]) -> None:
    """Raise `LinkError` unless every import is there and of a type that matches."""
    wanted = module.decoded.imports
    if len(imports) != len(wanted):
        raise LinkError(f"unknown import: {len(wanted)} are wanted, {len(imports)} given")
    for want, item in zip(wanted, imports):
        if item.store is not store:
            raise StoreError(f"import {want.module!r} {want.name!r} belongs to another store")
        actual = item.deftype if isinstance(item, Func) else item.type
        if actual is not want.type and not matches_extern(actual, want.type):
            raise LinkError(
                f"incompatible import type for {want.module!r} {want.name!r}: wanted {want.type}, found {actual}"
            )


class Exports(Mapping[str, Extern]):
    """Exports by name, made when they are first looked at."""

    __slots__ = ("_indices", "_instance", "_items")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._indices = instance.template.exports
        self._items: dict[str, Extern] = {}

    def __getitem__(self, name: str) -> Any:
        item = self._items.get(name)
        if item is None:
            kind, index = self._indices[name]
            item = self._items[name] = self._instance.extern(kind, index, name)
        return item

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"<exports {', '.join(self._indices)}>"


@final
class Instance:
    """An instance of a module; `exports` maps names to `Func`, `Memory`, `Table`, `Global` and `Tag` objects."""

    __slots__ = (
        "__weakref__",
        "_dropped",
        "_element_roots",
        "_element_words",
        "_exports",
        "_items",
        "_segments",
        "base",
        "generation",
        "module",
        "store",
        "template",
    )

    def __init__(
        self,
        store: Store,
        module: Module,
        imports: Sequence[Extern],
        linked: tuple[Any, Any] | None = None,
        run_start: bool = True,
    ) -> None:
        """The types of `imports` were compared. `linked`: links and bases in their place (`native.instantiate_linked`).

        Without `run_start`, calling `start` is left to the caller.
        """
        template = module.template
        instances = store.instances
        number = len(instances)
        if number >= store.limits.instances:
            raise ExhaustionError(f"more than {store.limits.instances} instances in one store")
        if template.memories or template.tables:
            store.reserve(template)
        self.store = store
        self.module = module
        self.template = template
        self.generation = module.compiled.generation
        """Of the module's code that references to its functions were filled from."""
        self._exports: Exports | None = None
        self._items: dict[tuple[str, int], Any] = {}
        self._dropped: Set[int] = template.dropped
        try:
            if linked is None:
                self.base = make(store.context, template.plan, number, [item.address for item in imports])
                """Address of the context."""
            else:
                self.base = make_linked(store.context, template.plan, number, *linked)
        except ExhaustionError:
            store.unreserve(template)
            raise
        instances.append(self)
        store.modules[module] = None
        if template.uses_heap:
            self.header.gc_types = store.refs.heap.type_table(module)
        if template.late is not None:
            self._finish(template.late, run_start)

    @property
    def header(self) -> Any:
        """The context as a `VMContextHeader *`."""
        return ffi.cast("VMContextHeader *", self.base)

    # ------------------------------------------------------------------------------------------------ making

    @property
    def start(self) -> Func | None:
        """The start function."""
        late = self.template.late
        return None if late is None or late.start is None else self.func(late.start)

    def _finish(self, late: Late, run_start: bool) -> None:
        """What the template leaves to do, in the order that constant expressions may rely on."""
        store, decoded = self.store, self.module.decoded
        if store.has_refs or self.template.uses_heap:
            store.refs.make_room()  # constant expressions make objects, and nothing may be collected among them
        for index in late.tags:
            self._items["tag", index] = Tag.at(store, decoded.tags[index], self._place("tag", index))
        words = ffi.cast("uint64_t *", self.base)
        for place, source, addend, mask in late.sums:
            words[place] = ffi.cast("uint64_t *", words[source])[0] + addend & mask
        for index, init in late.globals:
            raw = evaluate(self, init)
            place = ffi.cast("uint64_t *", self._place("global", index))
            place[0] = raw & _M64
            place[1] = raw >> 64
        for index in late.roots:
            store.refs.add_global(self.global_(index))
        for index, table_init in late.tables:
            self._fill_table(self.table(index), table_init)
        if late.passive:
            self._keep_segments(late.passive)
        try:
            for put in late.puts:
                start = put.addend
                if put.source is not None:
                    start = ffi.cast("uint64_t *", words[put.source])[0] + start & put.mask
                table = words[put.table] if put.imported else self.base + 8 * put.table
                native.put_segment(store.context, table, self.template.plan, self.base, put.segment, start)
            if late.elements:
                self._put_segments(late.elements)
            if late.data:
                for data in decoded.data_segments:
                    if data.mode == "active":
                        self._put_data(data)
        except Trap as trap:
            trap.add_note(f"while instantiating {self.module!r}")
            raise
        if late.start is not None and run_start:
            self.func(late.start).run()

    def _fill_table(self, table: Table, init: ConstExpr | None) -> None:
        raw = 0 if init is None else evaluate(self, init)
        if raw:
            table.fill_raw(0, table.stored(raw), table.size)
        if not table.functions:
            self.store.refs.add_table(table)

    def _keep_segments(self, passive: Sequence[tuple[int, int, int]]) -> None:
        decoded = self.module.decoded
        self._segments: Any = ffi.new("VMSegment[]", len(decoded.data_segments))
        data = native.address(ffi.from_buffer(decoded.data))
        for number, start, length in passive:
            place = self._segments[number]
            place.base = native.pointer(data + start)
            place.length = length
        self.header.data_segments = self._segments

    def _put_segments(self, segments: Sequence[tuple[int, ElementSegment]]) -> None:
        """References of expressions are made first, each once; then active segments are put into their tables."""
        self._element_words: dict[int, list[int]] = {}
        self._element_roots: dict[int, Any] = {}
        for number, segment in segments:
            if segment.inits is not None:
                self._make_elements(number, segment)
        for number, segment in segments:
            if segment.mode == "active":
                self._put_elements(number, segment)
                self.drop_elements(number)

    def _make_elements(self, number: int, segment: ElementSegment) -> None:
        """They are roots until the segment is dropped."""
        self._element_words[number] = words = [evaluate(self, init) for init in segment.inits or ()]
        if not is_funcref(segment.type.heap):
            self._element_roots[number] = self.store.refs.add_words(words)

    def _put_elements(self, number: int, segment: ElementSegment) -> None:
        table = self.table(segment.table)
        start = evaluate(self, segment.offset or [])
        if segment.func_indices is not None and table.functions:
            functions = self.template.functions
            assert functions is not None
            place = functions.segments + functions.places[number]
            native.put_segment(self.store.context, table.address, self.template.plan, self.base, place, start)
        else:
            table.check_range(start, segment.length)
            table.put_raw(start, [table.stored(raw) for raw in self.element_words(number)])

    def _put_data(self, segment: DataSegment) -> None:
        memory = self.memory(segment.memory)
        start = evaluate(self, segment.offset or [])
        length = segment.end - segment.start
        if start + length > memory.definition.length:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)
        if length:
            ffi.memmove(memory.definition.base + start, self.module.decoded.data[segment.start : segment.end], length)

    # ------------------------------------------------------------------------------------------------ items

    @property
    def exports(self) -> Mapping[str, Any]:
        """What the module exports, by name."""
        if self._exports is None:
            self._exports = Exports(self)
        return self._exports

    def extern(self, kind: str, index: int, name: str | None = None) -> Extern:
        """An item of an index space."""
        self.store.check()
        return self.func(index, name) if kind == "func" else self._item(kind, index)

    def memory(self, index: int) -> Memory:
        """The memory with that index."""
        return self._item("memory", index)  # type: ignore[no-any-return]

    def table(self, index: int) -> Table:
        """The table with that index."""
        return self._item("table", index)  # type: ignore[no-any-return]

    def global_(self, index: int) -> Global:
        """The global with that index."""
        return self._item("global", index)  # type: ignore[no-any-return]

    def _item(self, kind: str, index: int) -> Any:
        item = self._items.get((kind, index))
        if item is None:
            if index < len(self.template.imports[kind]):
                item = self.store.item_at(kind, self._import(kind, index))
            else:
                item = self._face(kind, index)
            self._items[kind, index] = item
        return item

    def _import(self, kind: str, index: int) -> int:
        """Address of an imported function's reference, or of the definition of another import."""
        if kind == "func":
            place = ffi.cast("VMFunctionImport *", self.base + self.module.layout.func_import(index))
            return native.address(place.funcref)
        return native.address(ffi.cast("VMMemoryImport *", self._place(kind, index)).definition)

    def _place(self, kind: str, index: int) -> int:
        """Address of the definition of an item, or of the pointer to it that was imported."""
        at: tuple[bool, int] = getattr(self.module.layout, _LAYOUT[kind])(index)
        return self.base + at[1]

    def _face(self, kind: str, index: int) -> Any:
        """The Python object for an item that the module defines; tags have theirs from the start."""
        store, decoded, place = self.store, self.module.decoded, self._place(kind, index)
        if kind == "memory":
            return Memory.at(store, decoded.memories[index], place)
        if kind == "table":
            return Table.at(store, decoded.tables[index], place)
        return Global.at(store, decoded.globals[index], place)

    def func(self, index: int, name: str | None = None) -> Func:
        """The function with that index."""
        decoded = self.module.decoded
        if index < decoded.num_imported_funcs:
            return self.store.func_at(self._import("func", index))
        return func_at(self.store, self.funcref(index), decoded.funcs[index], name or decoded.func_name(index), self)

    def funcref(self, index: int) -> int:
        """Address of a function's `VMFuncRef`, which is filled when first asked for."""
        imported = self.module.decoded.num_imported_funcs
        if index < imported:
            return self._import("func", index)
        layout = self.module.layout
        slot = layout.funcref_slot.get(index)
        if slot is None:
            # Only the start function can be called from outside without being one that can be referenced.
            address = native.keep(self.store.context, structs.VMFuncRef.size)
        else:
            address = self.base + layout.funcrefs + slot * structs.VMFuncRef.size
        ref = ffi.cast("VMFuncRef *", address)
        if not ref.vmctx:
            self._fill_funcref(ref, index, index - imported)
        return address

    def _fill_funcref(self, ref: Any, index: int, defined: int) -> None:
        header = self.header
        ref.native_call = ffi.cast("void **", header.code_table)[defined]
        ref.tail_call = native.pointer(self.module.compiled.tail_stub(defined))
        ref.vmctx = header
        ref.type_id = self.module.decoded.funcs[index].id
        ref.function = index

    def provide(self, wanted: int) -> None:
        """Make the code that the guest waits for (`CompiledModule.provide`)."""
        module = self.module
        module.compiled.provide(wanted)
        defined = (wanted & 0xFFFF_FFFF) % len(module.decoded.bodies)
        slot = module.layout.funcref_slot.get(defined + module.decoded.num_imported_funcs)
        if slot is not None:
            ref = ffi.cast("VMFuncRef *", self.base + module.layout.funcrefs + slot * structs.VMFuncRef.size)
            if ref.vmctx:
                ref.native_call = ffi.cast("void **", self.header.code_table)[defined]

    def refresh_functions(self) -> None:
        """Let references to the module's functions use code that came after they were filled."""
        module = self.module
        self.generation = module.compiled.generation
        imported = module.decoded.num_imported_funcs
        table = ffi.cast("void **", self.header.code_table)
        for index, slot in module.layout.funcref_slot.items():
            if index >= imported:
                place = self.base + module.layout.funcrefs + slot * structs.VMFuncRef.size
                ref = ffi.cast("VMFuncRef *", place)
                if ref.vmctx:
                    ref.native_call = table[index - imported]

    def refresh_imports(self) -> None:
        """Let imported functions use what their references use now."""
        layout = self.module.layout
        for index in range(layout.num_imported_funcs):
            place = ffi.cast("VMFunctionImport *", self.base + layout.func_import(index))
            place.native_call = ffi.cast("VMFuncRef *", place.funcref).native_call

    def global_at(self, address: int) -> Global:
        """The global whose definition has that address."""
        layout = self.module.layout
        number = (address - self.base - layout.globals) // structs.VMGlobalDefinition.size
        return self.global_(layout.num_imported_globals + number)

    def global_raw(self, index: int) -> int:
        """The raw value of a global, for constant expressions."""
        imported, offset = self.module.layout.global_(index)
        place = ffi.cast("uint64_t *", self.base + offset)
        if imported:
            place = ffi.cast("uint64_t **", self.base + offset)[0]
        wide = self.module.decoded.globals[index].content is V128
        return int(place[0] | place[1] << 64) if wide else int(place[0])

    def constant_reference(self, op: int, imm: Any, stack: list[int]) -> int:
        """Instructions of constant expressions that make heap objects."""
        return self.store.refs.constant(self, op, imm, stack)

    # ------------------------------------------------------------------------------------------------ segments

    def element_words(self, number: int) -> list[int]:
        """The raw references of an element segment that was not dropped."""
        return self.element_slice(number, 0, self.module.decoded.elements[number].length)

    def element_slice(self, number: int, start: int, count: int) -> list[int]:
        """Raw references of a passive segment (none once it is dropped). Traps where the range is not inside."""
        segment = self.module.decoded.elements[number]
        length = 0 if number in self._dropped else segment.length
        if start + count > length:
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        if segment.func_indices is not None:
            return [self.funcref(index) for index in segment.func_indices[start : start + count]]
        return self._element_words.get(number, [])[start : start + count]

    def drop_elements(self, number: int) -> None:
        """`elem.drop`."""
        if number in self._dropped:
            return
        self._dropped = self._dropped | {number}
        if self.module.decoded.elements[number].inits is not None:
            del self._element_words[number]
            roots = self._element_roots.pop(number, None)
            if roots is not None:
                roots.count = 0

    def release(self) -> None:
        """The store is closed: let go of what refers to this instance."""
        self._items.clear()
        self._exports = None

    def __repr__(self) -> str:
        return f"<Instance of {self.module!r}>"


_KIND_WORDS: dict[type, str] = {
    DefType: "function",
    TableType: "table",
    MemoryType: "memory",
    GlobalType: "global",
    TagType: "tag",
}


def describe(type_: ExternType) -> str:
    """A type in words, for link errors."""
    word = _KIND_WORDS.get(type(type_))
    if word is None:
        raise EngineBug(f"no extern type: {type_!r}")
    return f"{word} {type_}"
