"""What every instance of a module begins with, worked out once per module.

A template has two parts. The *plan* is for C (`core_rt/native/instance.c`): a prefix of the instance's block in which constants,
types and lengths are filled in already, and the memories, tables and data that go with it. The *late* part is what only the
instance can know (values of imported globals, objects on the heap, tables of others, the start function); most modules have none.

Elements of the module's own tables are not written at all: they are looked up when they are first used (`core_rt/table.py`), in
`segments`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from core_rt import native
from core_rt.errors import ExhaustionError
from core_rt.native import Image, ffi
from core_rt.record import record
from core_rt.types import I32, I64, MemoryType, RefType, TableType
from core_rt.vm import structs as s
from core_rt.vm.constexpr import constant_offset, constant_value, is_funcref, sum_with_global
from core_rt.vm.layout import ModuleLayout

if TYPE_CHECKING:
    from core_rt.binary.model import ConstExpr, DecodedModule, ElementSegment

__all__ = ["Functions", "Late", "Template", "memory_template", "module_template", "table_template"]

_WASM32: Final = (8 << 30) + (64 << 10)
"""Reservation for a 32-bit memory: every 32-bit index plus every 32-bit constant offset plus an access lies inside."""
_PAGE: Final = 4096
_MOST: Final = 1 << 44
_READY: Final = 512
"""Exported functions whose references every instance begins with; others get theirs when something asks."""
_POISON: Final = s.POISON.to_bytes(8, "little")


class Functions:
    """What C needs to know of a module's functions to find those that its segments put into tables, told when it first asks.

    `segments` is a `VMTableSegment[]` for the active segments, `places` where each is in it, by its number.
    """

    __slots__ = ("_decoded", "_kept", "_layout", "_tail_stub", "places", "segments")

    def __init__(self, decoded: DecodedModule, layout: ModuleLayout, tail_stub: Callable[[int], int]) -> None:
        self._decoded = decoded
        self._layout = layout
        self._tail_stub = tail_stub
        self._kept: list[Any] = []
        self.places: dict[int, int] = {}
        self.segments: Any = ffi.NULL

    def tell(self, plan: Any) -> None:
        """Complete the module's `VMTemplate *`."""
        decoded, layout = self._decoded, self._layout
        imported, count = decoded.num_imported_funcs, len(decoded.funcs) - decoded.num_imported_funcs
        for number, place in self.places.items():
            functions = ffi.new("uint32_t[]", decoded.elements[number].func_indices)
            self._kept.append(functions)
            self.segments[place].functions = functions
        slots, types = ffi.new("uint32_t[]", count or 1), ffi.new("uint32_t[]", count or 1)
        for index, slot in layout.funcref_slot.items():
            if index >= imported:
                slots[index - imported] = slot
                types[index - imported] = decoded.funcs[index].id
        self._kept += [slots, types]
        if count:
            plan.tail_stubs = self._tail_stub(0)
            plan.tail_stride = self._tail_stub(1) - self._tail_stub(0)
        plan.slots = slots
        plan.types = types


@record
class Put:
    """An active segment, a `VMTableSegment *`, of functions: which table it goes to (words: of the definition, or of the pointer to it that
    was imported), and where there: at `addend`, and what the imported global adds that the word `source` points to."""

    segment: Any
    table: int
    imported: bool
    source: int | None
    addend: int
    mask: int


@record
class Late:
    """What is done for each instance, in this order."""

    tags: Sequence[int] = ()
    sums: Sequence[tuple[int, int, int, int]] = ()
    """Globals that are an imported one and a constant: words of their value and of the import's pointer, the constant, a mask."""
    globals: Sequence[tuple[int, ConstExpr]] = ()
    roots: Sequence[int] = ()
    """Globals that hold references of the collector's."""
    tables: Sequence[tuple[int, ConstExpr | None]] = ()
    passive: Sequence[tuple[int, int, int]] = ()
    """Data segments that `memory.init` may read: number, place in the module, length."""
    puts: Sequence[Put] = ()
    """All active segments that are left, where they are of the simple kind; otherwise they are among `elements`."""
    elements: Sequence[tuple[int, ElementSegment]] = ()
    data: bool = False
    """Active data segments are written one by one."""
    start: int | None = None


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@record
class Template:
    """`plan` is a `VMTemplate *`, which needs what is in `kept`."""

    plan: Any
    kept: tuple[Any, ...]
    memories: int
    memory_bytes: int
    tables: int
    table_elements: int
    exports: Mapping[str, tuple[str, int]] = _NOTHING
    places: Mapping[str, int] = _NOTHING
    """Offsets of exports of its own that can be imported by their address: not of all functions, and not of tags."""
    imports: Mapping[str, Sequence[int]] = _NOTHING
    """For each kind, which of the imports belong to its index space."""
    functions: Functions | None = None
    dropped: frozenset[int] = frozenset()
    """Element segments that are empty once the instance is made."""
    late: Late | None = None
    uses_heap: bool = False


class _Plan:
    """A `VMTemplate` in the making."""

    def __init__(self, layout: ModuleLayout, end: int) -> None:
        self.layout = layout
        self.header = s.InstanceHeader.size
        self.bytes = bytearray(self.header + end)
        self.fields: dict[str, Any] = {"size": self.header + layout.size, "prefix_size": len(self.bytes)}
        self.kept: list[Any] = []
        self.memory_bytes = self.table_elements = 0

    def put(self, offset: int, value: int, size: int = 8) -> None:
        """A number at an offset from the context."""
        self.bytes[self.header + offset : self.header + offset + size] = value.to_bytes(size, "little")

    def put_header(self, field: str, value: int) -> None:
        at = s.InstanceHeader[field]
        self.bytes[at : at + 4] = value.to_bytes(4, "little")

    def _array(self, name: str, type_: str, items: list[Any]) -> None:
        array = ffi.new(type_, items)
        self.fields[name] = array
        self.kept.append(array)

    def memories(self, types: Sequence[MemoryType], first: int, images: Mapping[int, Image], reserved: int) -> None:
        """`images` by index; `reserved`: for memories with 64-bit addresses that may become large."""
        at = self.layout.memories
        self.put_header("memories", at)
        self.put_header("memory_count", len(types))
        if not types:
            return
        plans = []
        for index, type_ in enumerate(types, first):
            length = type_.min * type_.page_size
            self.memory_bytes += length
            image = images.get(index)
            self.kept.append(image)
            plans.append((reservation_size(type_, reserved), length, ffi.NULL if image is None else image.handle))
        self.fields |= {"memories": at, "memory_count": len(types), "first_memory": first}
        self._array("memory_plans", "VMMemoryPlan[]", plans)

    def tables(self, types: Sequence[TableType], first: int) -> None:
        at = self.layout.tables
        self.put_header("tables", at)
        self.put_header("table_count", len(types))
        if not types:
            return
        self.table_elements = sum(type_.min for type_ in types)
        self.fields |= {"tables": at, "table_count": len(types), "first_table": first}
        self._array("table_elements", "uint64_t[]", [type_.min for type_ in types])

    def imports(self, places: list[int]) -> None:
        """Offsets, plus 1 for functions."""
        self.fields["import_count"] = len(places)
        self._array("imports", "uint32_t[]", places)

    def data(self, pieces: list[tuple[int, int, int, int]], source: Any) -> None:
        """(memory among the defined ones, to, address, length) each, addresses in `source`."""
        if pieces:
            self.kept.append(source)
            self.fields["data_count"] = len(pieces)
            self._array("data", "VMDataPlan[]", [(m, to, native.pointer(at), length) for m, to, at, length in pieces])

    def finish(self) -> Any:
        """The `VMTemplate *`."""
        self.put_header("magic", s.CORE_MAGIC)
        self.put_header("size", self.fields["size"])
        prefix = ffi.new("uint8_t[]", bytes(self.bytes))
        self.kept.append(prefix)
        return ffi.new("VMTemplate *", self.fields | {"prefix": prefix})


def reservation_size(type_: MemoryType, reserved: int) -> int:
    """Bytes of address space for a memory: it never moves. `ExhaustionError` if there is not as much."""
    if not type_.is64:
        return _WASM32
    most = min(type_.max << type_.page_size_log2 if type_.max is not None else _MOST, _MOST)
    wanted = max(type_.min << type_.page_size_log2, min(most, reserved))
    if wanted > _MOST:
        raise ExhaustionError(f"a memory of {wanted} bytes is more than can be addressed")
    return -(-wanted // _PAGE) * _PAGE + (64 << 10)


def _bare(memories: int, tables: int) -> ModuleLayout:
    at = s.VMContextHeader.size
    end = at + memories * s.VMMemoryDefinition.size + tables * s.VMTableDefinition.size
    return ModuleLayout(0, 0, 0, 0, 0, at, at, at, at, at, at, at, end, end, end, {}, 0, (end + 15) & -16)


def memory_template(type_: MemoryType, reserved: int, shared: bool = False) -> Template:
    """For a memory without a module; `shared`: the definition only."""
    plan = _Plan(_bare(1, 0), s.VMContextHeader.size)
    plan.memories([type_], 0, {}, reserved)
    if shared:
        plan.fields["memory_count"] = 0
    return Template(plan.finish(), tuple(plan.kept), 1, plan.memory_bytes, 0, 0)


def table_template(type_: TableType) -> Template:
    """For a table without a module."""
    plan = _Plan(_bare(0, 1), s.VMContextHeader.size)
    plan.tables([type_], 0)
    return Template(plan.finish(), tuple(plan.kept), 0, 0, 1, plan.table_elements)


# ---------------------------------------------------------------------------------------------------- modules


def module_template(
    decoded: DecodedModule,
    layout: ModuleLayout,
    images: Mapping[int, Image],
    reserved: int,
    code_table: int,
    interpreted: int,
    tail_stub: Callable[[int], int],
    uses_heap: bool,
) -> Template:
    """The template of a module; `tail_stub` gives the `tailcc` entry of a defined function."""
    ready = min(layout.exported_funcrefs, _READY)
    type_ids = ffi.new("uint32_t[]", [t.id for t in decoded.types] or [0])
    plan = _Plan(layout, layout.funcrefs + ready * s.VMFuncRef.size)
    late: dict[str, Any] = {}
    plan.kept.append(type_ids)
    plan.put(s.VMContextHeader["magic"], s.CORE_MAGIC, 4)
    plan.put(s.VMContextHeader["code_table"], code_table)
    plan.put(s.VMContextHeader["interpreted"], interpreted)
    plan.put(s.VMContextHeader["type_ids"], native.address(type_ids))
    functions = Functions(decoded, layout, tail_stub)
    dropped = _elements(plan, decoded, functions, late)
    if "elements" in late or "puts" in late:  # if one of them traps, no data is written
        images = {}
    plan.memories(decoded.memories[decoded.num_imported_memories :], decoded.num_imported_memories, images, reserved)
    plan.tables(decoded.tables[decoded.num_imported_tables :], decoded.num_imported_tables)
    _functions(plan, decoded, ready, tail_stub)
    by_kind = _imports(plan, decoded)
    _tags_and_globals(plan, decoded, late)
    _data(plan, decoded, images, late)
    if decoded.start is not None:
        late["start"] = decoded.start
    return Template(
        plan.finish(),
        tuple(plan.kept),
        len(decoded.memories) - decoded.num_imported_memories,
        plan.memory_bytes,
        len(decoded.tables) - decoded.num_imported_tables,
        plan.table_elements,
        exports={e.name: (e.kind, e.index) for e in decoded.exports},
        places=_places(layout, decoded, ready),
        imports=by_kind,
        functions=functions,
        dropped=dropped,
        late=Late(**late) if late else None,
        uses_heap=uses_heap,
    )


def _functions(plan: _Plan, decoded: DecodedModule, ready: int, tail_stub: Callable[[int], int]) -> None:
    """References to exported functions."""
    layout, imported = plan.layout, decoded.num_imported_funcs
    plan.fields |= {"funcrefs": layout.funcrefs, "funcref_count": ready, "imported_funcs": imported}
    plan.fields["func_imports"] = layout.func_imports
    for index, slot in layout.funcref_slot.items():
        if slot < ready:
            at = layout.funcrefs + slot * s.VMFuncRef.size
            plan.put(at + s.VMFuncRef["tail_call"], tail_stub(index - imported))
            plan.put(at + s.VMFuncRef["type_id"], decoded.funcs[index].id, 4)
            plan.put(at + s.VMFuncRef["function"], index, 4)


def _places(layout: ModuleLayout, decoded: DecodedModule, ready: int) -> dict[str, int]:
    """Where exports are that can be imported without more ado: functions that are ready, and what the module defines besides."""
    found = {}
    for export in decoded.exports:
        at, imported = 0, True
        if export.kind == "func":
            slot = layout.funcref_slot.get(export.index, ready)
            imported, at = slot >= ready, layout.funcrefs + slot * s.VMFuncRef.size
        elif export.kind == "memory":
            imported, at = layout.memory(export.index)
        elif export.kind == "table":
            imported, at = layout.table(export.index)
        elif export.kind == "global":
            imported, at = layout.global_(export.index)
        if not imported:
            found[export.name] = at
    return found


def _imports(plan: _Plan, decoded: DecodedModule) -> dict[str, list[int]]:
    layout = plan.layout
    place: dict[str, Callable[[int], int]] = {
        "func": layout.func_import,
        "table": lambda i: layout.table(i)[1],
        "memory": lambda i: layout.memory(i)[1],
        "global": lambda i: layout.global_(i)[1],
        "tag": lambda i: layout.tag(i)[1],
    }
    by_kind: dict[str, list[int]] = {kind: [] for kind in place}
    places = []
    for number, wanted in enumerate(decoded.imports):
        kind = wanted.kind
        places.append(place[kind](len(by_kind[kind])) | (kind == "func"))
        by_kind[kind].append(number)
    if places:
        start, end = layout.func_imports, layout.tables
        words = (end - start) // 8
        plan.bytes[plan.header + start : plan.header + start + 8 * words] = _POISON * words
        plan.imports(places)
    return by_kind


def _tags_and_globals(plan: _Plan, decoded: DecodedModule, late: dict[str, Any]) -> None:
    tags = range(decoded.num_imported_tags, len(decoded.tags))
    if tags:
        late["tags"] = tags
    unknown, roots, sums = [], [], []
    for index, init in enumerate(decoded.global_inits, decoded.num_imported_globals):
        value = constant_value(init)
        parts = sum_with_global(init) if value is None and decoded.globals[index].content in (I32, I64) else None
        if parts is not None and parts[0] < decoded.num_imported_globals:
            source, addend, mask = parts
            sums.append((plan.layout.global_(index)[1] // 8, plan.layout.global_(source)[1] // 8, addend, mask))
        elif value is None:
            unknown.append((index, init))
        else:
            plan.put(plan.layout.global_(index)[1], value, 16)
        content = decoded.globals[index].content
        if isinstance(content, RefType) and not is_funcref(content.heap):
            roots.append(index)
    if sums:
        late["sums"] = sums
    if unknown:
        late["globals"] = unknown
    if roots:
        late["roots"] = roots


def _elements(plan: _Plan, decoded: DecodedModule, functions: Functions, late: dict[str, Any]) -> frozenset[int]:
    """Which segments every instance begins with (they are dropped then); what has to be done for the others, and for tables."""
    tables = [
        (index, init)
        for index, init in enumerate(decoded.table_inits, decoded.num_imported_tables)
        if not is_funcref(decoded.tables[index].element.heap) or (init is not None and constant_value(init) != 0)
    ]
    if tables:
        late["tables"] = tables
    busy = {index for index, _ in tables}
    rows: list[dict[str, int]] = []
    dropped = set()
    todo: list[tuple[int, ElementSegment]] = []
    for number, segment in enumerate(decoded.elements):
        if segment.mode == "declarative":
            dropped.add(number)
            continue
        if segment.mode == "active":
            at = constant_offset(segment.offset)
            own = segment.table >= decoded.num_imported_tables and segment.table not in busy
            # After one that may trap, or make objects, the order matters.
            if segment.func_indices is not None and own and at is not None and not todo:
                if at + segment.length <= decoded.tables[segment.table].min:
                    functions.places[number] = len(rows)
                    rows.append(
                        {"table": segment.table - decoded.num_imported_tables, "count": segment.length, "start": at}
                    )
                    dropped.add(number)
                    continue
            todo.append((number, segment))
        elif segment.inits is not None:
            todo.append((number, segment))
    if todo:
        late["elements"] = todo
    begins = len(rows)
    for number, segment in todo:
        if segment.mode == "active" and segment.func_indices is not None:
            functions.places[number] = len(rows)
            rows.append({"table": 0, "count": segment.length, "start": 0})
    if rows:
        functions.segments = ffi.new("VMTableSegment[]", rows)
        plan.fields |= {"segments": functions.segments, "segment_count": begins}
    puts = [_put(plan.layout, decoded, functions, number, segment) for number, segment in todo]
    if puts and None not in puts and not tables:
        late["puts"] = puts
        del late["elements"]
        dropped.update(functions.places)
    return frozenset(dropped)


def _put(
    layout: ModuleLayout, decoded: DecodedModule, functions: Functions, number: int, segment: ElementSegment
) -> Put | None:
    """How a segment is put into its table, if that is simple."""
    if number not in functions.places or not is_funcref(decoded.tables[segment.table].element.heap):
        return None
    place = functions.segments + functions.places[number]
    imported, at = layout.table(segment.table)
    start, parts = constant_offset(segment.offset), sum_with_global(segment.offset or [])
    if start is not None:
        return Put(place, at // 8, imported, None, start, 0)
    if parts is None or parts[0] >= decoded.num_imported_globals:
        return None
    source, addend, _ = parts
    mask = (1 << 64 if decoded.tables[segment.table].is64 else 1 << 32) - 1
    return Put(place, at // 8, imported, layout.global_(source)[1] // 8, addend, mask)


def _data(plan: _Plan, decoded: DecodedModule, images: Mapping[int, Image], late: dict[str, Any]) -> None:
    passive = [(number, start, end - start) for number, start, end in decoded.passive_segments if end > start]
    if passive:
        late["passive"] = passive
    elif decoded.data_segments:  # none of them has anything left, in any instance
        empty = ffi.new("VMSegment[]", len(decoded.data_segments))
        plan.kept.append(empty)
        plan.put(s.VMContextHeader["data_segments"], native.address(empty))
    if images:
        return
    pieces = []
    base = native.address(ffi.from_buffer(decoded.data))
    for segment in decoded.data_segments:
        if segment.mode != "active":
            continue
        at = constant_offset(segment.offset)
        memory, length = segment.memory - decoded.num_imported_memories, segment.end - segment.start
        if (
            memory < 0
            or at is None
            or "elements" in late
            or "puts" in late
            or at + length > _size(decoded.memories[segment.memory])
        ):
            late["data"] = True
            return
        if length:
            pieces.append((memory, at, base + segment.start, length))
    plan.data(
        pieces, decoded.data
    )  # not what `from_buffer` gave: collected together with a memoryview, it crashes CPython


def _size(type_: MemoryType) -> int:
    return type_.min * type_.page_size
