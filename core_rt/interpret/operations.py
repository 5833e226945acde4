"""What the translator does for each opcode of wasm that becomes one word, or none."""

from __future__ import annotations

from typing import Final, NamedTuple

from core_rt.opcodes import BY_NAME, OPCODES
from core_rt.vm import words as w

__all__ = ["BRANCHES", "CONSTANTS", "FREE", "FUSIBLE", "KINDS", "Branch"]

GET, CONST, BINARY, UNARY, LOAD, STORE, NOTHING, OTHER = range(8)
"""local.get; a constant; `a = b operation c`; `a = operation b`; loads; stores; no instruction at all; see `translate.py`."""

CONSTANTS: Final = frozenset(BY_NAME[f"{t}.const"].code for t in ("i32", "i64", "f32", "f64"))

_NO_CODE: Final = frozenset(
    {
        *("nop", "i64.extend_i32_u", "i32.reinterpret_f32", "f32.reinterpret_i32"),
        *("i64.reinterpret_f64", "f64.reinterpret_i64"),
    }
)
"""Slots hold bits, those of 32-bit values with zeros above."""


FREE: Final = frozenset(BY_NAME[name].code for name in ("nop", "drop", "block", "loop", "end", "else"))
"""Instructions that take no fuel."""


def _kinds() -> dict[int, tuple[int, int]]:
    found = {}
    families = ((w.BINARY, BINARY), (w.UNARY, UNARY), (w.LOADS, LOAD), (w.STORES, STORE))
    kind_of = {name: kind for names, kind in families for name in names}
    for row in OPCODES:
        name = row.mnemonic.upper().replace(".", "_")
        if row.mnemonic == "local.get":
            found[row.code] = GET, 0
        elif row.code in CONSTANTS:
            found[row.code] = CONST, 0
        elif row.mnemonic in _NO_CODE:
            found[row.code] = NOTHING, 0
        elif name in kind_of:
            found[row.code] = kind_of[name], w.CODES[name]
    return found


KINDS: Final = _kinds()
"""Opcode → (kind, operation). What is not in here has a handler in `translate.py`, or is not interpreted."""


class Branch(NamedTuple):
    """How to branch on a comparison of two i32s."""

    operation: int
    swapped: bool


def _branches() -> dict[int, tuple[Branch, Branch]]:
    """Comparison → how to branch where it does not hold, and where it does."""
    codes = w.CODES

    def branch(name: str, swapped: bool = False) -> Branch:
        return Branch(codes[f"BR_{name}"], swapped)

    found = {
        codes["I32_EQ"]: (branch("NE"), branch("EQ")),
        codes["I32_NE"]: (branch("EQ"), branch("NE")),
    }
    for sign in "SU":
        less, most = f"LT_{sign}", f"LE_{sign}"
        found[codes[f"I32_LT_{sign}"]] = branch(most, True), branch(less)
        found[codes[f"I32_GT_{sign}"]] = branch(most), branch(less, True)
        found[codes[f"I32_LE_{sign}"]] = branch(less, True), branch(most)
        found[codes[f"I32_GE_{sign}"]] = branch(less), branch(most, True)
    return found


BRANCHES: Final = _branches()
_READS: Final = [name for name in w.STORAGE if "_GET_" in name]
FUSIBLE: Final = frozenset({w.CODES[name] for name in (*w.BINARY, *w.UNARY, *w.LOADS, *_READS, "MOVE")})
"""Operations of one word whose slot `a` is written last: a `local.set` behind them can be their `a`."""
