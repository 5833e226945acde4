"""WebAssembly types: value, heap, composite, defined and external types, and the matching rules between them.

Rules that the rest of the engine relies on:

- Value types are interned. Two value types are equal exactly when they are the same object, so `is` is type equality.
- Defined types are interned process-wide by the *structure of their recursion group* (core spec, "Types", iso-recursive
  equivalence): equal groups of different modules give the same `DefType` objects. `DefType.id` is unique in the process
  and never used again, hence fit to be a run-time type id; it differs from process to process, so nothing that outlives
  the process may contain it.
- The registry holds groups weakly. A type lives as long as a module, a store or user code refers to it.
- A `DefType` and everything it mentions are immutable once `rec_group` has returned it.

Nothing here recurses over the nesting of types: references to defined types compare by identity.
"""

from __future__ import annotations

import enum
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union, final

import attrs

from core_rt.errors import ValidationError

__all__ = [
    "ANYREF",
    "ARRAYREF",
    "EQREF",
    "EXNREF",
    "EXTERNREF",
    "F32",
    "F64",
    "FUNCREF",
    "I8",
    "I16",
    "I31REF",
    "I32",
    "I64",
    "MAX_SUBTYPE_DEPTH",
    "NULLEXNREF",
    "NULLEXTERNREF",
    "NULLFUNCREF",
    "NULLREF",
    "STRUCTREF",
    "V128",
    "AbsHeap",
    "ArrayType",
    "CompositeType",
    "DefType",
    "ExternType",
    "FieldType",
    "FuncType",
    "GlobalType",
    "HeapType",
    "MemoryType",
    "NumType",
    "PackedType",
    "RefType",
    "StorageType",
    "StructType",
    "TableType",
    "TagType",
    "TypeSpec",
    "ValType",
    "VecType",
    "defaultable",
    "matches_composite",
    "matches_def",
    "matches_extern",
    "matches_field",
    "matches_func",
    "matches_heap",
    "matches_ref",
    "matches_results",
    "matches_storage",
    "matches_val",
    "rec_group",
    "top_of",
    "unpacked",
]

MAX_SUBTYPE_DEPTH: Final = 63
"""Longest chain of declared supertypes (the limit of the JavaScript embedding); keeps `ancestors` short."""


class _Named:
    """A type that is one of a few singletons, found again by its name when copied or pickled."""

    __slots__ = ("code", "name", "size")

    name: str
    """As in the text format."""
    code: int
    """The byte of the binary format."""
    size: int
    """Bytes a value takes in linear memory, a struct field or an array element."""

    def __init__(self, name: str, code: int, size: int) -> None:
        self.name, self.code, self.size = name, code, size

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], _Named], tuple[str]]:
        return type_by_name, (self.name,)


@final
class NumType(_Named):
    """`i32`, `i64`, `f32` or `f64`: exactly four objects."""

    __slots__ = ()


@final
class VecType(_Named):
    """`v128`: exactly one object."""

    __slots__ = ()


@final
class PackedType(_Named):
    """`i8` or `i16`: a storage type of fields only, never of values."""

    __slots__ = ()


I32: Final = NumType("i32", 0x7F, 4)
I64: Final = NumType("i64", 0x7E, 8)
F32: Final = NumType("f32", 0x7D, 4)
F64: Final = NumType("f64", 0x7C, 8)
V128: Final = VecType("v128", 0x7B, 16)
I8: Final = PackedType("i8", 0x78, 1)
I16: Final = PackedType("i16", 0x77, 2)

_SINGLETONS = {t.name: t for t in (I32, I64, F32, F64, V128, I8, I16)}


def type_by_name(name: str) -> Any:
    """The number, vector or packed type of that name."""
    return _SINGLETONS[name]


class AbsHeap(enum.Enum):
    """An abstract heap type; the value is its byte in the binary format."""

    NOEXN = 0x74
    NOFUNC = 0x73
    NOEXTERN = 0x72
    NONE = 0x71
    FUNC = 0x70
    EXTERN = 0x6F
    ANY = 0x6E
    EQ = 0x6D
    I31 = 0x6C
    STRUCT = 0x6B
    ARRAY = 0x6A
    EXN = 0x69

    # Enum hashes by name in Python code; members are singletons, so identity does and costs nothing.
    __hash__ = object.__hash__

    def __str__(self) -> str:
        return self.name.lower()

    def __repr__(self) -> str:
        return f"AbsHeap.{self.name}"


HeapType: TypeAlias = Union[AbsHeap, "DefType"]

_SHORT_NAMES = {
    AbsHeap.NONE: "nullref",
    AbsHeap.NOFUNC: "nullfuncref",
    AbsHeap.NOEXTERN: "nullexternref",
    AbsHeap.NOEXN: "nullexnref",
}


@final
class RefType:
    """`(ref null? heap)`. Interned: `RefType(n, h) is RefType(n, h)`.

    `nullable` is a bool, `heap` an `AbsHeap` or a `DefType`.
    """

    __slots__ = ("heap", "nullable")

    nullable: bool
    heap: HeapType

    def __new__(cls, nullable: bool, heap: HeapType) -> RefType:
        if isinstance(heap, DefType):
            # Kept on the type itself, not in a table of its own, so that it dies with it.
            return heap.ref_null if nullable else heap.ref
        if not isinstance(heap, AbsHeap):
            raise TypeError(f"a heap type is an AbsHeap or a DefType, not {type(heap).__name__}")
        return _ABSTRACT_REFS[bool(nullable), heap]

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        heap = self.heap
        if isinstance(heap, AbsHeap) and self.nullable:
            return _SHORT_NAMES.get(heap, f"{heap}ref")
        name = str(heap) if isinstance(heap, AbsHeap) else f"${heap.id}"
        return f"(ref null {name})" if self.nullable else f"(ref {name})"

    def __reduce__(self) -> tuple[type[RefType], tuple[bool, HeapType]]:
        return RefType, (self.nullable, self.heap)


def _make_ref(nullable: bool, heap: HeapType) -> RefType:
    """A new object: only for the two places that intern."""
    self = object.__new__(RefType)
    object.__setattr__(self, "nullable", nullable)
    object.__setattr__(self, "heap", heap)
    return self


_ABSTRACT_REFS = {(nullable, heap): _make_ref(nullable, heap) for nullable in (False, True) for heap in AbsHeap}

FUNCREF: Final = _ABSTRACT_REFS[True, AbsHeap.FUNC]
EXTERNREF: Final = _ABSTRACT_REFS[True, AbsHeap.EXTERN]
ANYREF: Final = _ABSTRACT_REFS[True, AbsHeap.ANY]
EQREF: Final = _ABSTRACT_REFS[True, AbsHeap.EQ]
I31REF: Final = _ABSTRACT_REFS[True, AbsHeap.I31]
STRUCTREF: Final = _ABSTRACT_REFS[True, AbsHeap.STRUCT]
ARRAYREF: Final = _ABSTRACT_REFS[True, AbsHeap.ARRAY]
EXNREF: Final = _ABSTRACT_REFS[True, AbsHeap.EXN]
NULLREF: Final = _ABSTRACT_REFS[True, AbsHeap.NONE]
NULLFUNCREF: Final = _ABSTRACT_REFS[True, AbsHeap.NOFUNC]
NULLEXTERNREF: Final = _ABSTRACT_REFS[True, AbsHeap.NOEXTERN]
NULLEXNREF: Final = _ABSTRACT_REFS[True, AbsHeap.NOEXN]

ValType: TypeAlias = NumType | VecType | RefType
StorageType: TypeAlias = ValType | PackedType


def _is_valtype(value: object) -> bool:
    return isinstance(value, NumType | VecType | RefType)


def _valtypes(types: Iterable[ValType]) -> tuple[ValType, ...]:
    result = tuple(types)
    for t in result:
        if not _is_valtype(t):
            raise TypeError(f"not a value type: {t!r}")
    return result


def _spell(types: Sequence[object]) -> str:
    return f"[{' '.join(map(repr, types))}]"


@attrs.frozen(repr=False)
class FuncType:
    """`[params] -> [results]`. Takes any iterables of value types, keeps tuples."""

    params: tuple[ValType, ...] = attrs.field(default=(), converter=_valtypes)
    results: tuple[ValType, ...] = attrs.field(default=(), converter=_valtypes)

    def __repr__(self) -> str:
        return f"{_spell(self.params)} -> {_spell(self.results)}"


@attrs.frozen(repr=False)
class FieldType:
    """A field of a struct, or the elements of an array."""

    storage: StorageType = attrs.field(validator=attrs.validators.instance_of((NumType, VecType, RefType, PackedType)))
    mutable: bool = False

    def __repr__(self) -> str:
        return f"(mut {self.storage!r})" if self.mutable else repr(self.storage)


def _fields(fields: Iterable[FieldType]) -> tuple[FieldType, ...]:
    return tuple(fields)


@attrs.frozen(repr=False)
class StructType:
    """`(struct (field ...)...)`."""

    fields: tuple[FieldType, ...] = attrs.field(default=(), converter=_fields)

    def __repr__(self) -> str:
        return f"(struct{''.join(f' (field {f!r})' for f in self.fields)})"


@attrs.frozen(repr=False)
class ArrayType:
    """`(array field)`."""

    field: FieldType

    def __repr__(self) -> str:
        return f"(array {self.field!r})"


CompositeType: TypeAlias = FuncType | StructType | ArrayType


def unpacked(storage: StorageType) -> ValType:
    """The type of a value read from a field of that storage type."""
    return I32 if isinstance(storage, PackedType) else storage


def defaultable(valtype: StorageType) -> bool:
    """Whether the type has a default value (all but non-nullable references)."""
    return valtype.nullable if isinstance(valtype, RefType) else True


# --------------------------------------------------------------------------------------------------- defined types

TypeSpec: TypeAlias = tuple[bool, tuple[Any, ...], tuple[Any, ...]]
"""A type of a recursion group before it is resolved: `(final, supers, composite)`.

`composite` is `("func", params, results)`, `("struct", ((storage, mutable), ...))` or `("array", (storage, mutable))`.
Types outside the group appear as they are (`DefType` among the supers, `ValType` elsewhere); member `i` of the group
itself is the int `i` among the supers and the int `2 * i + nullable` where a value type stands. A group's specs are
its identity: they are the registry's key.
"""


@final
class DefType:
    """A defined type: one member of a recursion group. Interned; not made directly (see `of` and `rec_group`).

    Fields: `id` (int > 0), `final`, `supers` (at most one), `composite`, `kind` ("func", "struct", "array"),
    `ancestors` (root first, self last), `depth` (`len(ancestors) - 1`), `ref` and `ref_null` (the reference types to
    it), `group` (the recursion group) and `index` (place in it).
    """

    __slots__ = (
        "__weakref__", "ancestors", "composite", "depth", "final", "group", "id", "index", "kind", "ref", "ref_null",
        "supers",
    )  # fmt: skip

    id: int
    final: bool
    supers: tuple[DefType, ...]
    composite: CompositeType
    kind: str
    ancestors: tuple[DefType, ...]
    depth: int
    ref: RefType
    ref_null: RefType
    group: RecGroup
    index: int

    def __init__(self) -> None:
        raise TypeError("a DefType comes from DefType.of or rec_group")

    @classmethod
    def of(cls, functype: FuncType) -> DefType:
        """The final type without supertypes that defines `functype`, as `(type (func ...))` does in a module."""
        return rec_group(((True, (), ("func", functype.params, functype.results)),))[0]

    @property
    def func(self) -> FuncType:
        """The composite type, which must be a function type (`TypeError`)."""
        if not isinstance(self.composite, FuncType):
            raise TypeError(f"not a function type: {self!r}")
        return self.composite

    def __repr__(self) -> str:
        composite = self.composite
        text = f"(func {composite!r})" if isinstance(composite, FuncType) else repr(composite)
        if self.final and not self.supers:
            return text
        supers = "".join(f" ${s.id}" for s in self.supers)
        return f"(sub{' final' if self.final else ''}{supers} {text})"

    def __reduce__(self) -> tuple[Callable[..., DefType], tuple[tuple[TypeSpec, ...], int]]:
        return _member, (self.group.specs, self.index)


@final
class RecGroup:
    """A canonical recursion group: its `members` in order and the `specs` that identify it."""

    __slots__ = ("__weakref__", "members", "specs")

    def __init__(self, specs: tuple[TypeSpec, ...], members: tuple[DefType, ...]) -> None:
        self.specs = specs
        self.members = members


_groups: weakref.WeakValueDictionary[tuple[TypeSpec, ...], RecGroup] = weakref.WeakValueDictionary()
_groups_lock = threading.Lock()
_ids = itertools.count(1)


def rec_group(specs: Sequence[TypeSpec]) -> tuple[DefType, ...]:
    """The canonical types of a recursion group, in order. Thread-safe.

    Raises `ValidationError` ("sub type ...") when a member does not match its supertype, names a later member as
    one, or extends a final type. Spec: "Validation", "Types", rules for recursive and sub types.
    """
    key = tuple(specs)
    with _groups_lock:
        found = _groups.get(key)
    if found is None:
        group = _build(key)
        with _groups_lock:
            # Another thread may have been first: its objects are the canonical ones, ours are forgotten.
            found = _groups.setdefault(key, group)
    return found.members


def _member(specs: tuple[TypeSpec, ...], index: int) -> DefType:
    return rec_group(specs)[index]


def _build(specs: tuple[TypeSpec, ...]) -> RecGroup:
    """New types for a group not met before. Members exist before what they mention, which may be each other."""
    members = tuple(object.__new__(DefType) for _ in specs)
    group = RecGroup(specs, members)
    for index, (member, (is_final, supers, composite)) in enumerate(zip(members, specs)):
        member.id = next(_ids)
        member.index = index
        member.group = group
        member.final = is_final
        member.kind = composite[0]
        member.ref = _make_ref(False, member)
        member.ref_null = _make_ref(True, member)
        member.supers = tuple(_resolve_super(s, index, members) for s in supers)
        member.ancestors = (*(member.supers[0].ancestors if member.supers else ()), member)
        member.depth = len(member.ancestors) - 1
        if member.depth > MAX_SUBTYPE_DEPTH:
            raise ValidationError(f"sub type hierarchy too deep: more than {MAX_SUBTYPE_DEPTH} supertypes")
    for member, (_, _, composite) in zip(members, specs):
        member.composite = _resolve_composite(composite, members)
    for index, member in enumerate(members):
        _check_supers(member, index)
    return group


def _resolve_super(super_: int | DefType, index: int, members: tuple[DefType, ...]) -> DefType:
    if isinstance(super_, DefType):
        return super_
    if super_ >= index:
        raise ValidationError(f"sub type {index} of its recursion group has a later supertype, unknown type {super_}")
    return members[super_]


def _resolve_composite(composite: tuple[Any, ...], members: tuple[DefType, ...]) -> CompositeType:
    def resolve(t: Any) -> Any:
        if isinstance(t, int):
            member = members[t >> 1]
            return member.ref_null if t & 1 else member.ref
        return t

    kind = composite[0]
    if kind == "func":
        return FuncType([resolve(t) for t in composite[1]], [resolve(t) for t in composite[2]])
    if kind == "struct":
        return StructType([FieldType(resolve(t), mutable) for t, mutable in composite[1]])
    storage, mutable = composite[1]
    return ArrayType(FieldType(resolve(storage), mutable))


def _check_supers(member: DefType, index: int) -> None:
    if len(member.supers) > 1:
        raise ValidationError("sub type with more than one supertype")
    for super_ in member.supers:
        if super_.final:
            raise ValidationError(f"sub type {index} of its recursion group extends a final type")
        if not matches_composite(member.composite, super_.composite):
            raise ValidationError(f"sub type {index} of its recursion group does not match its supertype")


# --------------------------------------------------------------------------------------------------- external types


def _u64(_: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is None and attribute.name == "max":
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{attribute.name} must be in 0..2^64-1, not {value}")


def _limits_text(type_: TableType | MemoryType) -> str:
    index = "i64 " if type_.is64 else ""
    return f"{index}{type_.min}" if type_.max is None else f"{index}{type_.min} {type_.max}"


@attrs.frozen(repr=False)
class TableType:
    """A table of references: `min` and `max` count elements, `is64` means that indices are i64."""

    element: RefType = attrs.field(validator=attrs.validators.instance_of(RefType))
    min: int = attrs.field(validator=_u64)
    max: int | None = attrs.field(default=None, validator=_u64)
    is64: bool = False

    def __repr__(self) -> str:
        return f"(table {_limits_text(self)} {self.element!r})"


@attrs.frozen(repr=False)
class MemoryType:
    """A linear memory: `min` and `max` count pages of `1 << page_size_log2` bytes; `is64` means i64 addresses."""

    min: int = attrs.field(validator=_u64)
    max: int | None = attrs.field(default=None, validator=_u64)
    is64: bool = False
    shared: bool = False
    page_size_log2: int = 16

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return 1 << self.page_size_log2

    def __repr__(self) -> str:
        shared = " shared" if self.shared else ""
        page = "" if self.page_size_log2 == 16 else f" (pagesize {self.page_size})"
        return f"(memory {_limits_text(self)}{shared}{page})"


@attrs.frozen(repr=False)
class GlobalType:
    """A global variable or constant."""

    content: ValType = attrs.field(validator=attrs.validators.instance_of((NumType, VecType, RefType)))
    mutable: bool = False

    def __repr__(self) -> str:
        return f"(global (mut {self.content!r}))" if self.mutable else f"(global {self.content!r})"


def _tag_def(value: DefType | FuncType) -> DefType:
    return DefType.of(value) if isinstance(value, FuncType) else value


@attrs.frozen(repr=False)
class TagType:
    """An exception tag. `type` is a `DefType`; a `FuncType` is taken too and made canonical."""

    type: DefType = attrs.field(converter=_tag_def, validator=attrs.validators.instance_of(DefType))

    def __repr__(self) -> str:
        return f"(tag (param{''.join(f' {t!r}' for t in self.type.func.params)}))"


ExternType: TypeAlias = DefType | TableType | MemoryType | GlobalType | TagType
"""The type of an import or export; functions have their `DefType`."""

# --------------------------------------------------------------------------------------------------- matching

# Abstract heap types above each abstract heap type, itself included (spec: "Matching", "Heap Types").
_A = AbsHeap
_ABOVE: dict[AbsHeap, frozenset[AbsHeap]] = {
    _A.ANY: frozenset({_A.ANY}),
    _A.EQ: frozenset({_A.EQ, _A.ANY}),
    _A.I31: frozenset({_A.I31, _A.EQ, _A.ANY}),
    _A.STRUCT: frozenset({_A.STRUCT, _A.EQ, _A.ANY}),
    _A.ARRAY: frozenset({_A.ARRAY, _A.EQ, _A.ANY}),
    _A.NONE: frozenset({_A.NONE, _A.I31, _A.STRUCT, _A.ARRAY, _A.EQ, _A.ANY}),
    _A.FUNC: frozenset({_A.FUNC}),
    _A.NOFUNC: frozenset({_A.NOFUNC, _A.FUNC}),
    _A.EXTERN: frozenset({_A.EXTERN}),
    _A.NOEXTERN: frozenset({_A.NOEXTERN, _A.EXTERN}),
    _A.EXN: frozenset({_A.EXN}),
    _A.NOEXN: frozenset({_A.NOEXN, _A.EXN}),
}
_KIND_HEAP = {"func": _A.FUNC, "struct": _A.STRUCT, "array": _A.ARRAY}
_KIND_BOTTOM = {"func": _A.NOFUNC, "struct": _A.NONE, "array": _A.NONE}
_TOPS = {
    heap: next(top for top in (_A.ANY, _A.FUNC, _A.EXTERN, _A.EXN) if top in above) for heap, above in _ABOVE.items()
}


def top_of(heap: HeapType) -> AbsHeap:
    """The top of the hierarchy that the heap type belongs to: ANY, FUNC, EXTERN or EXN."""
    return _TOPS[_KIND_HEAP[heap.kind] if isinstance(heap, DefType) else heap]


def matches_def(actual: DefType, wanted: DefType) -> bool:
    """Whether `actual` is `wanted` or declared, directly or not, as its subtype."""
    if actual is wanted:
        return True
    depth = wanted.depth
    ancestors = actual.ancestors
    return depth < len(ancestors) and ancestors[depth] is wanted


def matches_heap(actual: HeapType, wanted: HeapType) -> bool:
    """Heap type subtyping."""
    if actual is wanted:
        return True
    if isinstance(actual, DefType):
        if isinstance(wanted, DefType):
            return matches_def(actual, wanted)
        return wanted in _ABOVE[_KIND_HEAP[actual.kind]]
    if isinstance(wanted, DefType):
        return actual is _KIND_BOTTOM[wanted.kind]
    return wanted in _ABOVE[actual]


def matches_ref(actual: RefType, wanted: RefType) -> bool:
    """Reference type subtyping."""
    if actual is wanted:
        return True
    return (wanted.nullable or not actual.nullable) and matches_heap(actual.heap, wanted.heap)


def matches_val(actual: ValType, wanted: ValType) -> bool:
    """Value type subtyping: equality, except among references."""
    return actual is wanted or (
        isinstance(actual, RefType) and isinstance(wanted, RefType) and matches_ref(actual, wanted)
    )


def matches_results(actual: Sequence[ValType], wanted: Sequence[ValType]) -> bool:
    """Result type subtyping: equally long and matching one by one."""
    return actual == wanted or (len(actual) == len(wanted) and all(map(matches_val, actual, wanted)))


def matches_storage(actual: StorageType, wanted: StorageType) -> bool:
    """Storage type subtyping: packed types match only themselves."""
    return actual is wanted or (
        isinstance(actual, RefType) and isinstance(wanted, RefType) and matches_ref(actual, wanted)
    )


def matches_field(actual: FieldType, wanted: FieldType) -> bool:
    """Field subtyping: covariant when immutable, invariant when mutable."""
    if actual.mutable != wanted.mutable:
        return False
    if not matches_storage(actual.storage, wanted.storage):
        return False
    return not actual.mutable or matches_storage(wanted.storage, actual.storage)


def matches_func(actual: FuncType, wanted: FuncType) -> bool:
    """Function type subtyping: parameters contravariant, results covariant."""
    return matches_results(wanted.params, actual.params) and matches_results(actual.results, wanted.results)


def matches_composite(actual: CompositeType, wanted: CompositeType) -> bool:
    """Composite type subtyping; a struct may have more fields than its supertype."""
    if isinstance(actual, FuncType):
        return isinstance(wanted, FuncType) and matches_func(actual, wanted)
    if isinstance(actual, StructType):
        return (
            isinstance(wanted, StructType)
            and len(actual.fields) >= len(wanted.fields)
            and all(map(matches_field, actual.fields, wanted.fields))
        )
    return isinstance(wanted, ArrayType) and matches_field(actual.field, wanted.field)


def _matches_limits(actual: TableType | MemoryType, wanted: TableType | MemoryType) -> bool:
    if actual.is64 != wanted.is64 or actual.min < wanted.min:
        return False
    return wanted.max is None or (actual.max is not None and actual.max <= wanted.max)


def matches_extern(actual: ExternType, wanted: ExternType) -> bool:
    """Whether something of type `actual` may be given for an import of type `wanted`.

    For tables and memories `actual.min` must be the current size (spec: "Matching", "External Types").
    """
    if isinstance(wanted, DefType):
        return isinstance(actual, DefType) and matches_def(actual, wanted)
    if isinstance(wanted, TableType):
        return isinstance(actual, TableType) and actual.element is wanted.element and _matches_limits(actual, wanted)
    if isinstance(wanted, MemoryType):
        return (
            isinstance(actual, MemoryType)
            and actual.shared == wanted.shared
            and actual.page_size_log2 == wanted.page_size_log2
            and _matches_limits(actual, wanted)
        )
    if isinstance(wanted, GlobalType):
        if not isinstance(actual, GlobalType) or actual.mutable != wanted.mutable:
            return False
        if wanted.mutable:
            return actual.content is wanted.content
        return matches_val(actual.content, wanted.content)
    return isinstance(actual, TagType) and actual.type is wanted.type
