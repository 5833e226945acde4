"""The registry of rows and the way they are measured.

A row prepares a pair of callables. The two are run in turn, repetition by repetition, and the best repetition of each
counts: what disturbs the machine for a while then disturbs both sides, and a minimum is not moved by single outliers.
Rows that need a process of their own, or measure memory, give their two figures themselves.
"""

from __future__ import annotations

import atexit
import functools
import gc
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import attrs

__all__ = ["Figures", "Missing", "Pair", "Result", "Row", "mean", "means", "process_seconds", "row", "rows"]


class Missing(Exception):
    """What a row needs is not here; the text says what."""


_PIECES = 20


@attrs.frozen
class Pair:
    """Two callables that do the same; `loops` and `their_loops` calls are timed as one repetition.

    Repetitions of many calls are cut into pieces: on a busy machine a short one has a chance not to be interrupted.
    """

    ours: Callable[[], object]
    theirs: Callable[[], object]
    loops: int
    their_loops: int
    repeats: int = 5
    clock: Callable[[], float] = time.perf_counter
    """`time.thread_time` for what computes in its own thread and waits for nothing: other programs do not count then."""


@attrs.frozen
class Figures:
    """What a row measured itself, in the unit of the row."""

    ours: float
    theirs: float


Prepare = Callable[[], AbstractContextManager[Pair | Figures]]


@attrs.frozen
class Row:
    """`target`: the ratio to reach; `limit`: the most that ours may take, in the row's unit; either may be None."""

    topic: str
    name: str
    target: float | None
    prepare: Prepare = attrs.field(repr=False)
    unit: str = "s"
    limit: float | None = None

    def measure(self) -> Result:
        with self.prepare() as prepared:
            figures = prepared if isinstance(prepared, Figures) else _alternate(prepared)
        return Result(self, figures.ours, figures.theirs)


@attrs.frozen
class Result:
    """Figures of one row."""

    row: Row
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours if self.ours else math.inf

    @property
    def reached(self) -> bool | None:
        """None: the row has no target."""
        if self.row.target is None and self.row.limit is None:
            return None
        return self.ratio >= (self.row.target or 0.0) and self.ours <= (self.row.limit or math.inf)


_ROWS: list[Row] = []


def row(
    topic: str, name: str, *, target: float | None = None, unit: str = "s", limit: float | None = None
) -> Callable[[Callable[[], Iterator[Pair | Figures]]], None]:
    """Registers a generator function that yields its pair or figures once, and then cleans up."""

    def register(prepare: Callable[[], Iterator[Pair | Figures]]) -> None:
        _ROWS.append(Row(topic, name, target, contextmanager(prepare), unit, limit))

    return register


_MEANS: dict[str, float | None] = {}


def mean(topic: str, *, target: float | None = None) -> None:
    """The geometric mean of a topic's ratios is a row of its own, with this target."""
    _MEANS[topic] = target


def means(results: list[Result]) -> list[Result]:
    """The mean rows of results, where a topic was measured as a whole."""
    found = []
    for topic, target in _MEANS.items():
        ratios = [result.ratio for result in results if result.row.topic == topic]
        if ratios and len(ratios) == sum(entry.topic == topic for entry in _ROWS):
            value = math.exp(sum(map(math.log, ratios)) / len(ratios))
            entry = Row(topic, "geometric mean", target, _no_preparation, unit="ratio")
            found.append(Result(entry, 1.0, value))
    return found


def _no_preparation() -> AbstractContextManager[Pair | Figures]:
    raise AssertionError("a mean is derived, not measured")


def rows(only: str = "") -> list[Row]:
    """All rows, or those in whose topic or name `only` occurs."""
    from . import cold, components, core_calls, exceptions, gc, kernels, memory, simd, threads  # noqa: F401 - importing registers

    wanted = only.lower()
    return [entry for entry in _ROWS if wanted in f"{entry.topic}: {entry.name}".lower()]


def _time(call: Callable[[], object], loops: int, clock: Callable[[], float]) -> float:
    begun = clock()
    for _ in range(loops):
        call()
    return (clock() - begun) / loops


def _alternate(pair: Pair) -> Figures:
    ours = theirs = math.inf
    pieces = min(_PIECES, pair.loops, pair.their_loops)
    gc.collect()
    gc.disable()  # a collection in the middle of one side's turn is nobody's speed
    try:
        for _ in range(pieces * pair.repeats):
            ours = min(ours, _time(pair.ours, pair.loops // pieces, pair.clock))
            theirs = min(theirs, _time(pair.theirs, pair.their_loops // pieces, pair.clock))
    finally:
        gc.enable()
    return Figures(ours, theirs)


def process_seconds(code: str, *arguments: str, times: int = 5, warm_up: bool = True, whole: bool = False) -> float:
    """Median of the number that `code` prints, in fresh processes; with `whole`, of the time that the processes take.

    `warm_up`: run it once before, so that bytecode is there, which is kept as if packages were installed.
    """
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": _bytecode()}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    figures = []
    for _ in range(times + warm_up):
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        took = time.perf_counter() - begun
        if done.returncode:
            raise RuntimeError(f"benchmark process failed:\n{done.stderr[-2000:]}")
        figures.append(took if whole else float(done.stdout.split()[-1]))
    return statistics.median(figures[warm_up:])


@functools.cache
def _bytecode() -> str:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
