"""Instances: one contiguous block of header and `VMContext`, and what its module exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, final

from core_rt import native
from core_rt.errors import EngineBug, ExhaustionError, LinkError, StoreError, Trap, TrapCode
from core_rt.func import Func, func_at
from core_rt.globals import Global
from core_rt.memory import Memory
from core_rt.native import ffi
from core_rt.table import Table
from core_rt.tag import Tag
from core_rt.types import V128, DefType, ExternType, GlobalType, MemoryType, RefType, TableType, TagType, matches_extern
from core_rt.vm import structs
from core_rt.vm.constexpr import evaluate, is_funcref

if TYPE_CHECKING:
    from core_rt.binary.model import DataSegment, ElementSegment
    from core_rt.module import Module
    from core_rt.store import Store

__all__ = ["Extern", "Instance", "instantiate"]

Extern: TypeAlias = Func | Memory | Table | Global | Tag

_M64 = (1 << 64) - 1
_POISON = structs.POISON.to_bytes(8, "little")


def extern_type(item: Extern) -> ExternType:
    """The type of an item as import matching sees it: memories and tables with their current size."""
    return item.deftype if isinstance(item, Func) else item.type


def instantiate(store: Store, module: Module, imports: Sequence[Extern]) -> Instance:
    """Instantiate with the imports in the module's order. Raises `LinkError`, `Trap`, `ExhaustionError`.

    As the specification says, what active segments wrote before a later one trapped stays written.
    """
    store.check()
    if module.engine is not store.engine:
        raise StoreError("the module was made with another engine than the store")
    check_imports(store, module, imports)
    if len(store.instances) >= store.limits.instances:
        raise ExhaustionError(f"more than {store.limits.instances} instances in one store")
    return Instance(store, module, imports)


def check_imports(store: Store, module: Module, imports: Sequence[Extern]) -> None:
    """Raise `LinkError` unless every import is there and of a type that matches."""
    wanted = module.decoded.imports
    if len(imports) != len(wanted):
        raise LinkError(f"unknown import: {len(wanted)} are wanted, {len(imports)} given")
    for want, item in zip(wanted, imports):
        if item.store is not store:
            raise StoreError(f"import {want.module!r} {want.name!r} belongs to another store")
        actual = extern_type(item)
        if actual is not want.type and not matches_extern(actual, want.type):
            raise LinkError(
                f"incompatible import type for {want.module!r} {want.name!r}: wanted {want.type}, found {actual}"
            )


class Exports(Mapping[str, Extern]):
    """Exports by name, made when they are first looked at."""

    __slots__ = ("_indices", "_instance", "_items")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._indices = {e.name: (e.kind, e.index) for e in instance.module.decoded.exports}
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
        "_block",
        "_dropped",
        "_element_roots",
        "_element_words",
        "_exports",
        "_segments",
        "base",
        "funcs",
        "generation",
        "globals",
        "header",
        "memories",
        "module",
        "store",
        "tables",
        "tags",
    )

    def __init__(self, store: Store, module: Module, imports: Sequence[Extern]) -> None:
        self.store = store
        self.module = module
        self.generation = module.compiled.generation
        """Of the module's code that references to its functions were filled from."""
        self._exports: Exports | None = None
        self._segments: Any = None
        self._dropped: set[int] = set()
        self._element_words: dict[int, list[int]] = {}
        self._element_roots: dict[int, Any] = {}
        store.refs.make_room()  # constant expressions make objects, and nothing may be collected among them
        self._allocate()
        self._link(imports)
        self._define()
        self._initialise()

    # ------------------------------------------------------------------------------------------------ making

    def _allocate(self) -> None:
        module, store = self.module, self.store
        layout = module.layout
        size = structs.InstanceHeader.size + layout.size
        self._block: Any = ffi.new("uint64_t[]", size // 8 + 2)
        start = (native.address(self._block) + 15) & -16
        self.base = start + structs.InstanceHeader.size
        self.header: Any = ffi.cast("VMContextHeader *", self.base)
        store.instances.append(self)
        store.modules[module] = None
        handle = len(store.instances) - 1
        store_context = store.context
        instance_header = ffi.cast("InstanceHeader *", start)
        instance_header.magic = structs.CORE_MAGIC
        instance_header.size = size
        instance_header.handle = handle
        instance_header.store = store_context
        header = self.header
        header.magic = structs.CORE_MAGIC
        header.store = store_context
        header.builtins = store_context.builtins
        header.code_table = module.code_table
        header.type_ids = module.type_ids
        header.gc_types = store.refs.heap.type_table(module)
        header.handle = handle

    def _link(self, imports: Sequence[Extern]) -> None:
        """Fill the import regions. Each pointer is poison until it is set."""
        base, layout = self.base, self.module.layout
        start, end = layout.func_imports, layout.tables
        if end > start:
            ffi.buffer(ffi.cast("char *", base + start), end - start)[:] = _POISON * ((end - start) // 8)
        self.funcs: list[Func | None] = []
        self.tables: list[Table] = []
        self.memories: list[Memory] = []
        self.globals: list[Global | None] = []
        self.tags: list[Tag] = []
        for item in imports:
            if isinstance(item, Func):
                place = ffi.cast("VMFunctionImport *", base + layout.func_import(len(self.funcs)))
                ref = ffi.cast("VMFuncRef *", item.address)
                place.native_call = ref.native_call
                place.tail_call = ref.tail_call
                place.vmctx = ref.vmctx
                place.funcref = ref
                self.funcs.append(item)
                continue
            offset, items = self._import_place(item)
            pair = ffi.cast("VMTableImport *", base + offset)  # the four kinds have the same shape
            pair.definition = item.definition
            pair.vmctx = ffi.NULL
            items.append(item)

    def _import_place(self, item: Any) -> tuple[int, list[Any]]:
        layout = self.module.layout
        if isinstance(item, Memory):
            return layout.memory(len(self.memories))[1], self.memories
        if isinstance(item, Table):
            return layout.table(len(self.tables))[1], self.tables
        if isinstance(item, Global):
            return layout.global_(len(self.globals))[1], self.globals
        return layout.tag(len(self.tags))[1], self.tags

    def _define(self) -> None:
        """Make what the module defines, in the order that constant expressions may rely on."""
        store, base, layout, decoded = self.store, self.base, self.module.layout, self.module.decoded
        for index in range(decoded.num_imported_memories, len(decoded.memories)):
            place = ffi.cast("VMMemoryDefinition *", base + layout.memory(index)[1])
            self.memories.append(Memory.at(store, decoded.memories[index], place))
        for index in range(decoded.num_imported_tags, len(decoded.tags)):
            place = ffi.cast("VMTagDefinition *", base + layout.tag(index)[1])
            self.tags.append(Tag.at(store, decoded.tags[index], place))
        for index, init in enumerate(decoded.global_inits, decoded.num_imported_globals):
            raw = evaluate(self, init)
            place = ffi.cast("uint64_t *", base + layout.global_(index)[1])
            place[0] = raw & _M64
            place[1] = raw >> 64
            self.globals.append(None)
            if isinstance(decoded.globals[index].content, RefType):
                store.refs.add_global(self._global(index))
        for index, table_init in enumerate(decoded.table_inits, decoded.num_imported_tables):
            place = ffi.cast("VMTableDefinition *", base + layout.table(index)[1])
            raw = 0 if table_init is None else evaluate(self, table_init)
            self.tables.append(Table.at(store, decoded.tables[index], place, raw))
        segments = decoded.data_segments
        if segments:
            self._segments = ffi.new("VMSegment[]", len(segments))
            data = native.address(ffi.from_buffer(decoded.data))
            for number, segment in enumerate(segments):
                if segment.mode == "passive":
                    place = self._segments[number]
                    place.base = native.pointer(data + segment.start)
                    place.length = segment.end - segment.start
            self.header.data_segments = self._segments

    def _initialise(self) -> None:
        """Run active segments, then the start function."""
        decoded = self.module.decoded
        try:
            for number, segment in enumerate(decoded.elements):
                if segment.inits is not None and segment.mode != "declarative":
                    self._make_elements(number, segment)
            for number, segment in enumerate(decoded.elements):
                if segment.mode == "active":
                    self._put_elements(number, segment)
                    self.drop_elements(number)
                if segment.mode != "passive":
                    self._dropped.add(number)
            image = None
            if decoded.data_segments and len(self.memories) > decoded.num_imported_memories:
                image = self._map_image()
            if image is None:
                for data in decoded.data_segments:
                    if data.mode == "active":
                        self._put_data(data)
        except Trap as trap:
            trap.add_note(f"while instantiating {self.module!r}")
            raise
        if decoded.start is not None:
            self.func(decoded.start)()

    def _map_image(self) -> bool | None:
        for index in range(self.module.decoded.num_imported_memories, len(self.memories)):
            image = self.module.data_image(index)
            if image is not None:
                self.memories[index].load_image(image)
                return True
        return None

    def _make_elements(self, number: int, segment: ElementSegment) -> None:
        """The references of a segment of expressions, each evaluated once; they are roots until the segment is dropped."""
        self._element_words[number] = words = [evaluate(self, init) for init in segment.inits or ()]
        if not is_funcref(segment.type.heap):
            self._element_roots[number] = self.store.refs.add_words(words)

    def _put_elements(self, number: int, segment: ElementSegment) -> None:
        table = self.tables[segment.table]
        start = evaluate(self, segment.offset or [])
        if segment.func_indices is not None and table.functions:
            table.put_functions(start, segment.func_indices, self)
        else:
            table.check_range(start, segment.length)
            table.put_raw(start, [table.stored(raw) for raw in self.element_words(number)])

    def _put_data(self, segment: DataSegment) -> None:
        memory = self.memories[segment.memory]
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
        if kind == "func":
            return self.func(index, name)
        if kind == "memory":
            return self.memories[index]
        if kind == "table":
            return self.tables[index]
        if kind == "global":
            return self._global(index)
        return self.tags[index]

    def _global(self, index: int) -> Global:
        item = self.globals[index]
        if item is None:
            place = ffi.cast("VMGlobalDefinition *", self.base + self.module.layout.global_(index)[1])
            item = self.globals[index] = Global.at(self.store, self.module.decoded.globals[index], place)
        return item

    def func(self, index: int, name: str | None = None) -> Func:
        """The function with that index."""
        if index < len(self.funcs):
            item = self.funcs[index]
            assert item is not None
            return item
        deftype = self.module.decoded.funcs[index]
        return func_at(self.store, self.funcref(index), deftype, name or self.module.decoded.func_name(index), self)

    def funcref(self, index: int) -> int:
        """Address of a function's `VMFuncRef`, which is filled when first asked for."""
        if index < len(self.funcs):
            item = self.funcs[index]
            assert item is not None
            return item.address
        layout = self.module.layout
        slot = layout.funcref_slot.get(index)
        if slot is None:
            # Only the start function can be called from outside without being one that can be referenced.
            ref = ffi.new("VMFuncRef *")
            self.store.keep(ref)
            address = native.address(ref)
        else:
            address = self.base + layout.funcrefs + slot * structs.VMFuncRef.size
            ref = ffi.cast("VMFuncRef *", address)
        if not ref.vmctx:
            self._fill_funcref(ref, index)
        return address

    def _fill_funcref(self, ref: Any, index: int) -> None:
        compiled = self.module.compiled
        defined = index - len(self.funcs)
        ref.native_call = ffi.cast("void **", self.header.code_table)[defined]
        ref.tail_call = native.pointer(compiled.tail_stub(defined))
        ref.vmctx = self.header
        ref.type_id = self.module.decoded.funcs[index].id
        ref.function = index

    def compile(self, entry: int) -> None:
        """Compile an entry of the code table, which the guest is about to call."""
        compiled = self.module.compiled
        compiled.compile(entry)
        defined = entry % len(self.module.decoded.bodies)
        slot = self.module.layout.funcref_slot.get(defined + len(self.funcs))
        if slot is not None:
            ref = ffi.cast("VMFuncRef *", self.base + self.module.layout.funcrefs + slot * structs.VMFuncRef.size)
            if ref.vmctx:
                ref.native_call = ffi.cast("void **", self.header.code_table)[defined]

    def refresh_functions(self) -> None:
        """Let references to the module's functions use code that came after they were filled."""
        compiled = self.module.compiled
        self.generation = compiled.generation
        imported = len(self.funcs)
        table = ffi.cast("void **", self.header.code_table)
        for index, slot in self.module.layout.funcref_slot.items():
            if index >= imported:
                place = self.base + self.module.layout.funcrefs + slot * structs.VMFuncRef.size
                ref = ffi.cast("VMFuncRef *", place)
                if ref.vmctx:
                    ref.native_call = table[index - imported]

    def refresh_imports(self) -> None:
        """Let imported functions use what their references use now."""
        for index in range(len(self.funcs)):
            place = ffi.cast("VMFunctionImport *", self.base + self.module.layout.func_import(index))
            if place.funcref:
                place.native_call = ffi.cast("VMFuncRef *", place.funcref).native_call

    def global_raw(self, index: int) -> int:
        """The raw value of a global, for constant expressions."""
        imported, offset = self.module.layout.global_(index)
        if imported:
            item = self.globals[index]
            assert item is not None
            return item.word
        place = ffi.cast("uint64_t *", self.base + offset)
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
        self._dropped.add(number)
        self._element_words.pop(number, None)
        roots = self._element_roots.pop(number, None)
        if roots is not None:
            roots.count = 0

    def release(self) -> None:
        """Free the block; called when the store closes."""
        self._exports = None
        self._segments = None
        self._block = None
        self.header = None

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
