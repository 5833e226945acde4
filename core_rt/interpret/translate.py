"""Translating a function to words, and finding what a word stands for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from core_rt.interpret import calls, control, storage
from core_rt.interpret.translator import NUMBERS, SLOTS_MOST, WORDS_MOST, Declined, Translation, Translator
from core_rt.validate.function import Uses

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule, Instr
    from core_rt.types import DefType
    from core_rt.validate.function import FuncBody
    from core_rt.vm.layout import ModuleLayout

__all__ = ["offsets_of", "translate"]

assert calls and control and storage  # they register what they translate

_NOT_HERE: Final = Uses.TAIL_CALLS | Uses.REFS | Uses.EXCEPTIONS | Uses.GC | Uses.SIMD | Uses.ATOMICS
_CODE_MOST: Final = 0x1_FFFF
"""Instructions; more do not become so few words. What is translated here is bounded early, since bodies may be meant to harm."""


def _suits(module: DecodedModule, body: FuncBody) -> bool:
    if body.uses & _NOT_HERE or len(body.code) > _CODE_MOST:
        return False
    if body.uses & Uses.LOOPS and len(body.type.results) > 1:
        return False
    if body.uses & Uses.MEMORY and module.memories:  # `data.drop` needs none
        memory = module.memories[0]
        if memory.is64 or memory.page_size_log2 != 16:
            return False
    return NUMBERS.issuperset(body.locals) and NUMBERS.issuperset(body.type.results)


def translate(
    module: DecodedModule,
    layout: ModuleLayout,
    body: FuncBody,
    signature: Callable[[DefType], int],
    *,
    fuel: bool = False,
) -> Translation | None:
    """The words of a function, or None if it has to be compiled. `signature` gives the address of a `VMSignature`; `fuel`: is counted."""
    translator = _translated(module, layout, body, signature, fuel)
    if translator is None:
        return None
    words = translator.words
    slots = translator.base + translator.high
    if len(words) > WORDS_MOST or slots > SLOTS_MOST:
        return None
    return Translation(
        array("Q", words),
        array("Q", translator.constants or [0]),
        len(translator.constants),
        slots - translator.count,
        translator.outgoing,
        tuple(translator.loops),
    )


def _translated(
    module: DecodedModule,
    layout: ModuleLayout,
    body: FuncBody,
    signature: Callable[[DefType], int],
    fuel: bool,
    watch: Callable[[Translator], Iterator[Instr]] | None = None,
) -> Translator | None:
    if not _suits(module, body):
        return None
    translator = Translator(module, layout, body, signature, fuel)
    if watch is not None:
        translator.code = watch(translator)
    try:
        translator.run()
    except Declined:
        return None
    return translator


def offsets_of(
    module: DecodedModule, layout: ModuleLayout, body: FuncBody, *, fuel: bool = False
) -> tuple[list[int], list[int]]:
    """(words, byte offsets in the module): from which word on a function's words stand for the instruction at which offset.

    The function is translated once more to find out, because backtraces are rare.
    """
    starts: list[int] = []
    offsets: list[int] = []

    def watch(translator: Translator) -> Iterator[Instr]:
        words = translator.words
        for instr in translator.body.code:
            start = len(words)
            for i in range(len(starts) - 1, -1, -1):  # words that became one with this instruction's are gone
                if starts[i] <= start:
                    break
                starts[i] = start
            starts.append(start)
            offsets.append(instr[2])
            yield instr

    _translated(module, layout, body, lambda type_: 0, fuel, watch)
    return starts, offsets
