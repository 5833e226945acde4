"""What is written for which function of a module: the units of quick and of optimised code.

Imported where something is compiled, because it brings all emitters with it; code from the cache needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, final

from core_rt.compile.osr import Frame, can_be_left
from core_rt.compile.roots import collects
from core_rt.compile.unit import Unit, makes_tail_calls
from core_rt.opcodes import BY_NAME
from core_rt.validate.function import FuncBody, Uses, validate_body

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.compile.compiler import Compiler
    from core_rt.interpret.translator import Loop
    from core_rt.types import ValType
    from core_rt.vm.layout import ModuleLayout

__all__ = ["Writer"]

_OPTIMISED_MOST: Final = 60_000
"""Instructions of a function that is optimised, at most. LLVM takes quadratic time for some (100,000 operations in one expression take
45 s). Functions of that size are tables of constants turned into code, or meant to harm."""
_LOOP_MOST: Final = 1000
"""Instructions of a function whose registers are allocated with care at once, at most, if it loops, calls nothing and cannot be left: the
guest may stay in its first call. Few functions are such, so the others hardly wait for them. Not where there is a `br_table`: the phis of
such loops cost more than slots do."""
_LOOP_USES: Final = Uses.LOOPS | Uses.CALLS | Uses.BRANCH_TABLES

_DIRECT: Final = frozenset((BY_NAME["call"].code, BY_NAME["return_call"].code))


def _loops(body: FuncBody) -> bool:
    return body.uses & _LOOP_USES == Uses.LOOPS and len(body.code) <= _LOOP_MOST


@final
class Writer:
    """Writes the functions of one module. Methods raise `DecodeError` or `ValidationError` for a body that is not valid."""

    def __init__(self, compiler: Compiler, module: DecodedModule, layout: ModuleLayout) -> None:
        self.compiler = compiler
        self.module = module
        self.layout = layout
        self._collects = collects(module)
        config = compiler.config
        self._leavable = compiler.float_register == "x" and config.epoch_interruption and not config.consume_fuel
        self._leavable &= config.tiers in ("lazy", "eager") and config.opt_level > 0

    def _unit(
        self,
        *,
        optimised: bool = False,
        lines: bool = False,
        registers: bool = False,
        members: frozenset[int] = frozenset(),
        tail_members: frozenset[int] = frozenset(),
    ) -> Unit:
        config = self.compiler.config
        return Unit(
            self.module,
            self.layout,
            config.epoch_interruption,
            config.consume_fuel,
            self.compiler.float_register,
            self._collects,
            self.compiler.fuses,
            optimised,
            lines,
            members,
            tail_members,
            registers,
            leavable=not optimised and not registers and self._leavable,
        )

    def entry(self, entry: int) -> tuple[Unit, bool]:
        """Quick code for an entry of the code table; whether that is the function itself, not a `tailcc` entry that calls it."""
        count = len(self.module.bodies)
        defined = entry % count
        body = validate_body(self.module, defined)
        if entry < count or makes_tail_calls(body):
            return self._quick(defined, body, lines=False), True
        unit = self._unit()
        unit.add_tail_entry(defined)
        return unit, False

    def quick(self, defined: int, *, lines: bool = False) -> Unit:
        """Quick code for a function, with debug locations if `lines`."""
        return self._quick(defined, validate_body(self.module, defined), lines=lines)

    def _quick(self, defined: int, body: FuncBody, *, lines: bool) -> Unit:
        unit = self._unit(lines=lines, registers=not (self._leavable and can_be_left(body)) and _loops(body))
        unit.add_function(defined, body)
        return unit

    def family(self, functions: Iterable[int], most: int) -> set[int]:
        """Functions and what they call, and so on, the nearest first, up to `most` bytes of wasm code in all."""
        module = self.module
        queue = list(functions)
        found = set(queue)
        room = most - sum(end - start for start, end in map(module.bodies.__getitem__, found))
        for defined in queue:
            if room <= 0:
                break
            for op, imm, _ in validate_body(module, defined).code:
                callee = imm - module.num_imported_funcs if op in _DIRECT else -1
                if callee >= 0 and callee not in found:
                    start, end = module.bodies[callee]
                    if end - start <= room:
                        room -= end - start
                        found.add(callee)
                        queue.append(callee)
        return found

    def optimised(self, functions: Iterable[int]) -> Unit:
        """Functions that are optimised together. Huge ones are left out: they get quick code when called."""
        every = {defined: validate_body(self.module, defined) for defined in sorted(functions)}
        return self._together({defined: body for defined, body in every.items() if len(body.code) <= _OPTIMISED_MOST})

    def loop(self, defined: int, offset: int, most: int) -> tuple[Unit, str] | None:
        """What takes over from the quick code of a function at the head of the loop at an offset, with what it calls, and its symbol.

        None where the loop cannot be left.
        """
        body = validate_body(self.module, defined)
        if not (self._leavable and can_be_left(body)):
            return None
        start, end = self.module.bodies[defined]
        members = self.family([defined], most) if end - start <= most else {defined}
        unit = self._together({member: validate_body(self.module, member) for member in members})
        symbol = unit.add_loop(defined, body, offset, Frame.of(defined, body.locals))
        return None if symbol is None else (unit, symbol)

    def interpreted_loop(self, defined: int, loop: Loop, *, lines: bool = False) -> tuple[Unit, str] | None:
        """Quick code that takes over from the interpreter at the head of a loop, and its symbol. None where the loop cannot be left."""
        body = validate_body(self.module, defined)
        if not can_be_left(body):
            return None
        unit = self._unit(lines=lines)
        source = Frame.of_slots(len(body.locals), loop.operands, loop.place)
        symbol = unit.add_loop(defined, body, loop.offset, source)
        return None if symbol is None else (unit, symbol)

    def locals_of(self, defined: int) -> list[ValType]:
        """The types of a function's locals, parameters first."""
        return validate_body(self.module, defined).locals

    def portable(self, functions: Iterable[int], tails: Iterable[int]) -> Unit:
        """Functions of any size, and `tailcc` entries of others, as code that other processes may use too, to be compiled without passes."""
        unit = self._together({defined: validate_body(self.module, defined) for defined in functions})
        for defined in tails:
            unit.add_tail_entry(defined)
        return unit

    def _together(self, bodies: Mapping[int, FuncBody]) -> Unit:
        members = frozenset(bodies)
        tail_members = frozenset(defined for defined, body in bodies.items() if makes_tail_calls(body))
        unit = self._unit(optimised=True, lines=True, members=members, tail_members=tail_members)
        for defined, body in bodies.items():
            unit.add_function(defined, body)
        return unit
