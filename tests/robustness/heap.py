"""The collected heap under load: pauses with many live objects, memory after much allocation, and what happens at the limit.

python -m tests.robustness.heap [--live 1000000] [--rounds 100]
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from pathlib import Path

import attrs
import wasmtime

import core_rt

__all__ = ["WAT", "Pauses", "pauses", "refusals", "soak"]

WAT = """(module
  (type $node (struct (field $left (mut (ref null $node))) (field $right (mut (ref null $node))) (field $value (mut i64))))
  (type $bytes (array (mut i8)))
  (type $nodes (array (mut (ref null $node))))
  (type $things (array (mut anyref)))
  (global $live (mut (ref null $nodes)) (ref.null $nodes))
  (global $seed (mut i32) (i32.const 12345))
  (global $big (mut (ref null $things)) (ref.null $things))
  (func $random (param $below i32) (result i32)
    (global.set $seed (i32.add (i32.mul (global.get $seed) (i32.const 1103515245)) (i32.const 12345)))
    (i32.rem_u (i32.shr_u (global.get $seed) (i32.const 8)) (local.get $below)))
  (func $pick (result (ref null $node))
    (array.get $nodes (global.get $live) (call $random (array.len (global.get $live)))))
  ;; $count objects that stay, each with two others at random
  (func (export "fill") (param $count i32) (local $i i32)
    (global.set $live (array.new_default $nodes (local.get $count)))
    (loop $next
      (array.set $nodes (global.get $live) (local.get $i)
        (struct.new $node (call $pick) (call $pick) (i64.extend_i32_u (local.get $i))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count)))))
  ;; objects of many sizes that die at once; every eighth time one that stays is replaced, and links are changed
  (func (export "churn") (param $times i32) (result i64) (local $sum i64) (local $node (ref null $node)) (local $i i32)
    (loop $next
      (local.set $node (struct.new $node (call $pick) (ref.null $node) (i64.extend_i32_u (local.get $times))))
      (drop (array.new_default $bytes (call $random (i32.const 200))))
      (if (i32.eqz (i32.and (local.get $times) (i32.const 7))) (then
        (array.set $nodes (global.get $live) (call $random (array.len (global.get $live))) (local.get $node))
        (struct.set $node $left (call $pick) (call $pick))
        (struct.set $node $right (call $pick) (local.get $node))
        (drop (array.new_default $bytes (call $random (i32.const 20000))))))
      (if (i32.eqz (i32.and (local.get $times) (i32.const 4095))) (then
        (global.set $big (array.new_default $things (call $random (i32.const 50000))))))
      (local.set $sum (i64.add (local.get $sum) (struct.get $node $value (call $pick))))
      (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum))
  ;; chains that are cut once in a while, so that what is old dies too
  (func (export "cut") (local $i i32)
    (loop $next
      (struct.set $node $left (array.get $nodes (global.get $live) (local.get $i)) (ref.null $node))
      (struct.set $node $right (array.get $nodes (global.get $live) (local.get $i)) (ref.null $node))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (array.len (global.get $live))))))
  (func (export "bytes") (param i32) (drop (array.new_default $bytes (local.get 0))))
  (func (export "drop") (global.set $live (ref.null $nodes)) (global.set $big (ref.null $things)))
)"""


class _Guest:
    def __init__(self, heap_bytes: int | None = None) -> None:
        limits = core_rt.Limits() if heap_bytes is None else core_rt.Limits(gc_heap_bytes=heap_bytes)
        self.engine = core_rt.Engine(core_rt.Config(cache=False, tiers="optimized"))
        self.store = core_rt.Store(self.engine, limits=limits)
        module = core_rt.Module(self.engine, bytes(wasmtime.wat2wasm(WAT)))
        self.exports = core_rt.Linker(self.engine).instantiate(self.store, module).exports


@attrs.frozen
class Pauses:
    """Of a guest that replaces a part of its live objects all the time."""

    live: int
    seconds: float
    collections: int
    count: int
    average: float
    """Microseconds, as the next two."""
    p99: int
    longest: int
    heap_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.live} live objects on {self.heap_bytes >> 20} MiB, {self.collections} collections in {self.seconds:.1f} s: "
            f"{self.count} pauses, {self.average:.0f} µs on average, 99 % below {self.p99} µs, longest {self.longest} µs"
        )


def pauses(live: int = 1_000_000, churn: int = 3_000_000) -> Pauses:
    """Fill a heap, then run with it."""
    guest = _Guest()
    with guest.store:
        guest.exports["fill"](live)
        begun = time.perf_counter()
        guest.exports["churn"](churn)
        seconds = time.perf_counter() - begun
        figures = guest.store.statistics()
    count, total = figures["gc_pauses"], figures["gc_pause_total_microseconds"]
    return Pauses(
        live, seconds, figures["collections"], count, total / max(count, 1), figures["gc_pause_p99_microseconds"],
        figures["gc_pause_longest_microseconds"], figures["heap_bytes"],
    )  # fmt: skip


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(rounds: int = 100, live: int = 50_000, churn: int = 200_000) -> list[tuple[int, int]]:
    """(resident bytes, bytes of the heap) after each of ten parts of a long run."""
    guest = _Guest()
    figures = []
    with guest.store:
        guest.exports["fill"](live)
        for round_ in range(rounds):
            guest.exports["churn"](churn)
            guest.exports["cut"]()
            if round_ % 10 == 9:
                guest.exports["drop"]()
                guest.exports["fill"](live)
            if (round_ + 1) % max(rounds // 10, 1) == 0:
                figures.append((_resident(), guest.store.statistics()["heap_bytes"]))
    return figures


def refusals(limit: int = 8 << 20) -> dict[str, str]:
    """What a guest gets that wants more than the limit, and that the store can be used afterwards."""
    guest = _Guest(limit)
    got = {}
    with guest.store:
        for what, action in (
            ("a million objects that stay", lambda: guest.exports["fill"](1_000_000)),
            ("one object of the limit", lambda: guest.exports["bytes"](limit)),
            ("one object of all but the limit", lambda: guest.exports["bytes"](limit - (1 << 16))),
        ):
            try:
                action()
                got[what] = "made"
            except (core_rt.Trap, core_rt.ExhaustionError) as error:
                got[what] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            guest.exports["drop"]()
        guest.exports["fill"](10_000)
        guest.exports["churn"](100_000)
        got["afterwards"] = "10000 objects, 100000 times replaced"
    return got


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    print(pauses(options.live))
    for what, answer in refusals().items():
        print(f"{what}: {answer}")
    for part, (resident, heap) in enumerate(soak(options.rounds), 1):
        print(f"after {part} tenths: {resident >> 20} MiB resident, {heap / (1 << 20):.1f} MiB of heap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
