"""Core definitions in components: modules, module types, recursion groups, core instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from component_rt import model
from component_rt.binary import syntax
from component_rt.model import Sort
from component_rt.types import CoreModuleType
from component_rt.validate.scope import Scope
from component_rt.validate.subtype import Mismatch, check_core_extern
from core_rt import types as core
from core_rt.binary.decode import decode_module
from core_rt.errors import DecodeError, ValidationError

__all__ = ["core_bag", "core_export_sort", "core_instantiate", "core_module", "core_module_type", "core_rec"]

MODULE_PREAMBLE = b"\0asm\x01\x00\x00\x00"

_SORT_OF = {
    core.DefType: Sort.CORE_FUNC,
    core.TableType: Sort.CORE_TABLE,
    core.MemoryType: Sort.CORE_MEMORY,
    core.GlobalType: Sort.CORE_GLOBAL,
    core.TagType: Sort.CORE_TAG,
}


def core_export_sort(extern: core.ExternType) -> Sort:
    """The index space a core definition belongs to."""
    return _SORT_OF[type(extern)]


# ---- modules ----


def core_module(scope: Scope, item: syntax.CoreModule, data: bytes | memoryview, bodies: bool) -> model.CoreModuleDef:
    """An embedded module, decoded and validated (its function bodies only if `bodies`)."""
    part = memoryview(data)[item.start : item.end]
    if bytes(part[:4]) == MODULE_PREAMBLE[:4] and len(part) >= 8 and bytes(part[4:8]) != MODULE_PREAMBLE[4:]:
        if bytes(part[6:8]) != b"\0\0":
            raise DecodeError("expected a version header for a module", item.start + 4)
        raise DecodeError("unknown binary version", item.start + 4)
    try:
        module = decode_module(part, scope.core_features)
        if bodies:
            from core_rt.validate.module import validate_module_bodies  # not needed otherwise, and large

            validate_module_bodies(module)
    except (DecodeError, ValidationError) as error:
        if error.offset is not None:
            raise type(error)(error.message, error.offset + item.start) from None
        raise
    imports: dict[tuple[str, str], core.ExternType] = {}
    for wanted in module.imports:
        key = (wanted.module, wanted.name)
        if key in imports:
            raise ValidationError(_duplicate_import(*key), item.start + wanted.offset)
        imports[key] = wanted.type
    made = CoreModuleType(imports, dict(module.export_types()))
    return model.CoreModuleDef(offset=item.offset, start=item.start, end=item.end, module=module, type=made)


def _duplicate_import(module: str, name: str) -> str:
    return f"duplicate import name `{module}:{name}` already defined"


# ---- types ----


def core_rec(types: Sequence[Any], rec: syntax.CoreRec) -> tuple[core.DefType, ...]:
    """The types of a recursion group over the type index space `types`."""
    base = len(types)
    count = len(rec.members)

    def defined(index: int, offset: int) -> int | core.DefType:
        """A member of the group by its place, any other type by itself."""
        if index >= base + count:
            raise ValidationError(f"unknown type {index}: type index out of bounds", offset)
        if index >= base:
            return index - base
        found = types[index]
        if not isinstance(found, core.DefType):
            raise ValidationError(f"core type index {index} is a module type", offset)
        return found

    def value(t: Any, offset: int) -> Any:
        if not isinstance(t, tuple):
            return t
        nullable, index = t
        target = defined(index, offset)
        if isinstance(target, int):
            return 2 * target + nullable
        return target.ref_null if nullable else target.ref

    specs: list[core.TypeSpec] = []
    for member in rec.members:
        at = member.offset
        kind, *parts = member.composite
        composite: tuple[Any, ...]
        if kind == "func":
            composite = ("func", *[tuple([value(t, at) for t in types_]) for types_ in parts])
        elif kind == "struct":
            composite = ("struct", tuple([(value(t, at), mutable) for t, mutable in parts[0]]))
        else:
            t, mutable = parts[0]
            composite = ("array", (value(t, at), mutable))
        specs.append((member.final, tuple([defined(index, at) for index in member.supers]), composite))
    try:
        return core.rec_group(specs)
    except ValidationError as error:
        raise ValidationError(error.message, rec.offset) from None


def core_module_type(scope: Scope, expr: syntax.CoreModuleTypeExpr) -> CoreModuleType:
    """A core module type: a scope of its own, with nothing but types."""
    types: list[core.DefType] = []
    imports: dict[tuple[str, str], core.ExternType] = {}
    exports: dict[str, core.ExternType] = {}
    for kind, offset, *rest in expr.decls:
        if kind == "type":
            types.extend(core_rec(types, rest[0]))
        elif kind == "alias":
            count, index = rest
            types.append(_outer_core_type(scope, types, count, index, offset))
        elif kind == "import":
            module, name, extern = rest
            if (module, name) in imports:
                raise ValidationError(_duplicate_import(module, name), offset)
            imports[module, name] = _core_extern(scope, types, extern)
        else:
            name, extern = rest
            if name in exports:
                raise ValidationError(f"export name `{name}` already defined", offset)
            exports[name] = _core_extern(scope, types, extern)
    return CoreModuleType(imports, exports)


def _outer_core_type(scope: Scope, types: list[core.DefType], count: int, index: int, offset: int) -> core.DefType:
    if count == 0:
        if index >= len(types):
            raise ValidationError(f"unknown type {index}: type index out of bounds", offset)
        return types[index]
    found = scope.outward(count - 1, offset).at(Sort.CORE_TYPE, index, offset)
    if not isinstance(found, core.DefType):
        raise ValidationError(f"outer type alias: core type {index} is a module type", offset)
    return found


def _func_def(types: Sequence[core.DefType], index: int, offset: int) -> core.DefType:
    if index >= len(types):
        raise ValidationError(f"unknown type {index}: type index out of bounds", offset)
    found = types[index]
    if found.kind != "func":
        raise ValidationError(f"type index {index} is not a function type", offset)
    return found


def _core_extern(scope: Scope, types: Sequence[core.DefType], extern: syntax.CoreExternExpr) -> core.ExternType:
    at = extern.offset
    match extern.kind:
        case "func":
            return _func_def(types, extern.index, at)
        case "tag":
            tag = _func_def(types, extern.index, at)
            if tag.func.results:
                raise ValidationError("invalid exception type: non-empty tag result type", at)
            return core.TagType(tag)
        case "table":
            element, least, most, is64 = extern.type
            _check_limits("table", least, most, (1 << 64) - 1 if is64 else (1 << 32) - 1, at)
            return core.TableType(_ref(types, element, at), least, most, is64)
        case "memory":
            return _memory(scope, extern)
    content, mutable = extern.type
    return core.GlobalType(_value(types, content, at), mutable)


def _memory(scope: Scope, extern: syntax.CoreExternExpr) -> core.MemoryType:
    at = extern.offset
    least, most, is64, shared, page = extern.type
    for used, feature in ((is64, "memory64"), (shared, "threads"), (page != 16, "custom_page_sizes")):
        if used and not getattr(scope.core_features, feature):
            raise ValidationError(f"this memory type needs the feature `{feature}`", at)
    bound = 1 << ((64 if is64 else 32) - page)
    _check_limits("memory", least, most, bound - 1 if page == 0 else bound, at)
    if shared and most is None:
        raise ValidationError("shared memory must have maximum size", at)
    return core.MemoryType(least, most, is64, shared, page)


def _check_limits(what: str, least: int, most: int | None, bound: int, offset: int) -> None:
    if least > bound or (most is not None and most > bound):
        unit = "pages" if what == "memory" else "elements"
        raise ValidationError(f"{what} size must be at most {bound} {unit}", offset)
    if most is not None and most < least:
        raise ValidationError("size minimum must not be greater than maximum", offset)


def _ref(types: Sequence[core.DefType], t: Any, offset: int) -> core.RefType:
    if not isinstance(t, tuple):
        assert isinstance(t, core.RefType)
        return t
    nullable, index = t
    if index >= len(types):
        raise ValidationError(f"unknown type {index}: type index out of bounds", offset)
    return types[index].ref_null if nullable else types[index].ref


def _value(types: Sequence[core.DefType], t: Any, offset: int) -> core.ValType:
    return _ref(types, t, offset) if isinstance(t, tuple) else t


# ---- instances ----


def core_instantiate(scope: Scope, item: syntax.CoreInstantiate) -> model.CoreInstantiate:
    """`(instantiate m (with "a" (instance i)) ...)`: each import is looked up in the instance for its first name."""
    wanted: CoreModuleType = scope.at(Sort.CORE_MODULE, item.module, item.offset)
    scope.charge(wanted.tree_size, item.offset)
    given: dict[str, tuple[int, Mapping[str, core.ExternType]]] = {}
    for name, index, offset in item.args:
        if name in given:
            raise ValidationError(f"duplicate module instantiation argument named `{name}`", offset)
        given[name] = index, scope.at(Sort.CORE_INSTANCE, index, offset)
    for (module, name), needed in wanted.imports.items():
        if module not in given:
            raise ValidationError(f"missing module instantiation argument named `{module}`", item.offset)
        found = given[module][1].get(name)
        if found is None:
            raise ValidationError(
                f"module instantiation argument `{module}` does not export an item named `{name}`", item.offset
            )
        try:
            check_core_extern(found, needed)
        except Mismatch as error:
            raise ValidationError(
                f"type mismatch for export `{name}` of module instantiation argument `{module}`: {error}", item.offset
            ) from None
    args = tuple([(name, index) for name, (index, _) in given.items()])
    return model.CoreInstantiate(offset=item.offset, module=item.module, args=args, exports=wanted.exports)


def core_bag(scope: Scope, item: syntax.CoreBag) -> tuple[model.CoreInlineExports, dict[str, core.ExternType]]:
    """A core instance made of core definitions."""
    exports: list[model.CoreExport] = []
    types: dict[str, core.ExternType] = {}
    for name, sort, index, offset in item.exports:
        if name in types:
            raise ValidationError(f"export name `{name}` already defined", offset)
        types[name] = scope.at(sort, index, offset)
        exports.append(model.CoreExport(name, sort, index, types[name]))
    return model.CoreInlineExports(offset=item.offset, exports=tuple(exports)), types
