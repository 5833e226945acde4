"""Offsets in a module's `VMContext`: the fixed header, then what the module declares.

```
InstanceHeader | VMContextHeader | function imports | table imports | memory imports | global imports | tag imports
               | tables | memories | globals (16-aligned) | tags | funcrefs
^ block        ^ vmctx (the pointer that compiled code gets)
```

Only functions that can be referenced (exported, in an element segment, in a constant expression or by `ref.func`) have a
funcref in the context; `funcref_slot` maps a function index to its place, exported functions first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core_rt.record import record
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule


def _align(value: int, to: int) -> int:
    return (value + to - 1) & -to


@record
class ModuleLayout:
    """Byte offsets from the context pointer, for one module."""

    num_imported_funcs: int
    num_imported_tables: int
    num_imported_memories: int
    num_imported_globals: int
    num_imported_tags: int
    func_imports: int
    table_imports: int
    memory_imports: int
    global_imports: int
    tag_imports: int
    tables: int
    memories: int
    globals: int
    tags: int
    funcrefs: int
    funcref_slot: dict[int, int]
    exported_funcrefs: int
    """The first so many are those of exported functions."""
    size: int
    """Bytes of the whole context."""

    @classmethod
    def of(cls, module: DecodedModule) -> ModuleLayout:
        """The layout of a decoded module."""
        at = s.VMContextHeader.size
        places: dict[str, int] = {}

        def region(name: str, count: int, struct: s.Struct) -> None:
            nonlocal at
            at = _align(at, struct.align)
            places[name] = at
            at += count * struct.size

        region("func_imports", module.num_imported_funcs, s.VMFunctionImport)
        region("table_imports", module.num_imported_tables, s.VMTableImport)
        region("memory_imports", module.num_imported_memories, s.VMMemoryImport)
        region("global_imports", module.num_imported_globals, s.VMGlobalImport)
        region("tag_imports", module.num_imported_tags, s.VMTagImport)
        region("tables", len(module.tables) - module.num_imported_tables, s.VMTableDefinition)
        region("memories", len(module.memories) - module.num_imported_memories, s.VMMemoryDefinition)
        region("globals", len(module.globals) - module.num_imported_globals, s.VMGlobalDefinition)
        region("tags", len(module.tags) - module.num_imported_tags, s.VMTagDefinition)
        exported = {e.index for e in module.exports if e.kind == "func" and e.index >= module.num_imported_funcs}
        slots = {func: slot for slot, func in enumerate([*sorted(exported), *sorted(module.func_refs - exported)])}
        region("funcrefs", len(slots), s.VMFuncRef)
        return cls(
            num_imported_funcs=module.num_imported_funcs,
            num_imported_tables=module.num_imported_tables,
            num_imported_memories=module.num_imported_memories,
            num_imported_globals=module.num_imported_globals,
            num_imported_tags=module.num_imported_tags,
            funcref_slot=slots,
            exported_funcrefs=len(exported),
            size=_align(at, 16),
            **places,
        )

    def func_import(self, index: int) -> int:
        """Offset of the `VMFunctionImport` of imported function `index`."""
        return self.func_imports + index * s.VMFunctionImport.size

    def table(self, index: int) -> tuple[bool, int]:
        """(imported, offset): of the import's `definition` pointer, or of the `VMTableDefinition` itself."""
        if index < self.num_imported_tables:
            return True, self.table_imports + index * s.VMTableImport.size
        return False, self.tables + (index - self.num_imported_tables) * s.VMTableDefinition.size

    def memory(self, index: int) -> tuple[bool, int]:
        """As `table`, for memories."""
        if index < self.num_imported_memories:
            return True, self.memory_imports + index * s.VMMemoryImport.size
        return False, self.memories + (index - self.num_imported_memories) * s.VMMemoryDefinition.size

    def global_(self, index: int) -> tuple[bool, int]:
        """As `table`, for globals."""
        if index < self.num_imported_globals:
            return True, self.global_imports + index * s.VMGlobalImport.size
        return False, self.globals + (index - self.num_imported_globals) * s.VMGlobalDefinition.size

    def tag(self, index: int) -> tuple[bool, int]:
        """As `table`, for tags."""
        if index < self.num_imported_tags:
            return True, self.tag_imports + index * s.VMTagImport.size
        return False, self.tags + (index - self.num_imported_tags) * s.VMTagDefinition.size

    def funcref(self, func: int) -> int:
        """Offset of the `VMFuncRef` of function `func`, which must be one that can be referenced."""
        return self.funcrefs + self.funcref_slot[func] * s.VMFuncRef.size
