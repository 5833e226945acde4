"""Core functions of components as one C call enters them (`core_rt/native/calls.c`), and what happens when it does not simply answer."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import attrs

from component_rt.abi.blocks import HEAD
from component_rt.abi.words import HOST_WORDS
from core_rt import native
from core_rt.errors import Trap, TrapCode
from core_rt.native import ffi
from core_rt.vm import structs

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance
    from core_rt.func import Func
    from core_rt.memory import Memory

__all__ = ["Entry", "LiftedSite", "Refused"]

_WRONG = {
    structs.OUTCOME_REALLOC_UNALIGNED: HOST_WORDS.realloc_unaligned,
    structs.OUTCOME_REALLOC_BOUNDS: HOST_WORDS.realloc_out_of_bounds,
    structs.OUTCOME_UNALIGNED: HOST_WORDS.unaligned,
    structs.OUTCOME_BOUNDS: "pointer out of bounds of memory",
    structs.OUTCOME_TEXT_BOUNDS: HOST_WORDS.string_out_of_bounds,
    structs.OUTCOME_TEXT_LONG: "string is too long",
}


@attrs.frozen
class Entry:
    """What a `VMLiftedSite` says of a signature. `blocks`: flat parameter and alignment of each; `direct`: C enters the instances."""

    params: int
    result: int
    mode: int
    size: int
    align: int
    blocks: tuple[tuple[int, int], ...]
    direct: bool


class Refused(Exception):
    """The guest was not entered, because of `reason`."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


class LiftedSite:
    """A `VMLiftedSite` for a core function of `instance`, which the call enters if the entry is direct.

    Without a function the call only stores its blocks, and answers the address of the first.

    `head` is what packed arguments begin with when nothing is copied out.
    """

    __slots__ = ("_core", "_keep", "_refuse", "_site", "head")

    def __init__(self, instance: ComponentInstance, func: Func | None, entry: Entry) -> None:
        self._core = instance.store.core
        self._refuse = instance.refuse
        self._site = site = ffi.new("VMLiftedSite *")
        flags = [member.flags for member in instance.chain]
        site.store = self._core.context
        if func is not None:
            site.array_call, site.funcref = func.site.array_call, func.site.funcref
        site.params, site.result, site.mode = entry.params, entry.result, entry.mode
        site.size, site.align, site.own = entry.size, entry.align, flags[-1]
        site.copies = len(entry.blocks)
        for index, (slot, align) in enumerate(entry.blocks):
            site.copy_slots[index], site.copy_aligns[index] = slot, align
        self._keep: Any = func
        if entry.direct:
            entered = ffi.new("void *[]", flags)
            site.entered, site.depth = entered, len(flags)
            self._keep = (func, entered)
        self.head = self.head_with(0)

    def use(self, memory: Memory | None, realloc: Func | None, post_return: Func | None) -> None:
        """What the call needs besides the function."""
        site = self._site
        if memory is not None:
            site.memory = memory.definition
        if realloc is not None:
            site.realloc_call, site.realloc_ref = realloc.site.array_call, realloc.site.funcref
        if post_return is not None:
            site.post_call, site.post_ref = post_return.site.array_call, post_return.site.funcref

    def head_with(self, out: int) -> bytes:
        """What packed arguments begin with when results are copied to the address `out`."""
        return struct.pack("<QQ", native.address(self._site), out).ljust(HEAD, b"\0")

    def answer(self, packed: bytes, left: float) -> Any:
        """The C call answered `left`, `CALL_LEFT` and a status or NaN: go on with the call, if it is not over; the result.

        Raises `Refused` where the guest was not entered.
        """
        kind, core = self._site.result, self._core
        floats = kind >= structs.RESULT_F32
        status = native.left() if floats else int(left) - structs.CALL_LEFT
        if status == structs.STATUS_NO_FIBER:
            core.add_fiber()
            left = native.lifted_float(packed) if floats else native.lifted_int(packed)
            over = left == left if floats else left > structs.CALL_LEFT_MOST
            return left if over else self.answer(packed, left)
        if status == structs.STATUS_TRAP:
            raise core.trapped()
        if status == structs.STATUS_OUTCOME:
            raise Trap(TrapCode.CANONICAL_ABI, _WRONG[native.outcome()])
        if status in (structs.STATUS_NOT_ENTERED, structs.STATUS_BUSY, structs.STATUS_CLOSED):
            try:
                if status == structs.STATUS_NOT_ENTERED:
                    self._refuse()
                core.finish(None, status)
            except BaseException as error:
                raise Refused(error) from None
        if not status:
            return native.result_float(kind) if floats else native.result_int(kind)
        core.finish(None, status)
        left = native.lifted_end_float(kind) if floats else native.lifted_end_int(kind)
        over = left == left if floats else left > structs.CALL_LEFT_MOST
        return left if over else self.answer(packed, left)
