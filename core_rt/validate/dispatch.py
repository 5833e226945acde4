"""Which rule types which instruction: made from the rows of `core_rt.opcodes`, once for each set of features.

Rows with a fixed signature get a rule made from it; the others have one under their mnemonic in `control`, `storage` or
`reference`. The commonest instructions are moreover in tables that the loop in `function` reads without any call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from core_rt.binary.reader import sleb
from core_rt.binary.typeread import feature_error
from core_rt.config import DEFAULT_FEATURES, Features
from core_rt.errors import DecodeError
from core_rt.opcodes import OPCODES, Opcode
from core_rt.record import record
from core_rt.types import F32, F64, I32, I64, V128, ValType
from core_rt.validate import control, reference, storage
from core_rt.validate.control import Rule
from core_rt.validate.state import BodyState

__all__ = ["BINARY", "GET", "I32_CONST", "LOAD", "PLAIN", "SET", "STORE", "UNARY", "Dispatch", "dispatch_for"]

# How the loop treats a one-byte opcode; PLAIN calls its rule.
PLAIN: Final = 0
GET: Final = 1
I32_CONST: Final = 2
BINARY: Final = 3
UNARY: Final = 4
SET: Final = 5
LOAD: Final = 6
STORE: Final = 7

_LETTERS: Final[dict[str, ValType]] = {"i": I32, "I": I64, "f": F32, "F": F64, "v": V128}
_RULES: Final[dict[str, Rule]] = {**control.RULES, **storage.RULES, **reference.RULES}
_FAST: Final = {"local.get": GET, "local.set": SET, "local.tee": SET, "i32.const": I32_CONST}


@record
class Dispatch:
    """The tables for one set of features."""

    rules: dict[int, Rule]
    """By combined opcode; instructions that are switched off have a rule that raises."""
    fast: list[int]
    """By byte: how the loop treats it."""
    operands: list[tuple[Any, Any]]
    """By byte: for BINARY and UNARY the operands' type and the result's; for LOAD and STORE the natural alignment and
    the value's type."""


def _types(letters: str) -> tuple[ValType, ...]:
    return tuple([_LETTERS[letter] for letter in letters])


def _fixed(read: Callable[[BodyState], Any], params: tuple[ValType, ...], results: tuple[ValType, ...]) -> Rule:
    def rule(s: BodyState, op: int) -> Any:
        imm = read(s)
        s.pops(params)
        s.stack.extend(results)
        return imm

    return rule


def _access(row: Opcode) -> Rule:
    """Memory instructions: the first operand is an address of the memory that the immediate names."""
    assert row.params is not None and row.results is not None
    natural, exact, lanes = row.number, row.immediate == "atomic", row.immediate == "lanemem"
    operands = _types(row.params[1:])
    results = _types(row.results)

    def rule(s: BodyState, op: int) -> Any:
        imm: tuple[int, ...] = s.memarg(natural, exact)
        if lanes:
            imm = (*imm, _lane(s, 16 >> natural))
        s.pops(operands)
        s.pop(I64 if s.module.memories[imm[2]].is64 else I32)
        s.stack.extend(results)
        return imm

    return rule


def _lane(s: BodyState, lanes: int) -> int:
    lane = s.byte()
    if lane >= lanes:
        raise s.invalid(f"invalid lane index {lane}")
    return lane


def _i32(s: BodyState) -> int:
    value, s.pos = sleb(s.data, s.pos, 32)
    return value


def _i64(s: BodyState) -> int:
    value, s.pos = sleb(s.data, s.pos, 64)
    return value


def _shuffle(s: BodyState) -> tuple[int, ...]:
    lanes = tuple(s.take(16))
    if max(lanes) >= 32:
        raise s.invalid(f"invalid lane index {max(lanes)}")
    return lanes


def _reader(row: Opcode) -> Callable[[BodyState], Any]:
    if row.immediate == "lane":
        lanes = row.number
        return lambda s: _lane(s, lanes)
    return _READERS[row.immediate]


_READERS: Final[dict[str, Callable[[BodyState], Any]]] = {
    "none": lambda s: None,
    "i32": _i32,
    "i64": _i64,
    "f32": lambda s: int.from_bytes(s.take(4), "little"),
    "f64": lambda s: int.from_bytes(s.take(8), "little"),
    "v128": lambda s: int.from_bytes(s.take(16), "little"),
    "shuffle": _shuffle,
    "fence": BodyState.zero_byte,
}


def _switched_off(row: Opcode) -> Rule:
    proposal = row.proposal
    assert proposal is not None

    def rule(s: BodyState, op: int) -> Any:
        raise feature_error("illegal opcode", row.mnemonic, proposal, s.at)

    return rule


def _rule(row: Opcode, features: Features) -> Rule:
    if row.proposal is not None and not getattr(features, row.proposal):
        return _switched_off(row)
    if row.params is None or row.results is None:
        return _RULES[row.mnemonic]
    if row.immediate in ("mem", "atomic", "lanemem"):
        return _access(row)
    return _fixed(_reader(row), _types(row.params), _types(row.results))


def _fast(row: Opcode, features: Features) -> tuple[int, tuple[Any, Any]]:
    if row.proposal is not None and not getattr(features, row.proposal):
        return PLAIN, (None, None)
    params, results = row.params, row.results
    if row.mnemonic in _FAST:
        return _FAST[row.mnemonic], (None, None)
    if params and row.immediate == "mem":
        return (LOAD, (row.number, _LETTERS[results])) if results else (STORE, (row.number, _LETTERS[params[1]]))
    if params and results and row.immediate == "none" and len(results) == 1 and len(set(params)) == 1:
        kind = {1: UNARY, 2: BINARY}.get(len(params), PLAIN)
        return kind, (_LETTERS[params[0]], _LETTERS[results])
    return PLAIN, (None, None)


@functools.lru_cache(maxsize=64)
def dispatch_for(features: Features) -> Dispatch:
    """The tables for these features."""
    fast = [PLAIN] * 256
    operands: list[tuple[Any, Any]] = [(None, None)] * 256
    rules: dict[int, Rule] = {}
    for row in OPCODES:
        rules[row.code] = _rule(row, features)
        if row.code < 256:
            fast[row.code], operands[row.code] = _fast(row, features)
    return Dispatch(rules, fast, operands)


dispatch_for(DEFAULT_FEATURES)  # what nearly every module needs, made when the package is loaded


def illegal(op: int, at: int) -> DecodeError:
    """The error for an opcode that does not exist."""
    text = f"{op:02x}" if op < 256 else f"{op >> 12:02x} {op & 0xFFF:02x}"
    return DecodeError(f"illegal opcode {text}", at)
