"""Compiling a whole module ahead: split into chunks, in worker processes, with the results in the code cache.

Chunks, because LLVM's time grows faster than the size of a unit; processes, because llvmlite lets one thread of a process
into LLVM at a time. A small module is one chunk and is compiled where we are: starting a process takes longer.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from core_rt.compile.cache import CodeCache, default_folder, entry_key
from core_rt.compile.host import code_identity
from core_rt.compile.linked import LinkedCode, link
from core_rt.compile.stored import StoredUnit, unpack
from core_rt.errors import EngineBug
from core_rt.vm import structs

if TYPE_CHECKING:
    from core_rt.compile.module import CompiledModule
    from core_rt.config import Config

__all__ = ["cache_key", "chunks_of", "compile_ahead", "hot_key", "load_cached", "open_cache", "start_worker"]

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
    return CodeCache(default_folder() if config.cache is True else Path(config.cache))


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
    settings = (config.epoch_interruption, config.consume_fuel, config.opt_level, config.features)
    return entry_key("code", repr(settings), structs.golden(), code_identity())


def hot_key(key: bytes) -> bytes:
    """The key for what was found hot in a module (see background.py), from that of the whole module."""
    return entry_key(key, "hot")


def adopt_hot(module: CompiledModule, contents: bytes) -> None:
    """Put into service what earlier processes found hot; contents that are damaged are as good as none."""
    try:
        units = list(unpack(contents))
    except ValueError:
        return
    for unit in units:
        module.enter_stored(unit)
    module.hot_units += units


def load_cached(module: CompiledModule, cache: CodeCache | None) -> bool:
    """Enter code from the cache into the module's table; False when there is none."""
    if cache is None or not module.count:
        return False
    module.cache = cache
    key = cache_key(module)
    entry = cache.open(key)
    if entry is not None:
        with contextlib.suppress(ValueError):
            module.enter_linked(LinkedCode(entry.contents), entry.fd if entry.mapped else None)
            return True
    hot = cache.get(hot_key(key))
    if hot is not None:
        adopt_hot(module, hot)
    return False


def compile_ahead(module: CompiledModule, cache: CodeCache | None, progress: Progress | None = None) -> None:
    """Optimise the whole module, from the cache if it is there, and leave it in the cache. Raises `ValidationError`."""
    if load_cached(module, cache) or not module.count:
        return
    chunks = chunks_of(module.module.bodies)
    workers = min(len(chunks), os.cpu_count() or 1)
    units: list[StoredUnit] = []
    if len(chunks) < _WORKERS_FROM or workers < 2:
        for done, chunk in enumerate(chunks):
            units.append(module.optimise(chunk))
            if progress is not None:
                progress(done + 1, len(chunks))
    else:
        units = _in_workers(module, chunks, workers, progress)
    parts = list(link(units, module.count))
    module.enter_linked(LinkedCode(memoryview(b"".join(parts))), None)
    if cache is not None:
        cache.put(cache_key(module), parts)


@attrs.frozen
class Limits:
    """What a worker may use: processor time, and memory that it writes to."""

    seconds: int
    bytes: int


def start_worker(
    module: CompiledModule, chunks: Sequence[range], *, limits: Limits | None = None
) -> subprocess.Popen[bytes]:
    """A process that optimises chunks; it has its input, and its output is `pack` of their units.

    With `limits` it works in the background: at low priority, with no complaints on standard error, undisturbed by Ctrl-C.
    """
    background = limits is not None
    config = {f.name: getattr(module.compiler.config, f.name) for f in attrs.fields(type(module.compiler.config))}
    config["cache"] = False
    data = bytes(module.module.data)
    ranges = [[chunk.start, chunk.stop] for chunk in chunks]
    bounds = None if limits is None else attrs.astuple(limits)
    head = json.dumps({"config": config, "chunks": ranges, "length": len(data), "limits": bounds}).encode()
    process = subprocess.Popen(
        [sys.executable, "-m", "core_rt.compile.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if background else None,
        start_new_session=background,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])},
    )
    assert process.stdin is not None
    process.stdin.write(head + b"\n" + data)
    process.stdin.close()
    return process


def _in_workers(
    module: CompiledModule, chunks: Sequence[range], workers: int, progress: Progress | None
) -> list[StoredUnit]:
    processes = []
    for worker in range(workers):
        mine = chunks[worker::workers]
        processes.append((start_worker(module, mine), len(mine)))
    found: list[StoredUnit] = []
    done = 0
    try:
        for process, count in processes:
            assert process.stdout is not None
            contents = process.stdout.read()
            if process.wait() != 0:
                raise EngineBug(f"a compile worker failed with exit code {process.returncode}")
            found += unpack(contents)
            done += count
            if progress is not None:
                progress(done, len(chunks))
    finally:
        for process, _ in processes:
            process.kill()
            process.wait()
    return found
