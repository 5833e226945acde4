"""Optimised code behind a program's back.

Theory of operation. A lazily compiled module starts in the interpreter, whose counters ask for quick code, large functions here;
then `Heat` decides what deserves better and asks here. There are three *lanes*, threads that exist while there is something to do: one makes
quick code, one optimises a few small functions in this process, the third has a worker process (see worker.py) do larger ones, with all
that was asked for by then. Code goes into service as soon as it is there: calls that
begin afterwards run it, activations that are on the stack finish in the old code. What was made is kept in the code cache, so
that the next process begins with it. A program that is over within a few ticks pays nothing, not even for a thread.

A worker has limits of time and memory. What fails, or is ended by them, is not tried again: everything works without, only slower.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from core_rt.compile.ahead import keep_hot
from core_rt.compile.stored import StoredUnit, read_units
from core_rt.compile.workers import Family, Limits, start_worker
from core_rt.interpret.functions import Hot

if TYPE_CHECKING:
    import subprocess

    from core_rt.compile.module import CompiledModule

__all__ = ["Background"]

Functions: TypeAlias = "Hot | Family | frozenset[int] | int"
"""What shall have quick code; functions for the worker; a few small ones that are optimised here, with what they call; the address of a poll in a loop to be left."""
_Job: TypeAlias = "tuple[weakref.ref[CompiledModule], Functions]"

_IDLE_SECONDS: Final = 10.0
"""A lane's thread ends when there was nothing to do for so long."""
_QUIET_SECONDS: Final = 0.5
"""After so long without further work, what was made goes to the cache."""
_STAND_BACK: Final = 5.0
"""Seconds that the lane in this process waits at most for guests to have their quick code."""
LIMITS: Final = Limits(seconds=120, bytes=4 << 30)
"""Of one worker process."""


_every: weakref.WeakSet[Background] = weakref.WeakSet()


@atexit.register
def _stop() -> None:
    """No thread may be inside LLVM when the process takes LLVM down."""
    for background in list(_every):
        background.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


class Lane:
    """A thread that works off jobs, all that wait at a time, and ends when there are none for a while.

    `rest` is called when there was nothing to do for a moment after work, and before the thread is ended.
    """

    def __init__(self, name: str, work: Callable[[list[_Job]], None], rest: Callable[[], None]) -> None:
        self.name = name
        self._work = work
        self._rest = rest
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def put(self, job: _Job) -> None:
        """Add a job; starts the thread."""
        with self.lock:
            self._jobs.put(job)
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self.thread.start()

    def _run(self) -> None:
        worked = False
        while True:
            try:
                jobs = [self._jobs.get(timeout=_QUIET_SECONDS if worked else _IDLE_SECONDS)]
            except queue.Empty:
                if worked:
                    self._rest()
                    worked = False
                    continue
                with self.lock:
                    if not self._jobs.empty():
                        continue
                    self.thread = None
                    return
            with contextlib.suppress(queue.Empty):
                while True:
                    jobs.append(self._jobs.get_nowait())
            self._work([job for job in jobs if job is not None])
            worked = True
            if None in jobs:
                self._rest()
                return

    def close(self) -> threading.Thread | None:
        """Have the thread end after what it is doing; returns it."""
        with self.lock:
            thread, self.thread = self.thread, None
            if thread is not None:
                self._jobs.put(None)
        return thread


class Background:
    """What optimises for one engine while guests run. Thread-safe."""

    def __init__(self) -> None:
        self._quick = Lane("core_rt compiler", self._compile_quick, self._keep)
        self._here = Lane("core_rt optimiser", self._compile_here, self._keep)
        self._away = Lane("core_rt optimiser by worker", self._compile_away, self._keep)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._worker: weakref.finalize[..., Any] | None = None
        self._closed = False
        self._unkept: dict[int, weakref.ref[CompiledModule]] = {}
        """Modules with code that is not in the cache yet."""
        _every.add(self)
        self.progress: Callable[[int, int], object] | None = None
        """Called with (requests dealt with, requests made) by the thread that dealt with one."""
        self.asked = 0
        self.dealt = 0
        self.done = 0
        self.failed = 0
        self.error: Exception | None = None
        """Why the last that failed did."""

    def locks(self) -> Iterator[threading.Lock]:
        """What the lanes may hold."""
        yield self._lock
        for lane in (self._quick, self._here, self._away):
            yield lane.lock

    @property
    def pending(self) -> int:
        """Requests that wait or are being worked on."""
        return self.asked - self.dealt

    def request(self, compiled: CompiledModule, functions: Functions) -> bool:
        """Compile some functions of a module some time soon; false if that cannot be."""
        with self._lock:
            if self._closed or self._pid != os.getpid():  # after a fork the threads are the parent's
                return False
            if isinstance(functions, Hot):
                lane = self._quick
            else:
                lane = self._away if isinstance(functions, Family) else self._here
                self.asked += 1
        lane.put((weakref.ref(compiled), functions))
        return True

    # ------------------------------------------------------------------------------------------- the work

    def _compile_quick(self, jobs: list[_Job]) -> None:
        for reference, hot in jobs:
            compiled = reference()
            if compiled is None or self._closed:
                continue
            assert isinstance(hot, Hot)
            try:
                made = compiled.leave_interpreter(hot.function, hot.loop)
            except Exception as failure:  # as below
                self.error = failure
                continue
            if made:
                assert compiled.functions is not None
                compiled.functions.ready(hot.function)
                compiled.generation += 1

    def _compile_here(self, jobs: list[_Job]) -> None:
        from core_rt.compile.heat import FAMILY_BYTES

        for reference, functions in jobs:
            compiled = reference()
            error = None
            if compiled is not None:
                self._wait(compiled)
            if compiled is not None and not self._closed:
                try:
                    if isinstance(functions, int):
                        compiled.enter_loop(functions)
                    else:
                        assert isinstance(functions, frozenset)
                        self._enter(compiled, compiled.optimise_family(functions, FAMILY_BYTES))
                except Exception as failure:  # a program must not die of code that it can do without
                    error = failure
            made = compiled is not None
            del compiled
            self._tell(1, made, error)

    def _wait(self, compiled: CompiledModule) -> None:
        """Stand back while guests are waiting for quick code: one thread at a time gets into LLVM."""
        until = time.monotonic() + _STAND_BACK
        while compiled.compiler.busy and not self._closed and time.monotonic() < until:
            time.sleep(0.005)

    def _compile_away(self, jobs: list[_Job]) -> None:
        # Not keyed by the references: one whose module has gone has no hash.
        by_module: dict[int, tuple[weakref.ref[CompiledModule], list[Family]]] = {}
        for reference, functions in jobs:
            assert isinstance(functions, Family)
            by_module.setdefault(id(reference), (reference, []))[1].append(functions)
        for reference, families in by_module.values():
            compiled = reference()
            error = None
            left = len(families)
            if compiled is not None and not self._closed:
                try:
                    for unit in self._from_worker(compiled, families):
                        self._enter(compiled, unit)
                        left -= 1
                        self._tell(1, True)
                except Exception as failure:
                    error = failure
            del compiled
            if left:
                self._tell(left, False, error)

    def _from_worker(self, compiled: CompiledModule, families: list[Family]) -> Iterable[StoredUnit]:
        process = start_worker(compiled, families, limits=LIMITS)
        self._worker = weakref.finalize(self, _end, process)
        assert process.stdout is not None
        try:
            yield from read_units(process.stdout)
        finally:
            self._worker()

    def _enter(self, compiled: CompiledModule, unit: StoredUnit) -> None:
        compiled.enter_stored(unit)
        with self._lock:
            compiled.hot_units.append(unit)
            self._unkept[id(compiled)] = weakref.ref(compiled)

    def _keep(self) -> None:
        """Leave what was made in the code cache."""
        with self._lock:
            unkept, self._unkept = self._unkept, {}
        for reference in unkept.values():
            compiled = reference()
            if compiled is not None:
                with self._lock:
                    units = list(compiled.hot_units)
                try:
                    keep_hot(compiled, units)
                except Exception as error:
                    self.error = error

    def _tell(self, count: int, made: bool, error: Exception | None = None) -> None:
        """Count requests that were dealt with."""
        with self._lock:
            self.dealt += count
            if error is not None:
                self.failed += count
                self.error = error
            elif made:
                self.done += count
            dealt, asked, progress = self.dealt, self.asked, self.progress
        if progress is not None:
            try:
                progress(dealt, asked)
            except Exception:
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def close(self) -> None:
        """End the threads and the worker."""
        with self._lock:
            self._closed = True
        if self._pid != os.getpid():
            return
        threads = [lane.close() for lane in (self._quick, self._here, self._away)]
        if self._worker is not None:
            self._worker()
        for thread in threads:
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout=5)
