"""Reading types, as the type section, imports and instructions have them (spec: "Binary Format", "Types")."""

from __future__ import annotations

import functools
from typing import Any, Final

from core_rt.binary import limits
from core_rt.binary.reader import Reader
from core_rt.config import DEFAULT_FEATURES, Features
from core_rt.errors import DecodeError, ValidationError
from core_rt.types import (
    F32,
    F64,
    FUNCREF,
    I8,
    I16,
    I32,
    I64,
    V128,
    AbsHeap,
    DefType,
    GlobalType,
    HeapType,
    MemoryType,
    RefType,
    TableType,
    TagType,
    TypeSpec,
    ValType,
)

__all__ = ["TypeReader", "feature_error", "heap_types", "value_types"]

_REF_NULL: Final = 0x63
_REF: Final = 0x64
_REC: Final = 0x4E
_SUB_FINAL: Final = 0x4F
_SUB: Final = 0x50
_ARRAY: Final = 0x5E
_STRUCT: Final = 0x5F
_FUNC: Final = 0x60

_HEAP_PROPOSAL: Final = {
    AbsHeap.FUNC: "reference_types",
    AbsHeap.EXTERN: "reference_types",
    AbsHeap.EXN: "exceptions",
    AbsHeap.NOEXN: "exceptions",
}


def feature_error(wording: str, what: str, flag: str, offset: int) -> DecodeError:
    """The error for something that a switched-off proposal brings."""
    return DecodeError(f"{wording}: {what} needs Config({flag}=True)", offset)


@functools.lru_cache(maxsize=64)
def heap_types(features: Features) -> dict[int, AbsHeap]:
    """Byte → abstract heap type, for those that are switched on."""
    return {heap.value: heap for heap in AbsHeap if getattr(features, _HEAP_PROPOSAL.get(heap, "gc"))}


@functools.lru_cache(maxsize=64)
def value_types(features: Features) -> dict[int, ValType]:
    """Byte → value type, for those of one byte that are switched on."""
    table: dict[int, ValType] = {t.code: t for t in (I32, I64, F32, F64)}
    if features.simd:
        table[V128.code] = V128
    table.update((byte, RefType(True, heap)) for byte, heap in heap_types(features).items())
    return table


value_types(DEFAULT_FEATURES)  # what nearly every module needs, made when the package is loaded


class TypeReader:
    """Reads types through `reader`; type indices are looked up in `types`, which grows as the type section is read.

    While a recursion group is read, indices of its own members come out as the ints that `TypeSpec` wants.
    """

    __slots__ = ("_globals", "features", "group_base", "group_size", "heaps", "reader", "types", "values")

    def __init__(self, reader: Reader, types: list[DefType], features: Features) -> None:
        self.reader = reader
        self.types = types
        self.features = features
        self.values = value_types(features)
        self.heaps = heap_types(features)
        self.group_base = 0
        self.group_size = 0
        self._globals: dict[tuple[int, int], GlobalType] = {}

    # ------------------------------------------------------------------------------------------------- value types

    def _indexed_ref(self, index: int, nullable: bool, offset: int) -> Any:
        if index < len(self.types):
            return RefType(nullable, self.types[index])
        member = index - self.group_base
        if 0 <= member < self.group_size:
            return 2 * member + nullable
        raise ValidationError(f"unknown type {index}", offset)

    def _abstract(self, byte: int, wording: str, offset: int) -> AbsHeap:
        heap = self.heaps.get(byte)
        if heap is not None:
            return heap
        for other in AbsHeap:
            if other.value == byte:
                raise feature_error(wording, str(other), _HEAP_PROPOSAL.get(other, "gc"), offset)
        raise DecodeError(wording, offset)

    def _heap_ref(self, nullable: bool) -> Any:
        """A heap type, as a reference type to it (or a `TypeSpec` int)."""
        reader = self.reader
        offset = reader.pos
        byte = reader.peek()
        if byte is not None and byte & 0xC0 == 0x40:
            reader.pos = offset + 1
            return RefType(nullable, self._abstract(byte, "malformed heap type", offset))
        index = reader.s33()
        if index < 0:
            raise DecodeError("malformed heap type", offset)
        if not self.features.function_references:
            raise feature_error("malformed heap type", "a type index", "function_references", offset)
        return self._indexed_ref(index, nullable, offset)

    def heap(self) -> HeapType:
        """A heap type."""
        ref: RefType = self._heap_ref(True)
        return ref.heap

    def ref(self) -> Any:
        """A reference type (inside a recursion group possibly a `TypeSpec` int)."""
        reader = self.reader
        offset = reader.pos
        byte = reader.byte()
        if byte in (_REF, _REF_NULL):
            if not self.features.function_references:
                raise feature_error("malformed reference type", "(ref ...)", "function_references", offset)
            return self._heap_ref(byte == _REF_NULL)
        return RefType(True, self._abstract(byte, "malformed reference type", offset))

    def value(self) -> Any:
        """A value type (inside a recursion group possibly a `TypeSpec` int)."""
        reader = self.reader
        byte = reader.peek()
        if byte is not None:
            found = self.values.get(byte)
            if found is not None:
                reader.pos += 1
                return found
            if byte == V128.code:
                raise feature_error("malformed value type", "v128", "simd", reader.pos)
        return self.ref()

    def _values(self, what: str, limit: int) -> tuple[Any, ...]:
        reader = self.reader
        offset = reader.pos
        if offset < reader.end:
            count = reader.data[offset]
            stop = offset + 1 + count
            if count < 0x80 and count <= limit and stop <= reader.end:
                found = tuple(map(self.values.get, reader.data[offset + 1 : stop]))
                if all(found):  # a byte each, as nearly always
                    reader.pos = stop
                    return found
        count = reader.length()
        limits.check_limit(what, count, limit, offset)
        return tuple([self.value() for _ in range(count)])

    # ----------------------------------------------------------------------------------------------- defined types

    def _field(self) -> tuple[Any, bool]:
        reader = self.reader
        byte = reader.peek()
        if byte in (I8.code, I16.code):
            reader.pos += 1
            return (I8 if byte == I8.code else I16), self.mutability()
        try:
            storage = self.value()
        except DecodeError as error:
            if error.message == "malformed reference type":
                raise DecodeError("malformed storage type", error.offset) from None
            raise
        return storage, self.mutability()

    def mutability(self) -> bool:
        """The byte that says whether a global or field is mutable."""
        byte = self.reader.byte()
        if byte > 1:
            raise DecodeError("malformed mutability", self.reader.pos - 1)
        return byte == 1

    def _composite(self) -> tuple[Any, ...]:
        reader = self.reader
        offset = reader.pos
        byte = reader.byte()
        if byte == _FUNC:
            params = self._values("parameters", limits.MAX_PARAMS)
            results = self._values("results", limits.MAX_RESULTS)
            if len(results) > 1 and not self.features.multi_value:
                raise feature_error("invalid result arity", "more than one result", "multi_value", offset)
            return ("func", params, results)
        if byte not in (_STRUCT, _ARRAY):
            raise DecodeError("malformed definition type", offset)
        if not self.features.gc:
            raise feature_error("malformed definition type", "a struct or array type", "gc", offset)
        if byte == _ARRAY:
            return ("array", self._field())
        count = reader.length()
        limits.check_limit("fields", count, limits.MAX_STRUCT_FIELDS, offset)
        return ("struct", tuple([self._field() for _ in range(count)]))

    def _super(self) -> int | DefType:
        offset = self.reader.pos
        index = self.reader.u32()
        if index < len(self.types):
            return self.types[index]
        if index - self.group_base < self.group_size:
            return index - self.group_base
        raise ValidationError(f"unknown type {index}", offset)

    def _sub(self) -> TypeSpec:
        reader = self.reader
        byte = reader.peek()
        if byte not in (_SUB, _SUB_FINAL):
            return (True, (), self._composite())
        if not self.features.gc:
            raise feature_error("malformed definition type", "a sub type", "gc", reader.pos)
        reader.pos += 1
        supers = tuple([self._super() for _ in range(reader.length())])
        return (byte == _SUB_FINAL, supers, self._composite())

    def group(self) -> list[TypeSpec]:
        """One entry of the type section: the specs of a recursion group, in order."""
        reader = self.reader
        self.group_base = len(self.types)
        self.group_size = 1
        first = reader.peek()
        if first == _FUNC:
            return [(True, (), self._composite())]
        if first != _REC:
            return [self._sub()]
        if not self.features.gc:
            raise feature_error("malformed definition type", "a recursion group", "gc", reader.pos)
        offset = reader.pos
        reader.pos += 1
        self.group_size = reader.length()
        limits.check_limit("types", self.group_base + self.group_size, limits.MAX_TYPES, offset)
        return [self._sub() for _ in range(self.group_size)]

    # ---------------------------------------------------------------------------------------------- external types

    def _limits(self, allowed: int) -> tuple[int, int, int | None]:
        """Flags, minimum, maximum. `allowed` are the flag bits that the kind of type has."""
        reader = self.reader
        offset = reader.pos
        flags = reader.byte()
        if flags & ~allowed:
            raise DecodeError("malformed limits flags", offset)
        for bit, flag in ((2, "threads"), (4, "memory64"), (8, "custom_page_sizes")):
            if flags & bit and not getattr(self.features, flag):
                raise feature_error("malformed limits flags", f"0x{flags:02x}", flag, offset)
        low = reader.u64()
        high = reader.u64() if flags & 1 else None
        return flags, low, high

    @staticmethod
    def _check_limits(low: int, high: int | None, most: int, wording: str, offset: int) -> None:
        if low > most or (high is not None and high > most):
            raise ValidationError(wording, offset)
        if high is not None and low > high:
            raise ValidationError("size minimum must not be greater than maximum", offset)

    def memory(self) -> MemoryType:
        """A memory type."""
        reader = self.reader
        offset = reader.pos
        flags, low, high = self._limits(0b1111)
        page_log2 = 16
        if flags & 8:
            page_log2 = reader.u32()
            if page_log2 not in (0, 16):
                raise ValidationError(f"invalid custom page size: 2^{page_log2}", offset)
        is64 = bool(flags & 4)
        # The number of pages must be an address itself, which matters for pages of one byte.
        bits = 64 if is64 else 32
        most = min((1 << bits) >> page_log2, (1 << bits) - 1)
        wording = f"memory size must be at most {most} pages"
        if page_log2 == 16 and not is64:
            wording += " (4GiB)"
        self._check_limits(low, high, most, wording, offset)
        shared = bool(flags & 2)
        if shared and high is None:
            raise ValidationError("shared memory must have maximum", offset)
        return MemoryType(low, high, is64, shared, page_log2)

    def element(self) -> RefType:
        """A reference type in a table or element segment; `funcref` is always one."""
        if self.reader.peek() == AbsHeap.FUNC.value:
            self.reader.pos += 1
            return FUNCREF
        ref: RefType = self.ref()
        return ref

    def table(self) -> TableType:
        """A table type."""
        element = self.element()
        offset = self.reader.pos
        flags, low, high = self._limits(0b101)
        is64 = bool(flags & 4)
        most = (1 << (64 if is64 else 32)) - 1
        self._check_limits(low, high, most, f"table size must be at most {most} elements", offset)
        return TableType(element, low, high, is64)

    def global_(self) -> GlobalType:
        """A global type."""
        reader = self.reader
        pos = reader.pos
        if pos + 2 <= reader.end:
            byte, mutable = reader.data[pos : pos + 2]
            found = self._globals.get((byte, mutable))
            if found is not None:
                reader.pos = pos + 2
                return found
            content = self.values.get(byte)
            if content is not None and mutable <= 1:
                reader.pos = pos + 2
                found = self._globals[byte, mutable] = GlobalType(content, mutable == 1)
                return found
        content = self.value()
        return GlobalType(content, self.mutability())

    def func_index(self) -> DefType:
        """A type index that must be that of a function type."""
        offset = self.reader.pos
        index = self.reader.u32()
        if index >= len(self.types):
            raise ValidationError(f"unknown type {index}", offset)
        found = self.types[index]
        if found.kind != "func":
            raise ValidationError(f"non-function type {index}", offset)
        return found

    def func_indices(self, count: int) -> list[DefType]:
        """As `func_index`, `count` times."""
        reader, types = self.reader, self.types
        start = reader.pos
        try:
            found = [types[index] for index in reader.u32s(count)]
            if all(type_.kind == "func" for type_ in {*found}):
                return found
        except (DecodeError, IndexError):
            pass
        reader.pos = start  # again, for the first error
        return [self.func_index() for _ in range(count)]

    def tag(self) -> TagType:
        """A tag type."""
        offset = self.reader.pos
        if not self.features.exceptions:
            raise feature_error("malformed tag", "a tag", "exceptions", offset)
        if self.reader.byte() != 0:
            raise DecodeError("zero byte expected", offset)
        found = self.func_index()
        if found.func.results:
            raise ValidationError("non-empty tag result type", offset)
        return TagType(found)
