"""Compiling a whole module ahead: split into chunks, in worker processes, with the results in the code cache.

Chunks, because LLVM's time grows faster than the size of a unit; processes, because llvmlite lets one thread of a process
into LLVM at a time. A small module is one chunk and is compiled where we are: starting a process takes longer.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core_rt.compile.cache import CodeCache, default_folder, entry_key
from core_rt.compile.host import code_identity
from core_rt.compile.linked import LinkedCode, link
from core_rt.compile.stored import StoredUnit, pack, unpack
from core_rt.vm import structs

if TYPE_CHECKING:
    from core_rt.compile.module import CompiledModule
    from core_rt.config import Config

__all__ = [
    "Progress",
    "cache_key",
    "chunks_of",
    "compile_ahead",
    "keep_hot",
    "load_cached",
    "open_cache",
]

_CHUNK_BYTES = 48 << 10
"""Bytes of wasm code per chunk."""
_ONE_CHUNK = 96 << 10
"""A module up to this size is one chunk: calls between all its functions can be inlined."""
_WORKERS_FROM = 4
"""Chunks from which worker processes pay."""

Progress = Callable[[int, int], object]
"""Called with (chunks done, chunks in all)."""


def open_cache(config: Config) -> CodeCache | None:
    """The cache that a config asks for."""
    if config.cache is False:
        return None
    return CodeCache(default_folder() if config.cache is True else config.cache)


def chunks_of(bodies: Sequence[tuple[int, int]]) -> list[range]:
    """Defined functions in chunks of neighbours."""
    if sum(end - start for start, end in bodies) <= _ONE_CHUNK:
        return [range(len(bodies))]
    chunks = []
    first = size = 0
    for index, (start, end) in enumerate(bodies):
        size += end - start
        if size >= _CHUNK_BYTES:
            chunks.append(range(first, index + 1))
            first, size = index + 1, 0
    if first < len(bodies):
        chunks.append(range(first, len(bodies)))
    return chunks


def cache_key(module: CompiledModule) -> bytes:
    """The key of a module's optimised code: what the code depends on."""
    return entry_key(module.module.digest, _circumstances(module.compiler.config))


@functools.cache
def _circumstances(config: Config) -> bytes:
    """What code depends on besides its module."""
    settings = (
        *(config.epoch_interruption, config.consume_fuel, config.opt_level, config.features),
        config.relaxed_simd_deterministic,
    )
    return entry_key("code", repr(settings), structs.golden(), code_identity())


def load_cached(module: CompiledModule, cache: CodeCache | None) -> bool:
    """Enter code from the cache into the module's table; False when there is none for all of its functions."""
    if cache is None or not module.count:
        return False
    module.cache = cache
    key = cache_key(module)
    module.complete = _enter(module, cache, key)
    if not module.complete:
        module.kept_before = _enter(module, cache, entry_key(key, "hot"))
    return module.complete


def _enter(module: CompiledModule, cache: CodeCache, key: bytes) -> bool:
    """Enter what is stored under a key; contents that are damaged are as good as none."""
    entry = cache.open(key)
    if entry is None:
        return False
    try:
        module.enter_linked(LinkedCode(entry.contents), entry.fd if entry.mapped else None)
    except ValueError:
        return False
    return True


def keep_hot(module: CompiledModule, units: Sequence[StoredUnit]) -> None:
    """Leave in the cache what was found hot (see background.py), with what earlier processes found.

    It is kept twice: linked, for the next process to start with, and as units, for one that finds more.
    """
    cache = module.cache
    if cache is None:
        return
    key = cache_key(module)
    if module.kept_before:
        before = cache.get(entry_key(key, "hot units"))
        with contextlib.suppress(ValueError):
            units = [*unpack(before or b""), *units]
    cache.put(entry_key(key, "hot units"), pack(units))
    cache.put(entry_key(key, "hot"), link(units, module.count))


def compile_ahead(modules: Sequence[CompiledModule], cache: CodeCache | None, progress: Progress | None = None) -> None:
    """Optimise whole modules, from the cache where they are in it, and leave them in the cache. Raises `ValidationError`."""
    chunks = [chunks_of(module.module.bodies) for module in modules]
    total = sum(map(len, chunks))
    done = 0
    lock = threading.Lock()

    def step(count: int = 1) -> None:
        nonlocal done
        with lock:
            done += count
            if progress is not None and count:
                progress(done, total)

    for module, mine in zip(modules, chunks, strict=True):
        if not module.count or module.complete or load_cached(module, cache):
            step(len(mine))
            continue
        workers = min(len(mine), os.cpu_count() or 1)
        if len(mine) < _WORKERS_FROM or workers < 2:
            units = []
            for chunk in mine:
                units.append(module.optimise(chunk))
                step()
        else:
            from core_rt.compile.workers import in_workers

            units = in_workers(module, mine, workers, step)
        units += module.optimise_rest(units)
        parts = list(link(units, module.count))
        module.enter_linked(LinkedCode(memoryview(b"".join(parts))), None)
        module.complete = True
        if cache is not None:
            cache.put(cache_key(module), parts)
