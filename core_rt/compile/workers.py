"""Worker processes that optimise chunks of a module (see worker.py for what they do)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from core_rt.compile.stored import StoredUnit, read_units
from core_rt.errors import EngineBug

if TYPE_CHECKING:
    import subprocess

    from core_rt.compile.module import CompiledModule

__all__ = ["Family", "Limits", "in_workers", "start_worker"]

_ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Limits(NamedTuple):
    """What a worker may use: processor time, and memory that it writes to."""

    seconds: int
    bytes: int


class Family(NamedTuple):
    """Functions that are optimised together with what they call, up to `most` bytes of wasm code."""

    functions: tuple[int, ...]
    most: int


def start_worker(
    module: CompiledModule, chunks: Sequence[range | Family], *, limits: Limits | None = None
) -> subprocess.Popen[bytes]:
    """A process that optimises chunks and families; it has its input, and its output is `pack` of their units.

    With `limits` it works in the background: at low priority, with no complaints on standard error, undisturbed by Ctrl-C.
    """
    # Large, and asked for by few: guests that run for a while only want to know what a family is.
    import json
    import subprocess

    import attrs

    background = limits is not None
    config = {f.name: getattr(module.compiler.config, f.name) for f in attrs.fields(type(module.compiler.config))}
    config["cache"] = False
    data = bytes(module.module.data)
    lists = [
        [chunk.start, chunk.stop] if isinstance(chunk, range) else [list(chunk.functions), chunk.most]
        for chunk in chunks
    ]
    head = json.dumps({"config": config, "chunks": lists, "length": len(data), "limits": limits}).encode()
    process = subprocess.Popen(
        [sys.executable, "-m", "core_rt.compile.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if background else None,
        start_new_session=background,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, *filter(None, sys.path)])},
    )
    assert process.stdin is not None
    process.stdin.write(head + b"\n" + data)
    process.stdin.close()
    return process


def in_workers(
    module: CompiledModule, chunks: Sequence[range], workers: int, step: Callable[[], object]
) -> list[StoredUnit]:
    """Optimise chunks in so many processes. `step` is called for each chunk, by any thread. Raises `ValidationError`."""
    processes = [start_worker(module, chunks[worker::workers]) for worker in range(workers)]
    found: list[list[StoredUnit]] = [[] for _ in processes]

    def read(stream: IO[bytes], units: list[StoredUnit]) -> None:
        with contextlib.suppress(ValueError):  # the exit code tells
            for unit in read_units(stream):
                units.append(unit)
                step()

    threads = []
    try:
        for process, units in zip(processes, found, strict=True):
            assert process.stdout is not None
            thread = threading.Thread(target=read, args=(process.stdout, units), name="core_rt precompile")
            thread.start()
            threads.append(thread)
        for process, thread in zip(processes, threads, strict=True):
            thread.join()
            if process.wait() != 0:
                from core_rt.validate.module import validate_module_bodies

                validate_module_bodies(module.module)
                raise EngineBug(f"a compile worker failed with exit code {process.returncode}")
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
        for process in processes:
            assert process.stdout is not None
            process.stdout.close()
    return [unit for units in found for unit in units]
