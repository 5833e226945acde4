"""Random valid modules give the same results, traps, memories and globals here and in wasmtime.

python -m tests.robustness.differential --count 2000 [--seed 1] [--tier lazy|off|optimized|every] [--vectors] [--references] [--exceptions]
    [--memories] [--transfers] [--shapes]

Tier "every" runs each module in the interpreter, in the interpreter with a budget that is soon used up, so that entries and loops go on in
quick code, and in quick code; there, traps have to have the same backtraces, and where fuel is counted calls take the same.
"""

from __future__ import annotations

import argparse
import functools
import math
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import wasmtime

import core_rt
from core_rt.compile import module as compiled
from core_rt.interpret import functions as interpreted

from .generate import Generated, Signature, generate
from .operators import F32, F64, I32, I64, V128
from .supervise import Report, add_worker_options, run_worker, supervise

__all__ = ["EXTRAS", "Ours", "run", "their_engine", "tiers_of"]

EXTRAS = ("vectors", "references", "exceptions", "memories", "transfers", "shapes")
# Where the other engine does not tell apart what the suites do.
_SAME_TRAP = {
    "UNDEFINED_ELEMENT": "TABLE_OUT_OF_BOUNDS",
    "UNINITIALIZED_ELEMENT": "INDIRECT_CALL_TO_NULL",
    "NULL_FUNCTION": "NULL_REFERENCE",
    "NULL_STRUCTURE": "NULL_REFERENCE",
    "NULL_ARRAY": "NULL_REFERENCE",
    "NULL_I31": "NULL_REFERENCE",
    "HEAP_MISALIGNED": "MEMORY_OUT_OF_BOUNDS",  # an address may be both, and nothing says what is looked at first
}


def _trap(name: str) -> str:
    return f"trap {_SAME_TRAP.get(name, name)}"


# Below the size of the stack that the other engine sets aside for asynchronous calls, which it insists on.
_STACK = 1_900_000
_FUEL = 1 << 40


class Difference(Exception):
    """The engines disagree."""


@functools.cache
def their_engine() -> wasmtime.Engine:
    """The other engine, with all that modules may contain."""
    config = wasmtime.Config()
    config.max_wasm_stack = _STACK
    config.wasm_wide_arithmetic = True
    config.wasm_relaxed_simd_deterministic = True
    return wasmtime.Engine(config)


def _float(kind: int, raw: int) -> float:
    size, code = (4, "<f") if kind == F32 else (8, "<d")
    value: float = struct.unpack(code, raw.to_bytes(size, "little"))[0]
    return value


def _to_python(kind: int, raw: int) -> int | float:
    """Raw bits as the value that wasmtime's Python interface takes and gives."""
    match kind:
        case 0x7F:
            return raw - (raw >> 31 << 32)
        case 0x7E:
            return raw - (raw >> 63 << 64)
    return _float(kind, raw)


def _same(kind: int, ours: object, theirs: object) -> bool:
    if type(ours) is not int or not isinstance(theirs, (int, float)):
        return False
    if kind in (I32, I64):
        return _to_python(kind, ours) == theirs
    mine = _float(kind, ours)
    if math.isnan(mine) or math.isnan(theirs):
        return math.isnan(mine) and math.isnan(theirs)
    return struct.pack("<d", mine) == struct.pack("<d", theirs)


class _Theirs:
    def __init__(self, generated: Generated) -> None:
        self.store = wasmtime.Store(their_engine())
        module = wasmtime.Module(their_engine(), generated.wasm)
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)

    def call(self, name: str, signature: Signature, arguments: tuple[int, ...]) -> tuple[str, list[object]]:
        self.exports["reset"](self.store)
        values = [_to_python(kind, raw) for kind, raw in zip(signature.params, arguments)]
        try:
            result = self.exports[name](self.store, *values)
        except wasmtime.Trap as trap:
            # an exception that nobody caught is a trap without a code
            return _trap(trap.trap_code.name) if trap.trap_code else "uncaught", []
        return "ok", result if isinstance(result, list) else [] if result is None else [result]

    def memory(self, name: str) -> bytes:
        memory = self.exports[name]
        return bytes(memory.read(self.store, 0, memory.data_len(self.store)))

    def global_value(self, name: str) -> object:
        return self.exports[name].value(self.store)


class Ours:
    """An instance here."""

    def __init__(self, engine: core_rt.Engine, module: core_rt.Module) -> None:
        self.store = core_rt.Store(engine)
        self.counted = engine.config.consume_fuel
        self.used = 0
        """Fuel that the last call took, if it is counted."""
        self._fill()
        self.exports = core_rt.Linker(engine).instantiate(self.store, module).exports
        self.frames: tuple[tuple[int, int | None], ...] = ()
        """Those of the last trap."""

    def _fill(self) -> None:
        if self.counted:
            self.store.fuel = _FUEL

    def call(self, name: str, arguments: tuple[int, ...]) -> tuple[str, list[object]]:
        self.exports["reset"].call_raw([])
        self.frames = ()
        self._fill()
        try:
            return self._call(name, arguments)
        finally:
            self.used = _FUEL - self.store.fuel if self.counted else 0

    def _call(self, name: str, arguments: tuple[int, ...]) -> tuple[str, list[object]]:
        try:
            return "ok", list(self.exports[name].call_raw(list(arguments)))
        except core_rt.Trap as trap:
            self.frames = tuple([(frame.function, frame.offset) for frame in trap.frames])
            if (
                trap.code is core_rt.TrapCode.MEMORY_OUT_OF_BOUNDS
            ):  # quick code may load later, when the value is wanted
                self.frames = ((self.frames[0][0], None), *self.frames[1:])
            return _trap(trap.code.name), []
        except core_rt.GuestException:
            return "uncaught", []


@attrs.frozen
class Tier:
    """A way to run a module here. `budget`: entries and loop heads that a function is interpreted for; None: as the engine has it."""

    name: str
    engine: core_rt.Engine
    budget: int | None = None

    def begin(self, generated: Generated) -> Ours:
        """An instance whose functions run so."""
        module = core_rt.Module(self.engine, generated.wasm)
        functions = module.compiled.functions
        if self.budget is not None and functions is not None:
            functions.budget = self.budget
        return Ours(self.engine, module)


def tiers_of(name: str, index: int) -> list[Tier]:
    """What a case is run in; the budget where that is small depends on the case, and whether the guest waits for quick code, and whether
    fuel is counted."""
    if name != "every":
        return [Tier(name, _engine(name))]
    interpreted.BUDGET_PER_WORD = 0  # type: ignore[misc]
    compiled._WAIT_WORDS = 0 if index % 4 == 3 else 1 << 40  # type: ignore[misc]
    # No tick, so that nothing is optimised meanwhile: that code has fewer frames.
    lazy, off = (_engine(one, tick_seconds=3600, consume_fuel=index % 3 == 0) for one in ("lazy", "off"))
    return [Tier("lazy", lazy, 1 << 40), Tier("off", off), Tier("leaving", lazy, index % 13)]


@functools.cache
def _engine(tiers: str, tick_seconds: float = 0.01, consume_fuel: bool = False) -> core_rt.Engine:
    config = core_rt.Config(
        tiers=tiers, cache=False, max_wasm_stack=_STACK, tick_seconds=tick_seconds, consume_fuel=consume_fuel
    )
    return core_rt.Engine(config)


def compare(tiers: Sequence[Tier], generated: Generated) -> str:
    """Runs all calls on one instance of the other engine and one in each tier. Raises `Difference`."""
    theirs = _Theirs(generated)
    mine = {tier.name: tier.begin(generated) for tier in tiers}
    traps = 0
    try:
        for number, (name, signature, arguments) in enumerate(generated.calls):
            outcome, wanted = theirs.call(name, signature, arguments)
            if outcome == "trap STACK_OVERFLOW":
                return "deep"  # how much stack a frame takes is nobody's business
            traps += outcome != "ok"
            frames = {}
            for tier, ours in mine.items():
                got_outcome, got = ours.call(name, arguments)
                if (
                    got_outcome != outcome
                    or not all(map(_same, signature.results, got, wanted))
                    or len(got) != len(wanted)
                ):
                    raise Difference(
                        f"{tier} call {number} {name}{arguments}: {got_outcome} {got}, wanted {outcome} {wanted}"
                    )
                frames[tier] = ours.used, ours.frames
            if len(set(frames.values())) > 1:
                raise Difference(f"fuel or backtraces of call {number} {name}{arguments}: {frames}")
        for ours in mine.values():
            _compare_state(ours, theirs)
    finally:
        for ours in mine.values():
            ours.store.close()
    return "traps" if traps else "equal"


def _compare_state(ours: Ours, theirs: _Theirs) -> None:
    kinds = {core_rt.I32: I32, core_rt.I64: I64, core_rt.F32: F32, core_rt.F64: F64, core_rt.V128: V128}
    for name, item in ours.exports.items():
        if isinstance(item, core_rt.Memory):
            mine, other = bytes(item.data), theirs.memory(name)
            if mine != other:
                at = next((i for i, (a, b) in enumerate(zip(mine, other)) if a != b), min(len(mine), len(other)))
                raise Difference(f"memories {name} of {len(mine)} and {len(other)} bytes differ at {at}")
        if isinstance(item, core_rt.Global):
            kind = kinds.get(item.type.content, V128)
            if kind != V128 and not _same(kind, item.raw, theirs.global_value(name)):
                raise Difference(f"global {name}: {item.raw}, wanted {theirs.global_value(name)}")


def run(count: int, *, seed: int = 1, tier: str = "lazy", extras: Sequence[str] = (), first: int = 0) -> Report:
    """`count` random modules in a worker process; `extras`: what occurs in them besides numbers, of `EXTRAS`."""
    arguments = ["--seed", str(seed), "--tier", tier, *(f"--{extra}" for extra in extras)]
    return supervise("tests.robustness.differential", arguments, count, first=first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tier", choices=["lazy", "eager", "off", "optimized", "every"], default="lazy")
    for extra in EXTRAS:
        parser.add_argument(f"--{extra}", action="store_true", help=f"with {extra}")
    parser.add_argument("--write", type=Path, help="write the module of case --first to this file and stop")
    add_worker_options(parser)
    options = parser.parse_args()

    def case(index: int) -> Generated:
        return generate(f"{options.seed}/{index}", **{extra: getattr(options, extra) for extra in EXTRAS})

    if options.write:
        options.write.write_bytes(case(options.first).wasm)
        return 0
    if options.worker:
        run_worker(options.worker, lambda index: compare(tiers_of(options.tier, index), case(index)))
        return 0
    extras = [extra for extra in EXTRAS if getattr(options, extra)]
    report = run(options.count, seed=options.seed, tier=options.tier, extras=extras, first=options.first)
    print(report)
    return bool(report.findings)


if __name__ == "__main__":
    sys.exit(main())
