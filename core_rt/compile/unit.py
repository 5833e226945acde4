"""A unit: some functions of a wasm module as one LLVM module in text.

Symbols: `f<i>` is defined function i in the C convention, `t<i>` its `tailcc` entry. Both keep their convention, because each has an entry
in the code table (leaving LLVM free to change functions that need none was measured to gain nothing). A function that makes tail calls has its body
in `t<i>` and a wrapper in `f<i>`; any other has it in `f<i>`, and a `t<i>` that calls it exists only where it was asked for.
Wrappers carry no debug locations, so `lines` never reports them as frames of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from core_rt.compile import families
from core_rt.compile.control import write_body, write_body_counting, write_body_with_lines
from core_rt.compile.emitter import Emitter
from core_rt.compile.signature import Signature, signature
from core_rt.opcodes import BY_CODE, BY_NAME
from core_rt.types import DefType
from core_rt.validate.function import Uses
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.compile.osr import Frame
    from core_rt.validate.function import FuncBody
    from core_rt.vm.layout import ModuleLayout

__all__ = ["ATTRIBUTES", "Unit"]

assert families

ATTRIBUTES: Final = 'attributes #0 = { nounwind "frame-pointer"="all" "probe-stack"="inline-asm" "disable-tail-calls"="true" "no-builtins" }'
"""Frame pointers carry backtraces, probes find the guard page however large a frame is, tail calls would lose frames, and no call to a
C library may be invented. Loops need not end: neither `mustprogress` nor `willreturn`."""

_REGISTERS_ATTRIBUTES: Final = ATTRIBUTES.replace("nounwind", "nounwind noinline optnone")
"""Of functions for `Jit.compile(registers=True)`: `optnone` keeps all but the allocation of registers quick."""

_TAIL_ATTRIBUTES: Final = (
    ATTRIBUTES.replace("#0", "#1")
    .replace(' "disable-tail-calls"="true"', "")
    .replace("nounwind", "nounwind noinline optnone")
)
"""Of functions whose tail calls take arguments on the stack, on x86-64. LLVM 22 loses those of a `musttail` call there, and the caller's own
stay on the stack. A `tail` call in `tailcc` is right, and is a jump as long as no pass comes between it and its `ret`: so none may."""

_METADATA: Final = """!0 = !{}
!1 = !{!"branch_weights", i32 1, i32 100000}
!2 = !{!"branch_weights", i32 100000, i32 1}
!3 = !{!6, !6, i64 0}
!4 = !{!7, !7, i64 0}
!5 = !{!"wasm"}
!6 = !{!"vm", !5}
!8 = !{!9, !9, i64 0}
!9 = !{!"heap", !5}
!7 = !{!"guest", !5}"""

_DEBUG: Final = """!llvm.dbg.cu = !{!10}
!llvm.module.flags = !{!13, !14}
!10 = distinct !DICompileUnit(language: DW_LANG_C, file: !11, emissionKind: LineTablesOnly)
!11 = !DIFile(filename: "m", directory: "")
!12 = !DISubroutineType(types: !0)
!13 = !{i32 2, !"Debug Info Version", i32 3}
!14 = !{i32 7, !"Dwarf Version", i32 4}
!15 = !{!"llvm.loop.unroll.count", i32 2}"""
_FIRST_NODE: Final = 20

_TAIL_CALLS: Final = frozenset(row.code for row in BY_CODE.values() if row.mnemonic.startswith("return_call"))

_CALLEE: Final[dict[int, Callable[[DecodedModule, Any], DefType]]] = {
    BY_NAME["return_call"].code: lambda module, imm: module.funcs[imm],
    BY_NAME["return_call_indirect"].code: lambda module, imm: module.types[imm[0]],
    BY_NAME["return_call_ref"].code: lambda module, imm: module.types[imm],
}

_TYPE_IDS: Final = s.VMContextHeader["type_ids"]
_CODE_TABLE: Final = s.VMContextHeader["code_table"]


@attrs.define(eq=False)
class Unit:
    """What emitters know about where their function goes, and the texts written so far.

    `optimised`: the text goes through LLVM's passes; `members`: defined functions that are in the unit and may be
    called by name; `lines`: mark instructions with their byte offsets.
    """

    module: DecodedModule
    layout: ModuleLayout
    interruptible: bool
    fuel: bool
    float_register: str
    """Constraint letter of the machine's floating-point registers."""
    collects: bool
    """References into the heap can reach the module's code."""
    fuses: bool
    """Relaxed products and sums are rounded once."""
    optimised: bool = False
    lines: bool = False
    members: frozenset[int] = frozenset()
    tail_members: frozenset[int] = frozenset()
    registers: bool = False
    """LLVM allocates registers with care, though no pass has seen the text."""
    leavable: bool = False
    """Quick code is written so that its loops can be left for better code: see osr.py."""
    current: int = attrs.field(init=False, default=0)
    """The defined function being written."""
    num_imports: int = attrs.field(init=False)
    num_defined: int = attrs.field(init=False)
    alias_vm: str = attrs.field(init=False)
    alias_heap: str = attrs.field(init=False)
    alias_guest: str = attrs.field(init=False)
    tail_call: str = attrs.field(init=False, default="musttail call")
    """How the function being written makes its tail calls."""
    _careful: bool = attrs.field(init=False, default=False)
    wrappers: set[str] = attrs.field(init=False, factory=set)
    """Symbols that only pass a call on."""
    _texts: list[str] = attrs.field(init=False, factory=list)
    _nodes: list[str] = attrs.field(init=False, factory=list)
    _signatures: dict[DefType, Signature] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.num_imports = self.module.num_imported_funcs
        self.num_defined = len(self.module.bodies)
        self.alias_vm = ", !tbaa !3" if self.optimised else ""
        self.alias_heap = ", !tbaa !8" if self.optimised else ""
        self.alias_guest = ", !tbaa !4" if self.optimised else ""

    def signature_of(self, deftype: DefType) -> Signature:
        """The signature of a function type."""
        sig = self._signatures.get(deftype)
        if sig is None:
            sig = self._signatures[deftype] = signature(deftype.func)
        return sig

    def type_id(self, f: Emitter, type_index: int) -> str:
        """The run-time id of a type of the module: a constant where code stays in this process."""
        if not self.optimised:
            return str(self.module.types[type_index].id)
        name = f"%type{type_index}"
        if name not in f.preamble:
            f.entry_pointer("%types", "%0", _TYPE_IDS)
            place = f.entry(f"{name}.p", f"getelementptr i8, ptr %types, i64 {4 * type_index}")
            f.entry(name, f"load i32, ptr {place}, !invariant.load !0")
        return name

    # ------------------------------------------------------------------------------------------- writing

    def add_function(self, defined: int, body: FuncBody) -> None:
        """Write a function, and its wrapper if it makes tail calls."""
        sig = self.signature_of(self.module.funcs[self.num_imports + defined])
        self.current = defined
        f = Emitter(self, body, sig)
        tail = makes_tail_calls(body)
        convention, name = ("tailcc ", f"t{defined}") if tail else ("", f"f{defined}")
        careful = tail and self.float_register == "x" and self._tails_on_stack(sig, body)
        self._careful |= careful
        self.tail_call = "tail call" if careful else "musttail call"
        head = f"define hidden {sig.declare(convention, name)} {'#1' if careful else '#0'}"
        if f.catches and not careful:  # the landing's stack pointer is that of one frame
            head += " noinline"
        head += self._write(f, name)
        self._texts.append(f.text(head + " {"))
        if tail:
            self._texts.append(self._forward(sig, "", f"f{defined}", f"tailcc {sig.result} @t{defined}", ""))

    def add_loop(self, defined: int, body: FuncBody, offset: int, source: Frame) -> str | None:
        """Write a function that takes over from other code of a function at the head of a loop, and gets the locals from a frame.

        Returns its symbol; None where the loop cannot be left.
        """
        sig = self.signature_of(self.module.funcs[self.num_imports + defined])
        self.current = defined
        f = Emitter(self, body, sig, offset, source)
        name = f"f{defined}.loop{offset}"
        head = f"define hidden {sig.result} @{name}(ptr %0, ptr %frame) #0"
        head += self._write(f, name)
        if not f.resume_label:
            return None
        self._texts.append(f.text(head + " {"))
        return name

    def _write(self, f: Emitter, name: str) -> str:
        """Write a body; returns what the head of the function says of its debug locations."""
        if not self.lines:
            (write_body_counting if self.fuel else write_body)(f)
            return ""
        scope = self._node(
            f'distinct !DISubprogram(name: "{name}", scope: !11, file: !11, line: 1, type: !12, unit: !10, spFlags: DISPFlagDefinition)'
        )
        write_body_with_lines(f, self._locator(scope))
        return f" !dbg !{scope}"

    def _tails_on_stack(self, sig: Signature, body: FuncBody) -> bool:
        """Whether a tail call of the body, or the function itself, has arguments on the stack."""
        if sig.on_stack:
            return True
        module = self.module
        for op, imm, _ in body.code:
            if op in _TAIL_CALLS:
                callee = _CALLEE[op](module, imm)
                if self.signature_of(callee).on_stack:
                    return True
        return False

    def add_tail_entry(self, defined: int) -> None:
        """Write the `tailcc` entry of a function that makes no tail calls: it calls the function."""
        sig = self.signature_of(self.module.funcs[self.num_imports + defined])
        if defined in self.members:
            load, callee = "", f"@f{defined}"
        else:
            load = (
                f"%tp = getelementptr i8, ptr %0, i64 {_CODE_TABLE}\n%table = load ptr, ptr %tp\n"
                f"%ep = getelementptr i8, ptr %table, i64 {8 * defined}\n%code = load ptr, ptr %ep\n"
            )
            callee = "%code"
        self._texts.append(self._forward(sig, "tailcc ", f"t{defined}", f"{sig.result} {callee}", load))

    def _forward(self, sig: Signature, convention: str, name: str, callee: str, load: str) -> str:
        self.wrappers.add(name)
        arguments = "".join([f", {t} %{i}" for i, t in enumerate(sig.params, 1)]) + (
            ", ptr %ret" if sig.multiple else ""
        )
        if not convention:
            arguments += sig.tail_padding
        head = f"define hidden {sig.declare(convention, name)} #0 {{\nentry:\n{load}"
        if sig.result == "void":
            return f"{head}call {callee}(ptr %0{arguments})\nret void\n}}"
        return f"{head}%r = call {callee}(ptr %0{arguments})\nret {sig.result} %r\n}}"

    def _node(self, text: str) -> int:
        number = _FIRST_NODE + len(self._nodes)
        self._nodes.append(f"!{number} = {text}")
        return number

    def unrolled(self) -> str:
        """Metadata for the branches back of a loop that LLVM shall do two rounds of at a time."""
        number = _FIRST_NODE + len(self._nodes)
        self._node(f"distinct !{{!{number}, !15}}")
        return f", !llvm.loop !{number}"

    def _locator(self, scope: int) -> Callable[[int], int]:
        known: dict[int, int] = {}

        def locate(offset: int) -> int:
            number = known.get(offset)
            if number is None:
                number = known[offset] = self._node(f"!DILocation(line: {offset}, column: 0, scope: !{scope})")
            return number

        return locate

    @property
    def slotted(self) -> bool:
        """Locals whose values are joined live on the stack: see emitter.py."""
        return not self.optimised and not self.registers

    @property
    def page_polls(self) -> bool:
        """Whether a poll may be a load from the store's poll page (`native/poll.c`: x86-64 only)."""
        return self.float_register == "x"

    def text(self) -> str:
        """The unit as LLVM text."""
        attributes = _REGISTERS_ATTRIBUTES if self.registers else ATTRIBUTES
        parts = [*self._texts, attributes, *([_TAIL_ATTRIBUTES] if self._careful else []), _METADATA]
        if self.lines:
            parts += [_DEBUG, *self._nodes]
        return "\n".join(parts) + "\n"


def makes_tail_calls(body: FuncBody) -> bool:
    """Whether a function contains a `return_call`."""
    return bool(body.uses & Uses.TAIL_CALLS)


def contains(body: FuncBody, opcodes: Iterable[int]) -> bool:
    """Whether a function contains one of the instructions."""
    wanted = frozenset(opcodes)
    return any(op in wanted for op, _, _ in body.code)
