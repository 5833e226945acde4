"""Which functions of a module are interpreted, and where backtraces find them."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right, insort
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, final

from core_rt.native import ffi
from core_rt.record import record

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.interpret.translator import Loop, Translation
    from core_rt.native.lib import CData
    from core_rt.types import DefType
    from core_rt.validate.function import FuncBody
    from core_rt.vm.layout import ModuleLayout

__all__ = ["Functions", "Hot", "Interpreted"]

BUDGET: int = 3000
BUDGET_PER_WORD: Final = 16
"""Entries and loop heads after which a function gets machine code. That takes 0.3 ms and 10 µs for each of its words, in which time the
interpreter runs about as often through the function or one of its loops; programs that ran so long are likely to run on for as long."""
_WAITING: Final = (1 << 63) - 1
"""The budget of a function whose code somebody is making."""


class Hot(NamedTuple):
    """A function of the interpreter that machine code is made for, or, unless `loop` is -1, for one of its loops."""

    function: int
    loop: int


@record
class Interpreted:
    """A function in the interpreter."""

    defined: int
    translation: Translation
    record: CData
    """Its `VMInterpreted`."""
    loops: array[int]
    """Addresses of the code that goes on at the head of each loop, or 0."""


@final
class Functions:
    """The interpreted functions of a module. `table` is the address of what `VMContextHeader.interpreted` points to.

    Thread-safe.
    """

    def __init__(
        self,
        module: DecodedModule,
        layout: ModuleLayout,
        signature: Callable[[DefType], CData],
        *,
        fuel: bool = False,
        polls: bool = True,
    ) -> None:
        self._module = module
        self._layout = layout
        self._signature = signature
        self._fuel = fuel
        self._polls = polls
        self._records = array("Q", bytes(16 * max(len(module.bodies), 1)))  # stubs of tailcc entries look here too
        self.table = self._records.buffer_info()[0]
        self._functions: dict[int, Interpreted] = {}
        self._starts: list[int] = []
        self._at: dict[int, Interpreted] = {}
        self._offsets: dict[int, tuple[list[int], list[int]]] = {}
        self._lock = threading.Lock()
        self._ready: set[int] = set()
        self.budget = BUDGET

    def __len__(self) -> int:
        return len(self._functions)

    def begin(self, defined: int) -> bool:
        """Interpret a function from now on; false if it has to be compiled. Raises as `validate_body`."""
        # Code from the cache needs none of these.
        from core_rt.interpret.translate import translate
        from core_rt.validate.function import validate_body

        body = validate_body(self._module, defined)
        translation = translate(self._module, self._layout, body, self._address_of_signature, fuel=self._fuel)
        if translation is None:
            return False
        with self._lock:
            if defined not in self._functions:
                self._add(defined, body, translation)
        return True

    def _add(self, defined: int, body: FuncBody, translation: Translation) -> None:
        type_ = self._module.funcs[self._module.num_imported_funcs + defined]
        params = len(type_.func.params)
        memory_imported, memory = self._layout.memory(0) if self._module.memories else (False, 0)
        loops = array("Q", bytes(8 * max(len(translation.loops), 1)))
        code = translation.words.buffer_info()[0]
        count = len(body.locals)
        record = ffi.new(
            "VMInterpreted *",
            (
                *(ffi.cast("void *", code), self._signature(type_)),
                *(
                    ffi.cast("void *", translation.constants.buffer_info()[0]),
                    ffi.cast("void *", loops.buffer_info()[0]),
                ),
                *(
                    self.budget + BUDGET_PER_WORD * len(translation.words),
                    defined,
                    self._module.num_imported_funcs,
                    params,
                    count - params,
                ),
                *(count + translation.temporaries, count, translation.constant_count, translation.outgoing),
                *(memory, memory_imported, self._polls),
            ),
        )
        found = Interpreted(defined, translation, record, loops)
        self._functions[defined] = self._at[code] = found
        insort(self._starts, code)
        self._records[defined] = int(ffi.cast("uintptr_t", record))

    def _address_of_signature(self, type_: DefType) -> int:
        return int(ffi.cast("uintptr_t", self._signature(type_)))

    def is_interpreted(self, defined: int) -> bool:
        """Whether calls of a function go to the interpreter."""
        return self._records[defined] != 0

    def end(self, defined: int) -> None:
        """A function has machine code now: only what is on the stack is interpreted on."""
        self._records[defined] = 0

    def end_all(self, compiled: Callable[[int], bool]) -> None:
        """Functions for which that holds have machine code now."""
        for defined in self._functions:
            if compiled(defined):
                self._records[defined] = 0

    def loop(self, defined: int, loop: int) -> Loop:
        """Loop `loop` of an interpreted function."""
        return self._functions[defined].translation.loops[loop]

    def enter_loop(self, defined: int, loop: int, address: int) -> None:
        """Have activations go on at the head of a loop in machine code, which takes their slots over."""
        self._functions[defined].loops[loop] = address

    def words(self, defined: int) -> int:
        """How long an interpreted function is."""
        return len(self._functions[defined].translation.words)

    def keep_interpreting(self, defined: int) -> None:
        """Do not ask for machine code, until `wake` says that it is there."""
        self._ready.discard(defined)
        self._functions[defined].record.budget = _WAITING

    def ready(self, defined: int) -> None:
        """Machine code that was asked for is there."""
        self._ready.add(defined)

    def ask_again(self) -> None:
        """What was to come never will."""
        self._lock = threading.Lock()  # a thread that is no more may have held it
        for defined, function in self._functions.items():
            if function.record.budget > _WAITING // 2:
                self._ready.add(defined)

    def wake(self) -> None:
        """Have functions look for the code that is there. Called often: a guest that runs in another thread may write what it had counted
        down to over what is written here."""
        for defined in [*self._ready]:
            record = self._functions[defined].record
            if record.budget <= 0:
                self._ready.discard(defined)
            else:
                record.budget = 0

    def lookup(self, pc: int) -> tuple[int, int] | None:
        """(defined function, byte offset in the module) of an address in the words of a function; None for others."""
        with self._lock:
            index = bisect_right(self._starts, pc) - 1
            if index < 0:
                return None
            start = self._starts[index]
            found = self._at[start]
        word = (pc - start) // 8
        if word >= len(found.translation.words):
            return None
        known = self._offsets.get(found.defined)
        if known is None:
            from core_rt.interpret.translate import offsets_of
            from core_rt.validate.function import validate_body

            body = validate_body(self._module, found.defined)
            known = self._offsets[found.defined] = offsets_of(self._module, self._layout, body, fuel=self._fuel)
        starts, offsets = known
        return found.defined, offsets[bisect_right(starts, word) - 1]
