"""`canon lift`: a core function as a component function, called by the host or by other guests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.abi.codegen import CodeCache, Signature, named
from component_rt.abi.context import LiftLowerContext
from component_rt.canon.call import GuestCall, HostCall
from component_rt.valtypes import under_names
from wit.names import kebab_to_snake

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.types import FuncType
    from core_rt.func import Func

__all__ = ["HostCall", "LiftedFunc"]


class LiftedFunc:
    """A component function that a guest implements (`FuncInst` of the reference semantics)."""

    __slots__ = ("_func", "_under", "cache", "instance", "options", "type")

    def __init__(
        self,
        instance: ComponentInstance,
        type_: FuncType,
        func: Callable[[], Func],
        options: RuntimeOptions,
        cache: CodeCache,
    ) -> None:
        self.instance = instance
        self.type = type_
        self._func = func
        self._under: LiftedFunc | None = None
        self.options = options
        self.cache = cache

    def under(self, names: FuncType) -> LiftedFunc:
        """The function with the names that an export's type gives to its types: classes of values are called after them."""
        type_ = under_names(self.type, names)
        if type_ is self.type:
            return self
        made = self._under
        if made is None or made.type is not type_:
            made = self._under = LiftedFunc(self.instance, type_, self._func, self.options, self.cache)
        return made

    @property
    def func(self) -> Func:
        """The core function; looked up when it is needed."""
        return self._func()

    @property
    def resource(self) -> Callable[[Any], Any]:
        """Which resource types the function's type means."""
        return self.instance.resource

    def context(self, between_guests: bool) -> LiftLowerContext:
        """The context for lowering arguments into, and lifting results out of, the guest."""
        return LiftLowerContext.of(self.instance, self.options, self.instance.resource, between_guests)

    def signature(self, depth: int = 1) -> Signature:
        """What code is generated from."""
        options = self.options
        return Signature(
            type=self.type,
            context="lift",
            pointer=options.pointer,
            is_async=options.is_async,
            callback=options.callback is not None,
            post_return=options.has_post_return,
            encoding=options.encoding,
            depth=depth,
        )

    def host_function(self, name: str, label: str) -> Callable[..., Any]:
        """The function as Python calls it: `name` is its Python name, `label` what errors call it."""
        store = self.instance.store
        if self.instance.uses_tasks or store.is_async:
            return store.task_function(self, name, label)
        bind = self.cache.get("call", self.signature(len(self.instance.chain)))
        function = bind(self.context(False), GuestCall(self, label))
        params = tuple([kebab_to_snake(param) for param, _ in self.type.params])
        return named(function, name, params, f"{label}: {self.type}")
