"""What decoding a module yields: `DecodedModule` and the records in it.

Index spaces (`funcs`, `tables`, `memories`, `globals`, `tags`) hold the imports first, then what the module defines;
lists named `*_inits` and `bodies` hold defined items only. All offsets are byte offsets into `DecodedModule.data`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from core_rt.config import Features
from core_rt.record import record
from core_rt.types import DefType, ExternType, GlobalType, MemoryType, RefType, TableType, TagType

if TYPE_CHECKING:
    from core_rt.binary.names import Names

__all__ = [
    "MODULE_FIELDS",
    "ConstExpr",
    "DataSegment",
    "DecodedModule",
    "ElementSegment",
    "Export",
    "ExternKind",
    "Import",
    "Instr",
]

Instr: TypeAlias = tuple[int, Any, int]
"""`(op, immediate, offset)`: combined opcode (see `core_rt.opcodes`), immediate by its kind, offset in the module."""

ConstExpr: TypeAlias = list[Instr]
"""A validated constant expression, without its closing `end`."""

ExternKind: TypeAlias = Literal["func", "table", "memory", "global", "tag"]
SegmentMode: TypeAlias = Literal["active", "passive", "declarative"]


# Imports, exports and data segments are tuples, because there are thousands of them in large programs, and a frozen class takes
# four times as long to make.


class Import(NamedTuple):
    """`(import module name type)`; `offset` is where the entry begins."""

    module: str
    name: str
    type: ExternType
    offset: int

    @property
    def kind(self) -> ExternKind:
        """The kind of extern that is wanted."""
        return kind_of(self.type)


class Export(NamedTuple):
    """`(export name (kind index))`, the index being one of the kind's whole index space."""

    name: str
    kind: ExternKind
    index: int  # type: ignore[assignment]  # a tuple's method of that name is of no use here
    offset: int


@record
class ElementSegment:
    """References to put into tables. Exactly one of `func_indices` and `inits` is given.

    `table` and `offset` are meant for active segments only (else 0 and None).
    """

    mode: SegmentMode
    type: RefType
    table: int
    offset: ConstExpr | None
    func_indices: tuple[int, ...] | None
    """The common form: each element is `ref.func` of this index."""
    inits: list[ConstExpr] | None

    @property
    def length(self) -> int:
        """Number of elements."""
        return len(self.func_indices if self.func_indices is not None else self.inits or ())


class DataSegment(NamedTuple):
    """Bytes `start..end` of the module. `memory` and `offset` are meant for active segments only (else 0 and None)."""

    mode: SegmentMode
    memory: int
    offset: ConstExpr | None
    start: int
    end: int


def kind_of(type_: ExternType) -> ExternKind:
    """The kind of extern that a type describes."""
    return _KINDS[type(type_)]


_KINDS: dict[type, ExternKind] = {
    DefType: "func",
    TableType: "table",
    MemoryType: "memory",
    GlobalType: "global",
    TagType: "tag",
}


MODULE_FIELDS: Final[dict[str, Callable[[], Any]]] = {
    "types": list,
    "imports": list,
    "exports": list,
    "funcs": list,
    "tables": list,
    "memories": list,
    "globals": list,
    "tags": list,
    "num_imported_funcs": int,
    "num_imported_tables": int,
    "num_imported_memories": int,
    "num_imported_globals": int,
    "num_imported_tags": int,
    "table_inits": list,
    "global_inits": list,
    "start": type(None),
    "elements": list,
    "data_segments": list,
    "data_count": type(None),
    "bodies": list,
    "customs": list,
    "func_refs": set,
}
"""What sections say: attribute of a `DecodedModule` → what makes it as long as no section did."""


class DecodedModule:
    """A module that decoded and is valid, except that function bodies have only been delimited.

    `core_rt.validate.function.validate_body` reads a body. `func_refs` is complete once the module is decoded:
    `ref.func` in a body may only name functions that are in it (spec: `C.refs`).
    """

    data: bytes | memoryview
    features: Features
    types: list[DefType]
    imports: list[Import]
    exports: list[Export]
    funcs: list[DefType]
    tables: list[TableType]
    memories: list[MemoryType]
    globals: list[GlobalType]
    tags: list[TagType]
    num_imported_funcs: int
    num_imported_tables: int
    num_imported_memories: int
    num_imported_globals: int
    num_imported_tags: int
    table_inits: list[ConstExpr | None]
    """None: the elements start as null."""
    global_inits: list[ConstExpr]
    start: int | None
    elements: list[ElementSegment]
    data_segments: Sequence[DataSegment]
    data_count: int | None
    """What the data count section says; None: there is none."""
    bodies: list[tuple[int, int]]
    """From the first byte of the local declarations to after the closing `end`."""
    customs: list[tuple[str, int, int]]
    """Custom sections: name, and where the contents start and end."""
    func_refs: set[int]
    """Functions that may be referred to as values: exported, in element segments or in constant expressions."""
    shape: Any
    """What reads bodies keeps here what it needs to know of the module."""
    _digest: bytes | None
    _passive: Sequence[tuple[int, int, int]] | None
    _names: Names | None
    _branch_hints: dict[int, dict[int, bool]] | None

    __slots__ = (
        "__weakref__",
        "_branch_hints",
        "_digest",
        "_names",
        "_passive",
        "data",
        "features",
        "shape",
        *MODULE_FIELDS,
    )

    def __init__(self, data: bytes | memoryview, features: Features, **fields: Any) -> None:
        self.data = data
        self.features = features
        self.shape = self._digest = self._passive = self._names = self._branch_hints = None
        for name, make in MODULE_FIELDS.items():
            setattr(self, name, fields[name] if name in fields else make())
        assert fields.keys() <= MODULE_FIELDS.keys()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the module, computed when first asked for."""
        if self._digest is None:
            import hashlib  # brings OpenSSL: only for who caches

            self._digest = hashlib.sha256(self.data).digest()
        return self._digest

    @property
    def passive_segments(self) -> Sequence[tuple[int, int, int]]:
        """Number, start and end of each passive data segment."""
        if self._passive is None:
            self._passive = [(i, s.start, s.end) for i, s in enumerate(self.data_segments) if s.mode == "passive"]
        return self._passive

    def remember(self, digest: bytes | None, passive: Sequence[tuple[int, int, int]]) -> None:
        """What somebody knows about the module, so that `digest` and `passive_segments` need not find out."""
        self._digest = digest
        self._passive = passive

    @property
    def names(self) -> Names:
        """The name section, read when first asked for; what is malformed in it is left out."""
        if self._names is None:
            from core_rt.binary.names import read_names

            self._names = read_names(self._custom("name"))
        return self._names

    @property
    def branch_hints(self) -> dict[int, dict[int, bool]]:
        """Likely (True) or unlikely branches: function index → offset of the `if`/`br_if` in the module → hint."""
        if self._branch_hints is None:
            from core_rt.binary.names import read_branch_hints

            section = self._custom("metadata.code.branch_hint") if self.features.branch_hinting else None
            starts = {self.num_imported_funcs + i: start for i, (start, _) in enumerate(self.bodies)} if section else {}
            self._branch_hints = read_branch_hints(section, starts)
        return self._branch_hints

    def _custom(self, name: str) -> bytes | None:
        for custom, start, end in self.customs:
            if custom == name:
                return bytes(self.data[start:end])
        return None

    def extern_type(self, kind: ExternKind, index: int) -> ExternType:
        """The type of an item of an index space."""
        space: list[Any] = getattr(self, _SPACES[kind])
        item: ExternType = space[index]
        return item

    def export_types(self) -> Iterator[tuple[str, ExternType]]:
        """Names and types of all exports, in order."""
        for export in self.exports:
            yield export.name, self.extern_type(export.kind, export.index)

    def func_name(self, index: int) -> str | None:
        """A name to show for a function: from the name section, else its import or first export."""
        name = self.names.functions.get(index)
        if name is not None:
            return name
        if index < self.num_imported_funcs:
            imported = [i for i in self.imports if isinstance(i.type, DefType)][index]
            return f"{imported.module}.{imported.name}"
        return next((e.name for e in self.exports if e.kind == "func" and e.index == index), None)


_SPACES: dict[ExternKind, str] = {
    "func": "funcs",
    "table": "tables",
    "memory": "memories",
    "global": "globals",
    "tag": "tags",
}
