"""Function types as compiled Python: calls into a guest, calls out of it, and the four halves that these are made of.

| made by | is | used by |
|---|---|---|
| `compile_call` | `call(*args)`: lower, enter, run, lift, post-return, leave in one function | exports, synchronous |
| `compile_handler` | `handler()`: lift arguments, call the host function, lower its result | imports |
| `compile_callee` | `lower_args(args, scope)`, `lift_result(scope)` | calls between guests, asynchronous exports |
| `compile_caller` | `lift_args(scope)`, `lower_result(result, address, scope)` | calls between guests, asynchronous imports |

Each takes a `Signature` and answers a factory `bind(cx, ...)`; a `CodeCache` keeps factories by signature. All core values
travel through the store's one buffer, which nobody else uses between a write and the C call or between the C call
and the reads.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any

import attrs

from component_rt import types as t
from component_rt.abi import layout as lay
from component_rt.abi.flat import MAX_FLAT_PARAMS, Flattened, flatten_functype
from component_rt.abi.lift import POINTERS, ArgumentSlot, lift_flat, lift_memory, loader
from component_rt.abi.lift import flat_case as lift_case
from component_rt.abi.lower import (
    FlatValue,
    flat_result_names,
    lower_flat,
    lower_memory,
    result_flattener,
    result_storer,
)
from component_rt.abi.unit import MAX_LIFTED, MemoryRun, Unit
from component_rt.handles import CallScope
from core_rt.errors import TrapCode
from core_rt.native import call as vm_call

if TYPE_CHECKING:
    from component_rt.abi.adapter import AdapterCode

__all__ = ["CodeCache", "Signature", "named"]

_ABI = int(TrapCode.CANONICAL_ABI)
_LOCK = threading.Lock()


@attrs.frozen
class Signature:
    """What generated code depends on. `type` is compared by identity, for its names choose the classes of values."""

    type: t.FuncType = attrs.field(eq=id)
    context: str
    """"lift" or "lower", the kind of canonical definition."""
    pointer: int = 4
    is_async: bool = False
    callback: bool = False
    post_return: bool = False
    depth: int = 1
    """How many instances a call from the host enters: the instance and its ancestors."""

    @property
    def flattened(self) -> Flattened:
        return flatten_functype(self.type, self.context, self.pointer, self.is_async, self.callback)


@functools.lru_cache(maxsize=4096)
def _uses_memory(of: t.ValType) -> bool:
    return of.kind in ("string", "list", "map") or any(
        isinstance(c, t.ValType) and _uses_memory(c) for c in of.children()
    )


@functools.lru_cache(maxsize=4096)
def _amplifies(of: Any) -> bool:
    """Whether `of` has lists whose elements refer to memory again."""
    if (isinstance(of, t.ListType) and of.length is None) or isinstance(of, t.MapType):
        if any(_uses_memory(child) for child in of.children() if isinstance(child, t.ValType)):
            return True
    return any(_amplifies(child) for child in of.children())


def named(
    function: Callable[..., Any], name: str, params: tuple[str, ...], doc: str | None = None
) -> Callable[..., Any]:
    """A generated function under another name, with other parameter names.

    Generated source numbers its parameters, so that no name of a component can clash with a name in the code, and
    functions of the same shape share one code object.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__
    varnames = (*params, *code.co_varnames[len(params) :])
    code = code.replace(co_name=name, co_qualname=name, co_varnames=varnames)
    made = FunctionType(code, function.__globals__, name, function.__defaults__, function.__closure__)
    made.__doc__ = doc
    return made


class Writer:
    """Emits the halves of a call for one signature into one unit."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.flat = signature.flattened
        self.unit = Unit(signature.pointer)
        self.unit.counting = _amplifies(signature.type)
        self.unit.source.constants.update(CallScope=CallScope, Coroutine=CoroutineType, vm_call=vm_call)

    # -------------------------------------------------------------------------------------------- pieces

    def line(self, text: str) -> None:
        self.unit.source.line(text)

    def _view(self, types: list[t.ValType], spilled: bool) -> None:
        used = spilled or any(map(_uses_memory, types))
        self.line(f"mem = {self.unit.bind('memory')}.data" if used else "mem = None")
        if self.unit.counting:
            self.line(f"{self.unit.bind('budget')}[0] = {MAX_LIFTED}")

    def _check_address(self, name: str, of: lay.Layout) -> None:
        unit = self.unit
        if of.align > 1:
            with unit.source.block(f"if {name} & {of.align - 1}:"):
                self.line(f"raise Trap({_ABI}, {unit.bind('unaligned', 'cx.words.unaligned')})")
        with unit.source.block(f"if {name} + {of.size} > {unit.bind('memory')}.length:"):
            self.line(f"raise Trap({_ABI}, 'pointer out of bounds of memory')")

    def _slot(self, index: int) -> str:
        kind = f"u{8 * self.signature.pointer}"
        return ArgumentSlot(self.unit, index).read(kind)

    def _write(self, flats: list[FlatValue]) -> None:
        for index, (text, kind) in enumerate(flats):
            pointer, factor = POINTERS[kind]
            self.line(f"{self.unit.bind(pointer)}[{factor * index}] = {text}")

    def lift_params(self) -> list[str]:
        """Expressions for the arguments, in variables."""
        unit, types = self.unit, [of for _, of in self.signature.type.params]
        self._view(types, self.flat.spilled_params)
        if self.flat.spilled_params:
            whole = t.TupleType(types)
            base = self._slot(0)
            self._check_address(base, lay.layout(whole, unit.pointer))
            run = MemoryRun(unit)
            starts = lay.field_offsets(types, unit.pointer)
            parts = [lift_memory(unit, of, run, start, base) for of, start in zip(types, starts)]
            run.emit_load("mem", base)
        else:
            slots: Iterator[ArgumentSlot] = (ArgumentSlot(unit, i) for i in range(MAX_FLAT_PARAMS))
            parts = [lift_flat(unit, of, slots) for of in types]
        return parts

    def return_address(self) -> str | None:
        """Where the caller wants the result, if it is spilled: its last core parameter."""
        return self._slot(len(self.flat.params) - 1) if self.flat.spilled_result else None

    def lower_params(self, names: list[str]) -> None:
        """Check and store the arguments, write the core values."""
        unit, types = self.unit, [of for _, of in self.signature.type.params]
        if not self.flat.spilled_params:
            flats: list[FlatValue] = []
            for name, of in zip(names, types):
                flats += lower_flat(unit, of, name)
            self._write(flats)
            return
        size, align = lay.layout(t.TupleType(types), unit.pointer)
        base = unit.source.fresh("q")
        self.line(f"{base} = {unit.bind('realloc', 'cx.reallocator()')}(0, 0, {align}, {size})")
        run = MemoryRun(unit)
        for name, of, start in zip(names, types, lay.field_offsets(types, unit.pointer)):
            lower_memory(unit, of, name, run, start, base)
        run.emit_store(f"{unit.bind('memory')}.data", base)
        self._write([(base, f"u{8 * unit.pointer}")])

    def lift_result(self, raising: bool) -> None:
        """Assign `result`; with `raising`, a function's own `result<..>` becomes a value or `error = Err(..)`."""
        unit, of = self.unit, self.signature.type.result
        if of is None or (self.signature.is_async and self.signature.context == "lift"):
            self.line("result = None")  # the result of an asynchronous function comes by `task.return`
            return
        if self.signature.post_return:
            self.line(f"raw = {unit.bind('u64')}[0]")
        self._view([of], self.flat.spilled_result)
        if raising and isinstance(of, t.ResultType):
            self._lift_own_result(of)
        elif self.flat.spilled_result:
            base = self._slot(0)
            self._check_address(base, lay.layout(of, unit.pointer))
            run = MemoryRun(unit)
            expression = lift_memory(unit, of, run, 0, base)
            run.emit_load("mem", base)
            self.line(f"result = {expression}")
        else:
            self.line(f"result = {lift_flat(unit, of, iter([ArgumentSlot(unit, 0)]))}")

    def _lift_own_result(self, of: t.ResultType) -> None:
        unit, source = self.unit, self.unit.source
        if self.flat.spilled_result:
            base = self._slot(0)
            self._check_address(base, lay.layout(of, unit.pointer))
            source.line(f"disc = mem[{base}]")
            at = f"{base} + {lay.payload_offset(of, unit.pointer)}"
            parts = ["None" if p is None else f"{loader(unit, p)}(mem, {at})" for p in (of.ok, of.error)]
        else:
            source.line(f"disc = {self._slot_kind(0, 'u32')}")
            parts = ["None" if p is None else f"{lift_case(unit, p, ())}(mem)" for p in (of.ok, of.error)]
        source.line("error = None")
        with source.block("if not disc:"):
            source.line(f"result = {parts[0]}")
        with source.block("elif disc == 1:"):
            source.line(f"error = Err({parts[1]})")
        with source.block("else:"):
            source.line("bad_discriminant()")

    def _slot_kind(self, index: int, kind: str) -> str:
        return ArgumentSlot(self.unit, index).read(kind)

    def lower_result(self, raising: bool) -> None:
        """Lower `result` (and with `raising`, `error`: an Err or None) to the buffer or to `address`."""
        unit, of = self.unit, self.signature.type.result
        if of is None:
            return
        spilled = self.flat.spilled_result
        if spilled:
            self._check_address("address", lay.layout(of, unit.pointer))
        if raising and isinstance(of, t.ResultType):
            self._lower_own_result(of, spilled)
        elif spilled:
            run = MemoryRun(unit)
            lower_memory(unit, of, "result", run, 0, "address")
            run.emit_store(f"{unit.bind('memory')}.data", "address")
        else:
            self._write(lower_flat(unit, of, "result"))

    def _lower_own_result(self, of: t.ResultType, spilled: bool) -> None:
        source = self.unit.source
        if of.ok is None or of.ok.kind != "result":
            with source.block("if error is None and type(result) is Ok:"):
                source.line("result = result.value")
            with source.block("elif error is None and type(result) is Err:"):
                source.line("error = result")
        target, flats = ("", []) if spilled else flat_result_names(self.unit, of)
        for which, (head, value) in enumerate([("if error is None:", "result"), ("else:", "error.value")]):
            with source.block(head):
                if spilled:
                    source.line(f"{result_storer(self.unit, of, which)}({value}, address)")
                else:
                    source.line(f"{target}{result_flattener(self.unit, of, which)}({value})")
        if not spilled:
            self._write(flats)

    @property
    def needs_scope(self) -> bool:
        """Whether handles are passed."""
        return bool(self.signature.type.resources)

    # -------------------------------------------------------------------------------------------- functions

    def call(self) -> Callable[..., Any]:
        """`bind(cx, call)`: see `canon.lift.HostCall`, which gives what the code needs besides the context."""
        source, unit, signature = self.unit.source, self.unit, self.signature
        names = [f"a{i}" for i in range(len(signature.type.params))]
        for name in ("site", "finish", "failed", "refuse"):
            unit.bind(name, f"call.{name}")
        flags = [unit.bind(f"flag{i}", f"call.flags[{i}]") for i in range(signature.depth)]
        scoped = self.needs_scope
        if scoped:
            unit.bind_scope()
        with source.block(f"def function({', '.join(names)}):"):
            if scoped:
                source.line("nonlocal scope")
            with source.block(f"if not {flags[0]}[0]:"):
                source.line("refuse()")
            for flag in flags:
                source.line(f"{flag}[0] = 0")
            source.line("started = False")
            source.line("mine = scope = CallScope()" if scoped else "mine = None")
            with source.block("try:"):
                self.lower_params(list(names))
                source.line("started = True")
                source.line("status = vm_call(site)")
                with source.block("if status:"):
                    source.line("finish(site, status)")
                self.lift_result(raising=True)
                if scoped:
                    source.line("mine.finish()")
                if signature.post_return:
                    self._post_return(flags[-1])
            with source.block("except BaseException as problem:"):
                source.line(f"failed(problem, started, mine, ({''.join(n + ', ' for n in names)}))")
                source.line("raise")
            for flag in flags:
                source.line(f"{flag}[0] = 1")
            if scoped:
                source.line("mine.release()")
            if isinstance(signature.type.result, t.ResultType):
                with source.block("if error is not None:"):
                    source.line("raise error")
            source.line("return result")
        return unit.factory(", call", "function")

    def _post_return(self, flag: str) -> None:
        site = self.unit.bind("post_site", "call.post_site")
        self.line(f"{flag}[1] = 0")
        if self.signature.type.result is not None:
            self.line(f"{self.unit.bind('u64')}[0] = raw")
        self.line(f"status = vm_call({site})")
        with self.unit.source.block("if status:"):
            self.line(f"finish({site}, status)")
        self.line(f"{flag}[1] = 1")

    def handler(self) -> Callable[..., Any]:
        """`bind(cx, call)`: see `canon.lower.HostImport`."""
        source, unit = self.unit.source, self.unit
        raising = isinstance(self.signature.type.result, t.ResultType)
        scoped = self.needs_scope
        for name in ("function", "suspend", "mismatched", "cannot_leave", "flags"):
            unit.bind(name, f"call.{name}")
        if scoped:
            unit.bind_scope()
        with source.block("def handler(values=None):"):
            if scoped:
                source.line("nonlocal scope")
            with source.block("if not flags[1]:"):
                source.line("cannot_leave()")
            source.line("mine = scope = CallScope()" if scoped else "mine = None")
            address = self.return_address()
            args = ", ".join(self.lift_params())
            if raising:
                source.line("error = None")
                with source.block("try:"):
                    source.line(f"result = function({args})")
                with source.block("except Err as problem:"):
                    source.line("error = problem")
                    source.line("result = None")
            else:
                source.line("error = None")
                source.line(f"result = function({args})")
            with source.block("if type(result) is Coroutine:"):
                source.line(f"return suspend(result, complete, {address}, mine)")
            source.line(f"return complete(result, error, {address}, mine)")
        with source.block("def complete(result, error, address, mine):"):
            if scoped:
                source.line("nonlocal scope")
                source.line("scope = mine")
            if self.signature.type.result is None:
                with source.block("if result is not None:"):
                    source.line("mismatched(result, error)")
            with source.block("try:"):
                source.line("given = result")
                self.lower_result(raising=True)
            with source.block("except Mismatch:"):
                source.line("mismatched(given, error)")
            if scoped:
                source.line("mine.release()")
        return unit.factory(", call", "handler")

    def callee(self) -> Callable[..., Any]:
        """`bind(cx)` → `(lower_args(args, scope), lift_result(scope))`; results are Ok/Err objects."""
        source, unit = self.unit.source, self.unit
        scoped = self.needs_scope
        if scoped:
            unit.bind_scope()
        names = [f"a{i}" for i in range(len(self.signature.type.params))]
        with source.block("def lower_args(args, mine):"):
            if scoped:
                source.line("nonlocal scope")
                source.line("scope = mine")
            source.line(f"{', '.join(names)}, = args" if names else "pass")
            self.lower_params(names)
        with source.block("def lift_result(mine):"):
            if scoped:
                source.line("nonlocal scope")
                source.line("scope = mine")
            self.lift_result(raising=False)
            source.line("return result")
        return unit.factory("", "lower_args, lift_result")

    def caller(self) -> Callable[..., Any]:
        """`bind(cx)` → `(lift_args(scope) -> (args, address), lower_result(result, address, scope))`."""
        source, unit = self.unit.source, self.unit
        scoped = self.needs_scope
        if scoped:
            unit.bind_scope()
        with source.block("def lift_args(mine):"):
            if scoped:
                source.line("nonlocal scope")
                source.line("scope = mine")
            address = self.return_address()
            parts = self.lift_params()
            source.line(f"return ({''.join(part + ', ' for part in parts)}), {address}")
        with source.block("def lower_result(result, address, mine):"):
            if scoped:
                source.line("nonlocal scope")
                source.line("scope = mine")
            source.line("pass")
            self.lower_result(raising=False)
        return unit.factory("", "lift_args, lower_result")


class CodeCache:
    """Factories by what they are and by signature; one for each component, filled when functions are first called."""

    __slots__ = ("_adapters", "_made")

    def __init__(self) -> None:
        self._adapters: AdapterCode | None = None
        self._made: dict[tuple[str, Signature], Callable[..., Any]] = {}

    @property
    def adapters(self) -> AdapterCode:
        """Machine code of adapters. Only components that call each other load what makes it."""
        found = self._adapters
        if found is None:
            from component_rt.abi.adapter import AdapterCode

            with _LOCK:
                found = self._adapters = self._adapters or AdapterCode()
        return found

    def get(self, what: str, signature: Signature) -> Callable[..., Any]:
        """The factory `what`: "call", "handler", "callee" or "caller"."""
        made = self._made.get((what, signature))
        if made is None:
            made = self._made[what, signature] = getattr(Writer(signature), what)()
        return made
