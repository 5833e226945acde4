"""What compiling needs that is not of one module: target machines, trampolines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, final

from core_rt.compile.background import Background
from core_rt.compile.host import host_machine
from core_rt.compile.image import load
from core_rt.compile.signature import Signature, signature
from core_rt.config import Config
from core_rt.native import CodeArena
from core_rt.types import FuncType

if TYPE_CHECKING:
    from core_rt.compile.jit import Jit

__all__ = ["Compiler"]


@final
class Compiler:
    """Compiles for one engine. Thread-safe; shared by all modules of the engine."""

    def __init__(self, config: Config, *, verify: bool = False) -> None:
        self.config = config
        self._verify = verify
        self.background = Background()
        self.float_register = "x" if host_machine() == "x86_64" else "w"
        self.lock = threading.RLock()
        self._arena: CodeArena | None = None
        self._trampolines: dict[tuple[str, str], int] = {}

    @cached_property
    def jit(self) -> Jit:
        """LLVM, loaded when something is compiled: code from the cache does without."""
        from core_rt.compile.jit import Jit

        return Jit(self.config.opt_level, verify=self._verify)

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
        """Counts: trampolines; chunks of functions optimised in the background, given up, waiting."""
        background = self.background
        return {
            "trampolines": len(self._trampolines),
            "background_done": background.done,
            "background_failed": background.failed,
            "background_pending": background.pending,
        }

    def close(self) -> None:
        """Free trampolines and target machines, end the worker. No code of the engine may run afterwards."""
        self.background.close()
        with self.lock:
            self._trampolines.clear()
            if self._arena is not None:
                self._arena.close()
                self._arena = None
            if "jit" in self.__dict__:
                self.jit.close()
