"""The table from opcodes to the functions that write them.

Each operator family's file registers `emit(emitter, immediate)` functions by mnemonic; `HANDLERS` holds them by code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from core_rt.opcodes import OPCODES

if TYPE_CHECKING:
    from core_rt.compile.emitter import Emitter

__all__ = ["HANDLERS", "Emit", "emits", "register"]

Emit: TypeAlias = "Callable[[Emitter, Any], None]"

HANDLERS: Final[dict[int, Emit]] = {}

_CODES: dict[str, list[int]] = {}
for _row in OPCODES:
    _CODES.setdefault(_row.mnemonic, []).append(_row.code)


def register(mnemonic: str, emit: Emit) -> None:
    """Enter the function for an instruction (for both forms of `select`)."""
    for code in _CODES[mnemonic]:
        assert code not in HANDLERS, mnemonic
        HANDLERS[code] = emit


def emits(*mnemonics: str) -> Callable[[Emit], Emit]:
    """Register the decorated function for these instructions."""

    def decorate(emit: Emit) -> Emit:
        for mnemonic in mnemonics:
            register(mnemonic, emit)
        return emit

    return decorate
