"""Calls from the host as generated code: pack the arguments, one C call, lift the result.

`core_rt/native/calls.c` does what such a call consists of. A *direct* signature leaves everything to it: what strings and lists of
numbers need of `realloc` is a fixed sequence of blocks to copy. For others (lists of strings, strings in variants, arguments in
memory) Python enters the instances and lowers, calling `realloc` as it goes, and only the function itself is one C call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from component_rt import types as t
from component_rt.abi import layout as lay
from component_rt.abi.blocks import LONG_TEXT, NEAR, far, long_text
from component_rt.abi.lift import Slot, VariableSlot
from component_rt.abi.lower import NUMBERS, FlatValue
from component_rt.abi.site import Entry
from component_rt.abi.strings import bad_text
from component_rt.abi.writer import Signature, Writer, uses_memory
from core_rt.native import lifted_float, lifted_int
from core_rt.vm import structs

__all__ = ["CallWriter"]

_M64 = (1 << 64) - 1
_PACKED = {"u32": "I12x", "s32": "i12x", "u64": "Q8x", "s64": "q8x", "f32": "f12x", "f64": "d8x"}
_RESULTS = {"i32": structs.RESULT_U32, "i64": structs.RESULT_I64, "f32": structs.RESULT_F32, "f64": structs.RESULT_F64}


def _count_blocks(of: t.ValType) -> int | None:
    """How many blocks a value consists of besides its flat values; None if that depends on the value, or on more `realloc`s."""
    if of.kind == "string":
        return 1
    if isinstance(of, t.ListType) and of.length is None:
        return 1 if of.t.kind in NUMBERS else None
    if isinstance(of, t.RecordType | t.TupleType) or isinstance(of, t.ListType):
        parts = [_count_blocks(c) for c in of.children() if isinstance(c, t.ValType)]
        times = of.length or 1 if isinstance(of, t.ListType) else 1
        return None if None in parts else times * sum(part or 0 for part in parts)
    return None if uses_memory(of) else 0


class _Ready(Slot):
    """A core value that the C call has made what it means."""

    __slots__ = ()

    def read(self, kind: str) -> str:
        return "raw"


class CallWriter(Writer):
    """Emits `bind(cx, call)`; `call` is a `canon.call.GuestCall`, which gives what the code needs besides the context."""

    def __init__(self, signature: Signature) -> None:
        super().__init__(signature)
        counts = [_count_blocks(of) for _, of in signature.type.params]
        blocks = None if None in counts else sum(count or 0 for count in counts)
        simple = signature.pointer == 4 and not self.flat.spilled_params
        self.direct = simple and blocks is not None and blocks <= structs.CALL_COPIES
        if self.direct:
            self.unit.blocks = []
            self.unit.one_block, self.unit.utf8 = blocks == 1, signature.encoding == "utf8"
        self.mode = self._mode()
        self.unit.source.constants.update(
            LEFT=structs.CALL_LEFT_MOST, bad_text=bad_text, far=far, lifted_float=lifted_float, lifted_int=lifted_int
        )
        self.unit.source.constants.update(long_text=long_text)

    def _mode(self) -> int:
        of = self.signature.type.result
        if of is None or not self.flat.spilled_result:
            return structs.MODE_VALUE
        if self.signature.pointer == 4:
            if of.kind == "string" and self.signature.encoding == "utf8":
                return structs.MODE_TEXT
            if not uses_memory(of) and lay.layout(of, 4).size <= structs.CALL_BYTES:
                return structs.MODE_COPY
        return structs.MODE_OPEN

    @property
    def copies_out(self) -> bool:
        return self.mode in (structs.MODE_COPY, structs.MODE_TEXT)

    def entry(self, flats: list[FlatValue]) -> Entry:
        """The description of the C call."""
        of, results = self.signature.type.result, self.flat.results
        size, align = (8, 4) if of is None else lay.layout(of, self.signature.pointer)
        kind = _RESULTS[results[0]] if results else structs.RESULT_NONE
        if self.mode == structs.MODE_TEXT:
            kind = structs.RESULT_I64
        elif self.mode == structs.MODE_VALUE and of is not None and of.kind == "s32":
            kind = structs.RESULT_I32
        names = [text for text, _ in flats]
        blocks = tuple([(names.index(block.address), block.align) for block in self.unit.blocks or ()])
        return Entry(len(flats), kind, self.mode, size, align, blocks, self.direct)

    # -------------------------------------------------------------------------------------------- the function

    def call(self) -> Callable[..., Any]:
        """`bind(cx, call)`."""
        source, unit, signature = self.unit.source, self.unit, self.signature
        names = [f"a{i}" for i in range(len(signature.type.params))]
        binds = {"failed": "call.failed_directly" if self.direct else "call.failed"}
        binds |= {"answer": "call.site.answer", "refuse": "call.refuse", "post_return": "call.post_return"}
        binds |= {"pop": "call.outs.pop", "push": "call.outs.append", "make_out": "call.make_out"}
        for name, expression in binds.items():
            unit.bind(name, expression)
        flags = [unit.bind(f"flag{i}", f"call.flags[{i}]") for i in range(signature.depth)]
        scoped = self.needs_scope
        if scoped:
            unit.bind_scope()
        with source.block(f"def function({', '.join(names)}):"):
            if scoped:
                source.line("nonlocal scope")
            if not self.direct or scoped:
                with source.block(f"if not {flags[0]}[0]:"):
                    source.line("refuse()")
            if not self.direct:
                self._set(flags, 0)
            source.line("started = False")
            source.line("mine = scope = CallScope()" if scoped else "mine = None")
            with source.block("try:"):
                self._enter(names)
                self._lift(flags)
            with source.block("except BaseException as problem:"):
                source.line(f"failed(problem, started, mine, ({''.join(n + ', ' for n in names)}))")
                source.line("raise")
            if not self.direct or self.mode == structs.MODE_OPEN:
                self._set(flags, 1)
            if self.copies_out:
                source.line("push(out)")
            if scoped:
                source.line("mine.release()")
            if isinstance(signature.type.result, t.ResultType):
                with source.block("if error is not None:"):
                    source.line("raise error")
            source.line("return result")
        return unit.factory(", call", "function")

    def _set(self, flags: list[str], value: int) -> None:
        for flag in flags:
            self.line(f"{flag}[0] = {value}")

    def _enter(self, names: list[str]) -> None:
        """Lower, pack, call; `raw` is what the C call answers."""
        source, unit = self.unit.source, self.unit
        flats = self.lower_params(names)
        entry = self.entry(flats)
        blocks = unit.blocks or []
        unit.setup.insert(0, f"call.prepare({source.constant(entry, 'entry')})")
        if self.copies_out:
            with source.block("try:"):
                source.line("out = pop()")
            with source.block("except IndexError:"):
                source.line("out = make_out()")
            source.line("head, text, mem = out")
        else:
            unit.bind("head", "call.site.head")
        form = "".join(["32s", *[_PACKED[kind] for _, kind in flats], *["I4x" for _ in blocks]])
        addresses = {block.address for block in blocks}
        values = ["0" if text in addresses else text for text, _ in flats]
        pack = source.constant(struct.Struct(form).pack, "pack")
        packed = f"{pack}({', '.join(['head', *values, *[block.size for block in blocks]])})"
        if len(blocks) == 1:
            with source.block(f"if {blocks[0].size} <= {NEAR}:"):
                source.line(f"packed = {packed} + {blocks[0].data}")
            with source.block("else:"):
                source.line(f"packed, kept = far({packed}, {blocks[0].data})")
        elif blocks:
            source.line(f"packed = b''.join(({packed}, {', '.join([block.data for block in blocks])}))")
        else:
            source.line(f"packed = {packed}")
        source.line("started = True")
        floats = entry.result >= structs.RESULT_F32
        source.line(f"raw = {'lifted_float' if floats else 'lifted_int'}(packed)")
        with source.block("if raw != raw:" if floats else "if raw <= LEFT:"):
            source.line("raw = answer(packed, raw)")

    # -------------------------------------------------------------------------------------------- the result

    def result_slot(self) -> Slot:
        of = self.signature.type.result
        [core] = self.flat.results
        if of is not None and of.kind in ("s32", "s64"):
            return _Ready()
        if core == "i64":
            self.line(f"raw &= {_M64}")
        return VariableSlot("raw", core)

    def result_place(self, of: t.ValType) -> str:
        if self.mode == structs.MODE_COPY:
            return "0"
        if self.signature.pointer == 8:
            self.line(f"raw &= {_M64}")
        self._check_address("raw", lay.layout(of, self.unit.pointer))
        return "raw"

    def result_view(self, of: t.ValType) -> None:
        if self.mode != structs.MODE_COPY:
            super().result_view(of)

    def _lift(self, flags: list[str]) -> None:
        if self.mode == structs.MODE_TEXT:
            self._lift_text(flags)
            return
        self.lift_result(raising=True)
        self._finish()
        if self.mode == structs.MODE_OPEN and self.signature.post_return:
            self.line("post_return(raw)")

    def _lift_text(self, flags: list[str]) -> None:
        """Short texts were copied out, and everything is over; else bit 32 marks the address of pointer and length."""
        source, unit = self.unit.source, self.unit
        with source.block(f"if raw <= {structs.CALL_BYTES}:"):
            with source.block("try:"):
                source.line("result = text[:raw].decode()")
            with source.block("except UnicodeDecodeError as wrong:"):
                source.line("bad_text(wrong)")
        with source.block("else:"):
            source.line("raw &= 0xffffffff")
            source.line(f"mem = {unit.bind('memory')}.data")
            source.line(f"p, n = {unit.struct('<II', 'unpack_from')}(mem, raw)")
            source.line(f"result = {unit.bind('load_string')}(mem, p, n)")
            if self.signature.post_return:
                source.line("post_return(raw)")
            if self.direct:
                self._set(flags, 1)
        self._finish()

    def _finish(self) -> None:
        """The specification lets the callee return only what it has borrowed no longer."""
        if self.needs_scope:
            with self.unit.source.block("if mine.num_borrows:"):
                self.line("mine.finish()")


assert LONG_TEXT > NEAR
