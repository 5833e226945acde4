"""Linking: what a component imports is found by name, checked against the types it wants, and kept in an `InstancePre`.

An interface is any Python object, module or mapping: functions under their Python names, resources as classes. It may also
be a namespace of another component instance of the same store.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import attrs

from component_rt import types as t
from component_rt.canon.lower import HostMaker
from component_rt.deferred import Deferred
from component_rt.handles import ResourceType
from component_rt.instance import Runtime, Steps
from component_rt.namespace import Instance, Namespace, find_interface, plain_name
from component_rt.plan import ImportItem
from component_rt.resources import GuestResource, HostResources
from component_rt.validate.subtype import Mismatch, check_extern
from core_rt.errors import LinkError, StoreError, Trap, TrapCode
from core_rt.module import Module
from wit.errors import near_name
from wit.names import kebab_to_camel, kebab_to_snake, parse_interface_id, version_sort_key

if TYPE_CHECKING:
    from component_rt.component import Component
    from component_rt.store import Store
    from component_rt.wasi import WasiConfig
    from core_rt.engine import Engine

__all__ = ["InstancePre", "Linker"]

Maker = Callable[[Runtime, ImportItem], Any]
_MISSING: Any = object()


@attrs.frozen(eq=False)
class InstancePre:
    """A component with its imports found: all of instantiation that does not depend on a store."""

    component: Component
    makers: Mapping[tuple[str, ...], Maker]
    early: frozenset[tuple[str, ...]]
    """Imports that are made at once, because that may fail. Others are made when something first asks for them."""

    def instantiate(self, store: Store) -> Instance:
        """Instantiate in a store. Raises `Trap`, `LinkError`, `ExhaustionError`, and what host functions raise."""
        runtime = self.runtime(store)
        runtime.run()
        return Instance(runtime)

    def runtime(self, store: Store) -> Runtime:
        """What interprets the component's plan in `store`; nothing has been done yet."""
        if store.engine is not self.component.engine:
            raise StoreError("the component was made with another engine than the store")
        store.core.check()
        return Runtime(store, self.component, self.steps)

    @cached_property
    def steps(self) -> Steps:
        """The plan's steps, with the imports among them."""
        return Steps(self.component, self.makers, self.early)


@final
class Linker:
    """Definitions for imports. The same linker serves any number of components and stores, synchronous or not."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._definitions: dict[str, Any] = {}
        self._traps: weakref.WeakSet[Component] = weakref.WeakSet()
        self._prepared: dict[Component, InstancePre] = {}

    def define(self, name: str, item: Any) -> None:
        """Define an import: an interface (`"example:app/log"`, with or without version) or a function of the world.

        An interface may be an object, a module, a mapping, or a namespace of another component instance. Defining a name
        again replaces it.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of an import is a str, not {type(name).__name__}")
        self._definitions[name] = item.exports if isinstance(item, Instance) else item
        self._prepared.clear()

    def define_wasi(self, config: WasiConfig | None = None) -> None:
        """Define every implemented WASI interface, with what `config` grants. Raises `OSError` for a missing directory."""
        from component_rt import wasi

        for name, interface in wasi.interfaces(config).items():
            self.define(name, interface)

    def define_unknown_imports_as_traps(self, component: Component) -> None:
        """Let imports of `component` that are not defined trap when they are called."""
        self._traps.add(component)
        self._prepared.pop(component, None)

    # ------------------------------------------------------------------------------------------------ linking

    def instantiate_pre(self, component: Component) -> InstancePre:
        """Find and check every import. Raises `LinkError` that says what is wanted."""
        pre = self._prepared.get(component)
        if pre is None:
            if component.engine is not self.engine:
                raise StoreError("the component was made with another engine than the linker")
            resolver = _Resolver(self, component)
            pre = self._prepared[component] = InstancePre(component, resolver.run(), frozenset(resolver.early))
        return pre

    def instantiate(self, store: Store, component: Component) -> Instance:
        """Instantiate a component. Raises `LinkError`, `Trap`, `ExhaustionError`, and what host functions raise."""
        if store.is_async:
            raise StoreError("this store is asynchronous: use `await linker.instantiate_async(store, component)`")
        return self.instantiate_pre(component).instantiate(store)

    async def instantiate_async(self, store: Any, component: Component) -> Instance:
        """As `instantiate`, in a store of `open_store`."""
        if not store.is_async:
            raise StoreError("this store is synchronous: use `linker.instantiate(store, component)`, or `open_store`")
        return await store.instantiate_async(self.instantiate_pre(component))  # type: ignore[no-any-return]

    def find(self, name: str, of: t.ExternType, implements: str | None) -> Any:
        """The definition for an import, or `_MISSING`."""
        for wanted in (name, implements):
            if wanted is None:
                continue
            if wanted in self._definitions:
                return self._definition(wanted)
            found = self._compatible(wanted)
            if found is not None:
                return self._definition(found)
        if isinstance(of, t.FuncType) and kebab_to_snake(name) in self._definitions:
            return self._definitions[kebab_to_snake(name)]
        return _MISSING

    def _definition(self, name: str) -> Any:
        item = self._definitions[name]
        if isinstance(item, Deferred):
            item = self._definitions[name] = item.make()
        return item

    def _compatible(self, name: str) -> str | None:
        """The newest definition of the interface that is compatible; one without a version serves every version."""
        if find_interface(name, {name}) is None or ":" not in name:
            return None
        wanted = parse_interface_id(name)
        unversioned = name.partition("@")[0]
        candidates = [
            key
            for key in self._definitions
            if key.partition("@")[0] == unversioned and find_interface(name, {key}) is not None
        ]
        if candidates:
            return max(candidates, key=lambda key: version_sort_key(parse_interface_id(key).version))
        plain = str(wanted._replace(version=None))
        return plain if plain in self._definitions else None

    def near(self, name: str) -> str | None:
        """A hint at a definition with a similar name."""
        return near_name(name, self._definitions)


class _Resolver:
    """Finds the definitions for one component's imports and notes what is wrong with them."""

    def __init__(self, linker: Linker, component: Component) -> None:
        self.linker = linker
        self.component = component
        self.makers: dict[tuple[str, ...], Maker] = {}
        self.early: set[tuple[str, ...]] = set()
        self.problems: list[str] = []
        self.resources: dict[t.ResourceId, Any] = {}
        """What stands for each imported resource type: a `ResourceType`, or the key of one of the host."""

    def run(self) -> Mapping[tuple[str, ...], Maker]:
        attributes = self.component.type.import_attributes
        traps = self.component in self.linker._traps
        for name, of in self.component.imports.items():
            extra = attributes.get(name)
            item = self.linker.find(name, of, None if extra is None else extra.implements)
            if item is not _MISSING:
                self._resolve((name,), of, item)
            elif traps:
                self._trap((name,), of)
            elif not _is_empty(of):
                hint = self.linker.near(name)
                self.problems.append(
                    f"unknown import `{name}`: nothing of that name is defined{'; ' + hint if hint else ''}\n"
                    f"  wanted: {_wit(name, of)}"
                )
        if self.problems:
            raise LinkError("\n".join(self.problems))
        return self.makers

    def _problem(self, path: tuple[str, ...], text: str, of: t.ExternType, hint: str | None = None) -> None:
        self.problems.append(
            f"import `{'.'.join(path)}`: {text}{'; ' + hint if hint else ''}\n  wanted: {_wit(path[-1], of)}"
        )

    def _resolve(self, path: tuple[str, ...], of: t.ExternType, item: Any) -> None:
        match of:
            case t.InstanceType():
                if isinstance(item, Namespace):
                    self._namespace(path, of, item)
                else:
                    self._interface(path, of, item)
            case t.FuncType():
                self._function(path, of, item, len(of.params))
            case t.TypeBound(t=t.ResourceType()):
                self._resource(path, of, item)
            case t.TypeBound():
                pass
            case t.CoreModuleType():
                self._module(path, of, item)
            case t.ValueExtern():
                self.makers[path] = lambda runtime, step: item
            case _:
                self._problem(path, "components cannot be imported from a host", of)

    def _module(self, path: tuple[str, ...], of: t.CoreModuleType, item: Any) -> None:
        if not isinstance(item, Module):
            self._problem(path, f"{_shown(item)} is no core_rt.Module", of)
            return
        imports = [((module, name), extern) for module, name, extern in item.imports]
        have = t.CoreModuleType(dict(imports), dict(item.exports))
        try:
            if len(have.imports) < len(imports):
                raise Mismatch("the module imports one name twice")
            check_extern(have, of)
        except Mismatch as mismatch:
            self._problem(path, f"the module does not fit: {mismatch}", of)
            return
        self.makers[path] = lambda runtime, step: item

    # ------------------------------------------------------------------------------------------------ interfaces

    def _interface(self, path: tuple[str, ...], of: t.InstanceType, item: Any) -> None:
        """An interface as an object, a module or a mapping."""
        for name, extern in of.exports.items():
            where = (*path, name)
            match extern:
                case t.FuncType():
                    self._member(where, extern, item)
                case t.TypeBound(t=t.ResourceType(), sub=True):
                    self._resource(where, extern, _get(item, name, kebab_to_camel(name)))
                case t.TypeBound():
                    pass
                case _:
                    found = _get(item, name, kebab_to_snake(name))
                    if found is _MISSING:
                        self._missing(where, extern, item)
                    else:
                        self._resolve(where, extern, found)

    def _missing(self, path: tuple[str, ...], of: t.ExternType, item: Any, name: str | None = None) -> None:
        wanted = name or kebab_to_snake(path[-1])
        known = list(item) if isinstance(item, Mapping) else [n for n in dir(item) if not n.startswith("_")]
        self._problem(path, f"{_shown(item)} has no `{wanted}`", of, near_name(wanted, map(str, known)))

    def _member(self, path: tuple[str, ...], of: t.FuncType, item: Any) -> None:
        """A function of an interface: of the interface itself, or of a resource's class."""
        plain = plain_name(path[-1])
        count = len(of.params)
        if not plain.kind:
            name = kebab_to_snake(plain.label)
            found = _get(item, plain.label, name)
            if found is _MISSING:
                self._missing(path, of, item, name)
            else:
                self._function(path, of, found, count)
            return
        assert plain.resource is not None
        class_name = kebab_to_camel(plain.resource)
        cls = _get(item, plain.resource, class_name)
        if plain.kind == "constructor":
            if cls is _MISSING:
                self._missing(path, of, item, class_name)
            else:
                self._function(path, of, cls, count)
            return
        name = kebab_to_snake(plain.label)
        if plain.kind == "static":
            found = _MISSING if cls is _MISSING else _get(cls, plain.label, name)
            if found is _MISSING:
                self._missing(path, of, item if cls is _MISSING else cls, name if cls is not _MISSING else class_name)
            else:
                self._function(path, of, found, count)
            return
        # A method is looked up on the object: what a guest holds may be of any class that has the method.
        if cls is not _MISSING and isinstance(cls, type):
            found = getattr(cls, name, _MISSING)
            if found is _MISSING:
                self._missing(path, of, cls, name)
                return
            if not self._accepts(path, of, found, count):
                return
        self.makers[path] = HostMaker(of, (_method(name, False), _method(name, True)), ".".join(path))

    def _accepts(self, path: tuple[str, ...], of: t.FuncType, function: Any, count: int) -> bool:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return True  # built-in functions often have none
        try:
            signature.bind(*[None] * count)
        except TypeError:
            self._problem(
                path, f"{_shown(function)} does not take {count} argument{'s' * (count != 1)}: {signature}", of
            )
            return False
        return True

    def _function(self, path: tuple[str, ...], of: t.FuncType, item: Any, count: int) -> None:
        if not callable(item):
            self._problem(path, f"{_shown(item)} is not callable", of)
            return
        lifted = getattr(item, "__component_function__", None)  # a namespace sets it
        if lifted is not None:
            self._lifted(path, of, lifted)
            return
        if self._accepts(path, of, item, count):
            self.makers[path] = HostMaker(of, (_half(item, False), _half(item, True)), ".".join(path))

    def _resource(self, path: tuple[str, ...], of: t.TypeBound, item: Any) -> None:
        assert isinstance(of.t, t.ResourceType)
        if isinstance(item, type) and issubclass(item, GuestResource):
            item = item._resource_type
        if isinstance(item, ResourceType):
            if not of.sub and not _is_resource(self.resources.get(of.t.id), item):
                self._problem(path, "the other instance has a resource type that is not the same as that one", of)
            self.resources[of.t.id] = item
            self._take(path, item.impl, item)
            return
        if item is not _MISSING and not isinstance(item, type):
            # A factory in place of a class: its objects are taken as they are.
            item, key = _MISSING, item
        else:
            key = item if item is not _MISSING else path
        self.resources[of.t.id] = key
        name = path[-1]
        known = None if item is _MISSING else item
        self.makers[path] = lambda runtime, step: host_resource_type(runtime.store, key, name, known)

    # ------------------------------------------------------------------------------------------------ other instances

    def _namespace(self, path: tuple[str, ...], of: t.InstanceType, item: Namespace) -> None:
        """An interface that another component instance exports."""
        for name, extern in of.exports.items():
            where = (*path, name)
            if name not in item._types:
                self._problem(where, f"{item!r} has no `{name}`", extern, near_name(name, item._types))
                continue
            have = item._types[name]
            if isinstance(extern, t.InstanceType):
                self._resolve(where, extern, item[name])
            elif isinstance(extern, t.FuncType):
                self._lifted(where, extern, item._item(name), have)
            elif isinstance(extern, t.TypeBound) and not isinstance(extern.t, t.ResourceType):
                if not isinstance(have, t.TypeBound) or not _same_shape(extern.t, have.t):
                    self._problem(where, f"the other instance has {_wit(name, have)}", extern)
            else:
                self._resolve(where, extern, item._item(name))

    def _lifted(self, path: tuple[str, ...], of: t.FuncType, item: Any, have: t.ExternType | None = None) -> None:
        have = item.type if have is None else have
        if not _same_shape(of, have) or (of.resources and not _same_shape(of, item.type)):
            self._problem(path, f"the other instance has {have}", of)
            return
        for wanted, given in _resource_pairs(of, item.type):
            if not _is_resource(self.resources.get(wanted), item.resource(given)):
                self._problem(path, f"the other instance's function is one of another resource type `{given}`", of)
                return
        self._take(path, getattr(item, "instance", None), item)

    def _take(self, path: tuple[str, ...], instance: Any, item: Any) -> None:
        """`item`, a part of `instance`, for an import. Instantiating in another store raises `StoreError`."""

        def maker(runtime: Runtime, step: ImportItem) -> Any:
            if instance is not None and instance.store is not runtime.store:
                raise StoreError(f"`{'.'.join(path)}` belongs to an instance of another store")
            return item

        self.makers[path] = maker
        self.early.add(path)

    # ------------------------------------------------------------------------------------------------ traps

    def _trap(self, path: tuple[str, ...], of: t.ExternType) -> None:
        label = ".".join(path)
        match of:
            case t.InstanceType():
                for name, extern in of.exports.items():
                    self._trap((*path, name), extern)
            case t.FuncType():

                def unknown(*args: Any) -> None:
                    raise Trap(TrapCode.UNKNOWN_IMPORT, f"unknown import called: `{label}`")

                self.makers[path] = HostMaker(of, (unknown, unknown), label)
            case t.TypeBound(t=t.ResourceType() as resource, sub=True):
                self.resources[resource.id] = path
                self.makers[path] = lambda runtime, step: host_resource_type(runtime.store, path, path[-1], None)
            case t.TypeBound():
                pass
            case _:
                self._problem(path, "nothing of that name is defined", of)


def _is_resource(bound: Any, rt: ResourceType) -> bool:
    """Whether `bound` (a value of `_Resolver.resources`) stands for `rt`."""
    return bound is rt or (rt.impl is None and rt.py_class is not None and rt.py_class is bound)


def _resource_pairs(of: Any, have: Any, seen: set[tuple[int, int]] | None = None) -> Iterator[tuple[Any, Any]]:
    """The identities of resource types that stand in the same places of two types of the same shape."""
    seen = set() if seen is None else seen
    if not of.resources or (id(of), id(have)) in seen:
        return
    seen.add((id(of), id(have)))
    if isinstance(of, t.ResourceType):
        yield of.id, have.id
    for inner, other in zip(of.children(), have.children(), strict=True):
        yield from _resource_pairs(inner, other, seen)


def host_resource_type(store: Store, key: Any, name: str, py_class: Any) -> ResourceType:
    """The resource type of a class of the host in a store: the same for every component that imports it."""
    found = store.host_types.get(key)
    if found is None:
        host = HostResources(store, name, py_class)
        found = store.host_types[key] = ResourceType(None, name, host.drop, py_class, host)
    return found


def _half(function: Any, is_async: bool) -> Callable[..., Any]:
    """Functions that may wait come as pairs (`sync`, `asynchronous`): the half for the store."""
    if hasattr(function, "asynchronous") and hasattr(function, "sync"):
        return function.asynchronous if is_async else function.sync  # type: ignore[no-any-return]
    return function  # type: ignore[no-any-return]


def _method(name: str, is_async: bool) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        function = getattr(self, name)
        if type(function) is not _BOUND:
            function = _half(function, is_async)
        return function(*args)

    return method


_BOUND = type(HostResources.close.__get__(object()))


def _get(item: Any, wit_name: str, python_name: str) -> Any:
    if isinstance(item, Mapping):
        found = item.get(python_name, _MISSING)
        return item.get(wit_name, _MISSING) if found is _MISSING else found
    return getattr(item, python_name, _MISSING)


def _shown(item: Any) -> str:
    text = getattr(item, "__qualname__", None) or getattr(item, "__name__", None)
    if isinstance(text, str):
        return f"`{text}`"
    return f"the {type(item).__name__} object" if not isinstance(item, Mapping) else "the mapping"


def _is_empty(of: t.ExternType) -> bool:
    """Whether there is nothing to define: an interface with types only."""
    if isinstance(of, t.InstanceType):
        return all(map(_is_empty, of.exports.values()))
    return isinstance(of, t.TypeBound) and not (isinstance(of.t, t.ResourceType) and of.sub)


def _wit(name: str, of: t.ExternType) -> str:
    """The import as WIT, on as many lines as it takes."""
    match of:
        case t.FuncType():
            return f"{name}: {of}"
        case t.InstanceType():
            lines = [f"    {_wit(inner, extern)};" for inner, extern in of.exports.items()]
            return "\n".join([f"interface {name} {{", *lines, "  }"])
        case t.TypeBound(t=t.ResourceType()):
            return f"resource {name}"
        case t.TypeBound(t=inner):
            return f"type {name} = {inner.spelled() if isinstance(inner, t.ValType) else inner.kind}"
        case t.ValueExtern():
            return f"{name}: value {of.t}"
    return f"{name}: {of.kind}"


def _same_shape(a: Any, b: Any, seen: set[tuple[int, int]] | None = None) -> bool:
    """Whether two types are equal but for the identity of resources, which linking settles."""
    seen = set() if seen is None else seen
    if a is b or (id(a), id(b)) in seen:
        return True
    seen.add((id(a), id(b)))
    if type(a) is not type(b) or a.kind != b.kind:
        return False
    if isinstance(a, t.ResourceType):
        return True
    if isinstance(a, t.FuncType) and ([n for n, _ in a.params] != [n for n, _ in b.params] or a.is_async != b.is_async):
        return False
    for part in ("labels", "length"):
        if getattr(a, part, None) != getattr(b, part, None):
            return False
    for part in ("fields", "cases"):
        if [x.label for x in getattr(a, part, ())] != [x.label for x in getattr(b, part, ())]:
            return False
    if isinstance(a, t.ResultType) and ((a.ok is None) != (b.ok is None) or (a.error is None) != (b.error is None)):
        return False
    if isinstance(a, t.VariantType) and [c.t is None for c in a.cases] != [c.t is None for c in b.cases]:
        return False
    ours, theirs = a.children(), b.children()
    return len(ours) == len(theirs) and all(_same_shape(x, y, seen) for x, y in zip(ours, theirs))
