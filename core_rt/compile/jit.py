"""LLVM text in, object code out: the only file that knows llvmlite.

Nothing of LLVM outlives a call here except target machines and, for a while, a context. Object code is loaded by
`core_rt.compile.elf`, so that neither LLJIT nor MCJIT (and their symbol tables, relocation rules and memory managers)
stand between the text and the code arena, and so that an object may as well come from another process or from disk.

Three code paths of LLVM are used:
- *quick*: no passes, code generation at level 0 (FastISel).
- *registers*: no passes, code generation at level 1 of functions marked `optnone`: still FastISel, but with LLVM's good register
  allocator. 2.5 times the time for loops that run 1.5 times as fast; level 1 as such takes 5 times the time.
- *optimised*: the standard pipeline for `opt_level`, code generation at the same level. 0 makes it the same as *quick*.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Final

import llvmlite.binding as llvm

from core_rt.compile.host import host_machine
from core_rt.errors import EngineBug

__all__ = ["Jit"]

# A context keeps every type, constant and metadata node ever made in it; without a change of context now and then, a
# process that compiles functions for days would grow for days. Making one costs less than a function's parsing.
_CONTEXT_LIFE: Final = 64

_SHUNNED: Final = ",-avx512bw,-avx512vnni,-avxvnni"
"""What x86-64 processors can do and LLVM should not: comparisons of bytes whose result is in a mask register (16-byte vectors have
`pmovmskb`, and half the latency), and products added in one instruction, which makes a sum wait four cycles for itself."""
_TRIPLES: Final = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}

_started = threading.Lock()
_ready: set[str] = set()


def _start(machine: str) -> None:
    with _started:
        if machine in _ready:
            return
        if machine == host_machine():
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            llvm.initialize_native_asmparser()  # exceptions enter and leave by inline assembly
        else:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        _ready.add(machine)


@functools.cache
def _processor(machine: str) -> tuple[str, str]:
    if machine != host_machine():
        return "", ""
    shunned = _SHUNNED if machine == "x86_64" else ""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten() + shunned


@functools.cache
def _target_machine(machine: str, level: int) -> Any:
    """Shared by all engines of the process (making one takes half a millisecond): llvmlite lets one of them at a time use it."""
    _start(machine)
    cpu, features = _processor(machine)
    return llvm.Target.from_triple(_TRIPLES[machine]).create_target_machine(
        cpu=cpu, features=features, opt=level, reloc="pic", codemodel="small"
    )


class Jit:
    """Compiles LLVM text for one machine.

    `machine` is "x86_64" or "aarch64" (default: this one, with all features of its processor); `opt_level` 0..3 is that
    of optimised code. `verify` runs LLVM's verifier on everything (slow; for tests). Thread-safe: one text at a time.
    """

    def __init__(self, opt_level: int = 2, *, machine: str | None = None, verify: bool = False) -> None:
        self.machine = machine or host_machine()
        self.verify = verify
        self.opt_level = opt_level
        self.lock = threading.Lock()
        self._context: Any = None
        self._context_uses = 0

    @property
    def is_busy(self) -> bool:
        """Whether who compiles now waits for another."""
        return self.lock.locked()

    @property
    def processor(self) -> tuple[str, str]:
        """LLVM's name of the processor that code is made for, and its features."""
        return _processor(self.machine)

    def _target_machine(self, level: int) -> Any:
        return _target_machine(self.machine, level)

    def _fresh_context(self) -> Any:
        if self._context is None or self._context_uses >= _CONTEXT_LIFE:
            self._context = llvm.create_context()
            self._context_uses = 0
        self._context_uses += 1
        return self._context

    def compile(self, text: str, *, optimise: bool = False, registers: bool = False) -> bytes:
        """The ELF object for a module in LLVM text. Raises `EngineBug` when LLVM refuses the text."""
        with self.lock:
            return self._compile(text, optimise, registers)

    def _compile(self, text: str, optimise: bool, registers: bool) -> bytes:
        # What dies at the end of this goes through LLVM once more, which must not happen without the lock.
        machine = self._target_machine(self.opt_level if optimise else int(registers))
        module = self._module(text, machine, optimise)
        code: bytes = machine.emit_object(module)
        module.close()
        return code

    def _module(self, text: str, machine: Any, optimise: bool) -> Any:
        """LLVM's module for a text, after all passes."""
        try:
            module = llvm.parse_assembly(text, self._fresh_context())
            if self.verify:
                module.verify()
        except RuntimeError as error:
            raise EngineBug(f"LLVM refused generated code: {error}") from error
        if optimise and self.opt_level:
            options = llvm.create_pipeline_tuning_options(speed_level=self.opt_level)
            # Guest memory is volatile, so unrolling finds nothing to merge; it cost up to 10 % where it doubled dispatch loops.
            options.loop_unrolling = False
            builder = llvm.create_pass_builder(machine, options)
            builder.getModulePassManager().run(module, builder)
        return module

    def assembly(self, text: str, *, optimise: bool = False, registers: bool = False) -> str:
        """Assembly text, to read."""
        with self.lock:
            machine = self._target_machine(self.opt_level if optimise else int(registers))
            result: str = machine.emit_assembly(self._module(text, machine, optimise))
            return result

    def close(self) -> None:
        """Free LLVM's context; the `Jit` may still be used and makes it again."""
        with self.lock:
            self._context = None
