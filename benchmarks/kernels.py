"""Compute kernels written in C: in the optimised tier, in quick code, in the interpreter, and how long it takes to get from one to another.

Results must be equal on both sides.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial

import wasmtime

import core_rt
from core_rt.config import Tiers
from core_rt.interpret import functions

from .guests import guest
from .rows import Figures, Pair, mean, process_seconds, row

# file, export, arguments
KERNELS = (
    ("k_fib", "fib", (33,)),
    ("k_interp", "interp", (3_000_000,)),
    ("k_json", "json", (2_000, 100)),
    ("k_mandel", "mandelbrot", (600, 600, 200)),
    ("k_matmul", "matmul", (256,)),
    ("k_matmul_simd", "matmul", (256,)),
    ("k_memcpy", "byteloop", (1 << 20, 40)),
    ("k_nbody", "nbody", (500_000,)),
    ("k_qsort", "quicksort", (500_000,)),
    ("k_qsort", "heapsort", (300_000, 1)),
    ("k_regex", "regex", (10_000,)),
    ("k_sha256", "run", (1000,)),
    ("k_sieve", "sieve", (4_000_000,)),
)


def _kernel(file: str, export: str, arguments: tuple[int, ...], tiers: Tiers) -> Iterator[Pair]:
    wasm = guest(f"c/{file}.wasm").read_bytes()
    engine = core_rt.Engine(core_rt.Config(cache=False, tiers=tiers))
    their_engine = wasmtime.Engine()
    their_store = wasmtime.Store(their_engine)
    with core_rt.Store(engine) as store:
        ours = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm)).exports[export]
        their_module = wasmtime.Module(their_engine, wasm)
        theirs = wasmtime.Instance(their_store, their_module, []).exports(their_store)[export]
        mine, other = ours(*arguments), theirs(their_store, *arguments)
        assert mine == other, f"{file}.{export}: {mine!r}, wanted {other!r}"
        yield Pair(
            lambda: ours(*arguments), lambda: theirs(their_store, *arguments), 1, 1, repeats=7, clock=time.thread_time
        )


# The same with a twentieth or so of the work, for the interpreter, which is kept from asking for machine code.
SMALL = (
    ("k_fib", "fib", (27,)),
    ("k_interp", "interp", (150_000,)),
    ("k_json", "json", (200, 50)),
    ("k_mandel", "mandelbrot", (150, 150, 200)),
    ("k_matmul", "matmul", (96,)),
    ("k_memcpy", "byteloop", (1 << 16, 40)),
    ("k_nbody", "nbody", (25_000,)),
    ("k_qsort", "quicksort", (25_000,)),
    ("k_regex", "regex", (500,)),
    ("k_sha256", "run", (50,)),
    ("k_sieve", "sieve", (200_000,)),
)


def _interpreted(file: str, export: str, arguments: tuple[int, ...]) -> Iterator[Pair]:
    before = functions.BUDGET
    functions.BUDGET = 1 << 60
    try:
        yield from _kernel(file, export, arguments, "lazy")
    finally:
        functions.BUDGET = before


def _register(topic: str, tiers: Tiers, file: str, export: str, arguments: tuple[int, ...]) -> None:
    row(topic, f"{file}: {export}{arguments}")(lambda: _kernel(file, export, arguments, tiers))


mean("kernels", target=1.1)
mean("quick code", target=0.6)
for _entry in KERNELS:
    _register("kernels", "optimized", *_entry)
for _entry in KERNELS:
    _register("quick code", "off", *_entry)
mean("interpreter")
for _file, _export, _arguments in SMALL:
    row("interpreter", f"{_file}: {_export}{_arguments}")(partial(_interpreted, _file, _export, _arguments))


# Calls of some milliseconds; the times at which they end, and what they took.
_OURS = """
import json, sys, time
import core_rt
data, export, arguments = open(sys.argv[1], "rb").read(), sys.argv[2], json.loads(sys.argv[3])
begun = time.perf_counter()
engine = core_rt.Engine(core_rt.Config(cache=False))
call = core_rt.Linker(engine).instantiate(core_rt.Store(engine), core_rt.Module(engine, data)).exports[export]
rows = []
while time.perf_counter() - begun < 1.5:
    before = time.thread_time()
    call(*arguments)
    rows.append((time.perf_counter() - begun, time.thread_time() - before))
best = min(took for _, took in rows)
print(next(at for at, took in rows if took <= 1.05 * best))
"""
_THEIRS = """
import json, sys, time
import wasmtime
data, export, arguments = open(sys.argv[1], "rb").read(), sys.argv[2], json.loads(sys.argv[3])
begun = time.perf_counter()
engine = wasmtime.Engine()
store = wasmtime.Store(engine)
wasmtime.Instance(store, wasmtime.Module(engine, data), []).exports(store)[export](store, *arguments)
print(time.perf_counter() - begun)
"""


_ONE_CALL = """
import json, sys, time
import core_rt
data, export, arguments = open(sys.argv[1], "rb").read(), sys.argv[2], json.loads(sys.argv[3])
begun = time.perf_counter()
engine = core_rt.Engine(core_rt.Config(cache=False))
core_rt.Linker(engine).instantiate(core_rt.Store(engine), core_rt.Module(engine, data)).exports[export](*arguments)
print(time.perf_counter() - begun)
"""


@row("peak", "one call that loops for a second: bytes to its result")
def _one_call() -> Iterator[Figures]:
    place = str(guest("c/k_nbody.wasm")), "nbody", "[16000000]"
    yield Figures(process_seconds(_ONE_CALL, *place, times=3), process_seconds(_THEIRS, *place, times=3))


@row("peak", "loops: from bytes to the first call within 5 % of the best, the slowest of five kernels", limit=0.5)
def _peak() -> Iterator[Figures]:
    figures = []
    for file, export, arguments in (
        ("k_interp", "interp", [300_000]),
        ("k_json", "json", [200, 100]),
        ("k_nbody", "nbody", [40_000]),
        ("k_regex", "regex", [1000]),
        ("k_sieve", "sieve", [400_000]),
    ):
        place = str(guest(f"c/{file}.wasm")), export, json.dumps(arguments)
        figures.append((process_seconds(_OURS, *place, times=3), process_seconds(_THEIRS, *place, times=1)))
    yield Figures(*max(figures))
