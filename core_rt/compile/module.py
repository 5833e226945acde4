"""The machine code of one module: its code table, filled on demand or at once.

Theory of operation. A function is first interpreted (core_rt/interpret/), if it can be and config says "lazy"; what is entered or loops some
thousand times gets machine code. The table has two entries for each of the n defined functions: entry i in the C convention, entry n + i in
`tailcc`. Each starts as a stub, which leaves the fiber for `compile(entry)` and then looks at the table again; so
whoever took a stub's address (a funcref, an import) stays right for ever. A better code for a function is put into
service by writing its address to the table: code that is running goes on with the old one, which is kept. The entry of a function that is
interpreted stays a stub, which knows where to find its words.

Quick code has no debug locations: they cost more than they are worth, for few functions ever trap. When a backtrace asks,
the function is written again with them; debug locations never change the code that LLVM makes, which is checked by comparing both.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, final

from core_rt.collector import without_collections
from core_rt.compile.elf import ElfObject
from core_rt.compile.image import CodeMap, LoadedObject, load
from core_rt.compile.lines import LineTable, line_table
from core_rt.compile.stored import StoredUnit
from core_rt.compile.symbols import SYMBOL
from core_rt.interpret.functions import Functions, Hot
from core_rt.native import CodeArena, Stubs

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.compile.cache import CodeCache
    from core_rt.compile.compiler import Compiler
    from core_rt.compile.heat import Heat
    from core_rt.compile.linked import LinkedCode
    from core_rt.compile.osr import LoopEntry
    from core_rt.compile.writer import Writer
    from core_rt.interpret.translator import Loop
    from core_rt.vm.layout import ModuleLayout

__all__ = ["CompiledModule"]

_WAIT_WORDS: Final = 500
"""Words of an interpreted function that gets machine code at once, at most; it takes some 5 ms then. For a larger one the guest does not wait."""


@final
class CompiledModule:
    """Code of a module, shared by its instances. Thread-safe.

    `code_table` is the address of the table; it stays valid, and so does all code, until `close()`.
    """

    def __init__(self, compiler: Compiler, module: DecodedModule, layout: ModuleLayout) -> None:
        self.compiler = compiler
        self.module = module
        self.layout = layout
        self.count = count = len(module.bodies)
        self._stubs = Stubs(2 * count)
        self._first_stub = self._stubs.address(0) if count else 0
        stride = self._stubs.address(1) - self._first_stub if count else 0
        self._table = array(
            "Q", range(self._first_stub, self._first_stub + 2 * count * stride, stride) if count else [0]
        )
        self.code_table = self._table.buffer_info()[0]
        self._stride = stride
        self._arena = CodeArena()
        self._map = CodeMap()
        self._quick = 0
        self._optimised = 0
        self._code_bytes = 0
        self._seconds = 0.0
        self._closed = False
        self._tiering = compiler.config.tiers in ("lazy", "eager") and compiler.config.opt_level > 0
        self.generation = 0
        """Changes when functions that may be in use get better code: who copied entries of the table looks again."""
        self._heat: Heat | None = None
        self.loop_entries: dict[int, LoopEntry] = {}
        """Address of a poll in quick code → how to go on in optimised code from there: see osr.py."""
        self._bridged: dict[int, tuple[int, int | None]] = {}
        """Where guests go on that were made to leave a loop → the defined function, the loop's byte offset in the module."""
        self.loops_left = 0
        """How often a guest went on in better code in the middle of a loop."""
        self.hot_units: list[StoredUnit] = []
        """What was found hot."""
        self.cache: CodeCache | None = None
        """Where to keep it."""
        self.kept_before = False
        """Whether earlier processes kept something."""
        self.complete = False
        """Whether all functions have code that was made ahead."""
        config = compiler.config
        compiler.modules.add(self)
        self.functions: Functions | None = None
        """Those that are interpreted; None where none is."""
        if config.tiers == "lazy":
            self.functions = Functions(
                module, layout, compiler.signature, fuel=config.consume_fuel, polls=config.epoch_interruption
            )

    # ------------------------------------------------------------------------------------------- addresses

    def stub(self, defined: int) -> int:
        """An address that always calls defined function `defined`, in the C convention."""
        return self._first_stub + self._stride * defined

    def tail_stub(self, defined: int) -> int:
        """As `stub`, in `tailcc`."""
        return self._first_stub + self._stride * (self.count + defined)

    def is_compiled(self, entry: int) -> bool:
        """Whether an entry of the table holds code."""
        return self._table[entry] != self._first_stub + self._stride * entry

    # ------------------------------------------------------------------------------------------- compiling
    # What compiles is imported where something is compiled: code from the cache needs none of it.

    @cached_property
    def _writer(self) -> Writer:
        from core_rt.compile.writer import Writer

        return Writer(self.compiler, self.module, self.layout)

    @cached_property
    def _body_starts(self) -> list[int]:
        return [start for start, _ in self.module.bodies]

    def provide(self, wanted: int) -> None:
        """Make what a guest that left with `STATUS_COMPILE` asks for. Raises `DecodeError` or `ValidationError`.

        `wanted` is an entry of the table that is about to be called, or, of a function that is interpreted, `function | (loop + 1) << 32`.
        """
        defined, loop = wanted & 0xFFFF_FFFF, (wanted >> 32) - 1
        functions = self.functions
        if functions is not None:
            functions.wake()
        if functions is None or defined >= self.count or (self.is_compiled(defined) and loop < 0):
            self.compile(defined)
        elif not functions.is_interpreted(defined) and loop < 0:
            # What a function is read into is gone again after it: nothing for the cycle collector to look at meanwhile.
            with without_collections():
                begun = functions.begin(defined)
            if not begun:
                self.compile(defined)
            elif self.is_compiled(defined):  # meanwhile
                functions.end(defined)
        elif self._is_large(functions, defined):
            functions.keep_interpreting(defined)  # before it is asked for: it may be there at once
            if not self.compiler.background.request(self, Hot(defined, loop)):
                functions.ready(defined)
                self.leave_interpreter(defined, loop)
        else:
            self.leave_interpreter(defined, loop)

    def _is_large(self, functions: Functions, defined: int) -> bool:
        """Whether a guest had better go on in the interpreter than wait for machine code."""
        config = self.compiler.config
        return config.epoch_interruption and (functions.words(defined) > _WAIT_WORDS or not self.compiler.is_ready)

    def leave_interpreter(self, defined: int, loop: int) -> bool:
        """Make quick code for a function that is interpreted, or, unless `loop` is -1, for a loop in which the interpreter goes round.

        False if there can be none: the interpreter goes on.
        """
        functions = self.functions
        assert functions is not None
        if loop < 0:
            self.compile(defined)
            return True
        started = time.perf_counter()
        where = functions.loop(defined, loop)
        made = self._writer.interpreted_loop(defined, where)
        if made is None:
            functions.keep_interpreting(defined)
            return False
        unit, symbol = made
        code = self.compiler.jit.compile(unit.text())
        with self.compiler.lock:
            loaded = self._enter(code, unit.wrappers)
            loaded.make_lines = partial(self._loop_lines_again, defined, where, loaded.text_hash)
            functions.enter_loop(defined, loop, loaded.entries[symbol])
            self._quick += 1
            self._seconds += time.perf_counter() - started
        self.compiler.note_quick()
        return True

    def ask_again(self) -> None:
        """Whoever made code for this module in the background does so no more."""
        if self.functions is not None:
            self.functions.ask_again()

    def compile(self, entry: int) -> None:
        """Make the code for an entry of the table, if it has none. Raises `DecodeError` or `ValidationError`."""
        if self.is_compiled(entry):
            return
        started = time.perf_counter()
        with without_collections():
            unit, is_body = self._writer.entry(entry)
        code = self.compiler.jit.compile(unit.text(), registers=unit.registers)
        self.compiler.note_quick()
        with self.compiler.lock:
            if self.is_compiled(entry):
                return
            loaded = self._enter(code, unit.wrappers)
            if is_body:
                loaded.make_lines = partial(self._lines_again, entry % self.count, loaded.text_hash)
                self._quick += 1
            self._seconds += time.perf_counter() - started

    def compile_eagerly(self) -> None:
        """Compile every function, without LLVM's passes. Raises as `compile`."""
        for defined in range(self.count):
            self.compile(defined)

    def optimise(self, functions: Iterable[int]) -> StoredUnit:
        """Compile functions together, with LLVM's passes. Direct calls between them are calls by name."""
        started = time.perf_counter()
        unit = self._writer.optimised(functions)
        code = self.compiler.jit.compile(unit.text(), optimise=True)
        with self.compiler.lock:
            self._seconds += time.perf_counter() - started
        return StoredUnit(code, frozenset(unit.wrappers))

    def optimise_rest(self, units: Iterable[StoredUnit]) -> list[StoredUnit]:
        """What `units` leave out, so that nothing is left to compile: one unit of code that no passes have seen."""
        known = {name for unit in units for name in ElfObject.parse(unit.code).exported}
        left = [defined for defined in range(self.count) if not known & {f"f{defined}", f"t{defined}"}]
        # One function that makes tail calls may reach any other.
        uses_tails = any(name.startswith("t") for name in known)
        tails = [i for i in range(self.count) if f"f{i}" in known and f"t{i}" not in known] if uses_tails else []
        if not left and not tails:
            return []
        unit = self._writer.portable(left, tails)
        return [StoredUnit(self.compiler.jit.compile(unit.text()), frozenset(unit.wrappers))]

    def enter_stored(self, unit: StoredUnit) -> None:
        """Put optimised code into service."""
        with self.compiler.lock:
            self._enter(unit.code, unit.wrappers, lined=True)
            self.generation += 1
            self._optimised += 1

    def enter_linked(self, code: LinkedCode, fd: int | None) -> None:
        """Put a module's optimised code into service; `fd`: the file it lies in. `ValueError` if it is another module's."""
        with self.compiler.lock:
            code.load(self._arena, fd)
            code.enter(self.code_table, 2 * self.count)
            if self.functions is not None:
                self.functions.end_all(self.is_compiled)
            self._map.add(code)
            self._code_bytes += code.size
            self.generation += 1
            self._optimised += code.units

    def heat(self, pcs: Sequence[int]) -> None:
        """A running guest was found at these addresses, innermost first: what is found often gets optimised.

        Called at every tick; does nothing unless the config is for quick code first and optimised code later.
        """
        if self.functions is not None:
            self.functions.wake()
        if not self._tiering:
            return
        if self._heat is None:
            from core_rt.compile.heat import Heat

            self._heat = Heat(self)
        self._heat.note(pcs)

    def quick_function(self, pc: int) -> int | None:
        """The defined function whose quick code an address lies in; None for other code."""
        found = self._map.find(pc)
        return None if found is None or found[0].lined else found[0].functions[found[1]][2]

    def is_optimised(self, defined: int) -> bool:
        """Whether calls of a function run optimised code."""
        found = self._map.find(self._table[defined])
        return found is not None and found[0].lined

    def optimise_family(self, functions: Iterable[int], most: int) -> StoredUnit:
        """Optimise functions together with what they call, up to `most` bytes of wasm code."""
        return self.optimise(self._writer.family(functions, most))

    def enter_loop(self, pc: int) -> None:
        """Make optimised code for the loop in quick code that polls at an address; `loop_entries` then tells how to get into it."""
        from core_rt.compile.heat import FAMILY_BYTES
        from core_rt.compile.osr import Frame, LoopEntry, bridge

        found = self._map.find(pc)
        if found is None or found[0].lined or pc in self.loop_entries:
            return
        loaded, index = found
        defined = loaded.functions[index][2]
        offset = loaded.lines.find(pc - loaded.address) if loaded.lines is not None else None
        made = self._writer.loop(defined, offset, FAMILY_BYTES) if offset is not None else None
        if made is None:
            return
        unit, symbol = made
        code = self.compiler.jit.compile(unit.text(), optimise=True)
        frame = Frame.of(defined, self._writer.locals_of(defined))
        with self.compiler.lock:
            entered = self._enter(code, unit.wrappers, lined=True)
            stub = bridge(entered.entries[symbol], frame)
            view, address = self._arena.alloc(len(stub))
            view[: len(stub)] = stub
            self._arena.publish()
            self.generation += 1
            self._bridged[address] = defined, offset
            self.loop_entries[pc] = LoopEntry(address, frame.mark_at, frame.mark)

    def _enter(
        self,
        data: bytes,
        wrappers: Iterable[str],
        *,
        lined: bool = False,
    ) -> LoadedObject:
        loaded = load(self._arena, data, frozenset(wrappers), lined=lined)
        self._map.add(loaded)
        self._code_bytes += loaded.size
        table, count, functions = self._table, self.count, self.functions
        for name, address in loaded.entries.items():
            found = SYMBOL.fullmatch(name)
            if found is not None and name in loaded.exported:
                entry = int(found[2]) + (count if found[1] == "t" else 0)
                table[entry] = address
                if functions is not None and entry < count:
                    functions.end(entry)
        return loaded

    # ------------------------------------------------------------------------------------------- backtraces

    def _lines_again(self, defined: int, text_hash: int) -> LineTable:
        with self.compiler.lock:
            unit = self._writer.quick(defined, lines=True)
            elf = ElfObject.parse(self.compiler.jit.compile(unit.text(), registers=unit.registers))
        return self._same_lines(elf, text_hash)

    def _loop_lines_again(self, defined: int, loop: Loop, text_hash: int) -> LineTable:
        with self.compiler.lock:
            made = self._writer.interpreted_loop(defined, loop, lines=True)
            assert made is not None
            elf = ElfObject.parse(self.compiler.jit.compile(made[0].text()))
        return self._same_lines(elf, text_hash)

    @staticmethod
    def _same_lines(elf: ElfObject, text_hash: int) -> LineTable:
        return line_table(elf) if hash(elf.section(".text")) == text_hash else LineTable.empty()

    def lookup(self, pc: int) -> tuple[int, int | None] | None:
        """What stands at an address: (function index, byte offset in the module or None); None for foreign addresses and wrappers."""
        if self.functions is not None:
            word = self.functions.lookup(pc)
            if word is not None:
                return self.module.num_imported_funcs + word[0], word[1]
        bridged = self._bridged.get(pc + 1)  # it stands there until it is resumed
        if bridged is not None:
            return self.module.num_imported_funcs + bridged[0], bridged[1]
        found = self._map.find(pc)
        if found is None:
            return None
        loaded, index = found
        _, _, defined, is_frame = loaded.functions[index]
        lines = loaded.lines
        offset = lines.find(pc - loaded.address) if lines is not None else None
        if offset is None and not is_frame:
            return None
        if offset is not None:  # inlined code belongs to the function that its offset lies in
            return self.function_at(offset), offset
        return self.module.num_imported_funcs + defined, None

    def function_at(self, offset: int) -> int:
        """The index of the function whose body lies at a byte offset in the module."""
        return self.module.num_imported_funcs + bisect_right(self._body_starts, offset) - 1

    def function_code(self, defined: int) -> str:
        """The LLVM text of a function, as the quick tier writes it."""
        return self._writer.quick(defined).text()

    # ------------------------------------------------------------------------------------------- life

    def statistics(self) -> dict[str, int]:
        """Counts: functions that the interpreter has run, functions compiled quickly, optimised units, loops left for better code, bytes of code, microseconds spent."""
        return {
            "functions": self.count,
            "interpreted_functions": 0 if self.functions is None else len(self.functions),
            "quick_functions": self._quick,
            "optimised_units": self._optimised,
            "loops_left": self.loops_left,
            "code_bytes": self._code_bytes,
            "compile_microseconds": int(self._seconds * 1e6),
        }

    def close(self) -> None:
        """Free the code and the table. No instance of the module may run afterwards."""
        if not self._closed:
            self._closed = True
            self._arena.close()
            self._stubs.close()
