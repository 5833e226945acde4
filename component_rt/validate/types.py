"""Type definitions, and the types of imports and exports (Explainer, "Type Definitions"; notes of Binary.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from component_rt.abi.layout import layout
from component_rt.binary import syntax
from component_rt.binary.syntax import ExternExpr, TypeExpr, ValExpr
from component_rt.model import Sort
from component_rt.names import InvalidName, check_label, strong_key
from component_rt.types import (
    BOOL,
    CHAR,
    S8,
    S16,
    S32,
    S64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    BorrowType,
    CaseType,
    ComponentType,
    CoreModuleType,
    DefType,
    EnumType,
    ExternType,
    FieldType,
    FlagsType,
    FuncType,
    FutureType,
    InstanceType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    PrimValType,
    RecordType,
    ResourceId,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    TypeBound,
    ValType,
    ValueExtern,
    VariantType,
)
from component_rt.validate.core import core_module_type, core_rec
from component_rt.validate.scope import Scope
from component_rt.validate.substitute import fresh
from core_rt.errors import ValidationError

__all__ = [
    "alias_export",
    "alias_outer",
    "bounded",
    "component_type_of",
    "define_core_type",
    "define_type",
    "enter",
    "extern_of",
    "func_at",
    "resolve_extern",
    "resource_at",
    "valtype",
]

T = TypeVar("T")

MAX_DEPTH = 100
"""Levels of nesting of a type, the limit of other engines too; walks of types recurse this deep."""
MAX_TREE_SIZE = 1_000_000
"""Size of a type written out as a tree."""
MAX_ELEM_SIZE = 1 << 28
"""A value's size in memory stays below this (Canonical ABI, "Element Size")."""

_KEY_TYPES = frozenset([BOOL, S8, U8, S16, U16, S32, U32, S64, U64, CHAR, STRING])


def bounded(t: T, offset: int) -> T:
    """`t`, if it is within the limits of the implementation."""
    if t.depth > MAX_DEPTH:  # type: ignore[attr-defined]  # every type has these
        raise ValidationError(f"type nesting is too deep: more than {MAX_DEPTH} levels", offset)
    if t.tree_size > MAX_TREE_SIZE:  # type: ignore[attr-defined]
        raise ValidationError(f"effective type size exceeds the limit of {MAX_TREE_SIZE}", offset)
    return t


# ---- value types ----


def valtype(scope: Scope, expr: ValExpr, offset: int) -> ValType:
    """The value type behind an index, or the primitive."""
    if isinstance(expr, PrimValType):
        return expr
    found = scope.at(Sort.TYPE, expr, offset)
    if not isinstance(found, ValType):
        raise ValidationError(f"type index {expr} is not a defined type", offset)
    return found


def _optional(scope: Scope, expr: ValExpr | None, offset: int) -> ValType | None:
    return None if expr is None else valtype(scope, expr, offset)


def resource_at(scope: Scope, index: int, offset: int) -> ResourceType:
    """The resource type behind an index."""
    found = scope.at(Sort.TYPE, index, offset)
    if not isinstance(found, ResourceType):
        raise ValidationError(f"type index {index} is not a resource type", offset)
    return found


def func_at(scope: Scope, index: int, offset: int) -> FuncType:
    """The function type behind an index."""
    found = scope.at(Sort.TYPE, index, offset)
    if not isinstance(found, FuncType):
        raise ValidationError(f"type index {index} is not a function type", offset)
    return found


def _record(scope: Scope, e: TypeExpr) -> ValType:
    if not e.parts:
        raise ValidationError("record type must have at least one field", e.offset)
    _unique_labels(e, [label for label, _ in e.parts], "record field", "field")
    return RecordType([FieldType(label, valtype(scope, t, e.offset)) for label, t in e.parts])


def _variant(scope: Scope, e: TypeExpr) -> ValType:
    if not e.parts:
        raise ValidationError("variant type must have at least one case", e.offset)
    _unique_labels(e, [label for label, _ in e.parts], "variant case", "case")
    return VariantType([CaseType(label, _optional(scope, t, e.offset)) for label, t in e.parts])


def _unique_labels(e: TypeExpr, labels: list[str], what: str, short: str) -> None:
    seen: dict[str, str] = {}
    for label in labels:
        try:
            check_label(label, what)
        except InvalidName as error:
            raise ValidationError(str(error), e.offset) from None
        key = strong_key(label)
        if key in seen:
            raise ValidationError(f"{what} name `{label}` conflicts with previous {short} name `{seen[key]}`", e.offset)
        seen[key] = label


def _list(scope: Scope, e: TypeExpr) -> ValType:
    element, *length = e.parts
    if length == [0]:
        raise ValidationError("fixed-length lists must have a length greater than zero", e.offset)
    return ListType(valtype(scope, element, e.offset), *length)


def _tuple(scope: Scope, e: TypeExpr) -> ValType:
    if not e.parts:
        raise ValidationError("tuple type must have at least one type", e.offset)
    return TupleType([valtype(scope, t, e.offset) for t in e.parts])


def _flags(scope: Scope, e: TypeExpr) -> ValType:
    if not e.parts:
        raise ValidationError("flags must have at least one entry", e.offset)
    if len(e.parts) > 32:
        raise ValidationError("cannot have more than 32 flags", e.offset)
    _unique_labels(e, list(e.parts), "flag", "flag")
    return FlagsType(e.parts)


def _enum(scope: Scope, e: TypeExpr) -> ValType:
    if not e.parts:
        raise ValidationError("enum type must have at least one variant", e.offset)
    _unique_labels(e, list(e.parts), "enum tag", "tag")
    return EnumType(e.parts)


def _map(scope: Scope, e: TypeExpr) -> ValType:
    key, value = (valtype(scope, t, e.offset) for t in e.parts)
    if key not in _KEY_TYPES:
        raise ValidationError(f"invalid map key type `{key}`: it must be bool, an integer, char or string", e.offset)
    return MapType(key, value)


def _stream(scope: Scope, e: TypeExpr) -> ValType:
    element = _optional(scope, e.parts[0], e.offset)
    if element == CHAR:
        raise ValidationError("`stream<char>` is not valid at this time", e.offset)
    _no_borrow(element, "stream", e)
    return StreamType(element)


def _future(scope: Scope, e: TypeExpr) -> ValType:
    element = _optional(scope, e.parts[0], e.offset)
    _no_borrow(element, "future", e)
    return FutureType(element)


def _no_borrow(element: ValType | None, kind: str, e: TypeExpr) -> None:
    if element is not None and element.has_borrow:
        raise ValidationError(f"a {kind} type cannot contain a `borrow` type", e.offset)


_VALUES: dict[str, Callable[[Scope, TypeExpr], ValType]] = {
    "prim": lambda scope, e: e.parts[0],
    "record": _record,
    "variant": _variant,
    "list": _list,
    "tuple": _tuple,
    "flags": _flags,
    "enum": _enum,
    "option": lambda scope, e: OptionType(valtype(scope, e.parts[0], e.offset)),
    "result": lambda scope, e: ResultType(*[_optional(scope, t, e.offset) for t in e.parts]),
    "own": lambda scope, e: OwnType(resource_at(scope, e.parts[0], e.offset)),
    "borrow": lambda scope, e: BorrowType(resource_at(scope, e.parts[0], e.offset)),
    "stream": _stream,
    "future": _future,
    "map": _map,
}


def _func(scope: Scope, e: TypeExpr) -> FuncType:
    params, result, is_async = e.parts
    _unique_labels(e, [label for label, _ in params], "function parameter", "parameter")
    types = [(label, valtype(scope, t, e.offset)) for label, t in params]
    returned = _optional(scope, result, e.offset)
    if returned is not None and returned.has_borrow:
        raise ValidationError("function result cannot contain a `borrow` type", e.offset)
    return FuncType(types, returned, is_async)


def define_type(scope: Scope, e: TypeExpr) -> DefType:
    """The type that `e` defines, other than a resource. Raises `ValidationError`."""
    if e.kind == "resource":
        raise ValidationError("resources can only be defined within a concrete component", e.offset)
    define = _SCOPES.get(e.kind)
    if define is not None:
        return bounded(define(scope, e), e.offset)
    made = bounded(_VALUES[e.kind](scope, e), e.offset)
    if layout(made, 8).size >= MAX_ELEM_SIZE:
        raise ValidationError(f"{e.kind} type exceeds maximum byte size of {MAX_ELEM_SIZE - 1}", e.offset)
    if e.kind in ("record", "variant", "flags", "enum"):
        # These are told apart by definition where visibility is concerned.
        named: ValType = scope.name_type(made, None)
        return named
    return made


# ---- component and instance types ----


def _component(scope: Scope, e: TypeExpr) -> ComponentType:
    inner = Scope("component type", scope, scope.features, scope.core_features)
    for decl in e.parts:
        _declare(inner, decl)
    return component_type_of(inner)


def component_type_of(scope: Scope) -> ComponentType:
    """The type of the component (or component type) that a scope has been filled from."""
    return ComponentType(
        scope.imports.externs,
        scope.exports.externs,
        tuple(scope.imported),
        scope.exported_resources(scope.exports.externs.values()),
        scope.imports.attributes,
        scope.exports.attributes,
    )


def _instance(scope: Scope, e: TypeExpr) -> InstanceType:
    inner = Scope("instance type", scope, scope.features, scope.core_features)
    for decl in e.parts:
        _declare(inner, decl)
    exports = inner.exports
    return InstanceType(exports.externs, inner.exported_resources(exports.externs.values()), exports.attributes)


_SCOPES: dict[str, Callable[[Scope, TypeExpr], DefType]] = {
    "func": _func,
    "component": _component,
    "instance": _instance,
}


def _declare(scope: Scope, decl: syntax.Decl) -> None:
    """One declarator."""
    match decl:
        case syntax.CoreRec() | syntax.CoreModuleTypeExpr():
            define_core_type(scope, decl)
        case syntax.TypeDef():
            scope.spaces[Sort.TYPE].append(define_type(scope, decl.expr))
        case syntax.AliasExport():
            scope.spaces[decl.sort].append(alias_export(scope, decl))
        case syntax.AliasOuter():
            scope.spaces[decl.sort].append(alias_outer(scope, decl))
        case syntax.Import():
            extern, made = resolve_extern(scope, decl.type, decl.name.name)
            scope.imported.extend(made)
            scope.add_import(decl.name, extern, decl.offset)
            enter(scope, extern)
        case syntax.Export():
            assert decl.type is not None
            extern, made = resolve_extern(scope, decl.type, decl.name.name)
            scope.create(made)
            scope.add_export(decl.name, extern, decl.offset)
            enter(scope, extern)


def define_core_type(scope: Scope, item: syntax.CoreRec | syntax.CoreModuleTypeExpr) -> tuple[Any, ...]:
    """The core types that an item defines, added to their space."""
    space = scope.spaces[Sort.CORE_TYPE]
    made = core_rec(space, item) if isinstance(item, syntax.CoreRec) else (core_module_type(scope, item),)
    space.extend(made)
    return made


def enter(scope: Scope, extern: ExternType) -> Sort:
    """Append the index that an import or export introduces; answers its sort."""
    match extern:
        case TypeBound():
            sort: Sort = Sort.TYPE
            scope.spaces[sort].append(extern.t)
        case ValueExtern():
            sort = Sort.VALUE
            scope.spaces[sort].append(extern.t)
        case _:
            sort = _SORTS[type(extern)]
            scope.spaces[sort].append(extern)
    return sort


_SORTS: dict[type, Sort] = {
    FuncType: Sort.FUNC,
    ComponentType: Sort.COMPONENT,
    InstanceType: Sort.INSTANCE,
    CoreModuleType: Sort.CORE_MODULE,
}


# ---- types of imports and exports ----


def resolve_extern(scope: Scope, e: ExternExpr, label: str) -> tuple[ExternType, tuple[ResourceId, ...]]:
    """The type that an import or export declares, and the resources which it makes anew."""
    at = e.offset
    match e.form:
        case "func":
            return func_at(scope, e.index, at), ()
        case "instance":
            found = scope.at(Sort.TYPE, e.index, at)
            if not isinstance(found, InstanceType):
                raise ValidationError(f"type index {e.index} is not an instance type", at)
            return fresh(found)
        case "component":
            found = scope.at(Sort.TYPE, e.index, at)
            if not isinstance(found, ComponentType):
                raise ValidationError(f"type index {e.index} is not a component type", at)
            return found, ()
        case "core module":
            found = scope.at(Sort.CORE_TYPE, e.index, at)
            if not isinstance(found, CoreModuleType):
                raise ValidationError(f"core type index {e.index} is not a module type", at)
            return found, ()
        case "resource":
            made = ResourceId(label)
            return TypeBound(scope.name_type(ResourceType(made), label), True), (made,)
        case "type":
            return TypeBound(scope.name_type(scope.at(Sort.TYPE, e.index, at), label)), ()
        case "value":
            assert e.val is not None
            return ValueExtern(_no_handles(valtype(scope, e.val, at), at)), ()
    assert e.form == "value eq"
    return ValueExtern(scope.at(Sort.VALUE, e.index, at)), ()


def _no_handles(t: ValType, offset: int) -> ValType:
    if t.has_borrow:
        raise ValidationError("a value cannot contain a `borrow` type", offset)
    return t


def extern_of(scope: Scope, sort: Sort, index: int, offset: int) -> ExternType:
    """Entry `index` of a space as something to give to or take from a component."""
    found = scope.at(sort, index, offset)
    if sort is Sort.TYPE:
        return TypeBound(found)
    if sort is Sort.VALUE:
        return ValueExtern(found)
    return found  # type: ignore[no-any-return]


# ---- aliases ----

_WANTED: dict[Sort, tuple[type, str]] = {
    Sort.FUNC: (FuncType, "func"),
    Sort.VALUE: (ValueExtern, "value"),
    Sort.TYPE: (TypeBound, "type"),
    Sort.COMPONENT: (ComponentType, "component"),
    Sort.INSTANCE: (InstanceType, "instance"),
    Sort.CORE_MODULE: (CoreModuleType, "module"),
}


def alias_export(scope: Scope, item: syntax.AliasExport) -> Any:
    """What an alias of an instance's export adds to its index space."""
    instance: InstanceType = scope.at(Sort.INSTANCE, item.instance, item.offset)
    extern = instance.exports.get(item.name)
    if extern is None:
        raise ValidationError(f"instance {item.instance} has no export named `{item.name}`", item.offset)
    wanted, what = _WANTED[item.sort]
    if not isinstance(extern, wanted):
        raise ValidationError(f"export `{item.name}` for instance {item.instance} is not a {what}", item.offset)
    return extern.t if isinstance(extern, TypeBound | ValueExtern) else extern


def alias_outer(scope: Scope, item: syntax.AliasOuter) -> Any:
    """What an alias of an entry of an enclosing scope adds to its index space."""
    target = scope.outward(item.count, item.offset)
    found = target.at(item.sort, item.index, item.offset)
    if item.sort is Sort.TYPE and found.has_resource:
        inner: Scope | None = scope
        while inner is not None and inner is not target:
            if inner.kind == "component":
                raise ValidationError(
                    f"outer type alias crosses a component boundary but type index {item.index} transitively refers "
                    "to resources not defined in the current component",
                    item.offset,
                )
            inner = inner.parent
    return found
