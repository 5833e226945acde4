"""`canon lift`: a core function as a component function, called by the host or by other guests."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from component_rt.abi.codegen import CodeCache, Signature, named_code
from component_rt.canon.call import GuestCall, HostCall
from component_rt.valtypes import under_names
from wit.names import kebab_to_snake

if TYPE_CHECKING:
    from component_rt.abi.context import LiftLowerContext
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.plan import Options
    from component_rt.types import FuncType
    from core_rt.func import Func

__all__ = ["HostCall", "LiftCode", "LiftedFunc"]


class LiftCode:
    """The code generated for one `canon lift`, and what is known about its type, for all instances of a component."""

    __slots__ = ("_binds", "_docs", "_named", "_options", "_under", "cache")

    def __init__(self, options: Options, cache: CodeCache) -> None:
        self._options = options
        self.cache = cache
        self._binds: dict[tuple[str, int, int], tuple[FuncType, Callable[..., Any]]] = {}
        self._named: dict[tuple[CodeType, str], CodeType] = {}
        self._docs: dict[tuple[str, int], str] = {}
        self._under: dict[tuple[int, int], tuple[FuncType, FuncType, FuncType]] = {}

    def get(self, what: str, type_: FuncType, depth: int = 1) -> Callable[..., Any]:
        """The factory `what`; `depth` is how many instances a call from the host enters."""
        found = self._binds.get((what, id(type_), depth))
        if found is None:
            options = self._options
            signature = Signature(
                type=type_,
                context="lift",
                pointer=options.pointer,
                is_async=options.is_async,
                callback=options.callback is not None,
                post_return=options.post_return is not None,
                encoding=options.encoding,
                depth=depth,
            )
            found = self._binds[what, id(type_), depth] = type_, self.cache.get(what, signature)
        return found[1]

    def under(self, type_: FuncType, names: FuncType) -> FuncType:
        """`types.under_names`."""
        key = id(type_), id(names)
        found = self._under.get(key)
        if found is None:
            found = self._under[key] = type_, names, under_names(type_, names)
        return found[2]

    def named(self, function: Callable[..., Any], name: str, type_: FuncType, label: str) -> Callable[..., Any]:
        """`codegen.named`, with the parameters of `type_` and a docstring that says what it is."""
        assert isinstance(function, FunctionType)
        key = function.__code__, name
        code = self._named.get(key)
        if code is None:
            params = tuple([kebab_to_snake(param) for param, _ in type_.params])
            code = self._named[key] = named_code(function.__code__, name, params)
        made = FunctionType(code, function.__globals__, name, function.__defaults__, function.__closure__)
        made.__doc__ = self.doc(type_, label)
        return made

    def doc(self, type_: FuncType, label: str) -> str:
        """The docstring of the Python function for an export."""
        key = label, id(type_)
        found = self._docs.get(key)
        if found is None:
            found = self._docs[key] = f"{label}: {type_}"
        return found


class LiftedFunc:
    """A component function that a guest implements (`FuncInst` of the reference semantics)."""

    __slots__ = ("_func", "_under", "code", "instance", "options", "type")

    def __init__(
        self,
        instance: ComponentInstance,
        type_: FuncType,
        func: Callable[[], Func],
        options: RuntimeOptions,
        code: LiftCode,
    ) -> None:
        self.instance = instance
        self.type = type_
        self._func = func
        self._under: LiftedFunc | None = None
        self.options = options
        self.code = code

    def under(self, names: FuncType) -> LiftedFunc:
        """The function with the names that an export's type gives to its types: classes of values are called after them."""
        type_ = self.code.under(self.type, names)
        if type_ is self.type:
            return self
        made = self._under
        if made is None or made.type is not type_:
            made = self._under = LiftedFunc(self.instance, type_, self._func, self.options, self.code)
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
        return self.options.context(self.instance, self.instance, between_guests)

    def host_function(self, name: str, label: str) -> Callable[..., Any]:
        """The function as Python calls it: `name` is its Python name, `label` what errors call it."""
        store = self.instance.store
        if self.instance.uses_tasks or store.is_async:
            return store.task_function(self, name, label)
        bind = self.code.get("call", self.type, len(self.instance.chain))
        function = bind(self.context(False), GuestCall(self, label))
        return self.code.named(function, name, self.type, label)
