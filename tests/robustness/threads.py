"""One engine and one module under many threads, each with a store of its own, with traps and host exceptions mixed in.

python -m tests.robustness.threads [--threads 8] [--calls 10000]
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping

import attrs
import wasmtime

import core_rt

__all__ = ["run"]

_WAT = """(module
  (import "host" "answer" (func $answer (param i32) (result i32)))
  (memory 1)
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "ask") (param i32) (result i32) (i32.mul (call $answer (local.get 0)) (i32.const 2)))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func $down (export "down") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
      (else (i32.const 0))))
)"""


class Refusal(Exception):
    """What the host function raises at times."""


@attrs.define
class Outcome:
    """Counts over all threads; `wrong` holds what was not as it should be."""

    calls: int = 0
    traps: int = 0
    refusals: int = 0
    seconds: float = 0.0
    wrong: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        rate = self.calls / self.seconds if self.seconds else 0.0
        lines = [f"{self.calls} calls, {self.traps} traps, {self.refusals} host exceptions, {rate:,.0f} calls/s"]
        return "\n".join([*lines, *self.wrong[:20]])


def _answer(value: int) -> int:
    if value % 7 == 0:
        raise Refusal(value)
    return value + 1


def _ask(exports: Mapping[str, Callable[..., object]], number: int) -> str:
    try:
        result = exports["ask"](number)
    except Refusal as refusal:
        return "refused" if refusal.args == (number,) and number % 7 == 0 else "wrong refusal"
    return "right" if result == 2 * (number + 1) and number % 7 else "wrong result"


def _expect_trap(
    exports: Mapping[str, Callable[..., object]], name: str, arguments: tuple[int, ...], code: core_rt.TrapCode
) -> str:
    try:
        exports[name](*arguments)
    except core_rt.Trap as trap:
        return "trapped" if trap.code is code else f"wrong trap {trap.code!r}"
    return "no trap"


def _one_call(exports: Mapping[str, Callable[..., object]], number: int) -> str:
    match number % 5:
        case 0:
            return "right" if exports["add"](number, 1) == number + 1 else "wrong sum"
        case 1:
            return _ask(exports, number)
        case 2:
            return _expect_trap(exports, "divide", (number, 0), core_rt.TrapCode.INTEGER_DIVISION_BY_ZERO)
        case 3:
            return _expect_trap(exports, "load", (65536 + number,), core_rt.TrapCode.MEMORY_OUT_OF_BOUNDS)
    return "right" if exports["down"](number % 50) == number % 50 else "wrong depth"


def run(threads: int = 8, calls: int = 10_000, *, tier: str = "lazy") -> Outcome:
    """`calls` calls in each of `threads` threads."""
    engine = core_rt.Engine(core_rt.Config(tiers=tier, cache=False))
    module = core_rt.Module(engine, bytes(wasmtime.wat2wasm(_WAT)))
    outcome, lock, start = Outcome(), threading.Lock(), threading.Barrier(threads)

    def work(thread: int) -> None:
        counts: dict[str, int] = {}
        try:
            start.wait()  # first calls, and with them lazy compilation, fall together
            with core_rt.Store(engine) as store:
                linker = core_rt.Linker(engine)
                linker.define_func("host", "answer", core_rt.FuncType([core_rt.I32], [core_rt.I32]), _answer)
                exports = linker.instantiate(store, module).exports
                for number in range(calls):
                    result = _one_call(exports, number)
                    counts[result] = counts.get(result, 0) + 1
        except BaseException as error:
            counts[f"wrong: {type(error).__name__}: {error}"] = 1
        with lock:
            outcome.calls += sum(counts.values())
            outcome.traps += counts.pop("trapped", 0)
            outcome.refusals += counts.pop("refused", 0)
            counts.pop("right", 0)
            outcome.wrong += [f"thread {thread}: {what} ({count} times)" for what, count in counts.items()]

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    outcome.seconds = time.perf_counter() - begun
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--calls", type=int, default=10_000)
    options = parser.parse_args()
    outcome = run(options.threads, options.calls)
    print(outcome)
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main())
