"""The engine: configuration, compiler, epoch; shared by any number of stores and threads."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Literal, final

from core_rt import native
from core_rt.compile import Compiler
from core_rt.compile.ahead import Progress, compile_ahead, open_cache
from core_rt.config import Config

if TYPE_CHECKING:
    from core_rt.types import DefType

__all__ = ["Engine"]

_numbers = itertools.count(1)


@final
class Engine:
    """Compiles modules and owns their code. Thread-safe; make one and share it.

    With `Config(epoch_interruption=True)` (the default) a ticker interrupts running guests every `tick_seconds`, which lets
    Python see signals (Ctrl-C) and lets stores check their deadlines.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config if config is not None else Config()
        self.compiler = Compiler(self.config)
        self.cache = open_cache(self.config)
        self._trampolines: dict[tuple[str, int], Any] = {}
        self._epoch = 0
        self._lock = threading.Lock()
        self.number = next(_numbers)
        """By which the shim knows its stores."""
        if self.config.epoch_interruption:
            native.start_ticker(self.config.tick_seconds)

    @property
    def epoch(self) -> int:
        """How often `increment_epoch` was called."""
        return self._epoch

    @property
    def on_optimised(self) -> Progress | None:
        """Called with (requests dealt with, requests made so far) when code that guests spend their time in was optimised in the
        background, or could not be. It is called in another thread."""
        return self.compiler.background.progress

    @on_optimised.setter
    def on_optimised(self, progress: Progress | None) -> None:
        self.compiler.background.progress = progress

    def increment_epoch(self) -> None:
        """Advance the epoch; guests whose deadline is reached trap at their next function entry or loop head."""
        with self._lock:
            self._epoch += 1
        native.interrupt_engine(self.number)

    def signature(self, deftype: DefType) -> Any:
        """The `VMSignature` of a function type, for the bridges."""
        return self.compiler.signature(deftype)

    def trampoline(self, kind: Literal["array", "host"], deftype: DefType) -> Any:
        """A `void *` to what calls functions of a type from the host ("array"), or is called for one of the host ("host").

        It is compiled where code is optimised ahead; else the bridge, which serves every type.
        """
        if self.config.tiers != "optimized":
            return native.array_bridge if kind == "array" else native.host_bridge
        key = (kind, deftype.id)
        pointer = self._trampolines.get(key)
        if pointer is None:
            compiler = self.compiler
            make = compiler.array_trampoline if kind == "array" else compiler.host_trampoline
            pointer = self._trampolines[key] = native.pointer(make(deftype.func))
        return pointer

    def precompile(self, data: bytes | bytearray | memoryview, progress: Progress | None = None) -> None:
        """Optimise a module, or all core modules of a component, and leave the code in the cache for this and other processes.

        `progress(done, total)` is called after each part, perhaps by another thread. Large modules are compiled by several processes.
        Raises `DecodeError`, `ValidationError`.
        """
        from core_rt.binary.decode import decode_module
        from core_rt.binary.nested import core_modules
        from core_rt.module import Module

        modules = [Module.from_decoded(self, decode_module(part, self.config.features)) for part in core_modules(data)]
        compile_ahead([module.compiled for module in modules], self.cache, progress)
        for module in modules:
            module.keep_image()
