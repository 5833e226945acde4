"""From a validated body to words for the interpreter (`core_rt/vm/words.py`).

Theory of operation. One pass with a stack of slot numbers in place of values: `local.get` and constants only push the number of a slot, so
most instructions become one word. A value that is computed goes to the *place* of its height, a temporary of its own; so what is on the stack
is a local, a constant or its place.

Rules:
- Before a local is written, those stack entries that name it are copied to their places. What a structured instruction assigns is
  copied before it, because the copies inside would not be made on every way.
- Where control joins, a label's values lie in their places.
- A comparison that is branched on at once becomes one word with the branch, and a result that goes to a local is written there.
- Code that cannot be reached is not translated.
- Where fuel is counted, a run of code begins with a word that takes its price: the same runs as in compiled code (`Emitter.begin_region`).

Not everything is: `translate` (translate.py) gives None for functions that handle vectors, references, exceptions, atomics, tail calls or other memories
than an ordinary one, and for those that loop and have several results (code could not take over: core_rt/compile/osr.py). They are compiled.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from core_rt.interpret.operations import BINARY, CONST, CONSTANTS, FREE, FUSIBLE, GET, KINDS, LOAD, STORE, UNARY
from core_rt.opcodes import BY_NAME, OPCODES
from core_rt.types import F32, F64, I32, I64, DefType
from core_rt.vm.words import CODES

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule, Instr
    from core_rt.types import ValType
    from core_rt.validate.function import FuncBody
    from core_rt.vm.layout import ModuleLayout

__all__ = [
    "ALL",
    "LOW",
    "NUMBERS",
    "SLOTS_MOST",
    "WORDS_MOST",
    "Declined",
    "Label",
    "Loop",
    "Translation",
    "Translator",
    "translates",
]

NUMBERS: Final = frozenset((I32, I64, F32, F64))
WORDS_MOST: Final = 0x7FFF
"""Words of a function, at most: a branch on a comparison reaches so far."""
_CONSTANTS_MOST: Final = 128
"""Constants that are copied to slots at each entry; others take a word where they are used."""
SLOTS_MOST: Final = 2000
LOW: Final = 0xFFFF_FFFF
ALL: Final = 0xFFFF_FFFF_FFFF_FFFF
_NARROW_CONST: Final = BY_NAME["i32.const"].code
_OFFSET_MOST: Final = 0xFFFF

Translate: TypeAlias = "Callable[[Translator, Any], None]"
HANDLERS: Final[dict[int, Translate]] = {}
"""Opcode → what translates it, for instructions that `run` does not do itself."""


def translates(mnemonic: str) -> Callable[[Translate], Translate]:
    """Register the decorated function for an instruction (for both forms of `select`)."""

    def decorate(translate: Translate) -> Translate:
        HANDLERS.update({row.code: translate for row in OPCODES if row.mnemonic == mnemonic})
        return translate

    return decorate


@attrs.frozen
class Loop:
    """A loop. `offset` is its byte offset in the module; `operands` are the types of what lies on the stack at its head, parameters last, the
    first of them in slot `place`."""

    offset: int
    operands: tuple[ValType, ...]
    place: int


@attrs.frozen(eq=False)
class Translation:
    """The words of a function, and what its activations need."""

    words: array[int]
    constants: array[int]
    """Their values, and perhaps a 0 behind them."""
    constant_count: int
    temporaries: int
    """Slots behind the locals: constants first."""
    outgoing: int
    """The most arguments or results of a call or of the function."""
    loops: tuple[Loop, ...]


class Declined(Exception):
    """The function has to be compiled."""


class Label:
    """A structured instruction that is open. `arity`: values that a branch carries."""

    __slots__ = ("arity", "else_patch", "head", "height", "patches", "results", "saved")

    def __init__(self, height: int, arity: int, results: int, head: int | None = None) -> None:
        self.height = height
        self.arity = arity
        self.results = results
        self.head = head
        """loop: where its words begin."""
        self.patches: list[tuple[int, int]] = []
        """(word, kind of distance) of branches forward."""
        self.saved: list[int] | None = None
        """if: the stack in the other arm."""
        self.else_patch: tuple[int, int] | None = None


class Translator:
    """The state of translating one function. `run` is the pass; what an instruction other than the plainest does is a function in one of the
    files beside this."""

    def __init__(
        self,
        module: DecodedModule,
        layout: ModuleLayout,
        body: FuncBody,
        signature: Callable[[DefType], int],
        fuel: bool = False,
    ) -> None:
        self.module = module
        self.layout = layout
        self.body = body
        self.signature = signature
        self.words: list[int] = []
        self.stack: list[int] = []
        self.labels: list[Label] = []
        self.loops: list[Loop] = []
        self.barrier = 0
        """Words from here on may still be changed: nothing branches between them."""
        self.high = 0
        self.outgoing = len(body.type.results)
        self.count = count = len(body.locals)
        found = {(op, imm) for op, imm, _ in body.code if op in CONSTANTS}
        values = {imm & (LOW if op == _NARROW_CONST else ALL) for op, imm in found}
        self.constants = sorted(values)[:_CONSTANTS_MOST]
        self.constant_slots = {value: count + i for i, value in enumerate(self.constants)}
        self.base = count + len(self.constants)
        """The place of what lies lowest on the stack."""
        self.fuel = fuel
        self.code: Iterator[Instr] = self._counted(body.code) if fuel else iter(body.code)
        self.offset = 0
        self.price = 0
        """Of the run of code that was begun last, so far."""
        self.price_word = -1

    def run(self) -> None:
        """The pass."""
        words, stack, base = self.words, self.stack, self.base
        append, push, pop = words.append, stack.append, stack.pop
        kinds, others = KINDS, HANDLERS
        self.labels.append(Label(0, len(self.body.type.results), len(self.body.type.results)))
        self.begin_run(poll=True)
        for op, imm, offset in self.code:
            found = kinds.get(op)
            if found is None:
                self.offset = offset
                handler = others.get(op)
                if handler is None or len(words) > WORDS_MOST or len(stack) > SLOTS_MOST:
                    raise Declined
                handler(self, imm)
                continue
            kind, code = found
            if kind == GET:
                push(imm)
                if len(stack) > self.high:
                    self.high = len(stack)
            elif kind == BINARY:
                right = pop()
                place = base + len(stack) - 1
                append(code | place << 16 | stack[-1] << 32 | right << 48)
                stack[-1] = place
            elif kind == CONST:
                self.constant(imm & (LOW if op == _NARROW_CONST else ALL))
            elif kind == LOAD:
                address, distance = self.address(imm, len(stack) - 1)
                place = base + len(stack) - 1
                append(code | place << 16 | address << 32 | distance << 48)
                stack[-1] = place
            elif kind == STORE:
                value = pop()
                address, distance = self.address(imm, len(stack) - 1)
                pop()
                append(code | address << 16 | value << 32 | distance << 48)
            elif kind == UNARY:
                place = base + len(stack) - 1
                append(code | place << 16 | stack[-1] << 32)
                stack[-1] = place

    # ------------------------------------------------------------------------------------------- fuel

    def _counted(self, code: list[Instr]) -> Iterator[Instr]:
        for instr in code:
            if instr[0] not in FREE:
                self.price += 1
            yield instr

    def begin_run(self, poll: bool = False) -> None:
        """A straight run of code begins."""
        if self.fuel:
            self.price_word = len(self.words)
            self.price = 0
            self.emit("FUEL", poll)
            self.barrier = len(self.words)

    def end_run(self) -> None:
        """The run of code ends: its price is known."""
        if self.price_word >= 0:
            self.words[self.price_word] |= self.price << 32
            self.price_word = -1

    # ------------------------------------------------------------------------------------------- values

    def emit(self, name: str, a: int = 0, b: int = 0, c: int = 0) -> None:
        """Append a word."""
        self.words.append(CODES[name] | a << 16 | b << 32 | c << 48)

    def push_place(self) -> int:
        """Push the place of the new top of the stack."""
        place = self.base + len(self.stack)
        self.stack.append(place)
        self.high = max(self.high, len(self.stack))
        return place

    def constant(self, value: int) -> None:
        """Push a constant."""
        slot = self.constant_slots.get(value)
        if slot is None:
            self.emit("CONST", self.push_place())
            self.words.append(value)
            self.barrier = len(self.words)
        else:
            self.stack.append(slot)
            self.high = max(self.high, len(self.stack))

    def address(self, imm: tuple[int, int, int], height: int) -> tuple[int, int]:
        """(slot, distance) of the address whose index lies at a height of the stack."""
        _, offset, memory = imm
        if memory:
            raise Declined
        slot = self.stack[height]
        if offset <= _OFFSET_MOST:
            return slot, offset
        # A sum of 64 bits in the place above the operands, where nothing lies.
        place = self.base + height + 2
        self.high = max(self.high, height + 3)
        self.emit("CONST", place)
        self.words.append(offset)
        self.emit("I64_ADD", place, slot, place)
        self.barrier = len(self.words)
        return place, 0

    def settle(self, height: int) -> None:
        """Copy what lies at a height of the stack to its place."""
        place = self.base + height
        if self.stack[height] != place:
            self.emit("MOVE", place, self.stack[height])
            self.stack[height] = place

    def settle_local(self, local: int) -> None:
        """Before a local is written: copy the entries that name it."""
        if local in self.stack:
            for height, slot in enumerate(self.stack):
                if slot == local:
                    self.settle(height)

    def redirect(self, value: int, local: int) -> bool:
        """Have the last word, if it computes `value`, write to a local instead."""
        words = self.words
        if value < self.base or len(words) <= self.barrier:
            return False
        last = words[-1]
        if last & 0xFFFF not in FUSIBLE or last >> 16 & 0xFFFF != value:
            return False
        words[-1] = last & ~0xFFFF_0000 | local << 16
        return True

    def list_slots(self, slots: list[int]) -> None:
        """Append slot numbers, four a word."""
        for i in range(0, len(slots), 4):
            word = 0
            for k, slot in enumerate(slots[i : i + 4]):
                word |= slot << 16 * k
            self.words.append(word)
