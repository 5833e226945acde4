"""Compute kernels written in C, in the optimised tier; results must be equal on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import wasmtime

import core_rt

from .guests import guest
from .rows import Pair, mean, row

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


def _kernel(file: str, export: str, arguments: tuple[int, ...]) -> Iterator[Pair]:
    wasm = guest(f"c/{file}.wasm").read_bytes()
    engine = core_rt.Engine(core_rt.Config(cache=False, tiers="optimized"))
    their_engine = wasmtime.Engine()
    their_store = wasmtime.Store(their_engine)
    with core_rt.Store(engine) as store:
        ours = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm)).exports[export]
        their_module = wasmtime.Module(their_engine, wasm)
        theirs = wasmtime.Instance(their_store, their_module, []).exports(their_store)[export]
        mine, other = ours(*arguments), theirs(their_store, *arguments)
        assert mine == other, f"{file}.{export}: {mine!r}, wanted {other!r}"
        yield Pair(lambda: ours(*arguments), lambda: theirs(their_store, *arguments), 1, 1, repeats=7)


def _register(file: str, export: str, arguments: tuple[int, ...]) -> None:
    row("kernels", f"{file}: {export}{arguments}")(lambda: _kernel(file, export, arguments))


mean("kernels", target=1.1)
for _entry in KERNELS:
    _register(*_entry)
