"""The state of writing one function as LLVM text, and the few things that every operator family needs.

Theory of operation. Wasm is structured, so SSA form falls out of one pass: the operand stack and the locals are Python
lists of LLVM operands ("%12", "7", "null"); where control joins (`end`, loop heads) phis are written for what differs.

Code for LLVM's quick register allocator is written otherwise (`Unit.slotted`): it would keep every value that crosses from block
to block in memory, and copy it for every phi. There a local whose values would be joined has a *slot* on the stack from the first
structured instruction on that assigns it. Within a basic block its value is known and used without a load.

Rules:
- Ordinary values are numbered ("%12"), which LLVM requires to be in the order of the text, and which it parses at half the
  cost of names. What is written out of order has names: the *preamble* (values loaded once at entry, made when first asked for)
  and *cold* blocks, which are appended at the end so that the hot path falls through.
- `block` is the label of the basic block being written; who writes a label sets it, because phis name their predecessors.
- An i32 that comes from a comparison is written as `icmp` and `zext`; `condition` takes the `zext` back when a branch
  consumes it at once.
- The type of an operand is known from the instruction that takes it; it is not kept. Only references into the heap
  are remembered (`gc_values`), because they are roots.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.osr import Frame, can_be_left, enclosing
from core_rt.compile.roots import cold_spill, frame_lines, spill_roots
from core_rt.compile.signature import ZERO, Signature, is_gcref, lltype
from core_rt.errors import TrapCode
from core_rt.opcodes import BY_NAME, OPCODES
from core_rt.types import DefType
from core_rt.validate.function import Uses
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.binary.model import Instr
    from core_rt.compile.unit import Unit
    from core_rt.validate.function import FuncBody

__all__ = ["Emitter", "Label"]

NO_OFFSET: Final = 0xFFFF_FFFF

_HEADER: Final = s.VMContextHeader.offsets
_STORE: Final = s.VMStoreContext.offsets

INVARIANT: Final = ", !invariant.load !0"
"""For loads of what is set before any code runs and never changes afterwards."""
UNLIKELY: Final = ", !prof !1"


class Label:
    """A structured instruction that is open: what `end` and branches to it need."""

    __slots__ = (
        "alive",
        "assigned",
        "branch_line",
        "catches",
        "condition",
        "handler",
        "height",
        "hint",
        "incoming",
        "kept",
        "kind",
        "name",
        "params",
        "phi_line",
        "results",
        "saved",
        "types",
        "waiting",
    )  # fmt: skip

    def __init__(self, kind: str, name: str, height: int, params: tuple[str, ...], results: tuple[str, ...]) -> None:
        self.kind = kind
        self.name = name
        self.height = height
        """Of the operand stack, without the parameters."""
        self.params = params
        self.results = results
        self.types = results
        """What a branch to the label carries."""
        self.assigned: tuple[int, ...] = ()
        """Locals that may differ where control joins."""
        self.incoming: list[tuple[str, list[str]]] = []
        """(predecessor, values of the assigned locals and of `types`), one per edge to the label."""
        self.phi_line = 0
        """loop: index of the first line reserved for phis; they are numbered from the following number on."""
        self.saved: tuple[list[str], list[str]] | None = None
        """if: locals and parameters as they were at the `if`, for the other arm."""
        self.branch_line = 0
        self.hint: str | None = None
        """loop: metadata for the branches back, once there is one."""
        self.condition = ""
        self.catches: Any = None
        self.handler = "null"
        """Current handler of exceptions where the label stands."""
        self.waiting: list[tuple[str, str]] = []
        """try_table: (type, value) of the operands below it."""
        self.kept = range(0)
        """Heights of operands below it that lie in the frame that was taken over: see `keep_below`."""


class Emitter:
    """Writes one function. Operator families are functions that take the emitter and the immediate."""

    __slots__ = (
        "block",
        "blocks",
        "body",
        "bool_bit",
        "bool_line",
        "bool_value",
        "catches",
        "code",
        "cold",
        "collects",
        "enclosing",
        "frame",
        "fuel_cost",
        "fuel_line",
        "gc_leaves",
        "gc_slots",
        "gc_values",
        "handler",
        "innermost",
        "known",
        "labels",
        "last_reads",
        "lines",
        "local_types",
        "locals",
        "n",
        "offset",
        "out",
        "preamble",
        "resume_at",
        "resume_label",
        "ret_area",
        "signature",
        "slot_access",
        "slots",
        "slotted",
        "source",
        "stack",
        "traps",
        "tries",
        "unit",
        "unlikely",
        "vectors",
    )  # fmt: skip

    def __init__(
        self,
        unit: Unit,
        body: FuncBody,
        signature: Signature,
        resume_at: int | None = None,
        source: Frame | None = None,
    ) -> None:
        self.unit = unit
        self.body = body
        self.signature = signature
        self.code: Iterator[Instr] = iter(body.code)
        self.offset = NO_OFFSET
        self.lines: list[str] = []
        self.out = self.lines.append
        self.preamble: dict[str, str] = {}
        self.cold: list[str] = []
        self.traps: list[tuple[str, str]] = []
        """(predecessor, packed code and offset) of the one block that raises traps."""
        self.n = len(signature.params)
        """The last number given to a value (0 is the context, parameters follow)."""
        self.blocks = 0
        self.block = "entry"
        self.stack: list[str] = []
        self.labels: list[Label] = []
        self.bool_value = ""
        self.bool_bit = ""
        self.bool_line = -1
        self.fuel_line = -1
        self.fuel_cost = 0
        self.ret_area = 0
        self.unlikely = UNLIKELY if unit.optimised else ""
        self.local_types = [lltype(t) for t in body.locals]
        self.locals = [f"%{i + 1}" for i in range(len(signature.params))]
        """Values of the locals; "" for one that has a slot."""
        self.known: dict[int | str, str] = {}
        """In this basic block: local with a slot → its value; i32 → the same as i64, unsigned."""
        self.gc_values: set[str] = set()
        self.vectors: dict[str, tuple[str, str]] = {}
        """v128 → the same value as another vector type, where it was computed as that."""
        self.gc_leaves: list[int] = []
        self.last_reads: dict[int, int] | None = None
        zero = self._zeros() if unit.optimised else ZERO
        self.locals += [zero[t] for t in self.local_types[len(signature.params) :]]
        self.catches = any(op == _TRY_TABLE for op, _, _ in body.code) if body.uses & Uses.EXCEPTIONS else False
        self.innermost = ""
        """Label of the loop that was opened last."""
        self.handler = "null"
        self.tries = 0
        self.slots: set[int] = set()
        """Locals that have slots."""
        self.slotted = unit.slotted or self.catches or _joins_too_much(body)
        self.slot_access = "volatile " if self.catches else ""
        self.collects = self.catches or (unit.collects and any(is_gcref(t) for t in body.locals))
        self.gc_slots = 1 if self.catches else 0
        self.frame = Frame.of(unit.current, body.locals) if unit.leavable and can_be_left(body) else None
        """Of a function whose loops can be left for better code: see osr.py."""
        self.resume_at = resume_at
        """Offset of the loop where the function begins, with locals and operands in a frame as `source` says."""
        self.source = source
        self.resume_label = ""
        self.enclosing: frozenset[int] = frozenset()
        """Offsets of the structured instructions that are open where the function begins, that loop included."""
        if source is not None:
            self._take_over_frame(source)
            if source.operands:
                self.enclosing = enclosing(body, resume_at)
        elif self.catches:
            self._put_locals_in_slots()
        elif self.frame is not None:
            self._lay_out_frame(self.frame)
        for i, valtype in enumerate(body.locals[: len(signature.params)]):
            if is_gcref(valtype):
                self.gc_values.add(f"%{i + 1}")

    def _zeros(self) -> dict[str, str]:
        """Initial values of locals. A float zero is hidden from LLVM: `x - 0.0` must not become `x` (see numeric.py)."""
        zeros = dict(ZERO)
        types = self.local_types[len(self.signature.params) :]
        for lltype_ in ("float", "double"):
            if lltype_ in types:
                zeros[lltype_] = self.entry(
                    f"%z{lltype_[0]}", f'call {lltype_} asm "", "={self.unit.float_register},0"({lltype_} 0.0)'
                )
        return zeros

    def _put_locals_in_slots(self) -> None:
        """Give every local a slot from the beginning: an exception's landing reads them there (see exception.py)."""
        for i, (type_, value) in enumerate(zip(self.local_types, self.locals)):
            self.preamble[f"%local{i}"] = (
                f"%local{i} = alloca {type_}\nstore {self.slot_access}{type_} {value}, ptr %local{i}"
            )
        self.slots.update(range(len(self.locals)))
        self.locals = [""] * len(self.locals)

    def _lay_out_frame(self, frame: Frame) -> None:
        """Give every local a slot from the beginning, in a frame that others can find their way in."""
        lines = ["%context = alloca ptr"]
        lines += [f"%local{i} = alloca {type_}" for i, type_ in enumerate(self.local_types)]
        lines += ["%mark = alloca i64", "store ptr %0, ptr %context", f"store i64 {frame.mark}, ptr %mark"]
        for i, (type_, value) in enumerate(zip(self.local_types, self.locals)):
            lines.append(f"store {type_} {value}, ptr %local{i}")
        self.preamble["%frame"] = "\n".join(lines)
        self.slots.update(range(len(self.locals)))
        self.locals = [""] * len(self.locals)

    def _take_over_frame(self, source: Frame) -> None:
        """Begin with the locals as they are in another frame; values are numbered from there."""
        self.n = 0
        self.slotted = True
        self.block = "start"
        lines = ["%context = alloca ptr"] if self.frame is not None else []
        lines += [f"%local{i} = alloca {type_}" for i, type_ in enumerate(self.local_types)]
        if self.frame is not None:
            lines += ["%mark = alloca i64", "store ptr %0, ptr %context", f"store i64 {self.frame.mark}, ptr %mark"]
        for i, (type_, at) in enumerate(zip(self.local_types, source.locals)):
            lines += [
                f"%old{i}.p = getelementptr i8, ptr %frame, i64 {-at}",
                f"%old{i} = load {type_}, ptr %old{i}.p",
                f"store {type_} %old{i}, ptr %local{i}",
            ]
        for i, (type_, at) in enumerate(source.operands):
            lines += [
                f"%operand{i}.p = getelementptr i8, ptr %frame, i64 {-at}",
                f"%operand{i} = load {type_}, ptr %operand{i}.p",
            ]
        self.preamble["%frame"] = "\n".join(lines)
        self.slots.update(range(len(self.locals)))
        self.locals = [""] * len(self.locals)

    def slot(self, local: int) -> None:
        """Give a local a slot, which holds its value from here on. Nothing that is written later runs before this."""
        self.slots.add(local)
        type_ = self.local_types[local]
        self.preamble[f"%local{local}"] = f"%local{local} = alloca {type_}"
        self.out(f"store {type_} {self.locals[local]}, ptr %local{local}")
        self.locals[local] = ""

    # ------------------------------------------------------------------------------------------- writing

    def wide(self, value: str) -> str:
        """An i32 as an unsigned i64."""
        found = self.known.get(value)
        if found is None:
            self.n = n = self.n + 1
            self.out(f"%{n} = zext i32 {value} to i64")
            self.known[value] = found = f"%{n}"
        return found

    def let(self, text: str) -> str:
        """Write an instruction that has a value; returns the value."""
        self.n = n = self.n + 1
        self.out(f"%{n} = {text}")
        return f"%{n}"

    def push(self, text: str) -> None:
        """Write an instruction and push its value."""
        self.n = n = self.n + 1
        self.out(f"%{n} = {text}")
        self.stack.append(f"%{n}")

    def new_block(self, prefix: str = "b") -> str:
        """A label that is not used yet."""
        self.blocks += 1
        return f"{prefix}{self.blocks}"

    def place(self, label: str) -> None:
        """Begin a basic block."""
        self.out(f"{label}:")
        self.block = label
        self.known.clear()

    def entry(self, name: str, text: str) -> str:
        """A value that is computed once, at entry; `text` may use values that are in the preamble already."""
        if name not in self.preamble:
            self.preamble[name] = f"{name} = {text}"
        return name

    def entry_pointer(self, name: str, base: str, offset: int) -> str:
        """The invariant pointer stored at `base + offset`, loaded at entry."""
        if name not in self.preamble:
            place = self.entry(f"{name}.p", f"getelementptr i8, ptr {base}, i64 {offset}")
            self.preamble[name] = f"{name} = load ptr, ptr {place}{INVARIANT}"
        return name

    def field(self, base: str, offset: int) -> str:
        """The address `base + offset`."""
        return self.let(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base

    # ------------------------------------------------------------------------------------------- the context

    @property
    def store(self) -> str:
        """The store context."""
        return self.entry_pointer("%store", "%0", _HEADER["store"])

    @property
    def builtins(self) -> str:
        """The builtin-function array."""
        return self.entry_pointer("%builtins", "%0", _HEADER["builtins"])

    @property
    def code_table(self) -> str:
        """The table of code pointers."""
        return self.entry_pointer("%code", "%0", _HEADER["code_table"])

    def store_field(self, name: str) -> str:
        """The address of a field of the store context."""
        return self.entry(f"%s.{name}", f"getelementptr i8, ptr {self.store}, i64 {_STORE[name]}")

    def definition(self, kind: str, index: int) -> str:
        """The address of the definition of a table, memory, global or tag of the module."""
        imported, offset = getattr(self.unit.layout, kind)(index)
        if imported:
            return self.entry_pointer(f"%{kind}{index}", "%0", offset)
        return self.let(f"getelementptr i8, ptr %0, i64 {offset}")

    def definition_at_entry(self, kind: str, index: int) -> str:
        """As `definition`, always computed at entry."""
        imported, offset = getattr(self.unit.layout, kind)(index)
        if imported:
            return self.entry_pointer(f"%{kind}{index}", "%0", offset)
        return self.entry(f"%{kind}{index}", f"getelementptr i8, ptr %0, i64 {offset}")

    def builtin(self, name: str, *arguments: str) -> str:
        """Call a builtin; returns its value ("" if it has none)."""
        builtin = s.BUILTINS[s.BUILTIN_INDEX[name]]
        if builtin.home == "host":
            spill_roots(self)
        place = self.let(f"getelementptr i8, ptr {self.builtins}, i64 {8 * s.BUILTIN_INDEX[name]}")
        code = self.let(f"load ptr, ptr {place}{INVARIANT}")
        values = "".join([f", {t} {a}" for t, a in zip(builtin.parameters, arguments, strict=True)])
        if builtin.result == "void":
            self.out(f"call void {code}(ptr %0{values})")
            return ""
        return self.let(f"call {builtin.result} {code}(ptr %0{values})")

    def cold_builtin(self, name: str, label: str, then: str) -> None:
        """A cold block that calls a builtin without arguments and goes on at `then`."""
        index = s.BUILTIN_INDEX[name]
        self.cold += [
            f"{label}:",
            *cold_spill(self, label),
            f"%{label}.p = getelementptr i8, ptr {self.builtins}, i64 {8 * index}",
            f"%{label}.f = load ptr, ptr %{label}.p{INVARIANT}",
            f"call void %{label}.f(ptr %0)",
            f"br label %{then}",
        ]

    @property
    def rooted(self) -> bool:
        """Whether references into the heap may be live."""
        return bool(self.gc_values) or (self.collects and bool(self.slots))

    # ------------------------------------------------------------------------------------------- conditions and traps

    def push_bool(self, bit: str) -> None:
        """Push an i1 as the i32 that wasm sees."""
        self.n = n = self.n + 1
        self.bool_bit = bit
        self.bool_value = value = f"%{n}"
        self.stack.append(value)
        self.out(f"%{n} = zext i1 {bit} to i32")
        self.bool_line = len(self.lines)

    def condition(self, value: str) -> str:
        """The i1 "value is not zero"."""
        if value == self.bool_value:
            if self.bool_line == len(self.lines):
                self.lines.pop()
                self.n -= 1
                self.bool_value = ""
            return self.bool_bit
        return self.let(f"icmp ne i32 {value}, 0")

    def trap_label(self, code: TrapCode) -> str:
        """The label of a cold block that raises a trap here."""
        label = self.new_block("t")
        self.traps.append((label, str(code << 32 | self.offset)))
        self.cold.append(f"{label}:\nbr label %trap")
        return label

    def trap_if(self, bit: str, code: TrapCode) -> None:
        """Trap when an i1 is true."""
        label = self.trap_label(code)
        self.blocks += 1
        self.block = then = f"b{self.blocks}"
        self.known.clear()
        self.out(f"br i1 {bit}, label %{label}, label %{then}{self.unlikely}\n{then}:")

    def trap_unless(self, bit: str, code: TrapCode) -> None:
        """Trap when an i1 is false."""
        label = self.trap_label(code)
        self.blocks += 1
        self.block = then = f"b{self.blocks}"
        unlikely = ", !prof !2" if self.unlikely else ""
        self.out(f"br i1 {bit}, label %{then}, label %{label}{unlikely}\n{then}:")

    # ------------------------------------------------------------------------------------------- interruption and fuel

    def begin_region(self, poll: bool = False, bounded: bool = False) -> None:
        """A straight run of code begins; at function entries and loop heads (`poll`) the host may step in.

        `bounded`: what follows cannot run for long, so nobody need look whether the host wants to.
        """
        unit = self.unit
        if bounded or not unit.interruptible:
            pass
        elif poll and unit.page_polls and not self.rooted:
            # The page becomes unreadable when the host wants in; no branch, and no call for LLVM to save registers for. The
            # collector may run then, so functions with references take the other way, which shows them to it.
            self.let(
                f"load volatile i8, ptr {self.entry('%poll', f'getelementptr i8, ptr {self.store}, i64 {s.POLL_OFFSET}')}"
            )
        elif poll:
            word = self.let(f"load volatile i32, ptr {self.store_field('interrupt')}")
            self._visit("interrupted", self.let(f"icmp ne i32 {word}, 0"))
        if unit.fuel:
            place = self.store_field("fuel")
            before = self.let(f"load i64, ptr {place}")
            after = self.n = self.n + 1
            self.fuel_line = len(self.lines)
            self.out(f"%{after} = sub i64 {before}, ")  # the price is appended by `end_region`
            self.out(f"store i64 %{after}, ptr {place}")
            if poll:
                self._visit("out_of_fuel", self.let(f"icmp slt i64 %{after}, 0"))

    def end_region(self) -> None:
        """The run of code ends: its price is known."""
        if self.fuel_line >= 0:
            self.lines[self.fuel_line] += str(self.fuel_cost)
            self.fuel_line = -1
            self.fuel_cost = 0

    def _visit(self, builtin: str, bit: str) -> None:
        visit = self.new_block("i")
        then = self.new_block()
        self.cold_builtin(builtin, visit, then)
        self.out(f"br i1 {bit}, label %{visit}, label %{then}{self.unlikely}")
        self.place(then)

    # ------------------------------------------------------------------------------------------- multiple results

    def ret_slots(self, sig: Signature) -> str:
        """An area for the results of a call that has several."""
        self.ret_area = max(self.ret_area, len(sig.results))
        return "%ra"

    def store_result(self, lltype_: str, value: str, base: str, slot: int) -> None:
        """Write a value to a ValRaw slot, zero-extended to 8 bytes."""
        write_slot(self.let, self.out, lltype_, value, base, slot)

    # ------------------------------------------------------------------------------------------- the whole text

    def text(self, head: str) -> str:
        """The function, once its body was written; `head` is `define ...` up to the parameters."""
        self._trap_block()
        frame = frame_lines(self)
        if (
            frame and self.frame is not None
        ):  # a frame that is linked must be taken out again: without the mark, no loop is left
            self.preamble["%frame"] = self.preamble["%frame"].replace(f"store i64 {self.frame.mark}", "store i64 0")
        first = list(self.preamble.values())
        if self.ret_area:
            first.append(f"%ra = alloca [{self.ret_area} x i128], align 16")
        first += frame
        if self.resume_at is not None:
            first.append(f"br label %{self.resume_label}\nstart:")
        return "\n".join([head, "entry:", *first, *self.lines, *self.cold, "}"])

    def _trap_block(self) -> None:
        if not self.traps:
            return
        builtins = self.builtins
        edges = ", ".join([f"[ {value}, %{block} ]" for block, value in self.traps])
        index = s.BUILTIN_INDEX["raise_trap"]
        self.cold += [
            "trap:",
            f"%trap.what = phi i64 {edges}",
            "%trap.offset = trunc i64 %trap.what to i32",
            "%trap.high = lshr i64 %trap.what, 32",
            "%trap.code = trunc i64 %trap.high to i32",
            f"%trap.p = getelementptr i8, ptr {builtins}, i64 {8 * index}",
            f"%trap.f = load ptr, ptr %trap.p{INVARIANT}",
            "call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)",
            "unreachable",
        ]

    def signature_of(self, deftype: DefType) -> Signature:
        """The signature of a function type of the module."""
        return self.unit.signature_of(deftype)


_JOINS_MOST: Final = 4_000_000
_JOINING: Final = frozenset(
    row.code
    for row in OPCODES
    if row.family in ("control", "exception") and not row.mnemonic.startswith(("call", "return_call"))
)


def _joins_too_much(body: FuncBody) -> bool:
    """Whether phis could take quadratic time and space: a function of many locals and many branches that some compiler, or somebody
    who means harm, made. Its locals then have slots, which LLVM's passes undo where they run."""
    count = len(body.locals)
    if count * len(body.code) <= _JOINS_MOST:
        return False
    branches = sum([1 + len(imm[0]) if op == _BR_TABLE else 1 for op, imm, _ in body.code if op in _JOINING])
    return count * branches > _JOINS_MOST


_TRY_TABLE: Final = BY_NAME["try_table"].code
_BR_TABLE: Final = BY_NAME["br_table"].code


def write_slot(let: Any, out: Any, lltype_: str, value: str, base: str, slot: int) -> None:
    """Write a value to slot `slot` of a ValRaw array; 32-bit values zero-extended, so that it can be read as a u64."""
    place = let(f"getelementptr i8, ptr {base}, i64 {s.VALRAW_SIZE * slot}") if slot else base
    if lltype_ == "float":
        value = let(f"bitcast float {value} to i32")
        lltype_ = "i32"
    if lltype_ == "i32":
        value = let(f"zext i32 {value} to i64")
        lltype_ = "i64"
    out(f"store {lltype_} {value}, ptr {place}, align {16 if lltype_.startswith('<') else 8}")


def read_slot(let: Any, lltype_: str, base: str, slot: int) -> str:
    """Read slot `slot` of a ValRaw array."""
    place = let(f"getelementptr i8, ptr {base}, i64 {s.VALRAW_SIZE * slot}") if slot else base
    value: str = let(f"load {lltype_}, ptr {place}, align {16 if lltype_.startswith('<') else 8}")
    return value
