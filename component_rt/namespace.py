"""What a component instance exports, as Python sees it.

A `Namespace` is both a mapping by WIT name and an object with Python names: functions in `snake_case`, types and resources
in `UpperCamelCase`, cases of variants as `Shape_Circle`. Everything is made when it is first looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, final

from component_rt import types as t
from component_rt.canon.lift import LiftedFunc
from component_rt.handles import ResourceType
from component_rt.plan import InstanceItem
from component_rt.resources import GuestResource, resource_class
from component_rt.values import class_of, is_nominal
from core_rt.record import record
from wit.errors import WitError, near_name
from wit.names import (
    PlainName,
    canonical_version_key,
    escape_keyword,
    is_interface_name,
    kebab_to_camel,
    kebab_to_snake,
    parse_interface_id,
    parse_plain_name,
)

if TYPE_CHECKING:
    from component_rt.component import Component
    from component_rt.instance import ComponentInstance, Runtime
    from component_rt.store import Store

__all__ = ["Instance", "Namespace", "find_interface"]


def find_interface(name: str, known: Mapping[str, Any] | set[str]) -> str | None:
    """The key of `known` that `name` means: itself, or the same interface in a version that is compatible.

    A name without version means any version of the interface; of several the first is taken.
    """
    if name in known:
        return name
    if not is_interface_name(name):
        return None
    try:
        wanted = parse_interface_id(name)
    except WitError:
        return None
    for candidate in known:
        if not is_interface_name(candidate):
            continue
        try:
            have = parse_interface_id(candidate)
        except WitError:
            continue
        if have[:3] != wanted[:3]:
            continue
        if wanted.version is None or (
            have.version is not None and canonical_version_key(have.version) == canonical_version_key(wanted.version)
        ):
            return candidate
    return None


def plain_name(name: str) -> PlainName:
    """A plain name taken apart; names outside the grammar are functions of that name."""
    try:
        return parse_plain_name(name)
    except WitError:
        return PlainName("", None, name)


def attribute_name(name: str, of: t.ExternType) -> str:
    """The Python name of an export."""
    if isinstance(of, t.InstanceType) and is_interface_name(name):
        return kebab_to_snake(parse_interface_id(name).interface)
    return kebab_to_camel(name) if isinstance(of, t.TypeBound) else kebab_to_snake(name)


@final
class Namespace(Mapping[str, Any]):
    """Exports (or the types of an import) of one instance.

    `namespace["wit-name"]` and `namespace.python_name` give the same things: functions, classes, inner namespaces.
    """

    __slots__ = ("__dict__", "_found", "_items", "_label", "_made", "_names", "_runtime", "_types")

    def __init__(
        self, runtime: Runtime, label: str, types: Mapping[str, t.ExternType], items: Mapping[str, Any]
    ) -> None:
        self._runtime = runtime
        self._label = label
        self._types = types
        self._items = items
        self._made: dict[str, Any] = {}
        shape = _Shape.of(runtime.component, types)
        self._names = shape.names
        self._found = shape.found
        if shape.resources:
            self._attach_methods(shape)
        for name in shape.clashes:
            self.__dict__[name] = self[self._names[name]]

    # ------------------------------------------------------------------------------------------------ look-up

    def __getitem__(self, name: str) -> Any:
        found = self._made.get(name)
        if found is None:
            key = self._found.get(name)
            if key is None:
                key = find_interface(name, self._types)
                if key is None and name in self._names:
                    key = self._names[name]
                if key is not None:
                    self._found[name] = key
            if key is None:
                raise KeyError(f"{name!r} is not exported; {near_name(name, self._types) or self._known()}")
            found = self._made[key] = self._made[name] = self._make(key)
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        key = self._names.get(name)
        if key is not None:
            found = self[key]
        else:
            found = self._case(name)
            if found is None:
                hint = near_name(name, self._names) or self._known()
                raise AttributeError(f"{self._label or 'the component'} exports no `{name}`; {hint}")
        self.__dict__[name] = found
        return found

    def _known(self) -> str:
        return f"there are: {', '.join(self._names) or 'no exports'}"

    def _case(self, name: str) -> Any:
        """`Shape_Circle`: a case of a variant."""
        base, _, case = name.partition("_")
        key = self._names.get(base)
        if key is None or not case or not isinstance(self._types[key], t.TypeBound):
            return None
        cls = self[key]
        found = getattr(cls, case, None) or getattr(cls, escape_keyword(case), None)
        return found if getattr(found, "__name__", None) == name else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (find_interface(name, self._types) is not None or name in self._names)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self._label or 'exports'}: {', '.join(self._names)}>"

    # ------------------------------------------------------------------------------------------------ making

    def _item(self, name: str) -> Any:
        """The run-time item behind an export: a component function, a resource type, a module, a value."""
        found = self._items[name]
        item = self._runtime.item(found) if isinstance(found, int) else found
        of = self._types[name]
        return item.under(of) if isinstance(of, t.FuncType) and isinstance(item, LiftedFunc) else item

    def _make(self, name: str) -> Any:
        of = self._types[name]
        if isinstance(of, t.InstanceType):
            inner = self._items[name]
            assert isinstance(inner, InstanceItem)
            return Namespace(self._runtime, name, of.exports, inner.exports)
        if isinstance(of, t.TypeBound):
            return self._type(name, of.t)
        item = self._item(name)
        if isinstance(of, t.FuncType):
            plain = plain_name(name)
            if plain.resource is not None and plain.resource in self._types:
                cls = self[plain.resource]
                if plain.kind == "constructor":
                    return cls
                return getattr(cls, kebab_to_snake(plain.label))
            made = item.host_function(kebab_to_snake(plain.label), self._function_label(name))
            if isinstance(made, FunctionType):
                made.__component_function__ = item  # type: ignore[attr-defined]  # so that a linker can join the guests
            return made
        return item

    def _function_label(self, name: str) -> str:
        return f"{self._label}.{name}" if self._label else name

    def _type(self, name: str, of: Any) -> Any:
        if isinstance(of, t.ResourceType):
            rt = self._item(name)
            assert isinstance(rt, ResourceType)
            return rt.host.py_class if rt.impl is None else resource_class(rt)
        return class_of(of) if is_nominal(of) else of

    def _attach_methods(self, shape: _Shape) -> None:
        """Give the classes of guest resources their names and methods, each compiled on its first call."""
        for name in shape.resources:
            made = self._item(name)
            if isinstance(made, ResourceType) and made.py_class is None:
                made.name = name
        for name, plain in shape.methods:
            assert plain.resource is not None
            rt = self._item(plain.resource) if plain.resource in self._items else None
            if isinstance(rt, ResourceType) and rt.impl is not None:
                attach(resource_class(rt), plain, partial(self._item, name), self._function_label(name))


@record
class _Shape:
    """What a namespace needs to know about its types, for all instances of a component."""

    types: Mapping[str, t.ExternType]
    names: Mapping[str, str]
    """WIT names by Python names."""
    clashes: tuple[str, ...]
    """Python names that are methods of a mapping too: exports called `get`, `items`, ... come first."""
    resources: tuple[str, ...]
    methods: tuple[tuple[str, PlainName], ...]
    found: dict[str, str]
    """WIT names by what they were looked up by."""

    @classmethod
    def of(cls, component: Component, types: Mapping[str, t.ExternType]) -> _Shape:
        found = component.shapes.get(id(types))
        if found is None:
            names: dict[str, str] = {}
            for name, of in types.items():
                if not name.startswith("["):
                    names.setdefault(attribute_name(name, of), name)
            found = component.shapes[id(types)] = cls(
                types,
                names,
                tuple([name for name in names if hasattr(Namespace, name)]),
                tuple(
                    [n for n, of in types.items() if isinstance(of, t.TypeBound) and isinstance(of.t, t.ResourceType)]
                ),
                tuple(
                    [(n, plain_name(n)) for n, of in types.items() if isinstance(of, t.FuncType) and n.startswith("[")]
                ),
                {},
            )
        return found


def resource_exports(component: Component) -> dict[int, tuple[str, str]]:
    """The resource types of exported interfaces that have functions for them, by slot: the first interface and the name."""
    found: dict[int, tuple[str, str]] = {}
    for name, of in component.plan.type.exports.items():
        if isinstance(of, t.InstanceType) and (shape := _Shape.of(component, of.exports)).methods:
            inner = component.plan.exports[name]
            assert isinstance(inner, InstanceItem)
            for resource in shape.resources:
                slot = inner.exports[resource]
                if isinstance(slot, int):
                    found.setdefault(slot, (name, resource))
    return found


def attach(cls: type[GuestResource], plain: PlainName, item: Callable[[], Any], label: str) -> None:
    """Make one function of a resource a method, static method or the constructor of its class."""
    name = "__new__" if plain.kind == "constructor" else kebab_to_snake(plain.label)
    if name in cls.__dict__:
        return
    if plain.kind == "constructor":

        def construct(cls_: type, *args: Any, **kwargs: Any) -> Any:
            lifted = item()
            store, function = lifted.instance.store, lifted.host_function(cls.__name__, label)

            def new(cls_: type, *args: Any, **kwargs: Any) -> Any:
                if store.orphans:
                    store.drop_orphans()
                return function(*args, **kwargs)

            setattr(cls, name, staticmethod(new))
            return new(cls, *args, **kwargs)

        cls.__new__ = construct  # type: ignore[method-assign,assignment]
        return
    wrap: Callable[[Any], Any] = staticmethod if plain.kind == "static" else (lambda function: function)

    def first(*args: Any, **kwargs: Any) -> Any:
        function = item().host_function(name, label)
        setattr(cls, name, wrap(function))
        return function(*args, **kwargs)

    setattr(cls, name, wrap(first))


@final
class Instance:
    """An instance of a component.

    `exports` has what it exports, `imports` the types of its imports (so that host code can make values of them).
    """

    __slots__ = ("__weakref__", "_imports", "_runtime")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._imports: Namespace | None = None

    @property
    def exports(self) -> Namespace:
        """What the instance exports: functions, classes, interfaces."""
        return self._runtime.exports

    @property
    def imports(self) -> Namespace:
        """The types of the imports, by the names of what is imported."""
        if self._imports is None:
            plan = self._runtime.plan
            self._imports = Namespace(self._runtime, "", plan.type.imports, plan.import_items)
        return self._imports

    @property
    def store(self) -> Store:
        return self._runtime.store

    @property
    def component(self) -> Component:
        return self._runtime.component

    @property
    def root(self) -> ComponentInstance:
        """The run-time state of the root."""
        return self._runtime.instances[0]

    @property
    def trapped(self) -> BaseException | None:
        """What poisoned the instance, if anything did."""
        return self.root.first_trap

    def __repr__(self) -> str:
        return f"<Instance: {', '.join(self._runtime.plan.type.exports)}>"
