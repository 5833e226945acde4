"""What the code cache keeps of a component beside its machine code: its type and its plan.

A component that was decoded, validated and planned once, by the same version of this package and with the same features, need not be
again: an entry named by the hash of all that holds the result as a graph (`graph.py`). What only tools ask for (names,
definitions, the world) is not in it; `Component.validated` reads the component when it is wanted.

Core modules with thousands of data segments come without them: they only matter where there is no image of a memory, and `_Segments`
reads them then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from component_rt import model as m
from component_rt import plan as p
from component_rt import types as t
from component_rt import valtypes as v
from component_rt.graph import Kind, Unstorable, read_graph, write_graph
from component_rt.vmcontext import ComponentLayout
from core_rt import types as core
from core_rt.binary.model import MODULE_FIELDS, DataSegment, DecodedModule, ElementSegment, Export, Import
from core_rt.compile.cache import entry_key
from core_rt.compile.host import sources
from core_rt.record import positional

if TYPE_CHECKING:
    from component_rt.features import Features
    from core_rt.compile.cache import CodeCache
    from core_rt.config import Features as CoreFeatures

__all__ = ["Facts", "facts_key", "load_facts", "store_facts"]

_FEW_SEGMENTS: Final = 256
_ROOT: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SOURCES: Final = (
    "core_rt", "core_rt/binary", "core_rt/validate", "component_rt", "component_rt/binary", "component_rt/validate",
)  # fmt: skip

Facts = tuple[t.ComponentType, p.Plan]


@cache
def _version() -> str:
    return repr((sys.implementation.cache_tag, sys.version_info, sources(_ROOT, _SOURCES)))


def facts_key(data: bytes | memoryview, features: Features, core_features: CoreFeatures) -> bytes:
    """The key of a component's facts."""
    import hashlib  # brings OpenSSL: only for who caches

    return entry_key("facts", hashlib.sha256(data).digest(), repr((features, core_features)), _version())


def store_facts(cache: CodeCache, key: bytes, facts: Facts) -> None:
    """Keep the facts of a component; there are components for which that cannot be done."""
    try:
        contents = write_graph(facts, _kinds(memoryview(b""), None))
    except (Unstorable, RecursionError):
        return
    cache.put(key, contents)


def load_facts(cache: CodeCache, key: bytes, data: bytes | memoryview, core_features: CoreFeatures) -> Facts | None:
    """The facts of a component that was met before."""
    entry = cache.open(key)
    if entry is None:
        return None
    try:
        facts: Facts = read_graph(entry.contents, _kinds(memoryview(data), core_features))
    except ValueError:
        return None
    return facts


# ---- kinds of objects ----


def _by_fields(cls: Any, make: Callable[..., Any] | None = None, fields: Sequence[str] | None = None) -> Kind:
    names = tuple(cls.__record__) if fields is None else tuple(fields)
    return Kind(lambda o: [getattr(o, name) for name in names], make or positional(cls))


def _attrs(cls: Any) -> Kind:
    return _by_fields(cls, cls, [field.name for field in attrs.fields(cls) if field.init])


def _type(cls: Any, *fields: str) -> Kind:
    """A type that its constructor interns; its name comes last."""

    def make(*arguments: Any) -> Any:
        return cls(*arguments[:-1], name=arguments[-1])

    return _by_fields(cls, make, (*fields, "name"))


_RECORDS: Final[tuple[Any, ...]] = (
    p.LoadModule, p.ImportItem, p.InstantiateModule, p.Extract, p.MakeResource, p.LateExport, p.Remember, p.Options, p.Lift,
    p.Lower, p.Builtin, p.Constant, p.StartFunction, p.InstanceItem, p.Plan, m.CanonBuiltin, m.CanonOptions, t.CoreModuleType,
    t.ValueExtern, t.TypeBound, v.TypeName, v.ResourceId, ElementSegment,
)  # fmt: skip

_MODULE_FIELDS: Final = tuple([name for name in MODULE_FIELDS if name != "data_segments"])


def _instance(index: int, parent: int | None, resources: dict[Any, int]) -> p.StaticInstance:
    made = p.StaticInstance(index, parent)
    made.resources = resources
    return made


def _module_def(definition: m.CoreModuleDef) -> list[Any]:
    module = definition.module
    segments = module.data_segments
    rows = [tuple(segment) for segment in segments] if len(segments) <= _FEW_SEGMENTS else None
    return [
        *[getattr(definition, name) for name in ("offset", "start", "end", "type")],
        module.digest,
        list(module.passive_segments),
        len(segments),
        rows,
        *[getattr(module, name) for name in _MODULE_FIELDS],
    ]


def _make_module_def(
    data: memoryview,
    features: Any,
    offset: int,
    start: int,
    end: int,
    type_: Any,
    digest: bytes,
    passive: Any,
    count: int,
    rows: Any,
    *fields: Any,
) -> m.CoreModuleDef:
    part = data[start:end]
    segments = _Segments(part, features, count) if rows is None else [DataSegment(*row) for row in rows]
    module = DecodedModule(part, features, data_segments=segments, **dict(zip(_MODULE_FIELDS, fields, strict=True)))
    module.remember(digest, passive)
    return m.CoreModuleDef(offset=offset, start=start, end=end, module=module, type=type_)


class _Segments(Sequence[DataSegment]):
    """The data segments of a module that has many, read again when one is looked at."""

    __slots__ = ("_count", "_data", "_features", "_found")

    def __init__(self, data: memoryview, features: Any, count: int) -> None:
        self._data = data
        self._features = features
        self._count = count
        self._found: Sequence[DataSegment] | None = None

    def _read(self) -> Sequence[DataSegment]:
        if self._found is None:
            from core_rt.binary.decode import decode_module

            self._found = decode_module(self._data, self._features).data_segments
        return self._found

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __iter__(self) -> Iterator[DataSegment]:
        return iter(self._read())


def _kinds(data: memoryview, features: CoreFeatures | None) -> Mapping[type, Kind]:
    return {**_fixed_kinds(), m.CoreModuleDef: Kind(_module_def, partial(_make_module_def, data, features))}


@cache
def _fixed_kinds() -> Mapping[type, Kind]:
    kinds: dict[type, Kind] = {cls: _by_fields(cls) for cls in _RECORDS}
    for cls in (
        t.Attributes,
        core.TableType,
        core.MemoryType,
        core.GlobalType,
        core.TagType,
    ):
        kinds[cls] = _attrs(cls)
    for number in (core.I32, core.F32, core.V128, core.I8):
        kinds[type(number)] = Kind(lambda o: (o.name,), core.type_by_name)
    group = type(core.DefType.of(core.FuncType()).group)
    kinds |= {
        m.Sort: Kind(lambda o: (o.value,), m.Sort),
        core.AbsHeap: Kind(lambda o: (o.value,), core.AbsHeap),
        core.RefType: Kind(lambda o: (o.nullable, o.heap), core.RefType),
        core.FuncType: Kind(lambda o: (o.params, o.results), core.FuncType),
        group: Kind(lambda o: (o.specs,), core.rec_group),
        core.DefType: Kind(lambda o: (o.group, o.index), lambda members, index: members[index]),
        ComponentLayout: Kind(lambda o: (o.instances, o.counts), ComponentLayout),
        p.StaticInstance: Kind(lambda o: (o.index, o.parent, o.resources), _instance),
        t.InstanceType: _by_fields(t.InstanceType, t.InstanceType, ("exports", "defined", "attributes")),
        t.ComponentType: _by_fields(
            t.ComponentType,
            t.ComponentType,
            ("imports", "exports", "imported", "defined", "import_attributes", "export_attributes"),
        ),
        Import: Kind(tuple, Import),
        Export: Kind(tuple, Export),
        v.FieldType: Kind(tuple, v.FieldType),
        v.CaseType: Kind(tuple, v.CaseType),
        v.PrimValType: _type(v.PrimValType, "kind"),
        v.RecordType: _type(v.RecordType, "fields"),
        v.VariantType: _type(v.VariantType, "cases"),
        v.ListType: _type(v.ListType, "t", "length"),
        v.TupleType: _type(v.TupleType, "ts"),
        v.FlagsType: _type(v.FlagsType, "labels"),
        v.EnumType: _type(v.EnumType, "labels"),
        v.OptionType: _type(v.OptionType, "t"),
        v.ResultType: _type(v.ResultType, "ok", "error"),
        v.MapType: _type(v.MapType, "k", "v"),
        v.ResourceType: _type(v.ResourceType, "id"),
        v.OwnType: _type(v.OwnType, "rt"),
        v.BorrowType: _type(v.BorrowType, "rt"),
        v.StreamType: _type(v.StreamType, "t"),
        v.FutureType: _type(v.FutureType, "t"),
        v.FuncType: _type(v.FuncType, "params", "result", "is_async"),
    }  # fmt: skip
    return kinds
