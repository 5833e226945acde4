"""Subtyping of externs (Explainer, "Type Checking").

Value and function types must be equal, which is a comparison of pointers; the walk that says *where* they differ runs
only for the error message. Instances, components and core modules may export more and import less than is wanted.
`bind` finds what stands for the bound resource types of the wanted type before anything is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from component_rt.types import (
    ComponentType,
    CoreModuleType,
    DefType,
    ExternType,
    FuncType,
    InstanceType,
    PrimValType,
    ResourceId,
    ResourceType,
    TypeBound,
    ValType,
    ValueExtern,
)
from component_rt.validate.substitute import Substitution
from core_rt import types as core

__all__ = ["Mismatch", "bind", "check_core_extern", "check_extern", "kind_of"]


class Mismatch(ValueError):
    """`actual` is no subtype of `wanted`; the message says why, with the way there in front."""

    def within(self, where: str) -> Mismatch:
        return Mismatch(f"{where}: {self}")


def kind_of(extern: ExternType) -> str:
    """What messages call an extern: "func", "instance", "component", "module", "value" or "type"."""
    return "module" if isinstance(extern, CoreModuleType) else extern.kind


def check_extern(actual: ExternType, wanted: ExternType) -> None:
    """Raise `Mismatch` unless `actual` may be given where `wanted` is asked for."""
    if actual is wanted:
        return
    match actual, wanted:
        case FuncType(), FuncType():
            check_func(actual, wanted)
        case InstanceType(), InstanceType():
            _check_instance(actual, wanted)
        case ComponentType(), ComponentType():
            _check_component(actual, wanted)
        case CoreModuleType(), CoreModuleType():
            _check_module(actual, wanted)
        case TypeBound(), TypeBound():
            _check_def(actual.t, wanted.t)
        case ValueExtern(), ValueExtern():
            check_val(actual.t, wanted.t)
        case _:
            raise Mismatch(f"expected {kind_of(wanted)}, found {kind_of(actual)}")


# ---- binding ----


def bind(
    actual: Mapping[str, ExternType],
    wanted: Mapping[str, ExternType],
    bound: frozenset[ResourceId],
    into: Substitution,
) -> None:
    """Find what `actual` gives for the resources `bound` in `wanted` and for the named types that `wanted` exports.

    Raises `Mismatch` where a resource is missing; everything else is for `check_extern` to find.
    """
    for name, want in wanted.items():
        have = actual.get(name)
        if isinstance(want, TypeBound) and isinstance(have, TypeBound):
            _bind_type(have.t, want.t, bound, into)
        elif isinstance(want, InstanceType) and isinstance(have, InstanceType):
            bind(have.exports, want.exports, bound, into)


def _bind_type(have: DefType, want: DefType, bound: frozenset[ResourceId], into: Substitution) -> None:
    if isinstance(want, ResourceType):
        if not isinstance(have, ResourceType):
            raise Mismatch(f"expected resource, found {_def_kind(have)}")
        if want.id in bound and want.id not in into.resources:
            into.resources[want.id] = have
        if want.name is not None:
            # Only if it is the same resource: else the difference would be substituted away.
            target = into.resources.get(want.id)
            if (want.id if target is None else target.id) is have.id:
                into.names[want.name] = have
    elif isinstance(want, ValType) and want.name is not None and isinstance(have, ValType):
        into.names.setdefault(want.name, _Later(have, want))


class _Later:
    """A named type whose equality can be judged only when all resources are bound."""

    __slots__ = ("have", "want")

    def __init__(self, have: ValType, want: ValType) -> None:
        self.have = have
        self.want = want


def settle(into: Substitution) -> Substitution:
    """End binding: a name stands for the type given to it if that is equal after substitution, else for itself."""
    plain = Substitution(dict(into.resources))
    names: dict[Any, Any] = {}
    for name, given in into.names.items():
        if not isinstance(given, _Later):
            names[name] = given
        elif plain.apply(given.want) == given.have:
            names[name] = given.have
    return Substitution(dict(into.resources), names)


# ---- values and functions ----


def _def_kind(t: DefType) -> str:
    if isinstance(t, ResourceType):
        return "resource"
    return "defined type" if isinstance(t, ValType) else t.kind


def _check_def(actual: DefType, wanted: DefType) -> None:
    match actual, wanted:
        case ResourceType(), ResourceType():
            if actual != wanted:
                raise Mismatch("resource types are not the same")
        case ValType(), PrimValType() if not isinstance(actual, PrimValType):
            raise Mismatch(f"expected primitive, found {actual.kind}: the type must be `{wanted.kind}`")
        case ValType(), ValType():
            check_val(actual, wanted)
        case FuncType(), FuncType():
            check_func(actual, wanted)
        case (InstanceType(), InstanceType()) | (ComponentType(), ComponentType()):
            _check_same(actual, wanted)
        case _:
            raise Mismatch(f"expected {_def_kind(wanted)}, found {_def_kind(actual)}")


def _check_same(actual: Any, wanted: Any) -> None:
    """Two instance types or two component types under an equality bound.

    They are compared once, name by name. (Being subtypes of each other means the same, but takes time exponential in
    the nesting of such bounds.)
    """
    if actual is wanted:
        return
    into = Substitution()
    if isinstance(wanted, ComponentType):
        bind(actual.imports, wanted.imports, frozenset(wanted.imported), into)
        actual_imports, wanted_imports = actual.imports, wanted.imports
    else:
        actual_imports = wanted_imports = {}
    bind(actual.exports, wanted.exports, frozenset(wanted.defined), into)
    into = settle(into)
    for side, have, want in (
        ("import", actual_imports, wanted_imports),
        ("export", actual.exports, wanted.exports),
    ):
        for name in have.keys() - want.keys():
            raise Mismatch(f"unexpected {side} `{name}`")
        for name, extern in want.items():
            if name not in have:
                raise Mismatch(f"missing expected {side} `{name}`")
            try:
                _check_equal(have[name], into.apply(extern))
            except Mismatch as error:
                raise error.within(f"type mismatch in {side} `{name}`") from None


def _check_equal(actual: ExternType, wanted: ExternType) -> None:
    match actual, wanted:
        case (InstanceType(), InstanceType()) | (ComponentType(), ComponentType()):
            _check_same(actual, wanted)
        case CoreModuleType(), CoreModuleType():
            _check_module(actual, wanted)
            _check_module(wanted, actual)
        case _:
            check_extern(actual, wanted)


def check_func(actual: FuncType, wanted: FuncType) -> None:
    """Raise `Mismatch` unless the function types are equal."""
    if actual == wanted:
        return
    if actual.is_async != wanted.is_async:
        names = ("sync", "async")
        raise Mismatch(f"expected {names[wanted.is_async]} function, found {names[actual.is_async]} function")
    if len(actual.params) != len(wanted.params):
        raise Mismatch(f"expected {len(wanted.params)} parameters, found {len(actual.params)}")
    for (have, have_type), (want, want_type) in zip(actual.params, wanted.params):
        if have != want:
            raise Mismatch(f"expected parameter named `{want}`, found `{have}`")
        _within(f"type mismatch in function parameter `{want}`", have_type, want_type)
    if actual.result is None or wanted.result is None:
        # The suites call it this way round: what is there is what is expected.
        raise Mismatch("expected a result, found none")
    _within("type mismatch with result type", actual.result, wanted.result)


def _within(where: str, actual: ValType, wanted: ValType) -> None:
    try:
        check_val(actual, wanted)
    except Mismatch as error:
        raise error.within(where) from None


def check_val(actual: ValType, wanted: ValType) -> None:
    """Raise `Mismatch` unless the value types are equal."""
    if actual == wanted:
        return
    if isinstance(actual, PrimValType) and isinstance(wanted, PrimValType):
        raise Mismatch(f"expected primitive `{wanted.kind}` found primitive `{actual.kind}`")
    if actual.kind != wanted.kind:
        raise Mismatch(f"expected {wanted.kind}, found {actual.kind}")
    _EXPLAIN[actual.kind](actual, wanted)
    raise Mismatch(f"expected {wanted}, found {actual}")


def _explain_record(actual: Any, wanted: Any) -> None:
    if len(actual.fields) != len(wanted.fields):
        raise Mismatch(f"expected {len(wanted.fields)} fields, found {len(actual.fields)}")
    for have, want in zip(actual.fields, wanted.fields):
        if have.label != want.label:
            raise Mismatch(f"expected field name `{want.label}`, found `{have.label}`")
        _within(f"type mismatch in record field `{want.label}`", have.t, want.t)


def _explain_variant(actual: Any, wanted: Any) -> None:
    if len(actual.cases) != len(wanted.cases):
        raise Mismatch(f"expected {len(wanted.cases)} cases, found {len(actual.cases)}")
    for have, want in zip(actual.cases, wanted.cases):
        if have.label != want.label:
            raise Mismatch(f"expected case named `{want.label}`, found `{have.label}`")
        if want.t is None and have.t is not None:
            raise Mismatch(f"expected case `{want.label}` to have no type")
        if want.t is not None and have.t is None:
            raise Mismatch(f"expected case `{want.label}` to have a type, found none")
        if want.t is not None:
            _within(f"type mismatch in variant case `{want.label}`", have.t, want.t)


def _explain_tuple(actual: Any, wanted: Any) -> None:
    if len(actual.ts) != len(wanted.ts):
        raise Mismatch(f"expected {len(wanted.ts)} types, found {len(actual.ts)}")
    for i, (have, want) in enumerate(zip(actual.ts, wanted.ts)):
        _within(f"type mismatch in tuple field {i}", have, want)


def _explain_result(actual: Any, wanted: Any) -> None:
    for name, have, want in (("ok", actual.ok, wanted.ok), ("err", actual.error, wanted.error)):
        if want is None and have is not None:
            raise Mismatch(f"expected {name} type to not be present")
        if want is not None and have is None:
            raise Mismatch(f"expected {name} type, but found none")
        if want is not None:
            _within(f"type mismatch in {name} variant", have, want)


def _explain_map(actual: Any, wanted: Any) -> None:
    _within("type mismatch in map key", actual.k, wanted.k)
    _within("type mismatch in map value", actual.v, wanted.v)


def _explain_list(actual: Any, wanted: Any) -> None:
    if actual.length != wanted.length:
        raise Mismatch(f"expected {wanted}, found {actual}: lists of different fixed lengths")
    check_val(actual.t, wanted.t)


def _explain_element(actual: Any, wanted: Any) -> None:
    if (actual.t is None) != (wanted.t is None):
        raise Mismatch(f"expected {wanted}, found {actual}")
    _within(f"type mismatch in {wanted.kind} element", actual.t, wanted.t)


def _explain_labels(actual: Any, wanted: Any) -> None:
    raise Mismatch(f"mismatch in {wanted.kind} elements")


def _explain_handle(actual: Any, wanted: Any) -> None:
    raise Mismatch("resource types are not the same")


_EXPLAIN = {
    "record": _explain_record,
    "variant": _explain_variant,
    "list": _explain_list,
    "tuple": _explain_tuple,
    "flags": _explain_labels,
    "enum": _explain_labels,
    "option": _explain_element,
    "result": _explain_result,
    "map": _explain_map,
    "own": _explain_handle,
    "borrow": _explain_handle,
    "stream": _explain_element,
    "future": _explain_element,
}


# ---- instances and components ----


def _check_exports(actual: Mapping[str, ExternType], wanted: Mapping[str, ExternType], what: str) -> None:
    for name, want in wanted.items():
        have = actual.get(name)
        if have is None:
            raise Mismatch(f"missing expected export `{name}`")
        try:
            check_extern(have, want)
        except Mismatch as error:
            raise error.within(f"type mismatch in {what} `{name}`") from None


def _check_instance(actual: InstanceType, wanted: InstanceType) -> None:
    want: InstanceType = wanted
    if wanted.defined:
        into = Substitution()
        bind(actual.exports, wanted.exports, frozenset(wanted.defined), into)
        want = settle(into).apply(InstanceType(wanted.exports))
    _check_exports(actual.exports, want.exports, "instance export")


def _check_component(actual: ComponentType, wanted: ComponentType) -> None:
    """Imports the other way round: whatever `wanted` will be given must do for `actual`."""
    given = Substitution()
    bind(wanted.imports, actual.imports, frozenset(actual.imported), given)
    given = settle(given)
    for name, needed in actual.imports.items():
        offered = wanted.imports.get(name)
        if offered is None:
            raise Mismatch(f"missing expected import `{name}`")
        try:
            check_extern(offered, given.apply(needed))
        except Mismatch as error:
            raise error.within(f"type mismatch in import `{name}`") from None
    exports = {name: given.apply(extern) for name, extern in actual.exports.items()}
    into = Substitution()
    bind(exports, wanted.exports, frozenset(wanted.defined), into)
    into = settle(into)
    _check_exports(exports, {name: into.apply(want) for name, want in wanted.exports.items()}, "export")


# ---- core modules ----


def _check_module(actual: CoreModuleType, wanted: CoreModuleType) -> None:
    for (module, name), needed in actual.imports.items():
        offered = wanted.imports.get((module, name))
        if offered is None:
            raise Mismatch(f"missing expected import `{module}::{name}`")
        try:
            check_core_extern(offered, needed)
        except Mismatch as error:
            raise error.within(f"type mismatch in import `{module}::{name}`") from None
    for name, want in wanted.exports.items():
        have = actual.exports.get(name)
        if have is None:
            raise Mismatch(f"missing expected export `{name}`")
        try:
            check_core_extern(have, want)
        except Mismatch as error:
            raise error.within(f"type mismatch in export `{name}`") from None


_CORE_KINDS = {
    core.DefType: "func",
    core.TableType: "table",
    core.MemoryType: "memory",
    core.GlobalType: "global",
    core.TagType: "tag",
}


def check_core_extern(actual: core.ExternType, wanted: core.ExternType) -> None:
    """Raise `Mismatch` unless the core definition may be given where `wanted` is imported."""
    if core.matches_extern(actual, wanted):
        return
    if type(actual) is not type(wanted):
        raise Mismatch(f"expected {_CORE_KINDS[type(wanted)]}, found {_CORE_KINDS[type(actual)]}")
    match actual, wanted:
        case core.TableType(), core.TableType() if actual.element != wanted.element:
            raise Mismatch(f"expected table element type {_short(wanted.element)}, found {_short(actual.element)}")
        case core.TableType(), core.TableType():
            raise Mismatch("mismatch in table limits")
        case core.MemoryType(), core.MemoryType() if actual.shared != wanted.shared:
            raise Mismatch("mismatch in the shared flag for memories")
        case core.MemoryType(), core.MemoryType():
            raise Mismatch("mismatch in memory limits")
        case core.GlobalType(), core.GlobalType() if actual.mutable != wanted.mutable:
            raise Mismatch("mismatch in the mutability of globals")
        case core.GlobalType(), core.GlobalType():
            raise Mismatch(f"expected global type {wanted.content}, found {actual.content}")
        case core.DefType(), core.DefType():
            raise Mismatch(f"expected: {_func_text(wanted)}, found: {_func_text(actual)}")
    raise Mismatch(f"expected {wanted}, found {actual}")


def _short(t: core.RefType) -> str:
    return {core.FUNCREF: "funcref", core.EXTERNREF: "externref"}.get(t, str(t))


def _func_text(t: core.DefType) -> str:
    """A core function type as the text format has it."""
    if not isinstance(t.composite, core.FuncType):
        return str(t)
    params = f" (param {' '.join(map(str, t.composite.params))})" if t.composite.params else ""
    results = f" (result {' '.join(map(str, t.composite.results))})" if t.composite.results else ""
    return f"(func{params}{results})"
