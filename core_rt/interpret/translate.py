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

Not everything is: `translate` gives None for functions that handle vectors, references, exceptions, atomics, tail calls or other memories
than an ordinary one, and for those that loop and have several results (code could not take over: core_rt/compile/osr.py). They are compiled.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from core_rt.interpret.operations import (
    BINARY,
    BRANCHES,
    CONST,
    CONSTANTS,
    FREE,
    FUSIBLE,
    GET,
    KINDS,
    LOAD,
    STORE,
    UNARY,
)
from core_rt.opcodes import BY_NAME
from core_rt.types import F32, F64, I32, I64, DefType
from core_rt.validate.function import Uses
from core_rt.vm.words import CODES

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule, Instr
    from core_rt.types import FuncType, ValType
    from core_rt.validate.function import FuncBody
    from core_rt.vm.layout import ModuleLayout

__all__ = ["Translation", "offsets_of", "translate"]

_NUMBERS: Final = frozenset((I32, I64, F32, F64))
_NARROW: Final = frozenset((I32, F32))
_NOT_HERE: Final = Uses.TAIL_CALLS | Uses.REFS | Uses.EXCEPTIONS | Uses.GC | Uses.SIMD | Uses.ATOMICS
_WORDS_MOST: Final = 0x7FFF
"""A branch on a comparison reaches so far."""
_CODE_MOST: Final = 0x1_FFFF
"""Instructions; more do not become so few words. What is translated here is bounded early, since bodies may be meant to harm."""
_CONSTANTS_MOST: Final = 128
"""Constants that are copied to slots at each entry; others take a word where they are used."""
_SLOTS_MOST: Final = 2000
_LOW: Final = 0xFFFF_FFFF
_ALL: Final = 0xFFFF_FFFF_FFFF_FFFF
_I32_EQZ: Final = CODES["I32_EQZ"]
_NARROW_CONST: Final = BY_NAME["i32.const"].code
_OPENERS: Final = frozenset(BY_NAME[name].code for name in ("block", "loop", "if"))
_ELSE, _END = BY_NAME["else"].code, BY_NAME["end"].code
_OFFSET_MOST: Final = 0xFFFF


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


class _Declined(Exception):
    """The function has to be compiled."""


class _Label:
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


_IN_UPPER, _IN_C, _WHOLE = range(3)
"""Where a word holds its distance. `_WHOLE` stands in a branch table, and in the patch the table's start is added: kind | start << 2."""


class _Translator:
    """Translates one function; `run` is the pass, the other methods are what instructions other than the plainest do."""

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
        self.labels: list[_Label] = []
        self.loops: list[Loop] = []
        self.barrier = 0
        """Words from here on may still be changed: nothing branches between them."""
        self.high = 0
        self.outgoing = len(body.type.results)
        self.count = count = len(body.locals)
        found = {(op, imm) for op, imm, _ in body.code if op in CONSTANTS}
        values = {imm & (_LOW if op == _NARROW_CONST else _ALL) for op, imm in found}
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
        kinds, others = KINDS, _OTHERS
        self.labels.append(_Label(0, len(self.body.type.results), len(self.body.type.results)))
        self.begin_run(poll=True)
        for op, imm, offset in self.code:
            found = kinds.get(op)
            if found is None:
                self.offset = offset
                handler = others.get(op)
                if handler is None or len(words) > _WORDS_MOST or len(stack) > _SLOTS_MOST:
                    raise _Declined
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
                self.constant(imm & (_LOW if op == _NARROW_CONST else _ALL))
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
            raise _Declined
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

    def local_set(self, local: int) -> None:
        """`local.set`."""
        value = self.stack.pop()
        if local in self.stack:
            self.settle_local(local)
        elif self._redirect(value, local):
            return
        if value != local:
            self.emit("MOVE", local, value)

    def local_tee(self, local: int) -> None:
        """`local.tee`."""
        self.local_set(local)
        self.stack.append(local)

    def _redirect(self, value: int, local: int) -> bool:
        """Have the last word, if it computes `value`, write to a local instead."""
        words = self.words
        if value < self.base or len(words) <= self.barrier:
            return False
        last = words[-1]
        if last & 0xFFFF not in FUSIBLE or last >> 16 & 0xFFFF != value:
            return False
        words[-1] = last & ~0xFFFF_0000 | local << 16
        return True

    def drop(self, imm: Any) -> None:
        """`drop`."""
        self.stack.pop()

    def select(self, valtype: Any) -> None:
        """`select`."""
        if valtype not in _NUMBERS:
            raise _Declined
        condition, right, left = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.emit("SELECT", self.push_place(), left, right)
        self.words.append(condition)
        self.barrier = len(self.words)

    # ------------------------------------------------------------------------------------------- joins and branches

    def land(self, patches: list[tuple[int, int]]) -> None:
        """Have branches arrive here."""
        for patch in patches:
            self.patch(patch, len(self.words))
        self.barrier = len(self.words)

    def patch(self, patch: tuple[int, int], target: int) -> None:
        """Write a distance."""
        at, kind = patch
        if kind == _IN_UPPER:
            self.words[at] |= (target - at - 1 & _LOW) << 32
        elif kind == _IN_C:
            self.words[at] |= (target - at - 1 & 0xFFFF) << 48
        else:
            self.words[at] = target - (kind >> 2) & _ALL

    def goto(self, label: _Label, patch: tuple[int, int]) -> None:
        """Have a branch go to a label."""
        if label.head is None:
            label.patches.append(patch)
        else:
            self.patch(patch, label.head)

    def carry(self, label: _Label) -> None:
        """Put the values that a branch to a label carries into their places."""
        count = label.arity
        for i, slot in enumerate(self.stack[-count:] if count else ()):
            place = self.base + label.height + i
            if slot != place:
                self.emit("MOVE", place, slot)

    def carries(self, label: _Label) -> bool:
        """Whether a branch to a label has something to do before it branches."""
        count = label.arity
        if label is self.labels[0]:
            return True
        first = self.base + label.height
        return count > 0 and self.stack[-count:] != list(range(first, first + count))

    def leave(self, label: _Label) -> None:
        """Branch to a label, whatever that takes."""
        if label is self.labels[0]:
            self.emit_return()
            return
        if len(self.words) > _WORDS_MOST:  # of a table, each branch may carry a thousand values
            raise _Declined
        self.carry(label)
        self.goto(label, self.jump("BR"))

    def jump(self, name: str, a: int = 0) -> tuple[int, int]:
        """Append a branch whose distance is in its upper half."""
        self.emit(name, a)
        self.barrier = len(self.words)
        return len(self.words) - 1, _IN_UPPER

    def jump_where(self, condition: int, holds: bool) -> tuple[int, int]:
        """Append a branch for when a condition, just popped, holds or does not."""
        words = self.words
        while len(words) > self.barrier and condition >= self.base:
            last = words[-1]
            if last >> 16 & 0xFFFF != condition:
                break
            operation, left, right = last & 0xFFFF, last >> 32 & 0xFFFF, last >> 48
            if operation == _I32_EQZ:
                words.pop()
                condition, holds = left, not holds
                continue
            found = BRANCHES.get(operation)
            if found is None:
                break
            branch = found[holds]
            if branch.swapped:
                left, right = right, left
            words[-1] = branch.operation | left << 16 | right << 32
            self.barrier = len(words)
            return len(words) - 1, _IN_C
        return self.jump("BR_IF" if holds else "BR_UNLESS", condition)

    def emit_return(self) -> None:
        """Append a return of what is on top of the stack."""
        count = len(self.body.type.results)
        if count == 1:
            self.emit("RETURN_ONE", self.stack[-1])
        elif count:
            self.emit("RETURN_MANY", count)
            self.list_slots(self.stack[-count:])
        else:
            self.emit("RETURN")
        self.barrier = len(self.words)

    def list_slots(self, slots: list[int]) -> None:
        """Append slot numbers, four a word."""
        for i in range(0, len(slots), 4):
            word = 0
            for k, slot in enumerate(slots[i : i + 4]):
                word |= slot << 16 * k
            self.words.append(word)

    # ------------------------------------------------------------------------------------------- structure

    def open(self, imm: tuple[Any, ...]) -> int:
        """What all structured instructions begin with; returns the height below the parameters."""
        assigned = imm[2]
        stack = self.stack
        if not assigned.isdisjoint(stack):
            for height, slot in enumerate(stack):
                if slot in assigned:
                    self.settle(height)
        return len(stack) - len(imm[0])

    def block(self, imm: tuple[Any, ...]) -> None:
        """`block`."""
        height = self.open(imm)
        self.labels.append(_Label(height, len(imm[1]), len(imm[1])))

    def loop(self, imm: tuple[Any, ...]) -> None:
        """`loop`."""
        below = imm[3] if len(imm) > 3 else ()
        if below is None or len(self.loops) > 0xFFFF:
            raise _Declined
        operands = (*below, *imm[0])
        if not _NUMBERS.issuperset(operands):
            raise _Declined
        self.open(imm)
        for height, slot in enumerate(self.stack):
            if height >= len(below):
                self.settle(height)
            elif slot != self.base + height:  # for code that is entered here; this pass goes on with what it knows
                self.emit("MOVE", self.base + height, slot)
        self.labels.append(_Label(len(below), len(imm[0]), len(imm[1]), len(self.words)))
        self.end_run()
        self.emit("LOOP", len(self.loops))
        self.loops.append(Loop(self.offset, operands, self.base))
        self.barrier = len(self.words)
        self.begin_run(poll=True)

    def if_(self, imm: tuple[Any, ...]) -> None:
        """`if`."""
        condition = self.stack.pop()
        # Nothing may come between a comparison and its branch, so copies are made first, which do not concern it. Only comparisons:
        # what can trap stays where backtraces look for it.
        words, kept = self.words, None
        if len(words) > self.barrier and condition >= self.base and words[-1] >> 16 & 0xFFFF == condition:
            operation = words[-1] & 0xFFFF
            if operation == _I32_EQZ or operation in BRANCHES:
                kept = words.pop()
        height = self.open(imm)
        for at in range(height, len(self.stack)):
            self.settle(at)
        if kept is not None:
            words.append(kept)
        label = _Label(height, len(imm[1]), len(imm[1]))
        label.saved = self.stack[:]
        self.end_run()
        label.else_patch = self.jump_where(condition, False)
        self.labels.append(label)
        self.begin_run()

    def other_arm(self, live: bool) -> None:
        """The `else` of the innermost `if`."""
        label = self.labels[-1]
        assert label.saved is not None and label.else_patch is not None
        if live:
            self.end_run()
            self.leave(label)
        self.land([label.else_patch])
        self.stack[:] = label.saved
        label.saved = label.else_patch = None
        self.begin_run()

    def else_(self, imm: Any) -> None:
        """`else`."""
        self.other_arm(live=True)

    def end(self, imm: Any) -> None:
        """`end`."""
        self.close(live=True)

    def close(self, live: bool) -> bool:
        """Close the innermost label; returns whether code after it can be reached."""
        label = self.labels[-1]
        if len(self.labels) == 1:
            if live:
                self.end_run()
                self.emit_return()
            return True
        self.labels.pop()
        if label.else_patch is not None:
            label.patches.append(label.else_patch)
        if label.head is not None or not label.patches:
            if not live:
                del self.stack[label.height :]
            return live
        if live:
            self.end_run()
            self.carry(label)
        self.land(label.patches)
        del self.stack[label.height :]
        for _ in range(label.results):
            self.push_place()
        self.begin_run()
        return True

    def skip(self) -> None:
        """Code from here on cannot be reached: read on to where it can."""
        self.end_run()
        depth = 0
        for op, _, _ in self.code:
            if op in _OPENERS:
                depth += 1
            elif op == _END:
                if depth:
                    depth -= 1
                elif self.close(live=False):
                    return
            elif op == _ELSE and not depth:
                self.other_arm(live=False)
                return

    # ------------------------------------------------------------------------------------------- branches

    def br(self, depth: int) -> None:
        """`br`."""
        self.leave(self.labels[-1 - depth])
        self.skip()

    def br_if(self, depth: int) -> None:
        """`br_if`."""
        label = self.labels[-1 - depth]
        condition = self.stack.pop()
        self.end_run()
        if self.carries(label):
            over = self.jump_where(condition, False)
            self.leave(label)
            self.land([over])
        else:
            self.goto(label, self.jump_where(condition, True))
        self.begin_run()

    def br_table(self, imm: tuple[tuple[int, ...], int]) -> None:
        """`br_table`."""
        targets = (*imm[0], imm[1])
        self.words.append(CODES["BR_TABLE"] | self.stack.pop() << 16 | len(imm[0]) << 32)
        start = len(self.words)
        self.words += [0] * len(targets)
        uses: dict[int, list[tuple[int, int]]] = {}
        for i, depth in enumerate(targets):
            uses.setdefault(depth, []).append((start + i, _WHOLE | start << 2))
        for depth, patches in uses.items():
            label = self.labels[-1 - depth]
            if self.carries(label):
                self.land(patches)
                self.leave(label)
            else:
                for patch in patches:
                    self.goto(label, patch)
        self.skip()

    def return_(self, imm: Any) -> None:
        """`return`."""
        self.emit_return()
        self.skip()

    def unreachable(self, imm: Any) -> None:
        """`unreachable`."""
        self.emit("UNREACHABLE")
        self.skip()

    # ------------------------------------------------------------------------------------------- calls

    def finish_call(self, name: str, type_: DefType, *operands: int) -> None:
        """Append a call of a function of a type with the arguments on the stack."""
        func: FuncType = type_.func
        if not (_NUMBERS.issuperset(func.params) and _NUMBERS.issuperset(func.results)):
            raise _Declined
        count, results = len(func.params), len(func.results)
        arguments = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        self.outgoing = max(self.outgoing, count, results)
        self.emit(name, count, self.base + len(self.stack))
        self.words += (operands[0], self.signature(type_), *operands[1:])
        self.list_slots(arguments)
        for _ in range(results):
            self.push_place()
        self.barrier = len(self.words)

    def call(self, index: int) -> None:
        """`call`."""
        type_ = self.module.funcs[index]
        defined = index - self.module.num_imported_funcs
        if defined < 0:
            self.finish_call("CALL_IMPORT", type_, self.layout.func_import(index))
        else:
            self.finish_call("CALL", type_, defined)

    def call_indirect(self, imm: tuple[int, int]) -> None:
        """`call_indirect`."""
        type_index, table = imm
        if self.module.tables[table].is64:
            raise _Declined
        type_ = self.module.types[type_index]
        imported, place = self.layout.table(table)
        index = self.stack.pop()
        where = place | imported << 32 | type_.final << 33
        self.finish_call("CALL_INDIRECT", type_, where, type_.id | index << 32)

    # ------------------------------------------------------------------------------------------- globals and memory

    def global_access(self, index: int, what: str, slot: int) -> None:
        """Append an access to a global."""
        content = self.module.globals[index].content
        if content not in _NUMBERS:
            raise _Declined
        imported, place = self.layout.global_(index)
        name = f"{'IMPORTED' if imported else 'GLOBAL'}_{what}_{32 if content in _NARROW else 64}"
        self.words.append(CODES[name] | slot << 16 | place << 32)

    def global_get(self, index: int) -> None:
        """`global.get`."""
        self.global_access(index, "GET", self.push_place())

    def global_set(self, index: int) -> None:
        """`global.set`."""
        self.global_access(index, "SET", self.stack.pop())

    def memory_size(self, memory: int) -> None:
        """`memory.size`."""
        self.only_memory(memory)
        self.emit("MEMORY_SIZE", self.push_place())
        self.barrier = len(self.words)

    def memory_grow(self, memory: int) -> None:
        """`memory.grow`."""
        self.only_memory(memory)
        pages = self.stack.pop()
        self.emit("MEMORY_GROW", self.push_place(), pages)
        self.barrier = len(self.words)

    def memory_three(self, name: str) -> None:
        """Append an instruction of three operands on the memory."""
        count, source, at = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.emit(name, at, source, count)

    def memory_copy(self, memories: tuple[int, int]) -> None:
        """`memory.copy`."""
        self.only_memory(*memories)
        self.memory_three("MEMORY_COPY")

    def memory_fill(self, memory: int) -> None:
        """`memory.fill`."""
        self.only_memory(memory)
        self.memory_three("MEMORY_FILL")

    def memory_init(self, imm: tuple[int, int]) -> None:
        """`memory.init`."""
        segment, memory = imm
        self.only_memory(memory)
        self.memory_three("MEMORY_INIT")
        self.words.append(segment)
        self.barrier = len(self.words)

    def data_drop(self, segment: int) -> None:
        """`data.drop`."""
        if segment > 0xFFFF:
            raise _Declined
        self.emit("DATA_DROP", segment)
        self.barrier = len(self.words)

    def only_memory(self, *memories: int) -> None:
        """Decline other memories than the first."""
        if any(memories):
            raise _Declined


_OTHERS: Final[dict[int, Callable[[_Translator, Any], None]]] = {
    BY_NAME[name].code: handler
    for name, handler in {
        "local.set": _Translator.local_set,
        "local.tee": _Translator.local_tee,
        "drop": _Translator.drop,
        "block": _Translator.block,
        "loop": _Translator.loop,
        "if": _Translator.if_,
        "else": _Translator.else_,
        "end": _Translator.end,
        "br": _Translator.br,
        "br_if": _Translator.br_if,
        "br_table": _Translator.br_table,
        "return": _Translator.return_,
        "unreachable": _Translator.unreachable,
        "call": _Translator.call,
        "call_indirect": _Translator.call_indirect,
        "global.get": _Translator.global_get,
        "global.set": _Translator.global_set,
        "memory.size": _Translator.memory_size,
        "memory.grow": _Translator.memory_grow,
        "memory.copy": _Translator.memory_copy,
        "memory.fill": _Translator.memory_fill,
        "memory.init": _Translator.memory_init,
        "data.drop": _Translator.data_drop,
    }.items()
} | dict.fromkeys((27, 28), _Translator.select)


def _suits(module: DecodedModule, body: FuncBody) -> bool:
    if body.uses & _NOT_HERE or len(body.code) > _CODE_MOST:
        return False
    if body.uses & Uses.LOOPS and len(body.type.results) > 1:
        return False
    if body.uses & Uses.MEMORY and module.memories:  # `data.drop` needs none
        memory = module.memories[0]
        if memory.is64 or memory.page_size_log2 != 16:
            return False
    return _NUMBERS.issuperset(body.locals) and _NUMBERS.issuperset(body.type.results)


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
    if len(words) > _WORDS_MOST or slots > _SLOTS_MOST:
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
    watch: Callable[[_Translator], Iterator[Instr]] | None = None,
) -> _Translator | None:
    if not _suits(module, body):
        return None
    translator = _Translator(module, layout, body, signature, fuel)
    if watch is not None:
        translator.code = watch(translator)
    try:
        translator.run()
    except _Declined:
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

    def watch(translator: _Translator) -> Iterator[Instr]:
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
