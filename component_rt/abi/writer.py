"""The pieces that generated calls are made of: halves that lift and halves that lower, for one function type.

All core values of a call out of a guest, and of one between guests through Python, travel through the store's one buffer, which
only the thread that is inside the store touches: nobody else uses it between a write and the C call or between the C call and the reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import CoroutineType
from typing import Any

import attrs

from component_rt import types as t
from component_rt.abi import layout as lay
from component_rt.abi.flat import MAX_FLAT_PARAMS, Flattened, flatten_functype
from component_rt.abi.lift import POINTERS, ArgumentSlot, Slot, lift_flat, lift_memory, loader
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

__all__ = ["ABI", "Signature", "Writer", "amplifies", "uses_memory"]

ABI = int(TrapCode.CANONICAL_ABI)


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
    encoding: str = "utf8"
    depth: int = 1
    """How many instances a call from the host enters: the instance and its ancestors."""

    @property
    def flattened(self) -> Flattened:
        return flatten_functype(self.type, self.context, self.pointer, self.is_async, self.callback)


@functools.lru_cache(maxsize=4096)
def uses_memory(of: t.ValType) -> bool:
    return of.kind in ("string", "list", "map") or any(
        isinstance(c, t.ValType) and uses_memory(c) for c in of.children()
    )


@functools.lru_cache(maxsize=4096)
def amplifies(of: Any) -> bool:
    """Whether `of` has lists whose elements refer to memory again."""
    if (isinstance(of, t.ListType) and of.length is None) or isinstance(of, t.MapType):
        if any(uses_memory(child) for child in of.children() if isinstance(child, t.ValType)):
            return True
    return any(amplifies(child) for child in of.children())


class Writer:
    """Emits the halves of a call for one signature into one unit."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.flat = signature.flattened
        self.unit = Unit(signature.pointer)
        self.unit.counting = amplifies(signature.type)
        self.unit.source.constants.update(CallScope=CallScope, Coroutine=CoroutineType)

    # -------------------------------------------------------------------------------------------- pieces

    def line(self, text: str) -> None:
        self.unit.source.line(text)

    def view(self, types: list[t.ValType], spilled: bool) -> None:
        used = spilled or any(map(uses_memory, types))
        self.line(f"mem = {self.unit.bind('memory')}.data" if used else "mem = None")
        if self.unit.counting:
            self.line(f"{self.unit.bind('budget')}[0] = {MAX_LIFTED}")

    def _check_address(self, name: str, of: lay.Layout) -> None:
        unit = self.unit
        if of.align > 1:
            with unit.source.block(f"if {name} & {of.align - 1}:"):
                self.line(f"raise Trap({ABI}, {unit.bind('unaligned', 'cx.words.unaligned')})")
        with unit.source.block(f"if {name} + {of.size} > {unit.bind('memory')}.length:"):
            self.line(f"raise Trap({ABI}, 'pointer out of bounds of memory')")

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
        self.view(types, self.flat.spilled_params)
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

    def lower_params(self, names: list[str]) -> list[FlatValue]:
        """Check and store the arguments; the core values."""
        unit, types = self.unit, [of for _, of in self.signature.type.params]
        if not self.flat.spilled_params:
            flats: list[FlatValue] = []
            for name, of in zip(names, types):
                flats += lower_flat(unit, of, name)
            return flats
        size, align = lay.layout(t.TupleType(types), unit.pointer)
        base = unit.source.fresh("q")
        self.line(f"{base} = {unit.bind('realloc', 'cx.reallocator()')}(0, 0, {align}, {size})")
        run = MemoryRun(unit)
        for name, of, start in zip(names, types, lay.field_offsets(types, unit.pointer)):
            lower_memory(unit, of, name, run, start, base)
        run.emit_store(f"{unit.bind('memory')}.data", base)
        return [(base, f"u{8 * unit.pointer}")]

    def lift_result(self, raising: bool) -> None:
        """Assign `result`; with `raising`, a function's own `result<..>` becomes a value or `error = Err(..)`."""
        unit, of = self.unit, self.signature.type.result
        if of is None or (self.signature.is_async and self.signature.context == "lift"):
            self.line("result = None")  # the result of an asynchronous function comes by `task.return`
            return
        self.result_view(of)
        if raising and isinstance(of, t.ResultType):
            self._lift_own_result(of)
        elif self.flat.spilled_result:
            base = self.result_place(of)
            run = MemoryRun(unit)
            expression = lift_memory(unit, of, run, 0, base)
            run.emit_load("mem", base)
            self.line(f"result = {expression}")
        else:
            self.line(f"result = {lift_flat(unit, of, iter([self.result_slot()]))}")

    def result_view(self, of: t.ValType) -> None:
        """Make `mem` what the result is read from."""
        self.view([of], self.flat.spilled_result)

    def result_slot(self) -> Slot:
        """Where a flat result stands."""
        return ArgumentSlot(self.unit, 0)

    def result_place(self, of: t.ValType) -> str:
        """The checked address of a result in memory."""
        base = self._slot(0)
        self._check_address(base, lay.layout(of, self.unit.pointer))
        return base

    def _lift_own_result(self, of: t.ResultType) -> None:
        unit, source = self.unit, self.unit.source
        if self.flat.spilled_result:
            base = self.result_place(of)
            source.line(f"disc = mem[{base}]")
            at = f"{base} + {lay.payload_offset(of, unit.pointer)}"
            parts = ["None" if p is None else f"{loader(unit, p)}(mem, {at})" for p in (of.ok, of.error)]
        else:
            source.line(f"disc = {self.result_slot().read('u32')}")
            parts = ["None" if p is None else f"{lift_case(unit, p, ())}(mem)" for p in (of.ok, of.error)]
        source.line("error = None")
        with source.block("if not disc:"):
            source.line(f"result = {parts[0]}")
        with source.block("elif disc == 1:"):
            source.line(f"error = Err({parts[1]})")
        with source.block("else:"):
            source.line("bad_discriminant()")

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
            self._write(self.lower_params(names))
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
