"""Component instances, and the interpreter of plans.

Rules (CanonicalABI.md, "Component Instances"):
- A call from the host enters an instance and all its ancestors; one from another instance enters those ancestors that the
  caller does not share. `may_enter` of each entered instance is off until the call leaves again.
- Since whoever enters anything in a tree from outside enters its root as well, `may_enter` of the root being on means that
  nothing in the tree is active: calls from the host look at that one word.
- After a trap (or any exception through guest frames) every `may_enter` of the tree stays off: the instance is poisoned.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from component_rt.handles import ResourceType, Table, trapped
from component_rt.links import STRIDE
from component_rt.plan import (
    Builtin,
    Constant,
    Extract,
    ImportItem,
    InstantiateModule,
    LateExport,
    Lift,
    LoadModule,
    Lower,
    MakeResource,
    Options,
    Plan,
    StartFunction,
    Step,
)
from component_rt.vmcontext import MAY_ENTER, MAY_LEAVE, ComponentContext
from core_rt import native
from core_rt.errors import InstancePoisoned, StoreError, Trap, TrapCode
from core_rt.func import Func, func_at
from core_rt.instance import Instance as CoreInstance
from core_rt.instance import instantiate as instantiate_core
from core_rt.native import ffi, thread_token

if TYPE_CHECKING:
    from component_rt.abi.context import LiftLowerContext
    from component_rt.component import Component
    from component_rt.namespace import Namespace
    from component_rt.store import Store
    from component_rt.types import ResourceId

__all__ = ["ComponentInstance", "Runtime", "RuntimeOptions", "Steps"]


class ComponentInstance:
    """The run-time state of one component instance; nouns as in the reference semantics.

    `handles` is its handle table, `parent` the instance that instantiated it. The root of a tree also has `members` (all
    instances of the tree) and `first_trap`.
    """

    __slots__ = (
        "__weakref__",
        "_root",
        "_runtime",
        "backpressure",
        "context",
        "exclusive_thread",
        "first_trap",
        "flags",
        "handles",
        "index",
        "num_waiting_to_enter",
        "parent",
        "store",
        "threads",
        "tree",
        "turns",
        "uses_tags",
        "uses_tasks",
    )

    flags: Any
    """The words of the component's context (`uint32_t *`) that hold `may_enter` and `may_leave`."""
    handles: Table
    threads: Table

    def __init__(self, runtime: Runtime, parent: ComponentInstance | None, index: int) -> None:
        plan = runtime.plan
        self._runtime: Runtime | None = runtime
        self.store = runtime.store
        self.parent = parent
        self.index = index
        self.context = runtime.context
        self.backpressure = self.num_waiting_to_enter = 0
        self.exclusive_thread: Any = None
        self._root = None if parent is None else parent.root
        self.first_trap: BaseException | None = None
        self.uses_tasks = plan.uses_tasks
        self.uses_tags = plan.uses_tags
        self.tree: Any = None
        """Of the root: what the scheduler knows about the tree (`tasks.scheduler.Tree`)."""
        self.turns: Any = None
        """Who waits to enter this instance (`tasks.thread.Turns`)."""

    def __getattr__(self, name: str) -> Any:
        """Tables and flags are made when something first needs them."""
        if name == "flags":
            self.flags = made = self.context.flags(self.index)
        elif name in ("handles", "threads"):
            made = Table(self.store.max_handles)
            setattr(self, name, made)
        else:
            raise AttributeError(f"a component instance has no attribute {name!r}")
        return made

    @property
    def root(self) -> ComponentInstance:
        """The root of the tree."""
        return self if self._root is None else self._root

    @property
    def chain(self) -> tuple[ComponentInstance, ...]:
        """From the root to this instance."""
        return (self,) if self.parent is None else (*self.parent.chain, self)

    @property
    def members(self) -> list[ComponentInstance]:
        """All instances of the tree, from its root on; none once the store is closed."""
        runtime = self._runtime
        return [] if runtime is None else [runtime.instance(index) for index in range(len(runtime.plan.instances))]

    def tables(self) -> Iterator[tuple[ComponentInstance, Table]]:
        """The instances of the tree that may hold handles, each with its table: of most nothing has ever been asked for."""
        runtime = self._runtime
        for member in () if runtime is None else list(runtime.instances.values()):
            with suppress(AttributeError):
                yield member, _HANDLES(member)

    @property
    def may_enter(self) -> bool:
        return bool(self.flags[MAY_ENTER])

    @may_enter.setter
    def may_enter(self, value: bool) -> None:
        self.flags[MAY_ENTER] = value

    @property
    def may_leave(self) -> bool:
        return bool(self.flags[MAY_LEAVE])

    @may_leave.setter
    def may_leave(self, value: bool) -> None:
        self.flags[MAY_LEAVE] = value

    def resource(self, rid: ResourceId) -> ResourceType:
        """The resource type that an identity in this component's types means."""
        runtime = self._runtime
        if runtime is None:
            raise StoreError("the store is closed")
        return runtime.get(runtime.plan.instances[self.index].resources[rid])  # type: ignore[no-any-return]

    def release(self) -> None:
        """The store is closed: nothing of a root's tree is needed any more, and it is in no cycle of references then."""
        if self._runtime is not None:
            self._runtime.release()

    def entering_set(self, caller: ComponentInstance | None) -> tuple[ComponentInstance, ...]:
        """The instances that a call from `caller` (None: the host) enters, outermost first."""
        if caller is None:
            return self.chain
        shared = set(map(id, caller.chain))
        return tuple([instance for instance in self.chain if id(instance) not in shared])

    def shut(self) -> list[ComponentInstance]:
        """Let nobody enter this instance and its ancestors; those that could be entered until now."""
        entered = [member for member in self.chain if member.flags[MAY_ENTER]]
        for member in entered:
            member.flags[MAY_ENTER] = 0
        return entered

    def refuse(self) -> None:
        """Raise why the instance cannot be entered now."""
        trapped = self.root.first_trap
        if trapped is not None:
            raise InstancePoisoned(trapped)
        core = self.store.core
        core.check()
        if core.context.depth and core.context.owner != thread_token():
            raise StoreError("the store is in use by another thread")
        raise Trap(TrapCode.CANNOT_ENTER_COMPONENT)

    def cannot_leave(self) -> None:
        """Raise the trap for calling out while lowering, or from a post-return function."""
        raise Trap(TrapCode.CANNOT_LEAVE_COMPONENT)

    def poison(self, error: BaseException) -> None:
        """`error` went through frames of this tree: nothing in it may be entered again."""
        root = self.root
        if root.first_trap is None:
            root.first_trap = error.first_trap if isinstance(error, InstancePoisoned) else error
            self.context.forbid_entry()

    def run_destructor(self, rt: ResourceType, rep: int, caller: ComponentInstance | None) -> None:
        """Call the destructor of a resource of this instance, entering it from `caller`."""
        assert rt.dtor is not None
        entering = self.entering_set(caller)
        for instance in entering:
            if not instance.flags[MAY_ENTER]:
                self.refuse()
        for instance in entering:
            instance.flags[MAY_ENTER] = 0
        try:
            rt.dtor(rep)
        except BaseException as error:
            self.store.core.unwind(error)
            error = trapped(error)
            self.poison(error)
            raise error
        for instance in entering:
            instance.flags[MAY_ENTER] = 1

    def __repr__(self) -> str:
        return f"<component instance {self.index}>"


_HANDLES: Callable[[ComponentInstance], Table] = vars(ComponentInstance)["handles"].__get__
"""The table of an instance that has one; raises `AttributeError` and makes none."""


class RuntimeOptions:
    """`canonopt`s of one canonical definition, bound: `memory`, `realloc` and `callback` when they are first needed."""

    __slots__ = (
        "_options",
        "_post_return",
        "_runtime",
        "callback",
        "encoding",
        "is_async",
        "memory",
        "pointer",
        "realloc",
    )

    memory: Any
    realloc: Func | None
    callback: Func | None

    def __init__(self, options: Options, runtime: Runtime) -> None:
        self._options = options
        self._runtime = runtime
        self.encoding = options.encoding
        self.pointer = options.pointer
        self.is_async = options.is_async
        self._post_return: Any = None if options.post_return is None else late(options.post_return, runtime)

    def __getattr__(self, name: str) -> Any:
        if name not in ("memory", "realloc", "callback"):
            raise AttributeError(f"options have no attribute {name!r}")
        slot = getattr(self._options, name)
        found = None if slot is None else self._runtime.get(slot)
        setattr(self, name, found)
        return found

    def context(self, instance: ComponentInstance, owner: ComponentInstance, between_guests: bool) -> LiftLowerContext:
        """`Runtime.context_of` for these options."""
        return self._runtime.context_of(instance, owner, self._options, between_guests)

    @property
    def post_return(self) -> Func | None:
        """The post-return function; looked up when it is first needed."""
        found = self._post_return
        if found is not None and not isinstance(found, Func):
            found = self._post_return = found()
            self._runtime.context.set("post_returns", self._options.post_return_entry, found.address)
        return found  # type: ignore[no-any-return]

    @property
    def has_post_return(self) -> bool:
        """Whether there is a post-return function."""
        return self._post_return is not None


def late(item: int | LateExport, runtime: Runtime) -> Callable[[], Func]:
    """A function that answers the core function which `item` means."""
    if isinstance(item, LateExport):
        return partial(runtime.extract, item.instance, item.name)
    return partial(runtime.get, item)


def _is_quiet(step: Step) -> bool:
    """Whether it instantiates a module that has no start function."""
    return type(step) is InstantiateModule and not step.starts


class Steps:
    """The steps of a component's plan with what does each: those that are done at once, and by slot those that can wait.

    Of the imports, which `makers` make, only those wait whose paths are not `early`.
    """

    __slots__ = ("_links", "eager", "handlers", "lazy", "makers")

    def __init__(
        self,
        component: Component,
        makers: Mapping[tuple[str, ...], Callable[..., Any]],
        early: Container[tuple[str, ...]],
    ) -> None:
        plan = component.plan
        self._links = component.links
        self.makers = makers
        eager = [step for step in plan.eager if type(step) is not ImportItem or step.path in early]
        late = [step for step in plan.imports if step.path not in early]
        self.eager: list[tuple[Callable[[Runtime, Any], Any], Step]] = [
            (Runtime.instantiate_core if _is_quiet(step) else _STEPS[type(step)], step) for step in eager
        ]
        lazy = [step for step in plan.lazy.values() if type(step) is not Builtin]  # those are functions of the host
        self.lazy = {step.slot: (_STEPS[type(step)], step) for step in (*lazy, *late)}
        self.handlers: dict[int, Callable[[Runtime], Callable[[], object]]] = {}
        """By number, of functions that the host answers."""

    def handler(self, number: int) -> Callable[[Runtime], Callable[[], object]]:
        """`make(runtime)`: what answers calls of a function that the host answers."""
        made = self.handlers.get(number)
        if made is None:
            made = self.handlers[number] = self._make_handler(self._links.hosts.steps[number])
        return made

    def _make_handler(self, step: Lower | Builtin) -> Callable[[Runtime], Callable[[], object]]:
        if isinstance(step, Builtin):
            return partial(Runtime.builtin_handler, step=step)
        from component_rt.canon.lower import HostMaker, host_handler

        _, callee = self.lazy.get(step.func, (None, None))
        if type(callee) is ImportItem:
            maker = self.makers[callee.path]
            if type(maker) is HostMaker and not maker.type.is_async:
                return host_handler(step, maker, self._links.lower_code(step))
        return partial(Runtime.lowered_handler, step=step)


class Runtime:
    """A plan being interpreted: the slots and the instances so far.

    Only what could be noticed is done at once (`Steps.eager`); all else is done when a slot is first asked for.
    """

    __slots__ = (
        "_bases",
        "_exports",
        "_links",
        "_steps",
        "component",
        "context",
        "contexts",
        "instances",
        "plan",
        "slots",
        "store",
    )

    def __init__(
        self,
        store: Store,
        component: Component,
        steps: Steps,
    ) -> None:
        self.store = store
        self.component = component
        self.plan: Plan = component.plan
        self.slots: list[Any] = [None] * self.plan.slots
        self.context = ComponentContext(self.plan.layout, store.core, len(store.roots))
        self._exports: Namespace | None = None
        self.contexts: dict[Any, LiftLowerContext] = {}
        self._steps = steps
        self._links = links = component.links
        self._bases: Any = ffi.new("uint64_t[]", links.bases) if links.bases > 1 or links.hosts.steps else None
        """See `Links`; the first is that of the functions that the host answers."""
        self.instances: dict[int, ComponentInstance] = {}
        """Those that something asked for, the root being the first."""

    def run(self) -> ComponentInstance:
        """Do the steps that cannot wait; the root instance."""
        root = self._begin()
        # Nobody outside may enter while modules are being instantiated; start functions may call out.
        slots = self.slots
        try:
            for do, step in self._steps.eager:
                slots[step.slot] = do(self, step)
        except BaseException as error:
            root.poison(error)
            raise
        return root

    def starting(self) -> Iterator[tuple[ComponentInstance, Func]]:
        """As `run`, for who can run the start functions of core modules better: gives them, each when it is to be run."""
        self._begin()
        slots = self.slots
        for do, step in self._steps.eager:
            if type(step) is not InstantiateModule or not step.starts:
                slots[step.slot] = do(self, step)
                continue
            made = slots[step.slot] = self.instantiate_core(step, run_start=False)
            if made.start is not None:
                instance = self.instance(step.instance)
                entered = instance.shut()
                yield instance, made.start
                for member in entered:
                    member.flags[MAY_ENTER] = 1

    def _begin(self) -> ComponentInstance:
        """What comes before the steps; the root instance."""
        root = self.instance(0)
        self.store.roots.append(root)
        for index in self.plan.cancellers:
            self.store.cancellers.add(self.instance(index))
        hosts = self._links.hosts
        if hosts.steps:
            core = self.store.core
            index = core.late_hosts(len(hosts.steps), self._handler, self._host_face)
            self._bases[0] = native.host_funcs(core.context, hosts.plans, index, self.context.address)
        return root

    def instance(self, index: int) -> ComponentInstance:
        """A static instance."""
        found = self.instances.get(index)
        if found is None:
            above = self.plan.instances[index].parent
            parent = None if above is None else self.instance(above)
            found = self.instances[index] = ComponentInstance(self, parent, index)
        return found

    def get(self, slot: int) -> Any:
        """What is in a slot; made if nothing was yet."""
        found = self.slots[slot]
        if found is None:
            number = self._links.hosts.numbers.get(slot)
            if number is not None:
                return self._host_face(number)
            late = self._steps.lazy.get(slot)
            if late is not None:
                do, step = late
                found = self.slots[slot] = do(self, step)
                for remember in self.plan.remembered.get(slot, ()):
                    pointer: int = found.address
                    self.context.set(remember.region, remember.index, pointer)
        return found

    def context_of(
        self, instance: ComponentInstance, owner: ComponentInstance, options: Options, between_guests: bool
    ) -> LiftLowerContext:
        """The context of all definitions of `instance` with the same options (`LiftLowerContext.of`)."""
        from component_rt.abi.context import LiftLowerContext, context_key

        whose: Any = owner.index if owner._runtime is self else owner
        key = context_key(instance.index, whose, options, between_guests)
        found = self.contexts.get(key)
        if found is None:
            found = self.contexts[key] = LiftLowerContext(
                instance, RuntimeOptions(options, self), owner, between_guests
            )
        return found

    def item(self, slot: int) -> Any:
        """As `get`, for the host. `StoreError` once the store is closed."""
        self.store.core.check()
        return self.get(slot)

    def extract(self, instance: int, name: str) -> Any:
        """An export of the core instance in a slot."""
        made = self.slots[instance]
        kind, index = made.template.exports[name]
        return made.extern(kind, index, name)

    @property
    def exports(self) -> Namespace:
        """The exports of the root, as Python sees them."""
        if self._exports is None:
            from component_rt.namespace import Namespace

            self._exports = Namespace(self, "", self.plan.type.exports, self.plan.exports)
        return self._exports

    def release(self) -> None:
        """Let go of everything; the store is closed."""
        for instance in self.instances.values():
            instance._runtime = None
            if not self.store.is_async:  # there, what waits for the loop still has to end
                instance.tree = instance.turns = None
        self.slots.clear()
        self.contexts.clear()
        self._exports = None

    # ------------------------------------------------------------------------------------------------ steps

    def _load_module(self, step: LoadModule) -> Any:
        return self.component.module(step.definition)

    def _import(self, step: ImportItem) -> Any:
        return self._steps.makers[step.path](self, step)

    def _instantiate(self, step: InstantiateModule) -> Any:
        instance = self.instance(step.instance)
        entered = instance.shut()
        if self.plan.uses_tasks and (step.order is not None or self.get(step.module).decoded.start is not None):
            from component_rt.canon.task import starting

            with starting(self.store, instance):
                made = self.instantiate_core(step)
        else:
            made = self.instantiate_core(step)
        for member in entered:
            member.flags[MAY_ENTER] = 1
        return made

    def instantiate_core(self, step: InstantiateModule, run_start: bool = True) -> CoreInstance:
        """Instantiate a module; who lets nobody enter meanwhile is another matter."""
        core, linked = self.store.core, self._links.steps.get(step.slot)
        if linked is None:
            module = self.get(step.module)
            order = [step.imports[wanted.module, wanted.name] for wanted in module.decoded.imports]
            return instantiate_core(core, module, [self.get(slot) for slot in order], run_start)
        module, links, base, items = linked
        if links is None:
            made = CoreInstance(core, module, (), run_start=run_start)
        else:
            for number, slot in items:
                self._bases[number] = self.get(slot).address
            made = CoreInstance(core, module, (), (links, self._bases), run_start)
        if base:
            self._bases[base] = made.base
        return made

    # ------------------------------------------------------------------------------------------------ functions of the host

    def _host_face(self, number: int) -> Func:
        """The Python object for a function that the host answers."""
        hosts = self._links.hosts
        step = hosts.steps[number]
        found = self.slots[step.slot]
        if found is None:
            name = step.definition.name if isinstance(step, Builtin) else None
            found = func_at(self.store.core, self._bases[0] + STRIDE * number, hosts.types[number], name, hosts)
            self.slots[step.slot] = found
        return found  # type: ignore[no-any-return]

    def _handler(self, number: int) -> Callable[[], object]:
        """What answers calls of it."""
        return self._steps.handler(number)(self)

    def lowered_handler(self, step: Lower) -> Callable[[], object]:
        """What answers calls of a function of a guest, or one that this component got from another one."""
        from component_rt.canon.lower import lower_handler

        options, code = RuntimeOptions(step.options, self), self._links.lower_code(step)
        return lower_handler(self.instance(step.instance), self.get(step.func), options, code)

    def builtin_handler(self, step: Builtin) -> Callable[[], object]:
        """What answers calls of a canonical built-in."""
        from component_rt.canon.builtins import make_builtin

        options, table = RuntimeOptions(step.options, self), None if step.table is None else self.get(step.table)
        return make_builtin(self.instance(step.instance), step.definition, options, table)

    # ------------------------------------------------------------------------------------------------ more steps

    def _extract(self, step: Extract) -> Any:
        return self.extract(step.instance, step.name)

    def _resource(self, step: MakeResource) -> ResourceType:
        instance = self.instance(step.instance)
        rt = ResourceType(instance, step.name)
        if step.dtor is not None:
            from component_rt.canon.resource import Destructor

            rt.dtor = Destructor(instance, self.get(step.dtor), step.wide)
        exported = self.component.resource_exports.get(step.slot)
        if exported is not None:
            interface, rt.name = exported
            rt.complete = partial(self._complete, interface)
        return rt

    def _complete(self, interface: str) -> None:
        """Objects of an exported resource may come out of any function: its class is completed when that happens."""
        self.exports[interface]

    def _lift(self, step: Lift) -> Any:
        from component_rt.canon.lift import LiftedFunc

        options = RuntimeOptions(step.options, self)
        code = self._links.lift_code(step)
        return LiftedFunc(self.instance(step.instance), step.type, late(step.func, self), options, code)

    def _lower(self, step: Lower) -> Any:
        from component_rt.canon.lower import lower

        options = RuntimeOptions(step.options, self)
        code = self._links.lower_code(step)
        made = lower(self.instance(step.instance), self.get(step.func), options, step.core_type, code)
        ref = native.ffi.cast("VMFuncRef *", made.address)
        self.context.set("lowerings", step.index, native.address(ref.native_call), native.address(ref.vmctx))
        return made

    def _constant(self, step: Constant) -> Any:
        from component_rt.abi.constants import python_value

        return python_value(step.type, step.value)

    def _start(self, step: StartFunction) -> Any:
        function = self.get(step.func).host_function("start", "start")
        return function(*[self.get(slot) for slot in step.args])


_STEPS: dict[type[Step], Callable[[Runtime, Any], Any]] = {
    LoadModule: Runtime._load_module,
    ImportItem: Runtime._import,
    InstantiateModule: Runtime._instantiate,
    Extract: Runtime._extract,
    MakeResource: Runtime._resource,
    Lower: Runtime._lower,
    Constant: Runtime._constant,
    Lift: Runtime._lift,
    StartFunction: Runtime._start,
}
