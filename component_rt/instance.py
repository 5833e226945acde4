"""Component instances, and the interpreter of plans.

Rules (CanonicalABI.md, "Component Instances"):
- A call from the host enters an instance and all its ancestors; one from another instance enters those ancestors that the
  caller does not share. `may_enter` of each entered instance is off until the call leaves again.
- Since whoever enters anything in a tree from outside enters its root as well, `may_enter` of the root being on means that
  nothing in the tree is active: calls from the host look at that one word.
- After a trap (or any exception through guest frames) every `may_enter` of the tree stays off: the instance is poisoned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from component_rt.handles import ResourceType, Table, trapped
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
    Remember,
    StartFunction,
    Step,
)
from component_rt.vmcontext import MAY_ENTER, MAY_LEAVE, ComponentContext
from core_rt import native
from core_rt.errors import InstancePoisoned, StoreError, Trap, TrapCode
from core_rt.func import Func
from core_rt.instance import instantiate as instantiate_core
from core_rt.native import thread_token

if TYPE_CHECKING:
    from component_rt.abi.codegen import CodeCache
    from component_rt.component import Component
    from component_rt.store import Store
    from component_rt.types import ResourceId

__all__ = ["ComponentInstance", "RuntimeOptions", "instantiate_plan"]


class ComponentInstance:
    """The run-time state of one component instance; nouns as in the reference semantics.

    `handles` is its handle table, `parent` the instance that instantiated it. The root of a tree also has `members` (all
    instances of the tree) and `first_trap`.
    """

    __slots__ = (
        "__weakref__",
        "_resources",
        "backpressure",
        "chain",
        "context",
        "exclusive_thread",
        "first_trap",
        "flags",
        "handles",
        "index",
        "members",
        "num_waiting_to_enter",
        "parent",
        "root",
        "store",
        "threads",
        "tree",
        "turns",
        "uses_tags",
        "uses_tasks",
    )

    def __init__(self, store: Store, parent: ComponentInstance | None, index: int, context: ComponentContext) -> None:
        self.store = store
        self.parent = parent
        self.index = index
        self.context = context
        self.flags: Any = context.flags(index)
        self.handles = Table(store.max_handles)
        self.threads = Table(store.max_handles)
        self.backpressure = 0
        self.num_waiting_to_enter = 0
        self.exclusive_thread: Any = None
        self.root: ComponentInstance = self if parent is None else parent.root
        self.chain: tuple[ComponentInstance, ...] = (self,) if parent is None else (*parent.chain, self)
        """From the root to this instance."""
        self.members: list[ComponentInstance] = []
        self.first_trap: BaseException | None = None
        self.uses_tasks = self.uses_tags = False
        self.tree: Any = None
        """Of the root: what the scheduler knows about the tree (`tasks.scheduler.Tree`)."""
        self.turns: Any = None
        """Who waits to enter this instance (`tasks.thread.Turns`)."""
        self._resources: Mapping[ResourceId, ResourceType] = {}
        self.root.members.append(self)

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
        return self._resources[rid]

    def entering_set(self, caller: ComponentInstance | None) -> tuple[ComponentInstance, ...]:
        """The instances that a call from `caller` (None: the host) enters, outermost first."""
        if caller is None:
            return self.chain
        shared = set(map(id, caller.chain))
        return tuple([instance for instance in self.chain if id(instance) not in shared])

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
            for member in root.members:
                member.flags[MAY_ENTER] = 0

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


class RuntimeOptions:
    """`canonopt`s of one canonical definition, bound."""

    __slots__ = (
        "_context",
        "_entry",
        "_post_return",
        "callback",
        "encoding",
        "is_async",
        "memory",
        "pointer",
        "realloc",
    )

    def __init__(self, options: Options, slots: list[Any], context: ComponentContext) -> None:
        def at(slot: int | None) -> Any:
            return None if slot is None else slots[slot]

        self.encoding = options.encoding
        self.pointer = options.pointer
        self.is_async = options.is_async
        self.memory = at(options.memory)
        self.realloc: Func | None = at(options.realloc)
        self._post_return: Any = None if options.post_return is None else late(options.post_return, slots)
        self._context = context
        self._entry = options.post_return_entry
        self.callback: Func | None = at(options.callback)

    @property
    def post_return(self) -> Func | None:
        """The post-return function; looked up when it is first needed."""
        found = self._post_return
        if found is not None and not isinstance(found, Func):
            found = self._post_return = found()
            self._context.set("post_returns", self._entry, found.address)
        return found  # type: ignore[no-any-return]

    @property
    def has_post_return(self) -> bool:
        """Whether there is a post-return function."""
        return self._post_return is not None


def late(item: int | LateExport, slots: list[Any]) -> Callable[[], Func]:
    """A function that answers the core function which `item` means."""
    if isinstance(item, LateExport):
        return partial(_late_export, slots, item)
    return partial(slots.__getitem__, item)


def _late_export(slots: list[Any], item: LateExport) -> Func:
    return slots[item.instance].exports[item.name]  # type: ignore[no-any-return]


class _Resources(Mapping["ResourceId", ResourceType]):
    """Resource types of a static instance, through the slots."""

    __slots__ = ("_known", "_slots")

    def __init__(self, known: Mapping[ResourceId, int], slots: list[Any]) -> None:
        self._known = known
        self._slots = slots

    def __getitem__(self, rid: ResourceId) -> ResourceType:
        return self._slots[self._known[rid]]  # type: ignore[no-any-return]

    def __iter__(self) -> Any:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class Runtime:
    """A plan being interpreted: the slots and the instances so far."""

    __slots__ = ("cache", "component", "context", "imports", "instances", "plan", "slots", "store")

    def __init__(
        self, store: Store, component: Component, imports: Mapping[tuple[str, ...], Callable[..., Any]]
    ) -> None:
        plan = component.plan
        self.store = store
        self.component = component
        self.plan: Plan = plan
        self.cache: CodeCache = component.code
        self.imports = imports
        self.slots: list[Any] = [None] * plan.slots
        self.context = ComponentContext(plan.layout, store.core, len(store.roots))
        self.instances: list[ComponentInstance] = []
        for static in plan.instances:
            parent = None if static.parent is None else self.instances[static.parent]
            made = ComponentInstance(store, parent, static.index, self.context)
            made._resources = _Resources(static.resources, self.slots)
            made.uses_tasks, made.uses_tags = plan.uses_tasks, plan.uses_tags
            self.instances.append(made)

    def run(self) -> ComponentInstance:
        """Do every step; the root instance."""
        root = self.instances[0]
        self.store.roots.append(root)
        table = _STEPS
        # Nobody outside may enter while modules are being instantiated; start functions may call out.
        slots = self.slots
        try:
            for step in self.plan.steps:
                slots[step.slot] = table[type(step)](self, step)
        except BaseException as error:
            error = trapped(error)
            root.poison(error)
            raise error
        return root

    def item(self, slot: int) -> Any:
        """What is in a slot; component functions are made when they are first asked for."""
        found = self.slots[slot]
        if found is None:
            lift = self.plan.lifts.get(slot)
            if lift is not None:
                found = self.slots[slot] = self._lift(lift)
        return found

    # ------------------------------------------------------------------------------------------------ steps

    def _load_module(self, step: LoadModule) -> Any:
        return self.component.module(step.definition)

    def _import(self, step: ImportItem) -> Any:
        return self.imports[step.path](self, step)

    def _instantiate(self, step: InstantiateModule) -> Any:
        module, slots = self.slots[step.module], self.slots
        imports = [slots[step.imports[wanted.module, wanted.name]] for wanted in module.decoded.imports]
        instance = self.instances[step.instance]
        entered = [member for member in instance.chain if member.flags[MAY_ENTER]]
        for member in entered:
            member.flags[MAY_ENTER] = 0
        made = self._instantiate_core(instance, module, imports)
        for member in entered:
            member.flags[MAY_ENTER] = 1
        return made

    def _instantiate_core(self, instance: ComponentInstance, module: Any, imports: list[Any]) -> Any:
        if self.plan.uses_tasks and module.decoded.start is not None:
            from component_rt.canon.task import with_thread

            return with_thread(self.store, instance, instantiate_core)(self.store.core, module, imports)
        return instantiate_core(self.store.core, module, imports)

    def _extract(self, step: Extract) -> Any:
        item = self.slots[step.instance].exports[step.name]
        return item

    def _remember(self, step: Remember) -> Any:
        item = self.slots[step.slot]
        pointer = item.address if isinstance(item, Func) else native.address(item.definition)
        self.context.set(step.region, step.index, pointer)
        return item

    def _resource(self, step: MakeResource) -> ResourceType:
        instance = self.instances[step.instance]
        rt = ResourceType(instance, step.name)
        if step.dtor is not None:
            from component_rt.canon.resource import destructor

            rt.dtor = destructor(self.slots[step.dtor], step.wide)
        return rt

    def _lift(self, step: Lift) -> Any:
        from component_rt.canon.lift import LiftedFunc

        options = RuntimeOptions(step.options, self.slots, self.context)
        func = late(step.func, self.slots)
        return LiftedFunc(self.instances[step.instance], step.type, func, options, self.cache)

    def _lower(self, step: Lower) -> Any:
        from component_rt.canon.lower import lower

        options = RuntimeOptions(step.options, self.slots, self.context)
        made = lower(self.instances[step.instance], self.item(step.func), options, step.core_type, self.cache)
        ref = native.ffi.cast("VMFuncRef *", made.address)
        self.context.set("lowerings", step.index, native.address(ref.native_call), native.address(ref.vmctx))
        return made

    def _builtin(self, step: Builtin) -> Any:
        from component_rt.canon.builtins import make_builtin

        table = None if step.table is None else self.slots[step.table]
        options = RuntimeOptions(step.options, self.slots, self.context)
        made = make_builtin(self.instances[step.instance], step.definition, options, table)
        self.context.set("trampolines", step.index, made.address)
        return made

    def _constant(self, step: Constant) -> Any:
        from component_rt.abi.constants import python_value

        return python_value(step.type, step.value)

    def _start(self, step: StartFunction) -> Any:
        function = self.item(step.func).host_function("start", "start")
        return function(*[self.slots[slot] for slot in step.args])


_STEPS: dict[type[Step], Callable[[Runtime, Any], Any]] = {
    LoadModule: Runtime._load_module,
    ImportItem: Runtime._import,
    InstantiateModule: Runtime._instantiate,
    Extract: Runtime._extract,
    Remember: Runtime._remember,
    MakeResource: Runtime._resource,
    Lower: Runtime._lower,
    Builtin: Runtime._builtin,
    Constant: Runtime._constant,
    StartFunction: Runtime._start,
}


def instantiate_plan(
    store: Store, component: Component, imports: Mapping[tuple[str, ...], Callable[..., Any]]
) -> Runtime:
    """Interpret the component's plan. `imports[path](runtime, step)` makes the item of each leaf of the imports."""
    store.core.check()
    assert component.engine is store.engine
    runtime = Runtime(store, component, imports)
    runtime.run()
    return runtime
