"""What compiling needs that is not of one module: target machines, trampolines."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, final

from core_rt import native
from core_rt.compile.forks import watch
from core_rt.compile.host import host_machine
from core_rt.compile.image import load
from core_rt.compile.signature import Signature, signature
from core_rt.config import Config
from core_rt.kinds import kind_of
from core_rt.native import CodeArena
from core_rt.types import DefType, FuncType

if TYPE_CHECKING:
    from core_rt.compile.background import Background
    from core_rt.compile.jit import Jit
    from core_rt.compile.module import CompiledModule

__all__ = ["Compiler"]

_BUSY: Final = 0.02
"""Seconds, of processor time too, after which a guest that wanted no further quick code runs on without."""


@final
class Compiler:
    """Compiles for one engine. Thread-safe; shared by all modules of the engine."""

    def __init__(self, config: Config, *, verify: bool = False) -> None:
        self.config = config
        self._verify = verify
        self.float_register = "x" if host_machine() == "x86_64" else "w"
        self.lock = threading.RLock()
        self.quick = 0
        """How often a guest waited for quick code."""
        self._quick_at = 0.0, 0.0
        self._jit: Jit | None = None
        self._arena: CodeArena | None = None
        self._signatures: dict[int, Any] = {}
        self._trampolines: dict[tuple[str, str], int] = {}
        self.modules: weakref.WeakSet[CompiledModule] = weakref.WeakSet()
        watch(self)

    def locks(self) -> Iterator[Any]:
        """What threads that compile hold, in the order in which they take it; each is to be held before the next is asked for."""
        yield self.lock
        if self._jit is not None:
            yield self._jit.lock
        background = self.__dict__.get("background")
        if background is not None:
            yield from background.locks()

    def ask_again(self) -> None:
        """In the child of a fork: what was asked of threads that are the parent's has to be asked again."""
        for module in list(self.modules):
            module.ask_again()

    @cached_property
    def background(self) -> Background:
        """Who optimises while guests run."""
        from core_rt.compile.background import Background

        return Background()

    @property
    def jit(self) -> Jit:
        """LLVM, loaded when something is compiled: code from the cache and interpreted code do without."""
        if self._jit is None:
            from core_rt.compile.jit import Jit

            with self.lock:
                if self._jit is None:
                    self._jit = Jit(self.config.opt_level, verify=self._verify)
        return self._jit

    @cached_property
    def fuses(self) -> bool:
        """Whether the processor has an instruction for relaxed products and sums, and may use it."""
        if self.config.relaxed_simd_deterministic:
            return False
        return self.float_register == "w" or "+fma" in self.jit.processor[1].split(",")

    @property
    def is_ready(self) -> bool:
        """Whether who compiles now has to wait neither for LLVM to be loaded nor for somebody else who compiles."""
        return "core_rt.compile.jit" in sys.modules and not (self._jit is not None and self._jit.is_busy)

    def note_quick(self) -> None:
        """A guest waited for quick code until now."""
        self.quick += 1
        self._quick_at = time.monotonic(), time.process_time()

    @property
    def busy(self) -> bool:
        """Whether guests are likely to want more quick code at once: they did so a moment ago."""
        at, used = self._quick_at
        waited = time.monotonic() - at
        return waited < _BUSY or (waited < 10 * _BUSY and time.process_time() - used < _BUSY)

    def signature(self, deftype: DefType) -> Any:
        """The `VMSignature` of a function type, for bridges and the interpreter; it lasts as long as this."""
        found = self._signatures.get(deftype.id)
        if found is None:
            type_ = deftype.func
            made = native.signature([kind_of(t) for t in type_.params], [kind_of(t) for t in type_.results])
            found = self._signatures.setdefault(deftype.id, made)
        return found

    def _trampoline(self, kind: str, write: Callable[[Signature], str], functype: FuncType) -> int:
        sig = signature(functype)
        address = self._trampolines.get((kind, sig.key))
        if address is None:
            with self.lock:
                address = self._trampolines.get((kind, sig.key))
                if address is None:
                    if self._arena is None:
                        self._arena = CodeArena()
                    loaded = load(self._arena, self.jit.compile(write(sig)))
                    address = self._trampolines[kind, sig.key] = loaded.entries[kind]
        return address

    def array_trampoline(self, functype: FuncType) -> int:
        """The address of `void (VMFuncRef *, ValRaw *)` that calls functions of the type for the host."""
        from core_rt.compile.thunks import array_trampoline

        return self._trampoline("array", array_trampoline, functype)

    def host_trampoline(self, functype: FuncType) -> int:
        """The address of a native-convention function, its context a VMHostFuncContext, that leaves for the host."""
        from core_rt.compile.thunks import host_trampoline

        return self._trampoline("host", host_trampoline, functype)

    def statistics(self) -> dict[str, int]:
        """Counts: trampolines; requests for better code that were met in the background, given up, waiting."""
        background = self.__dict__.get("background")
        return {
            "trampolines": len(self._trampolines),
            "background_done": 0 if background is None else background.done,
            "background_failed": 0 if background is None else background.failed,
            "background_pending": 0 if background is None else background.pending,
        }

    def close(self) -> None:
        """Free trampolines and target machines, end the worker. No code of the engine may run afterwards."""
        if "background" in self.__dict__:
            self.background.close()
        with self.lock:
            self._trampolines.clear()
            if self._arena is not None:
                self._arena.close()
                self._arena = None
            if self._jit is not None:
                self._jit.close()
