"""A validated component as a plan: a flat list of steps without names, however deeply components nest.

Theory of operation. Everything that exists at run time (core instances, functions, memories, component functions, resource
types, values) lives in numbered *slots*; a step fills one slot and refers to others by number. What is known
without running (which component is nested where, which exports an instance has, what an alias means) is worked out
here: a component instance is a mapping from names to items that disappears, and a nested component becomes its own
steps at each place where it is instantiated, under a *static instance* number. `instance.py` interprets the result.

Resource types are seen by each component under identities of its own (`ResourceId`); `Plan.instances[i].resources` says
which slot an identity means to static instance i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from component_rt import model as m
from component_rt import types as t
from component_rt.model import Sort
from component_rt.vmcontext import ComponentLayout
from core_rt.errors import EngineBug, ExhaustionError
from core_rt.record import record

if TYPE_CHECKING:
    from core_rt import types as core

__all__ = [
    "Builtin",
    "Constant",
    "Extract",
    "ImportItem",
    "InstantiateModule",
    "LateExport",
    "Lift",
    "LoadModule",
    "Lower",
    "MakeResource",
    "Options",
    "Plan",
    "Remember",
    "StartFunction",
    "StaticInstance",
    "Step",
    "make_plan",
]

MAX_STEPS = 500_000
MAX_INSTANCES = 20_000
"""A few dozen nested components that each instantiate the next one twice ask for a million instances."""

Slot: TypeAlias = int


@record(kw_only=True)
class Step:
    """Fills `slot`."""

    slot: Slot


@record(kw_only=True)
class LoadModule(Step):
    """Embedded core module: `start` to `end` of the file."""

    definition: m.CoreModuleDef


@record(kw_only=True)
class ImportItem(Step):
    """A leaf of an import of the root: `path` is the import's name and the names of exports inside an imported instance."""

    path: tuple[str, ...]
    type: t.ExternType


@record(kw_only=True)
class InstantiateModule(Step):
    """Instantiate the module in slot `module`; `imports` gives the slot for each pair of names.

    `order` is the same in the order of the module's imports, where the module is known; `starts`: instantiating it may run code.
    """

    module: Slot
    imports: Mapping[tuple[str, str], Slot]
    instance: int
    order: tuple[Slot, ...] | None
    starts: bool


@record(kw_only=True)
class Extract(Step):
    """Export `name` of the core instance in slot `instance`: a function, memory, table, global or tag."""

    instance: Slot
    name: str


@record(kw_only=True)
class MakeResource(Step):
    """A resource type of static instance `instance`."""

    instance: int
    name: str
    dtor: Slot | None
    wide: bool
    """Whether reps are 64 bits wide."""


@record
class LateExport:
    """A function of the core instance in slot `instance`, looked up when it is first called: most exports never are."""

    instance: Slot
    name: str


@record(kw_only=True)
class Remember(Step):
    """Put the item in `slot` (a memory, table or function) into entry `index` of a region of the component's context."""

    region: str
    index: int


@record
class Options:
    """`canonopt`s with slots in place of indices."""

    encoding: str
    pointer: int
    memory: Slot | None
    realloc: Slot | None
    post_return: Slot | LateExport | None
    callback: Slot | None
    is_async: bool
    post_return_entry: int = 0
    """Entry of the region `post_returns`, set when the function is first looked up."""


@record(kw_only=True)
class Lift(Step):
    """`canon lift`: the core function `func` as a component function."""

    instance: int
    func: Slot | LateExport
    type: t.FuncType
    options: Options


@record(kw_only=True)
class Lower(Step):
    """`canon lower`: the component function in slot `func` as a core function."""

    instance: int
    func: Slot
    type: t.FuncType
    options: Options
    core_type: core.FuncType
    index: int
    """Entry of the region `lowerings`."""


@record(kw_only=True)
class Builtin(Step):
    """Any other canonical definition."""

    instance: int
    definition: m.CanonBuiltin
    options: Options
    table: Slot | None
    index: int
    """Entry of the region `trampolines`."""


@record(kw_only=True)
class Constant(Step):
    """A value known from the file."""

    type: t.ValType
    value: object


@record(kw_only=True)
class StartFunction(Step):
    """Call the function in slot `func`; its result, if it has one, fills `slot`."""

    func: Slot
    args: tuple[Slot, ...]
    type: t.FuncType


class StaticInstance:
    """One instantiation of a component within the root. `parent` is None for the root."""

    __slots__ = ("index", "parent", "resources")

    def __init__(self, index: int, parent: int | None) -> None:
        self.index = index
        self.parent = parent
        self.resources: dict[t.ResourceId, Slot] = {}


@record
class InstanceItem:
    """A component instance while planning: what its exports are."""

    exports: Mapping[str, Item]


@record
class ComponentItem:
    """A component while planning, with the scope its outer aliases look into."""

    component: m.ValidatedComponent
    scope: _Scope


Item: TypeAlias = "Slot | LateExport | InstanceItem | ComponentItem | Mapping[str, Slot | LateExport] | None"
"""What an index means while planning. A core instance made by hand is a mapping; a type other than a resource is None."""


@record
class Plan:
    """Steps in order; `exports` of the root as items; `counts` are the sizes of the context's regions."""

    type: t.ComponentType
    """Of the root."""
    steps: tuple[Step, ...]
    lifts: Mapping[Slot, Lift]
    """Component functions, which are made when they are first needed: most exports are never called."""
    eager: tuple[Step, ...]
    """The steps that anybody could notice: what instantiating means. They, and calls, bring about others."""
    lazy: Mapping[Slot, Step]
    """What fills a slot when something first asks for it."""
    remembered: Mapping[Slot, Sequence[Remember]]
    """Which entries of the context a slot belongs in."""
    slots: int
    instances: tuple[StaticInstance, ...]
    imports: tuple[ImportItem, ...]
    exports: Mapping[str, Item]
    import_items: Mapping[str, Item]
    regions: Mapping[str, int]
    """How many entries each region of the component's context has."""
    layout: ComponentLayout
    """Of the component's context."""
    uses_tags: bool
    """Whether a core module in it can throw exceptions: then calls between guests need somebody who stops them."""
    uses_tasks: bool
    """Whether anything in it can see that there are tasks: async functions, context storage and their like."""
    cancellers: frozenset[int]
    """Static instances that have `task.cancel`."""
    self_contained: bool
    """Whether it has no modules but its own: validation has then compared the types of all that is linked."""


_NOTICED = (ImportItem, InstantiateModule, StartFunction)
_TASKLESS = frozenset({"resource.new", "resource.drop", "resource.rep"})


def make_plan(component: m.ValidatedComponent) -> Plan:
    """The plan for a component. Raises `ExhaustionError` if it would be out of all proportion."""
    planner = _Planner(component)
    exports = planner.run()
    remembered: dict[Slot, list[Remember]] = {}
    for step in planner.steps:
        if isinstance(step, Remember):
            remembered.setdefault(step.slot, []).append(step)
    return Plan(
        type=component.type,
        steps=tuple([step for step in planner.steps if not isinstance(step, Lift)]),
        lifts={step.slot: step for step in planner.steps if isinstance(step, Lift)},
        eager=tuple([step for step in planner.steps if isinstance(step, _NOTICED)]),
        lazy={step.slot: step for step in planner.steps if not isinstance(step, (*_NOTICED, Remember))},
        remembered=remembered,
        slots=planner.slots,
        instances=tuple(planner.instances),
        imports=tuple(step for step in planner.steps if isinstance(step, ImportItem)),
        exports=exports,
        import_items=planner.import_items,
        regions=planner.regions,
        layout=ComponentLayout(len(planner.instances), planner.regions),
        uses_tags=any(isinstance(s, LoadModule) and bool(s.definition.module.tags) for s in planner.steps)
        or any(isinstance(s, ImportItem) and isinstance(s.type, t.CoreModuleType) for s in planner.steps),
        uses_tasks=planner.uses_tasks,
        cancellers=frozenset(
            [s.instance for s in planner.steps if isinstance(s, Builtin) and s.definition.name == "task.cancel"]
        ),
        self_contained=not any(
            isinstance(s, ImportItem) and isinstance(s.type, t.CoreModuleType) for s in planner.steps
        ),
    )


class _Scope:
    """One component being instantiated: its index spaces so far."""

    __slots__ = ("args", "component", "exports", "instance", "outer", "spaces")

    def __init__(
        self,
        component: m.ValidatedComponent,
        instance: StaticInstance,
        outer: _Scope | None,
        args: Mapping[str, Item] | None,
    ) -> None:
        self.component = component
        self.instance = instance
        self.outer = outer
        self.args = args
        self.spaces: dict[Sort, list[Any]] = {sort: [] for sort in Sort}
        self.exports: dict[str, Item] = {}


class _Planner:
    def __init__(self, root: m.ValidatedComponent) -> None:
        self.root = root
        self.steps: list[Step] = []
        self.slots = 0
        self.instances: list[StaticInstance] = []
        self.import_items: dict[str, Item] = {}
        self.uses_tasks = False
        self._extracts: dict[tuple[Slot, str], Slot] = {}
        self._modules: dict[int, Slot] = {}
        self._definitions: dict[Slot, m.CoreModuleDef] = {}
        self.regions: dict[str, int] = {}
        self._remembered: set[tuple[str, Slot]] = set()

    def run(self) -> Mapping[str, Item]:
        scope = _Scope(self.root, self._instance(None), None, None)
        return self._component(scope)

    def _instance(self, parent: int | None) -> StaticInstance:
        if len(self.instances) >= MAX_INSTANCES:
            raise ExhaustionError(f"the component would make more than {MAX_INSTANCES} instances")
        made = StaticInstance(len(self.instances), parent)
        self.instances.append(made)
        return made

    def _slot(self) -> Slot:
        self.slots += 1
        return self.slots - 1

    def _add(self, step: Step) -> Slot:
        if len(self.steps) >= MAX_STEPS:
            raise ExhaustionError(f"the component takes more than {MAX_STEPS} steps to instantiate")
        self.steps.append(step)
        return step.slot

    def _entry(self, region: str) -> int:
        """The next free entry of a region."""
        index = self.regions.get(region, 0)
        self.regions[region] = index + 1
        return index

    def _remember(self, region: str, slot: Slot | None) -> Slot | None:
        """Have the item in `slot` put into the component's context, once."""
        if slot is not None and (region, slot) not in self._remembered:
            self._remembered.add((region, slot))
            self._add(Remember(slot=slot, region=region, index=self._entry(region)))
        return slot

    def _component(self, scope: _Scope) -> Mapping[str, Item]:
        for definition in scope.component.definitions:
            item = _HANDLERS[type(definition)](self, scope, definition)
            if isinstance(definition, m.Start):
                if definition.results:
                    scope.spaces[Sort.VALUE].append(item)
            elif definition.defines is not None:
                scope.spaces[definition.defines].append(item)
        return scope.exports

    def _bring(self, scope: _Scope, item: Item, resources: Sequence[m.ResourcePath]) -> None:
        """Note which slots the resource identities mean that come into view with `item`."""
        for rid, path in resources:
            scope.instance.resources[rid] = _walk(item, path)

    # ------------------------------------------------------------------------------------------------ core

    def _core_module(self, scope: _Scope, d: m.CoreModuleDef) -> Item:
        slot = self._modules.get(id(d))
        if slot is None:
            slot = self._modules[id(d)] = self._add(LoadModule(slot=self._slot(), definition=d))
            self._definitions[slot] = d
        return slot

    def _core_instantiate(self, scope: _Scope, d: m.CoreInstantiate) -> Item:
        args = {name: scope.spaces[Sort.CORE_INSTANCE][index] for name, index in d.args}
        wanted = scope.component.spaces[Sort.CORE_MODULE][d.module]
        assert isinstance(wanted, t.CoreModuleType)
        imports = {(module, name): self._export_of(args[module], name) for module, name in wanted.imports}
        module = scope.spaces[Sort.CORE_MODULE][d.module]
        known = self._definitions.get(module)
        return self._add(
            InstantiateModule(
                slot=self._slot(),
                module=module,
                imports=imports,
                instance=scope.instance.index,
                order=None if known is None else tuple([imports[i.module, i.name] for i in known.module.imports]),
                starts=known is None or known.module.start is not None,
            )
        )

    def _now(self, item: Slot | LateExport) -> Slot:
        """The slot of an item that a step needs when it runs."""
        return self._export_of(item.instance, item.name) if isinstance(item, LateExport) else item

    def _export_of(self, instance: Any, name: str) -> Slot:
        if isinstance(instance, Mapping):
            return self._now(instance[name])
        slot = self._extracts.get((instance, name))
        if slot is None:
            slot = self._add(Extract(slot=self._slot(), instance=instance, name=name))
            self._extracts[instance, name] = slot
        return slot

    def _core_inline(self, scope: _Scope, d: m.CoreInlineExports) -> Item:
        return {export.name: scope.spaces[export.sort][export.index] for export in d.exports}

    def _core_alias(self, scope: _Scope, d: m.AliasCoreExport) -> Item:
        instance = scope.spaces[Sort.CORE_INSTANCE][d.instance]
        if d.sort is Sort.CORE_FUNC and not isinstance(instance, Mapping):
            return LateExport(instance, d.name)
        return self._export_of(instance, d.name)

    def _nothing(self, scope: _Scope, d: m.Definition) -> Item:
        return None

    # ------------------------------------------------------------------------------------------------ components

    def _component_def(self, scope: _Scope, d: m.ComponentDef) -> Item:
        return ComponentItem(d.component, scope)

    def _instantiate(self, scope: _Scope, d: m.Instantiate) -> Item:
        target = scope.spaces[Sort.COMPONENT][d.component]
        if not isinstance(target, ComponentItem):
            raise EngineBug("instantiation of a component that is not known before run time")
        args = {name: scope.spaces[sort][index] for name, sort, index in d.args}
        inner = _Scope(target.component, self._instance(scope.instance.index), target.scope, args)
        item = InstanceItem(self._component(inner))
        self._bring(scope, item, d.resources)
        return item

    def _inline(self, scope: _Scope, d: m.InlineExports) -> Item:
        return InstanceItem({export.name: scope.spaces[export.sort][export.index] for export in d.exports})

    def _alias_export(self, scope: _Scope, d: m.AliasExport) -> Item:
        instance = scope.spaces[Sort.INSTANCE][d.instance]
        assert isinstance(instance, InstanceItem)
        return instance.exports[d.name]

    def _alias_outer(self, scope: _Scope, d: m.AliasOuter) -> Item:
        target = scope
        for _ in range(d.count):
            assert target.outer is not None
            target = target.outer
        return target.spaces[d.sort][d.index]  # type: ignore[no-any-return]

    def _resource(self, scope: _Scope, d: m.ResourceDef) -> Item:
        dtor = d.dtor
        if dtor is not None:
            dtor = self._remember("destructors", self._now(scope.spaces[Sort.CORE_FUNC][dtor]))
        name = d.id.debug or "resource"
        wide = str(d.rep) == "i64"
        slot = self._add(
            MakeResource(slot=self._slot(), instance=scope.instance.index, name=name, dtor=dtor, wide=wide)
        )
        scope.instance.resources[d.id] = slot
        return slot

    def _import(self, scope: _Scope, d: m.Import) -> Item:
        if scope.args is not None:
            item = scope.args[d.name]
        else:
            item = self.import_items[d.name] = self._import_item(scope, (d.name,), d.type)
        self._bring(scope, item, d.resources)
        return item

    def _import_item(self, scope: _Scope, path: tuple[str, ...], of: t.ExternType) -> Item:
        if isinstance(of, t.InstanceType):
            exports: dict[str, Item] = {}
            bound: dict[t.ResourceId, Item] = {}
            for name, extern in of.exports.items():
                if isinstance(extern, t.TypeBound) and isinstance(extern.t, t.ResourceType) and not extern.sub:
                    known = bound.get(extern.t.id)
                    exports[name] = scope.instance.resources.get(extern.t.id) if known is None else known
                else:
                    exports[name] = self._import_item(scope, (*path, name), extern)
                    if isinstance(extern, t.TypeBound) and isinstance(extern.t, t.ResourceType):
                        bound[extern.t.id] = exports[name]
            return InstanceItem(exports)
        if isinstance(of, t.TypeBound):
            if not isinstance(of.t, t.ResourceType):
                return None
            if not of.sub:
                return scope.instance.resources.get(of.t.id)
        return self._add(ImportItem(slot=self._slot(), path=path, type=of))

    def _export(self, scope: _Scope, d: m.Export) -> Item:
        item = scope.spaces[d.sort][d.index]
        self._bring(scope, item, d.resources)
        scope.exports[d.name] = item
        return item  # type: ignore[no-any-return]

    # ------------------------------------------------------------------------------------------------ canonical

    def _options(self, scope: _Scope, o: m.CanonOptions) -> Options:
        funcs, memories = scope.spaces[Sort.CORE_FUNC], scope.spaces[Sort.CORE_MEMORY]

        def func(region: str, index: int | None) -> Slot | None:
            return None if index is None else self._remember(region, self._now(funcs[index]))

        return Options(
            encoding=o.string_encoding,
            pointer=8 if o.memory64 else 4,
            memory=None if o.memory is None else self._remember("memories", memories[o.memory]),
            realloc=func("reallocs", o.realloc),
            post_return=None if o.post_return is None else funcs[o.post_return],
            callback=func("callbacks", o.callback),
            is_async=o.is_async,
            post_return_entry=0 if o.post_return is None else self._entry("post_returns"),
        )

    def _lift(self, scope: _Scope, d: m.CanonLift) -> Item:
        if d.options.is_async or d.type.is_async:
            self.uses_tasks = True
        return self._add(
            Lift(
                slot=self._slot(),
                instance=scope.instance.index,
                func=scope.spaces[Sort.CORE_FUNC][d.core_func],
                type=d.type,
                options=self._options(scope, d.options),
            )
        )

    def _lower(self, scope: _Scope, d: m.CanonLower) -> Item:
        if d.options.is_async or d.type.is_async:
            self.uses_tasks = True
        return self._add(
            Lower(
                slot=self._slot(),
                instance=scope.instance.index,
                func=scope.spaces[Sort.FUNC][d.func],
                type=d.type,
                options=self._options(scope, d.options),
                core_type=d.core_type,
                index=self._entry("lowerings"),
            )
        )

    def _builtin(self, scope: _Scope, d: m.CanonBuiltin) -> Item:
        if d.name not in _TASKLESS:
            self.uses_tasks = True
        return self._add(
            Builtin(
                slot=self._slot(),
                instance=scope.instance.index,
                definition=d,
                options=self._options(scope, d.options),
                table=None if d.table is None else self._remember("tables", scope.spaces[Sort.CORE_TABLE][d.table]),
                index=self._entry("trampolines"),
            )
        )

    def _start(self, scope: _Scope, d: m.Start) -> Item:
        args = tuple(scope.spaces[Sort.VALUE][index] for index in d.args)
        func = scope.spaces[Sort.FUNC][d.func]
        return self._add(StartFunction(slot=self._slot(), func=func, args=args, type=d.type))

    def _value(self, scope: _Scope, d: m.ValueDef) -> Item:
        return self._add(Constant(slot=self._slot(), type=d.type, value=d.value))


def _walk(item: Item, path: Sequence[str]) -> Slot:
    for name in path:
        assert isinstance(item, InstanceItem), path
        item = item.exports[name]
    assert isinstance(item, int), path
    return item


_HANDLERS: dict[type[m.Definition], Any] = {
    m.CoreModuleDef: _Planner._core_module,
    m.CoreInstantiate: _Planner._core_instantiate,
    m.CoreInlineExports: _Planner._core_inline,
    m.AliasCoreExport: _Planner._core_alias,
    m.CoreTypeDef: _Planner._nothing,
    m.ComponentDef: _Planner._component_def,
    m.Instantiate: _Planner._instantiate,
    m.InlineExports: _Planner._inline,
    m.AliasExport: _Planner._alias_export,
    m.AliasOuter: _Planner._alias_outer,
    m.TypeDef: _Planner._nothing,
    m.ResourceDef: _Planner._resource,
    m.CanonLift: _Planner._lift,
    m.CanonLower: _Planner._lower,
    m.CanonBuiltin: _Planner._builtin,
    m.Start: _Planner._start,
    m.ValueDef: _Planner._value,
    m.Import: _Planner._import,
    m.Export: _Planner._export,
}
