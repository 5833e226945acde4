"""`canon lower`: a component function (of the host or of a guest) as a core function that a guest can import.

Code is generated on the first call: a program imports some hundred functions of WASI and calls a dozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from component_rt.abi.codegen import CodeCache, Signature
from component_rt.abi.context import context_key
from component_rt.abi.errors import explain_value
from component_rt.canon.lift import LiftedFunc
from component_rt.handles import CallScope, trapped
from component_rt.types import FuncType, ResultType
from component_rt.values import Err, Ok
from core_rt.errors import Trap, TrapCode
from core_rt.func import host_func
from core_rt.native import call as vm_call
from core_rt.types import DefType

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, Runtime, RuntimeOptions
    from component_rt.plan import Lower, Options
    from core_rt import types as core
    from core_rt.func import Func

__all__ = ["HostFunc", "HostMaker", "LowerCode", "core_function", "host_handler", "lower", "lower_handler"]


def core_function(store: Any, type_: core.FuncType, make: Callable[[], Callable[[], object]], name: str | None) -> Func:
    """A host function whose handler `make()` gives on the first call; from then on the handler is called directly."""
    return host_func(store.core, DefType.of(type_), store.core.late_host(make), name)


class HostFunc:
    """A component function that the host implements.

    `type` is that of the import of the root `owner`, which knows what its resource types mean; `function` is called with lifted values.
    """

    __slots__ = ("function", "name", "owner", "type")

    def __init__(self, type_: FuncType, function: Callable[..., Any], name: str, owner: ComponentInstance) -> None:
        self.type = type_
        self.function = function
        self.name = name
        self.owner = owner

    @property
    def resource(self) -> Callable[[Any], Any]:
        """Which resource types the function's type means."""
        return self.owner.resource

    def host_function(self, name: str, label: str) -> Callable[..., Any]:
        """An import that is exported as it is."""
        return self.function


@final
class HostMaker:
    """Makes `HostFunc`s. `halves`: what synchronous stores call, and what others call."""

    __slots__ = ("halves", "name", "type")

    def __init__(self, type_: FuncType, halves: tuple[Callable[..., Any], Callable[..., Any]], name: str) -> None:
        self.type = type_
        self.halves = halves
        self.name = name

    def __call__(self, runtime: Runtime, step: object) -> HostFunc:
        return HostFunc(self.type, self.halves[runtime.store.is_async], self.name, runtime.instances[0])


class HostImport:
    """What the generated handler of an import uses besides the context."""

    __slots__ = ("_host", "_store", "cannot_leave", "flags", "function")

    def __init__(self, host: HostFunc | HostMaker, function: Callable[..., Any], instance: ComponentInstance) -> None:
        self._host = host
        self._store = instance.store
        self.function = function
        self.flags = instance.flags
        self.cannot_leave = instance.cannot_leave

    def suspend(self, coroutine: Any, complete: Any, address: int | None, scope: CallScope | None) -> object:
        """The function answered a coroutine: the store knows what to do with it."""
        return self._store.suspend(coroutine, complete, address, scope, self._host.name)

    def mismatched(self, result: Any, error: Err | None) -> None:
        """The host function's result does not fit its type."""
        of, name = self._host.type.result, self._host.name
        if of is None:
            raise TypeError(f"{name} has no result, but the host function returned {result!r}")
        if isinstance(of, ResultType):
            if isinstance(result, (Ok, Err)) and error is None:
                result, error = (result.value, None) if isinstance(result, Ok) else (None, result)
            raise explain_value(f"{name}: result", of, Ok(result) if error is None else error) from None
        raise explain_value(f"{name}: result", of, result) from None


def lower(
    instance: ComponentInstance,
    callee: LiftedFunc,
    options: RuntimeOptions,
    core_type: core.FuncType,
    code: LowerCode,
) -> Func:
    """The core function for a function of a guest in `instance`, one that machine code may come to serve."""
    from component_rt.canon.adapt import adapted, can_adapt

    def make() -> Callable[[], object]:
        return lower_handler(instance, callee, options, code)

    if not _is_family(instance, callee.instance) and can_adapt(instance, callee, options):
        return adapted(instance, callee, options, core_type, make)
    return core_function(instance.store, core_type, make, None)


class LowerCode:
    """The code generated for one `canon lower`, for all instances of a component."""

    __slots__ = ("_bind", "_cache", "_options", "_type", "_what")

    def __init__(self, options: Options, cache: CodeCache) -> None:
        self._options = options
        self._cache = cache
        self._type: FuncType | None = None
        self._what = ""
        self._bind: Callable[..., Any]

    def get(self, what: str, type_: FuncType) -> Callable[..., Any]:
        """The factory `what` for a function of that type, which is nearly always that of the call before."""
        if type_ is not self._type or what != self._what:
            options = self._options
            signature = Signature(type=type_, context="lower", pointer=options.pointer, is_async=options.is_async)
            self._bind = self._cache.get(what, signature)
            self._type, self._what = type_, what
        return self._bind


def host_handler(step: Lower, maker: HostMaker, code: LowerCode) -> Callable[[Runtime], Callable[[], object]]:
    """`make(runtime)`: what answers calls of a function of synchronous type that the host implements.

    Everything that does not depend on the instance is found here, once: programs import dozens, and a server makes thousands of instances.
    """
    bind, halves = code.get("handler", maker.type), maker.halves
    index, options = step.instance, step.options
    key = context_key(index, 0, options, False)

    def make(runtime: Runtime) -> Callable[[], object]:
        instance = runtime.instances.get(index) or runtime.instance(index)
        cx = runtime.contexts.get(key)
        if cx is None:
            cx = runtime.context_of(instance, runtime.instances[0], options, False)
        return bind(cx, HostImport(maker, halves[runtime.store.is_async], instance))  # type: ignore[no-any-return]

    return make


def lower_handler(
    instance: ComponentInstance, callee: HostFunc | LiftedFunc, options: RuntimeOptions, code: LowerCode
) -> Callable[[], object]:
    """What answers calls of `callee` from `instance`."""
    store = instance.store
    if isinstance(callee, HostFunc):
        if callee.type.is_async:
            return store.lower_async(instance, callee, options, code)
        cx = options.context(instance, callee.owner, False)
        call = HostImport(callee, callee.function, instance)
        return code.get("handler", callee.type)(cx, call)  # type: ignore[no-any-return]
    if _is_family(instance, callee.instance):
        return _refused(instance)
    if callee.type.is_async or store.is_async or instance.uses_tasks or callee.instance.uses_tasks:
        return store.lower_async(instance, callee, options, code)
    cx = options.context(instance, callee.instance, True)
    return guest_call(instance, callee, code.get("caller", callee.type)(cx))


def _is_family(a: ComponentInstance, b: ComponentInstance) -> bool:
    """Whether one is an ancestor of the other. The suite has calls between them trap ("for now"); the text allows them."""
    return a is not b and (a in b.chain or b in a.chain)


def _refused(instance: ComponentInstance) -> Callable[[], object]:
    def handler() -> None:
        if not instance.flags[1]:
            instance.cannot_leave()
        raise Trap(TrapCode.CANNOT_ENTER_COMPONENT)

    return handler


def guest_call(
    caller: ComponentInstance, callee: LiftedFunc, halves: tuple[Callable[..., Any], Callable[..., Any]]
) -> Callable[[], object]:
    """A call from one guest to another through Python: lift on one side, lower on the other.

    Resources travel as reps, and strings remember how the caller held them.
    """
    lift_args, lower_result = halves
    lower_args, lift_result = callee.code.get("callee", callee.type)(callee.context(True))
    target = callee.instance
    entering = [member.flags for member in target.entering_set(caller)]
    flags, callee_flags = caller.flags, target.flags
    store = caller.store.core
    finish, u64 = store.finish, store.u64
    site = callee.func.site
    post_return = callee.options.post_return
    post_site = None if post_return is None else post_return.site
    has_result = callee.type.result is not None
    cannot_leave, refuse = caller.cannot_leave, target.refuse

    def handler() -> None:
        if not flags[1]:
            cannot_leave()
        subtask, task = CallScope(), CallScope()
        args, address = lift_args(subtask)
        for member in entering:
            if not member[0]:
                refuse()
        for member in entering:
            member[0] = 0
        try:
            lower_args(args, task)
            status = vm_call(site)
            if status:
                finish(site, status)
            raw = u64[0] if has_result else 0
            result = lift_result(task)
            task.finish()
            if post_site is not None:
                callee_flags[1] = 0
                u64[0] = raw
                status = vm_call(post_site)
                if status:
                    finish(post_site, status)
                callee_flags[1] = 1
        except BaseException as error:
            store.unwind(error)
            error = trapped(error)
            target.poison(error)
            raise error
        for member in entering:
            member[0] = 1
        lower_result(result, address, subtask)
        subtask.release()

    return handler
