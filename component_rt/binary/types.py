"""Component types as bytes: value types, functions, resources, component and instance types, and names of externs."""

from __future__ import annotations

from collections.abc import Callable

from component_rt.binary.core import read_core_type, read_core_valtype
from component_rt.binary.reader import Reader
from component_rt.binary.syntax import (
    AliasExport,
    AliasOuter,
    Decl,
    Export,
    ExternExpr,
    ExternName,
    Import,
    TypeDef,
    TypeExpr,
    ValExpr,
)
from component_rt.features import Features
from component_rt.model import Sort
from component_rt.types import (
    BOOL,
    CHAR,
    ERROR_CONTEXT,
    F32,
    F64,
    S8,
    S16,
    S32,
    S64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    PrimValType,
)
from core_rt.errors import ValidationError

__all__ = [
    "CORE_SORTS",
    "SORTS",
    "read_alias",
    "read_extern",
    "read_extern_name",
    "read_result_list",
    "read_sort",
    "read_type",
    "read_valtype",
    "require",
]

MAX_DECLS = 1_000_000
MAX_MEMBERS = 10_000
MAX_PARAMS = 1000
MAX_NESTING = 60
"""Component and instance types and components within each other; each level takes a few Python frames."""

PRIMITIVE_BYTES: dict[int, PrimValType] = {
    0x7F: BOOL,
    0x7E: S8,
    0x7D: U8,
    0x7C: S16,
    0x7B: U16,
    0x7A: S32,
    0x79: U32,
    0x78: S64,
    0x77: U64,
    0x76: F32,
    0x75: F64,
    0x74: CHAR,
    0x73: STRING,
    0x64: ERROR_CONTEXT,
}

CORE_SORTS: dict[int, Sort] = {
    0x00: Sort.CORE_FUNC,
    0x01: Sort.CORE_TABLE,
    0x02: Sort.CORE_MEMORY,
    0x03: Sort.CORE_GLOBAL,
    0x04: Sort.CORE_TAG,
    0x10: Sort.CORE_TYPE,
    0x11: Sort.CORE_MODULE,
    0x12: Sort.CORE_INSTANCE,
}
SORTS: dict[int, Sort] = {
    0x01: Sort.FUNC,
    0x02: Sort.VALUE,
    0x03: Sort.TYPE,
    0x04: Sort.COMPONENT,
    0x05: Sort.INSTANCE,
}
_OUTER_SORTS = (Sort.CORE_MODULE, Sort.CORE_TYPE, Sort.COMPONENT, Sort.TYPE)


def require(features: Features, name: str, what: str, offset: int) -> None:
    """Raise `ValidationError` unless the feature is on."""
    if not getattr(features, name):
        raise ValidationError(f"{what} needs the component feature `{name.rstrip('_')}`", offset)


# ---- value types ----


def read_valtype(r: Reader, features: Features) -> ValExpr:
    """A `valtype`: a primitive or a type index."""
    start = r.pos
    byte = r.peek()
    if byte < 0x40:
        r.pos += 1
        return byte
    prim = PRIMITIVE_BYTES.get(byte)
    if prim is not None:
        r.pos += 1
        if prim is ERROR_CONTEXT:
            require(features, "error_context", "the `error-context` type", start)
        return prim
    index = r.signed(33)
    if index < 0:
        r.fail(f"invalid leading byte (0x{byte:x}) for component value type", start)
    return index


def _optional(r: Reader, features: Features) -> ValExpr | None:
    byte = r.u8()
    if byte > 1:
        r.leading(byte, "optional component value type")
    return read_valtype(r, features) if byte else None


def _labelled(r: Reader, features: Features) -> tuple[str, ValExpr]:
    label = r.name()
    return label, read_valtype(r, features)


def _case(r: Reader, features: Features) -> tuple[str, ValExpr | None]:
    label = r.name()
    payload = _optional(r, features)
    r.zero()
    return label, payload


def read_result_list(r: Reader, features: Features) -> ValExpr | None:
    """A `resultlist`."""
    byte = r.u8()
    if byte == 0x00:
        return read_valtype(r, features)
    if byte != 0x01:
        r.leading(byte, "component function results")
    count = r.u8()
    if count:
        r.leading(count, "number of results")
    return None


_Read = Callable[[Reader, Features, int], TypeExpr]


def _vec_type(kind: str, item: Callable[[Reader, Features], object]) -> _Read:
    def read(r: Reader, features: Features, depth: int) -> TypeExpr:
        start = r.pos - 1
        return TypeExpr(kind, start, r.vec(lambda: item(r, features), MAX_MEMBERS, kind))

    return read


def _index_type(kind: str) -> _Read:
    return lambda r, features, depth: TypeExpr(kind, r.pos - 1, (r.u32(),))


def _async_type(kind: str) -> _Read:
    def read(r: Reader, features: Features, depth: int) -> TypeExpr:
        start = r.pos - 1
        require(features, "async_", f"the `{kind}` type", start)
        return TypeExpr(kind, start, (_optional(r, features),))

    return read


def _list(r: Reader, features: Features, depth: int) -> TypeExpr:
    return TypeExpr("list", r.pos - 1, (read_valtype(r, features),))


def _fixed_list(r: Reader, features: Features, depth: int) -> TypeExpr:
    start = r.pos - 1
    require(features, "fixed_length_lists", "a list type of fixed length", start)
    return TypeExpr("list", start, (read_valtype(r, features), r.u32()))


def _option(r: Reader, features: Features, depth: int) -> TypeExpr:
    return TypeExpr("option", r.pos - 1, (read_valtype(r, features),))


def _result(r: Reader, features: Features, depth: int) -> TypeExpr:
    return TypeExpr("result", r.pos - 1, (_optional(r, features), _optional(r, features)))


def _map(r: Reader, features: Features, depth: int) -> TypeExpr:
    start = r.pos - 1
    require(features, "map", "the `map` type", start)
    return TypeExpr("map", start, (read_valtype(r, features), read_valtype(r, features)))


def _resource(r: Reader, features: Features, depth: int) -> TypeExpr:
    start = r.pos - 1
    rep = read_core_valtype(r)
    byte = r.u8()
    if byte > 1:
        r.leading(byte, "optional resource destructor")
    return TypeExpr("resource", start, (rep, r.u32() if byte else None))


def _func(r: Reader, features: Features, depth: int) -> TypeExpr:
    start = r.pos - 1
    is_async = r.data[start] == 0x43
    if is_async:
        require(features, "async_", "an `async` function type", start)
    params = r.vec(lambda: _labelled(r, features), MAX_PARAMS, "function params")
    return TypeExpr("func", start, (params, read_result_list(r, features), is_async))


def _scope_type(kind: str) -> _Read:
    def read(r: Reader, features: Features, depth: int) -> TypeExpr:
        start = r.pos - 1
        if depth >= MAX_NESTING:
            raise ValidationError(f"types are nested more than {MAX_NESTING} deep", start)
        imports = kind == "component"
        return TypeExpr(kind, start, r.vec(lambda: _decl(r, features, depth + 1, imports), MAX_DECLS, f"{kind} type"))

    return read


_TYPES: dict[int, _Read] = {
    0x72: _vec_type("record", _labelled),
    0x71: _vec_type("variant", _case),
    0x70: _list,
    0x67: _fixed_list,
    0x6F: _vec_type("tuple", read_valtype),
    0x6E: _vec_type("flags", lambda r, features: r.name()),
    0x6D: _vec_type("enum", lambda r, features: r.name()),
    0x6B: _option,
    0x6A: _result,
    0x69: _index_type("own"),
    0x68: _index_type("borrow"),
    0x66: _async_type("stream"),
    0x65: _async_type("future"),
    0x63: _map,
    0x3F: _resource,
    0x40: _func,
    0x43: _func,
    0x41: _scope_type("component"),
    0x42: _scope_type("instance"),
}


def read_type(r: Reader, features: Features, depth: int) -> TypeExpr:
    """A `type`; `depth` counts the components and types around it."""
    start = r.pos
    byte = r.u8()
    read = _TYPES.get(byte)
    if read is not None:
        return read(r, features, depth)
    prim = PRIMITIVE_BYTES.get(byte)
    if prim is None:
        r.leading(byte, "component defined type")
    if prim is ERROR_CONTEXT:
        require(features, "error_context", "the `error-context` type", start)
    return TypeExpr("prim", start, (prim,))


def _decl(r: Reader, features: Features, depth: int, imports: bool) -> Decl:
    start = r.pos
    byte = r.u8()
    match byte:
        case 0x00:
            return read_core_type(r)
        case 0x01:
            return TypeDef(start, read_type(r, features, depth))
        case 0x02:
            return _alias_decl(r, features)
        case 0x03 if imports:
            name = read_extern_name(r, features)
            return Import(start, name, read_extern(r, features))
        case 0x04:
            name = read_extern_name(r, features)
            return Export(start, name, None, 0, read_extern(r, features))
    r.leading(byte, "component or instance type declaration")


def _alias_decl(r: Reader, features: Features) -> AliasExport | AliasOuter:
    alias = read_alias(r, features)
    if isinstance(alias, AliasExport):
        if alias.sort in (Sort.TYPE, Sort.INSTANCE):
            return alias
    elif isinstance(alias, AliasOuter) and alias.sort in (Sort.TYPE, Sort.CORE_TYPE):
        return alias
    raise ValidationError("aliases in type declarations may only refer to types or instances", alias.offset)


# ---- sorts and aliases ----


def read_sort(r: Reader, what: str) -> Sort:
    """A `sort`."""
    byte = r.u8()
    if byte == 0x00:
        byte = r.u8()
        if byte in CORE_SORTS:
            return CORE_SORTS[byte]
    elif byte in SORTS:
        return SORTS[byte]
    r.leading(byte, what)


def read_alias(r: Reader, features: Features) -> AliasExport | AliasOuter:
    """An `alias`."""
    start = r.pos
    sort = read_sort(r, "component outer alias kind")
    sort_end = r.pos
    match r.u8():
        case 0x00:
            _check_value_sort(sort, features, start)
            if sort is not Sort.CORE_MODULE and sort.name.startswith("CORE_"):
                raise ValidationError(f"a component instance has no exports of sort {sort}", start)
            return AliasExport(start, sort, r.u32(), r.name(), False)
        case 0x01:
            if sort not in _CORE_EXPORTS:
                raise ValidationError(f"a core instance has no exports of sort {sort}", start)
            return AliasExport(start, sort, r.u32(), r.name(), True)
        case 0x02:
            if sort not in _OUTER_SORTS:
                byte = r.data[sort_end - 1]
                r.fail(f"invalid leading byte (0x{byte:x}) for component outer alias kind", sort_end - 1)
            return AliasOuter(start, sort, r.u32(), r.u32())
        case byte:
            r.leading(byte, "alias")


_CORE_EXPORTS = (Sort.CORE_FUNC, Sort.CORE_TABLE, Sort.CORE_MEMORY, Sort.CORE_GLOBAL, Sort.CORE_TAG)


def _check_value_sort(sort: Sort, features: Features, offset: int) -> None:
    if sort is Sort.VALUE:
        require(features, "values", "the `value` sort", offset)


# ---- names and types of externs ----


def read_extern_name(r: Reader, features: Features) -> ExternName:
    """`nameattributes`."""
    start = r.pos
    byte = r.u8()
    if byte in (0x00, 0x01):
        return ExternName(r.name())
    if byte != 0x02:
        r.leading(byte, "component name")
    name = r.name()
    found: dict[str, str] = {}
    for _ in range(r.u32()):
        offset = r.pos
        kind = r.u8()
        if kind not in _ATTRIBUTES:
            r.leading(kind, "name option")
        key, spelled, feature = _ATTRIBUTES[kind]
        require(features, feature, f"the `{spelled}` attribute of a name", start)
        value = r.name()
        if key in found:
            raise ValidationError(f"duplicate '{spelled}' option in name", offset)
        found[key] = value
    return ExternName(name, **found)


_ATTRIBUTES = {
    0x00: ("implements", "implements", "implements"),
    0x01: ("version_suffix", "versionsuffix", "canonical_names"),
    0x02: ("external_id", "external-id", "external_id"),
}


def read_extern(r: Reader, features: Features) -> ExternExpr:
    """An `externtype`."""
    start = r.pos
    byte = r.u8()
    if byte == 0x00:
        core_sort = r.u8()
        if core_sort != 0x11:
            r.leading(core_sort, "component external kind")
        return ExternExpr("core module", start, r.u32())
    if byte == 0x02:
        require(features, "values", "the `value` sort", start)
        match r.u8():
            case 0x00:
                return ExternExpr("value eq", start, r.u32())
            case 0x01:
                return ExternExpr("value", start, 0, read_valtype(r, features))
            case bound:
                r.leading(bound, "value bound")
    if byte == 0x03:
        match r.u8():
            case 0x00:
                return ExternExpr("type", start, r.u32())
            case 0x01:
                return ExternExpr("resource", start)
            case bound:
                r.leading(bound, "type bound")
    form = _FORMS.get(byte)
    if form is None:
        r.leading(byte, "component external kind")
    return ExternExpr(form, start, r.u32())


_FORMS = {0x01: "func", 0x04: "component", 0x05: "instance"}
