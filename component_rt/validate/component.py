"""The walk over a component's definitions: each is checked against the index spaces so far and adds to them.

Definitions are strictly in order and refer backwards only, so one pass does it. `_RULES` has one function per kind of
definition; it answers the record for the planner (`component_rt.model`) and appends what the definition introduces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from component_rt import model
from component_rt.binary import syntax
from component_rt.model import Definition, Sort
from component_rt.types import (
    ComponentType,
    ExternType,
    InstanceType,
    ResourceId,
    ResourceType,
    TypeBound,
    ValueExtern,
)
from component_rt.validate.canon import canon
from component_rt.validate.core import core_bag, core_export_sort, core_instantiate, core_module
from component_rt.validate.scope import NameTable, Scope
from component_rt.validate.substitute import Substitution, resource_paths
from component_rt.validate.subtype import Mismatch, bind, check_extern, check_val, settle
from component_rt.validate.types import (
    alias_export,
    alias_outer,
    bounded,
    component_type_of,
    define_core_type,
    define_type,
    enter,
    extern_of,
    resolve_extern,
    valtype,
)
from component_rt.validate.values import read_value
from core_rt import types as core
from core_rt.config import Features as CoreFeatures
from core_rt.errors import ValidationError
from core_rt.record import record

__all__ = ["validate_component"]


def validate_component(
    component: syntax.Component, core_features: CoreFeatures | None = None, *, bodies: bool = False
) -> model.ValidatedComponent:
    """Check every rule of validation and resolve all types.

    `core_features` are the core WebAssembly features for embedded modules. Function bodies of those are checked only if
    `bodies`; otherwise when they are compiled. Raises `ValidationError`, or `DecodeError` for a malformed core module,
    with the absolute byte offset.
    """
    try:
        return _component(component, None, CoreFeatures() if core_features is None else core_features, bodies)
    except RecursionError:
        message = "the component is nested too deeply for what is left of the stack"
        raise ValidationError(message, component.start) from None


@record
class _Walk:
    """One component under way."""

    component: syntax.Component
    scope: Scope
    bodies: bool

    def add(self, sort: Sort, entry: Any) -> None:
        self.scope.spaces[sort].append(entry)


def _component(
    component: syntax.Component, parent: Scope | None, core_features: CoreFeatures, bodies: bool
) -> model.ValidatedComponent:
    scope = Scope("component", parent, component.features, core_features)
    walk = _Walk(component, scope, bodies)
    for item in component.items:
        _RULES[type(item)](walk, item)
    for index, offset in scope.unused_values.items():
        raise ValidationError(f"value index {index} was not used by an instantiation, start function or export", offset)
    made = component_type_of(scope)
    _check_exported_values(made, component.end)
    return model.ValidatedComponent(
        data=component.data,
        start=component.start,
        end=component.end,
        features=component.features,
        definitions=tuple(scope.definitions),
        type=bounded(made, component.start),
        spaces={sort: tuple(space) for sort, space in scope.spaces.items()},
        customs=component.customs,
        names=component.names,
    )


def _check_exported_values(t: ComponentType, offset: int) -> None:
    for name, extern in t.exports.items():
        if isinstance(extern, ValueExtern) and extern.t.has_borrow:
            raise ValidationError(f"export `{name}`: a value cannot contain a `borrow` type", offset)


# ---- core definitions ----


def _core_module(walk: _Walk, item: syntax.CoreModule) -> None:
    record = core_module(walk.scope, item, walk.component.data, walk.bodies)
    walk.scope.definitions.append(record)
    walk.add(Sort.CORE_MODULE, record.type)


def _core_instantiate(walk: _Walk, item: syntax.CoreInstantiate) -> None:
    record = core_instantiate(walk.scope, item)
    walk.scope.definitions.append(record)
    walk.add(Sort.CORE_INSTANCE, record.exports)


def _core_bag(walk: _Walk, item: syntax.CoreBag) -> None:
    record, types = core_bag(walk.scope, item)
    walk.scope.definitions.append(record)
    walk.add(Sort.CORE_INSTANCE, types)


def _core_type(walk: _Walk, item: Any) -> None:
    for made in define_core_type(walk.scope, item):
        walk.scope.definitions.append(model.CoreTypeDef(offset=item.offset, type=made))


# ---- aliases and types ----


def _alias_export(walk: _Walk, item: syntax.AliasExport) -> None:
    scope = walk.scope
    entry: Any
    record: Definition
    if item.core:
        exports = scope.at(Sort.CORE_INSTANCE, item.instance, item.offset)
        entry = exports.get(item.name)
        if entry is None:
            raise ValidationError(f"core instance {item.instance} has no export named `{item.name}`", item.offset)
        if core_export_sort(entry) is not item.sort:
            what = item.sort.value.removeprefix("core ")
            raise ValidationError(
                f"export `{item.name}` for core instance {item.instance} is not a {what}", item.offset
            )
        record = model.AliasCoreExport(
            offset=item.offset, sort=item.sort, instance=item.instance, name=item.name, type=entry
        )
    else:
        entry = alias_export(scope, item)
        record = model.AliasExport(
            offset=item.offset, sort=item.sort, instance=item.instance, name=item.name, type=entry
        )
        if item.sort is Sort.VALUE:
            _new_value(scope, item.offset)
    scope.definitions.append(record)
    walk.add(item.sort, entry)


def _alias_outer(walk: _Walk, item: syntax.AliasOuter) -> None:
    entry = alias_outer(walk.scope, item)
    walk.scope.definitions.append(
        model.AliasOuter(offset=item.offset, sort=item.sort, count=item.count, index=item.index, type=entry)
    )
    walk.add(item.sort, entry)


def _type(walk: _Walk, item: syntax.TypeDef) -> None:
    scope = walk.scope
    if item.expr.kind == "resource":
        record: Definition = _resource(walk, item)
    else:
        record = model.TypeDef(offset=item.offset, type=define_type(scope, item.expr))
    scope.definitions.append(record)
    walk.add(Sort.TYPE, record.type)  # type: ignore[attr-defined]


def _resource(walk: _Walk, item: syntax.TypeDef) -> model.ResourceDef:
    scope = walk.scope
    rep, dtor = item.expr.parts
    at = item.expr.offset
    if rep != core.I32 and not (rep == core.I64 and scope.features.memory64):
        raise ValidationError(f"resources can only be represented by `i32`, not `{rep}`", at)
    if dtor is not None:
        found: core.DefType = scope.at(Sort.CORE_FUNC, dtor, at)
        if found.composite != core.FuncType([rep], []):
            raise ValidationError(f"core function {dtor} has the wrong signature for a destructor", at)
    known = walk.component.names.sorts.get(Sort.TYPE, {})
    made = ResourceId(known.get(len(scope.spaces[Sort.TYPE])), rep)
    scope.create([made])
    scope.local.add(made)
    return model.ResourceDef(offset=item.offset, type=ResourceType(made), rep=rep, dtor=dtor)


def _nested(walk: _Walk, item: syntax.Nested) -> None:
    inner = _component(item.component, walk.scope, walk.scope.core_features, walk.bodies)
    walk.scope.definitions.append(model.ComponentDef(offset=item.offset, component=inner))
    walk.add(Sort.COMPONENT, inner.type)


def _canon(walk: _Walk, item: syntax.Canon) -> None:
    record = canon(walk.scope, item)
    walk.scope.definitions.append(record)
    if isinstance(record, model.CanonLift):
        walk.add(Sort.FUNC, record.type)
    else:
        walk.add(Sort.CORE_FUNC, core.DefType.of(record.core_type))


# ---- instances ----


def _instantiate(walk: _Walk, item: syntax.Instantiate) -> None:
    scope = walk.scope
    at = item.offset
    wanted: ComponentType = scope.at(Sort.COMPONENT, item.component, at)
    given: dict[str, ExternType] = {}
    args: list[tuple[str, Sort, int]] = []
    for name, sort, index, offset in item.args:
        if name in given:
            raise ValidationError(f"instantiation argument `{name}` conflicts with previous argument `{name}`", offset)
        given[name] = extern_of(scope, sort, index, offset)
        if sort is Sort.VALUE:
            _use_value(scope, index, offset)
        if name in wanted.imports:
            args.append((name, sort, index))
    scope.charge(wanted.tree_size, at)
    matched = _match_args(wanted, given, at)
    made = {old: ResourceType(ResourceId(old.debug)) for old in wanted.defined}
    substitution = Substitution({**matched.resources, **made}, matched.names)
    new = [t.id for t in made.values()]
    exports = {name: substitution.apply(extern) for name, extern in wanted.exports.items()}
    t = bounded(InstanceType(exports, (), wanted.export_attributes), at)
    scope.create(new)
    record = model.Instantiate(
        offset=at, component=item.component, args=tuple(args), type=t, resources=resource_paths(t, new)
    )
    scope.definitions.append(record)
    walk.add(Sort.INSTANCE, t)


def _match_args(wanted: ComponentType, given: dict[str, ExternType], offset: int) -> Substitution:
    """What the arguments stand for, after checking them against the imports."""
    for name in wanted.imports:
        if name not in given:
            raise ValidationError(f"missing import named `{name}` in instantiation", offset)
    substitution = Substitution()
    name = ""
    try:
        for name, extern in wanted.imports.items():
            bind({name: given[name]}, {name: extern}, frozenset(wanted.imported), substitution)
        substitution = settle(substitution)
        for name, extern in wanted.imports.items():
            check_extern(given[name], substitution.apply(extern))
    except Mismatch as error:
        raise ValidationError(f"type mismatch for import `{name}`: {error}", offset) from None
    return substitution


def _bag(walk: _Walk, item: syntax.InstanceBag) -> None:
    scope = walk.scope
    table = NameTable("export")
    exports: list[model.InlineExport] = []
    externs: dict[str, ExternType] = {}
    for given, sort, index, offset in item.exports:
        extern = extern_of(scope, sort, index, offset)
        scope.charge(extern.tree_size, offset)
        if sort is Sort.VALUE:
            _use_value(scope, index, offset)
        # An inline export introduces no index, so that no annotated name can refer to it.
        table.add(given, extern, scope.features, offset, binds=False)
        externs[given.name] = extern
        exports.append(model.InlineExport(given.name, sort, index, extern))
    t = bounded(InstanceType(externs, (), table.attributes), item.offset)
    scope.definitions.append(model.InlineExports(offset=item.offset, exports=tuple(exports), type=t))
    walk.add(Sort.INSTANCE, t)


# ---- values and start functions ----


def _new_value(scope: Scope, offset: int) -> None:
    """The value about to be appended has to be used."""
    scope.unused_values[len(scope.spaces[Sort.VALUE])] = offset


def _use_value(scope: Scope, index: int, offset: int) -> None:
    if scope.unused_values.pop(index, None) is None:
        raise ValidationError(f"cannot use value {index} more than once", offset)


def _value(walk: _Walk, item: syntax.ValueDef) -> None:
    scope = walk.scope
    t = valtype(scope, item.type, item.offset)
    value = read_value(walk.component.data, item.start, item.end, t)
    scope.definitions.append(model.ValueDef(offset=item.offset, type=t, start=item.start, end=item.end, value=value))
    _new_value(scope, item.offset)
    walk.add(Sort.VALUE, t)


def _start(walk: _Walk, item: syntax.Start) -> None:
    scope = walk.scope
    at = item.offset
    ft = scope.at(Sort.FUNC, item.func, at)
    if len(ft.params) != len(item.args):
        raise ValidationError(f"start function requires {len(ft.params)} arguments, given {len(item.args)}", at)
    for index, (name, wanted) in zip(item.args, ft.params):
        found = scope.at(Sort.VALUE, index, at)
        try:
            check_val(found, wanted)
        except Mismatch as error:
            raise ValidationError(f"value type mismatch for start function argument `{name}`: {error}", at) from None
        _use_value(scope, index, at)
    results = () if ft.result is None else (ft.result,)
    if item.results != len(results):
        raise ValidationError(f"start function has {len(results)} results, but {item.results} are declared", at)
    scope.definitions.append(model.Start(offset=at, func=item.func, args=item.args, type=ft, results=results))
    for t in results:
        _new_value(scope, at)
        walk.add(Sort.VALUE, t)


# ---- imports and exports ----


def _import(walk: _Walk, item: syntax.Import) -> None:
    scope = walk.scope
    extern, made = resolve_extern(scope, item.type, item.name.name)
    scope.imported.extend(made)
    attributes = scope.add_import(item.name, extern, item.offset)
    if isinstance(extern, ValueExtern):
        _new_value(scope, item.offset)
    sort = enter(scope, extern)
    scope.definitions.append(
        model.Import(
            offset=item.offset,
            sort=sort,
            name=item.name.name,
            type=extern,
            resources=resource_paths(extern, made),
            attributes=attributes,
        )
    )


def _export(walk: _Walk, item: syntax.Export) -> None:
    scope = walk.scope
    assert item.sort is not None
    actual = extern_of(scope, item.sort, item.index, item.offset)
    extern, made = _ascribe(scope, item, actual)
    if isinstance(extern, TypeBound) and item.type is None:
        extern = TypeBound(scope.name_type(extern.t, item.name.name), _introduces(scope, extern))
    scope.create(made)
    attributes = scope.add_export(item.name, extern, item.offset)
    if item.sort is Sort.VALUE:
        _use_value(scope, item.index, item.offset)
    enter(scope, extern)
    scope.definitions.append(
        model.Export(
            offset=item.offset,
            sort=item.sort,
            name=item.name.name,
            index=item.index,
            type=extern,
            resources=resource_paths(extern, made),
            attributes=attributes,
        )
    )


def _introduces(scope: Scope, extern: TypeBound) -> bool:
    """Whether exporting this type is what tells the world of its resource."""
    t = extern.t
    if not isinstance(t, ResourceType) or t.id not in scope.created:
        return False
    return t.id not in scope.exposed


def _ascribe(scope: Scope, item: syntax.Export, actual: ExternType) -> tuple[ExternType, tuple[ResourceId, ...]]:
    """The type of an export, which an ascription may widen."""
    if item.type is None:
        return actual, ()
    wanted, made = resolve_extern(scope, item.type, item.name.name)
    substitution = Substitution()
    name = item.name.name
    try:
        bind({name: actual}, {name: wanted}, frozenset(made), substitution)
        check_extern(actual, settle(substitution).apply(wanted))
    except Mismatch as error:
        raise ValidationError(
            f"ascribed type of export is not compatible with item's type: {error}", item.offset
        ) from None
    return wanted, made


_RULES: dict[type, Callable[[_Walk, Any], None]] = {
    syntax.CoreModule: _core_module,
    syntax.CoreInstantiate: _core_instantiate,
    syntax.CoreBag: _core_bag,
    syntax.CoreRec: _core_type,
    syntax.CoreModuleTypeExpr: _core_type,
    syntax.AliasExport: _alias_export,
    syntax.AliasOuter: _alias_outer,
    syntax.TypeDef: _type,
    syntax.Nested: _nested,
    syntax.Canon: _canon,
    syntax.Instantiate: _instantiate,
    syntax.InstanceBag: _bag,
    syntax.ValueDef: _value,
    syntax.Start: _start,
    syntax.Import: _import,
    syntax.Export: _export,
}
