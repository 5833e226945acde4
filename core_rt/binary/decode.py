"""`decode_module`: bytes to a `DecodedModule`, one method per section.

Everything but function bodies is checked here, as it is read: the binary format's order of sections is such that each
section needs only those before it. A body is only delimited; `core_rt.validate` reads it. As in the reference
interpreter a section is read up to its own idea of an end, which must then agree with the section's size.

Raises `DecodeError` (malformed) or `ValidationError` (invalid), with the offset, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from core_rt.binary import limits
from core_rt.binary.const import read_const
from core_rt.binary.model import (
    ConstExpr,
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    ExternKind,
    Import,
    SegmentMode,
)
from core_rt.binary.reader import Reader, uleb
from core_rt.binary.scan import LONG, scan_bodies
from core_rt.binary.segments import PlainSegments
from core_rt.binary.typeread import TypeReader, feature_error
from core_rt.config import DEFAULT_FEATURES, Features
from core_rt.errors import DecodeError, ValidationError
from core_rt.types import FUNCREF, I32, I64, AbsHeap, RefType, matches_ref, rec_group

__all__ = ["decode_module"]

_MAGIC: Final = b"\x00asm"
_VERSION: Final = b"\x01\x00\x00\x00"
_EXPORT_KINDS: Final[tuple[ExternKind, ...]] = ("func", "table", "memory", "global", "tag")
_SPACE_NAMES: Final = {"func": "function", "table": "table", "memory": "memory", "global": "global", "tag": "tag"}
_COMPACT_OF_ONE_TYPE: Final = 0x7E
_COMPACT: Final = (_COMPACT_OF_ONE_TYPE, 0x7F)
_REF_FUNC_OP: Final = 0xD2
_CODE_SECTION: Final = 10
_BULKY: Final = 256 << 10
"""Bytes from which a part of a component is not copied as a whole."""
_FEW_SEGMENTS: Final = 64
"""Up to so many data segments are objects at once."""


def decode_module(data: bytes | bytearray | memoryview, features: Features = DEFAULT_FEATURES) -> DecodedModule:
    """Decode a core module in binary format and validate all of it but function bodies.

    The module keeps `data` if it is part of a `bytes` object (as in a component), else a copy: what can change is not kept.
    """
    if not (isinstance(data, memoryview) and isinstance(data.obj, bytes) and data.format == "B" and data.c_contiguous):
        return _Decoder(bytes(data), features).run()
    head = _head(data) if len(data) >= _BULKY else None
    if head is not None:
        try:
            return _Decoder(head, features, data).run()
        except (DecodeError, ValidationError, IndexError):
            pass  # the same again with all of the data before its eyes gives the right error
    module = _Decoder(bytes(data), features).run()
    module.data = data
    return module


def _head(data: memoryview) -> bytes | None:
    """What comes before the code section, if the section headers make sense.

    Only that much of a large module is copied: fresh pages for all of one of 18 MB take longer than all its sections.
    """
    at = len(_MAGIC) + len(_VERSION)
    try:
        while data[at] != _CODE_SECTION:
            size, start = uleb(data, at + 1, 32)
            at = start + size
    except (IndexError, DecodeError):
        return None
    return bytes(data[:at])


class _Decoder:
    """`data` may be the part of `whole` that ends where a section does; then an error may be another than it should."""

    def __init__(self, data: bytes, features: Features, whole: bytes | memoryview | None = None) -> None:
        self.features = features
        self.whole = data if whole is None else whole
        self.reader = Reader(data, 0, len(self.whole))
        self.module = DecodedModule(self.whole, features)
        self.types = TypeReader(self.reader, self.module.types, features)
        self.declared_funcs: int | None = None

    # ------------------------------------------------------------------------------------------------- the module

    def run(self) -> DecodedModule:
        reader, module = self.reader, self.module
        if reader.end > limits.MAX_MODULE_SIZE:
            raise DecodeError(f"module too large: more than {limits.MAX_MODULE_SIZE} bytes", 0)
        self._preamble(reader.data)
        reader.pos = len(_MAGIC) + len(_VERSION)
        rest = len(reader.data)
        last = 0
        while reader.pos < reader.end:
            start = reader.pos
            if start == rest:
                reader.data = self.whole
            id_ = reader.byte()
            if id_ not in _SECTIONS and id_ != 0:
                raise DecodeError("malformed section id", start)
            if id_ != 0:
                order, _ = _SECTIONS[id_]
                if order <= last:
                    raise DecodeError("unexpected content after last section", start)
                last = order
            size = reader.length()
            begin = reader.pos
            if id_ == 0:
                self._custom(begin + size)
            else:
                _SECTIONS[id_][1](self)
            if reader.pos != begin + size:
                raise DecodeError("section size mismatch", begin)
        self._check_counts(module)
        return module

    @staticmethod
    def _preamble(data: bytes | memoryview) -> None:
        if len(data) < 4:
            raise DecodeError("unexpected end", len(data))
        if data[:4] != _MAGIC:
            raise DecodeError("magic header not detected", 0)
        if len(data) < 8:
            raise DecodeError("unexpected end", len(data))
        if data[4:8] != _VERSION:
            hint = ": this is a component, not a core module" if data[6:8] == b"\x01\x00" else ""
            raise DecodeError(f"unknown binary version{hint}", 4)

    def _check_counts(self, module: DecodedModule) -> None:
        end = self.reader.end
        if len(module.bodies) != len(module.funcs) - module.num_imported_funcs:
            raise DecodeError("function and code section have inconsistent lengths", end)
        if module.data_count is not None and module.data_count != len(module.data_segments):
            raise DecodeError("data count and data section have inconsistent lengths", end)

    def _count(self, what: str, limit: int, present: int = 0) -> int:
        offset = self.reader.pos
        count = self.reader.length()
        limits.check_limit(what, present + count, limit, offset)
        return count

    # ------------------------------------------------------------------------------------------------- sections

    def _custom(self, end: int) -> None:
        reader = self.reader
        name = reader.name()
        if reader.pos > end:
            raise DecodeError("unexpected end", end)
        self.module.customs.append((name, reader.pos, end))
        reader.skip(end - reader.pos)

    def _type_section(self) -> None:
        types = self.module.types
        for _ in range(self._count("types", limits.MAX_TYPES)):
            offset = self.reader.pos
            specs = self.types.group()
            limits.check_limit("types", len(types) + len(specs), limits.MAX_TYPES, offset)
            try:
                types.extend(rec_group(specs))
            except ValidationError as error:
                raise ValidationError(error.message, offset) from None
        # From here on no index is one of a group being read.
        self.types.group_size = 0

    def _import_section(self) -> None:
        reader, module = self.reader, self.module
        name_ = reader.name
        for _ in range(self._count("imports", limits.MAX_IMPORTS)):
            offset = reader.pos
            name, field = name_(), name_()
            if field or reader.peek() not in _COMPACT:
                space, type_ = self._imported(offset)
                self._import(name, field, space, type_, offset)
            elif self.features.compact_imports:
                self._import_group(name)
            else:
                raise feature_error("malformed import kind", "a group of imports", "compact_imports", reader.pos)
        module.num_imported_funcs = len(module.funcs)
        module.num_imported_tables = len(module.tables)
        module.num_imported_memories = len(module.memories)
        module.num_imported_globals = len(module.globals)
        module.num_imported_tags = len(module.tags)
        self._check_single(reader.pos)

    def _import_group(self, name: str) -> None:
        """Imports of one module: a field with its type each, or a type and then its fields."""
        reader = self.reader
        same: tuple[list[Any], Any] | None = None
        if reader.byte() == _COMPACT_OF_ONE_TYPE:
            same = self._imported(reader.pos)
        for _ in range(self._count("imports", limits.MAX_IMPORTS, len(self.module.imports))):
            offset = reader.pos
            field = reader.name()
            self._import(name, field, *(same or self._imported(offset)), offset)

    def _imported(self, offset: int) -> tuple[list[Any], Any]:
        """The index space that an import goes to, and its type."""
        reader, module, types = self.reader, self.module, self.types
        kind = reader.byte()
        if kind == 0:
            return module.funcs, types.func_index()
        if kind == 1:
            return module.tables, types.table()
        if kind == 2:
            return module.memories, types.memory()
        if kind == 3:
            type_ = types.global_()
            if type_.mutable and not self.features.mutable_global:
                raise feature_error("mutable globals cannot be imported", "it", "mutable_global", offset)
            return module.globals, type_
        if kind == 4 and self.features.exceptions:
            return module.tags, types.tag()
        raise DecodeError("malformed import kind", reader.pos - 1)

    def _import(self, name: str, field: str, space: list[Any], type_: Any, offset: int) -> None:
        imports = self.module.imports
        if len(imports) >= limits.MAX_IMPORTS:
            limits.check_limit("imports", len(imports) + 1, limits.MAX_IMPORTS, offset)
        space.append(type_)
        imports.append(Import(name, field, type_, offset))

    def _check_single(self, offset: int) -> None:
        module = self.module
        limits.check_limit("tables", len(module.tables), limits.MAX_TABLES, offset)
        limits.check_limit("memories", len(module.memories), limits.MAX_MEMORIES, offset)
        if len(module.memories) > 1 and not self.features.multi_memory:
            raise ValidationError("multiple memories: a second one needs Config(multi_memory=True)", offset)
        if len(module.tables) > 1 and not self.features.reference_types:
            raise ValidationError("multiple tables: a second one needs Config(reference_types=True)", offset)

    def _function_section(self) -> None:
        module = self.module
        module.funcs += self.types.func_indices(self._count("functions", limits.MAX_FUNCS, len(module.funcs)))

    def _table_section(self) -> None:
        reader, module = self.reader, self.module
        for _ in range(self._count("tables", limits.MAX_TABLES, len(module.tables))):
            offset = reader.pos
            init: ConstExpr | None = None
            if reader.peek() == 0x40:
                if not self.features.function_references:
                    raise feature_error("malformed table", "an initial value", "function_references", offset)
                reader.pos += 1
                if reader.byte() != 0:
                    raise DecodeError("zero byte expected", reader.pos - 1)
                table = self.types.table()
                init = read_const(module, self.types, table.element)
            else:
                table = self.types.table()
                if not table.element.nullable:
                    raise ValidationError(f"type mismatch: {table.element} has no default value", offset)
            module.tables.append(table)
            module.table_inits.append(init)
        self._check_single(reader.pos)

    def _memory_section(self) -> None:
        for _ in range(self._count("memories", limits.MAX_MEMORIES, len(self.module.memories))):
            self.module.memories.append(self.types.memory())
        self._check_single(self.reader.pos)

    def _tag_section(self) -> None:
        if not self.features.exceptions:
            raise feature_error("malformed section id", "the section of tags", "exceptions", self.reader.pos)
        for _ in range(self._count("tags", limits.MAX_TAGS, len(self.module.tags))):
            self.module.tags.append(self.types.tag())

    def _global_section(self) -> None:
        module = self.module
        for _ in range(self._count("globals", limits.MAX_GLOBALS, len(module.globals))):
            type_ = self.types.global_()
            module.global_inits.append(read_const(module, self.types, type_.content))
            module.globals.append(type_)

    def _export_section(self) -> None:
        reader, module = self.reader, self.module
        spaces = (module.funcs, module.tables, module.memories, module.globals, module.tags)
        kinds = len(_EXPORT_KINDS) if self.features.exceptions else len(_EXPORT_KINDS) - 1
        name_, exports, func_refs = reader.name, module.exports, module.func_refs
        seen: set[str] = set()
        for _ in range(self._count("exports", limits.MAX_EXPORTS)):
            offset = reader.pos
            name = name_()
            code = reader.byte()
            if code >= kinds:
                raise DecodeError("malformed export kind", reader.pos - 1)
            kind = _EXPORT_KINDS[code]
            at = reader.pos
            index = reader.u32()
            if index >= len(spaces[code]):
                raise ValidationError(f"unknown {_SPACE_NAMES[kind]} {index}", at)
            if name in seen:
                raise ValidationError(f'duplicate export name "{name}"', offset)
            seen.add(name)
            if code == 0:
                func_refs.add(index)
            elif code == 3 and module.globals[index].mutable and not self.features.mutable_global:
                raise feature_error("mutable globals cannot be exported", "it", "mutable_global", offset)
            exports.append(Export(name, kind, index, offset))

    def _start_section(self) -> None:
        module = self.module
        offset = self.reader.pos
        index = self.reader.u32()
        if index >= len(module.funcs):
            raise ValidationError(f"unknown function {index}", offset)
        func = module.funcs[index].func
        if func.params or func.results:
            raise ValidationError("start function must not have parameters or results", offset)
        module.start = index

    # ------------------------------------------------------------------------------------------------- segments

    def _element_section(self) -> None:
        module = self.module
        count = self._count("element segments", limits.MAX_ELEMENT_SEGMENTS)
        for _ in range(count):
            module.elements.append(self._element())

    def _element(self) -> ElementSegment:
        """Flag bit 0: not active; bit 1: explicit table, or declarative; bit 2: expressions instead of indices."""
        reader, module = self.reader, self.module
        start = reader.pos
        flags = reader.u32()
        if flags > 7:
            raise DecodeError("malformed elements segment kind", start)
        if flags & 1 and not (self.features.bulk_memory or self.features.reference_types):
            raise feature_error("malformed elements segment kind", "a passive segment", "bulk_memory", start)
        mode: SegmentMode = "active"
        table = 0
        offset: ConstExpr | None = None
        if flags & 1:
            mode = "declarative" if flags & 2 else "passive"
        else:
            at = reader.pos
            table = reader.u32() if flags & 2 else 0
            if table >= len(module.tables):
                raise ValidationError(f"unknown table {table}", at)
            offset = read_const(module, self.types, I64 if module.tables[table].is64 else I32)
        type_ = FUNCREF if flags & 4 else RefType(False, AbsHeap.FUNC)
        if flags & 3 and flags & 4:
            type_ = self.types.element()
        elif flags & 3 and reader.byte() != 0:
            raise DecodeError("malformed element kind", reader.pos - 1)
        indices: tuple[int, ...] | None = None
        inits: list[ConstExpr] | None = None
        count = self._count("elements of a segment", limits.MAX_ELEMENT_LENGTH)
        if flags & 4:
            inits = [read_const(module, self.types, type_) for _ in range(count)]
            if all(len(init) == 1 and init[0][0] == _REF_FUNC_OP for init in inits):
                indices, inits = tuple([init[0][1] for init in inits]), None
        else:
            indices = self._func_indices(count)
        if mode == "active" and not matches_ref(type_, module.tables[table].element):
            raise ValidationError(
                f"type mismatch: elements of type {type_} in a table of {module.tables[table].element}", start
            )
        return ElementSegment(mode, type_, table, offset, indices, inits)

    def _func_indices(self, count: int) -> tuple[int, ...]:
        reader, module = self.reader, self.module
        start = reader.pos
        indices = tuple(reader.u32s(count))
        if indices and max(indices) >= len(module.funcs):
            raise ValidationError(f"unknown function {max(indices)}", start)
        module.func_refs.update(indices)
        return indices

    def _data_count_section(self) -> None:
        if not self.features.bulk_memory:
            raise feature_error("malformed section id", "a data count section", "bulk_memory", self.reader.pos)
        self.module.data_count = self.reader.u32()

    def _code_section(self) -> None:
        reader = self.reader
        data = reader.data
        end = reader.end
        bodies = self.module.bodies
        count = self._count("functions", limits.MAX_FUNCS)
        pos = reader.pos
        if count >= LONG:
            scanned = scan_bodies(data, pos, end, count, limits.MAX_BODY_SIZE)
            if scanned is not None:
                self.module.bodies, reader.pos = scanned
                return
        try:
            for _ in range(count):
                start = pos
                size = data[pos]
                pos += 1
                if size >= 0x80:
                    byte = data[pos]
                    if byte < 0x80:
                        size += (byte - 1) << 7
                        pos += 1
                    else:
                        size, pos = uleb(data, pos - 1, 32)
                if size > end - pos:
                    raise DecodeError("length out of bounds", start)
                if size > limits.MAX_BODY_SIZE:
                    raise DecodeError(f"function body too large: more than {limits.MAX_BODY_SIZE} bytes", start)
                bodies.append((pos, pos + size))
                pos += size
        except IndexError:
            raise reader.ended() from None
        reader.pos = pos

    def _data_section(self) -> None:
        reader, module = self.reader, self.module
        count = self._count("data segments", limits.MAX_DATA_SEGMENTS)
        segments: list[DataSegment] = []
        if module.memories and not module.memories[0].is64:
            plain, reader.pos = PlainSegments.read(reader.data, reader.pos, count)
            if len(plain) == count > _FEW_SEGMENTS:
                module.data_segments = plain
                module.remember(None, ())
                return
            segments += plain
        module.data_segments = segments
        for _ in range(count - len(segments)):
            segments.append(self._data_segment())

    def _data_segment(self) -> DataSegment:
        reader, module = self.reader, self.module
        start = reader.pos
        flags = reader.u32()
        if flags > 2:
            raise DecodeError("malformed data segment kind", start)
        if flags and not self.features.bulk_memory:
            raise feature_error("malformed data segment kind", f"{flags}", "bulk_memory", start)
        mode: SegmentMode = "passive" if flags == 1 else "active"
        memory = 0
        offset: ConstExpr | None = None
        if mode == "active":
            at = reader.pos
            memory = reader.u32() if flags == 2 else 0
            if memory >= len(module.memories):
                raise ValidationError(f"unknown memory {memory}", at)
            offset = read_const(module, self.types, I64 if module.memories[memory].is64 else I32)
        size = reader.length()
        begin = reader.pos
        reader.skip(size)
        return DataSegment(mode, memory, offset, begin, begin + size)


# Section id → place in the order, what reads it.
_SECTIONS: Final[dict[int, tuple[int, Callable[[_Decoder], None]]]] = {
    1: (1, _Decoder._type_section),
    2: (2, _Decoder._import_section),
    3: (3, _Decoder._function_section),
    4: (4, _Decoder._table_section),
    5: (5, _Decoder._memory_section),
    13: (6, _Decoder._tag_section),
    6: (7, _Decoder._global_section),
    7: (8, _Decoder._export_section),
    8: (9, _Decoder._start_section),
    9: (10, _Decoder._element_section),
    12: (11, _Decoder._data_count_section),
    10: (12, _Decoder._code_section),
    11: (13, _Decoder._data_section),
}
