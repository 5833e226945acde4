"""Optimised code behind a program's back.

Theory of operation. A lazily compiled module starts with quick code. While a guest runs, the store says at every tick where it was
found (`CompiledModule.heat`); a chunk of functions in which it was found often enough becomes *hot* and is handed to the one thread
here. That has a worker process (see worker.py) optimise what is hot by then and puts the code into service: calls that begin afterwards
run it, activations that are on the stack finish in the old code. What was made is kept in the code cache, so that the next process
begins with it. A program that is over within a few ticks pays nothing, not even for the thread.

A worker that fails is not tried again for that module: everything works without, only slower.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from core_rt.compile.ahead import cache_key, hot_key, start_worker
from core_rt.compile.stored import pack, unpack

if TYPE_CHECKING:
    from core_rt.compile.module import CompiledModule

__all__ = ["Background"]

_IDLE_SECONDS: Final = 10.0
"""The thread ends when there was nothing to do for so long."""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


class Background:
    """One engine's thread that has hot code optimised. Thread-safe."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[weakref.ref[CompiledModule], range] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._worker: weakref.finalize[..., Any] | None = None
        self._closed = False
        self.pending = 0
        """Chunks that wait or are being worked on."""
        self.done = 0
        self.failed = 0

    def request(self, compiled: CompiledModule, chunk: range) -> None:
        """Optimise some functions of a module some time soon."""
        with self._lock:
            if self._closed or self._pid != os.getpid():  # after a fork the thread is the parent's
                return
            self.pending += 1
            self._jobs.put((weakref.ref(compiled), chunk))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="core_rt optimiser", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if not self._jobs.empty():
                        continue
                    self._thread = None
                    return
            jobs = [job]
            with contextlib.suppress(queue.Empty):
                while True:
                    jobs.append(self._jobs.get_nowait())
            # Not keyed by the references: one whose module has gone has no hash.
            by_module: dict[int, tuple[weakref.ref[CompiledModule], list[range]]] = {}
            for each in jobs:
                if each is not None:
                    by_module.setdefault(id(each[0]), (each[0], []))[1].append(each[1])
            for reference, chunks in by_module.values():
                compiled = reference()
                if compiled is not None and not self._closed:
                    try:
                        self._optimise(compiled, chunks)
                        self.done += len(chunks)
                    except Exception:  # a program must not die of code that it can do without
                        self.failed += len(chunks)
                del compiled
                with self._lock:
                    self.pending -= len(chunks)
            if None in jobs:
                return

    def _optimise(self, compiled: CompiledModule, chunks: list[range]) -> None:
        process = start_worker(compiled, chunks, background=True)
        self._worker = weakref.finalize(self, _end, process)
        assert process.stdout is not None
        try:
            contents = process.stdout.read()
            if process.wait() != 0:
                raise OSError(f"exit code {process.returncode}")
        finally:
            self._worker()
        units = list(unpack(contents))
        for unit in units:
            compiled.enter_stored(unit)
        compiled.hot_units += units
        if compiled.cache is not None:
            compiled.cache.put(hot_key(cache_key(compiled)), pack(compiled.hot_units))

    def close(self) -> None:
        """End the thread and its worker."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._jobs.put(None)
            worker = self._worker
            if worker is not None:
                worker()
            if thread is not threading.current_thread():
                thread.join(timeout=5)
