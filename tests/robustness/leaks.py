"""What stays behind after many calls, instances and traps: memory of the process and its number of mappings.

python -m tests.robustness.leaks [--calls 1000000] [--instances 10000]
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import wasmtime

import core_rt

__all__ = ["Growth", "run"]

_WAT = """(module
  (import "host" "note" (func $note (param externref) (result externref)))
  (memory (export "m") 1 4) (table (export "t") 4 externref) (global (mut i32) (i32.const 0))
  (data (i32.const 0) "some data")
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "pass") (param externref) (result externref) (call $note (local.get 0)))
  (func (export "keep") (param externref) (table.set (i32.const 1) (local.get 0)))
)"""


@attrs.frozen
class Growth:
    """Between the end of a warm-up and the end of the run."""

    what: str
    count: int
    seconds: float
    rss: int
    """Bytes of resident memory gained."""
    mappings: int
    """Mappings of the address space gained."""
    descriptors: int

    @property
    def bytes_each(self) -> float:
        return self.rss / self.count

    def __str__(self) -> str:
        return (
            f"{self.count} {self.what} in {self.seconds:.1f} s: {self.rss / 1024:+.0f} KiB resident "
            f"({self.bytes_each:+.2f} bytes each), {self.mappings:+d} mappings, {self.descriptors:+d} descriptors"
        )


def _figures() -> tuple[int, int, int]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    mappings = Path("/proc/self/maps").read_text().count("\n")
    return pages * os.sysconf("SC_PAGE_SIZE"), mappings, len(os.listdir("/proc/self/fd"))


def _measure(what: str, count: int, action: Callable[[], None], warm_up: int) -> Growth:
    for _ in range(warm_up):
        action()
    before, begun = _figures(), time.perf_counter()
    for _ in range(count):
        action()
    seconds = time.perf_counter() - begun
    rss, mappings, descriptors = (after - start for after, start in zip(_figures(), before))
    return Growth(what, count, seconds, rss, mappings, descriptors)


def run(calls: int = 1_000_000, instances: int = 10_000) -> list[Growth]:
    """One figure per kind of act; host calls, traps and references come a tenth as often as plain calls."""
    engine = core_rt.Engine(core_rt.Config(cache=False))
    module = core_rt.Module(engine, bytes(wasmtime.wat2wasm(_WAT)))
    linker = core_rt.Linker(engine)
    signature = core_rt.FuncType([core_rt.EXTERNREF], [core_rt.EXTERNREF])
    linker.define_func("host", "note", signature, lambda item: item)

    def live_and_die() -> None:
        with core_rt.Store(engine) as store:
            linker.instantiate(store, module).exports["add"](1, 2)

    def dropped_without_close() -> None:
        linker.instantiate(core_rt.Store(engine), module)

    with core_rt.Store(engine) as store:
        exports = linker.instantiate(store, module).exports
        add, load, hand, keep = (exports[name] for name in ("add", "load", "pass", "keep"))

        def trap() -> None:
            try:
                load(70_000)
            except core_rt.Trap:
                return
            raise AssertionError("no trap")

        figures = [
            _measure("calls", calls, lambda: add(1, 2), 1000),
            _measure("traps", calls // 10, trap, 1000),
            _measure("references through the guest", calls // 10, lambda: hand(object()), 5000),
            _measure("references kept in a table", calls // 10, lambda: keep(object()), 5000),
        ]
    figures.append(_measure("stores with an instance", instances, live_and_die, 200))
    figures.append(_measure("stores never closed", instances // 10, dropped_without_close, 200))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--instances", type=int, default=10_000)
    options = parser.parse_args()
    for growth in run(options.calls, options.instances):
        print(growth)
    return 0


if __name__ == "__main__":
    sys.exit(main())
