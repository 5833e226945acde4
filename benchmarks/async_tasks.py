"""`python -m benchmarks.async_tasks [--only TEXT] [--json]`: what tasks, streams and trio cost. There is no other Python host to compare with.

Costs of calls and tasks are processor time of trio's thread, which other programs of the machine change least.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator

import trio

import component_rt as rt
from component_rt.canon import adapt
from tests.async_.guests import BLOCKER, PIPE, SPIN, STACKFUL, SYNC, component, engine
from tests.async_.test_between_guests import TEXT as BETWEEN

TASKS = 10_000
STREAMED = 64 << 20

Figures = dict[str, float]
_rows: list[tuple[str, Callable[[], Awaitable[Figures]]]] = []


def row(name: str) -> Callable[[Callable[[], Awaitable[Figures]]], Callable[[], Awaitable[Figures]]]:
    def add(measure: Callable[[], Awaitable[Figures]]) -> Callable[[], Awaitable[Figures]]:
        _rows.append((name, measure))
        return measure

    return add


def _linker(wait: object) -> rt.Linker:
    linker = rt.Linker(engine())
    linker.define("wait", wait)
    return linker


@row("awaited calls: add(u32, u32), and run(u32), which calls the host")
async def _calls() -> Figures:
    async def wait(n: int) -> int:
        await trio.lowlevel.checkpoint()
        return n

    def call(n: int) -> int:
        return n

    with rt.Store(engine()) as blocking:
        exports = _linker(call).instantiate(blocking, component(SYNC)).exports
        plain, host = _timed(lambda: exports["add"](1, 2)), _timed(lambda: exports["run"](1))
    async with rt.open_store(engine()) as store:
        exports = (await _linker(call).instantiate_async(store, component(SYNC))).exports
        waits = (await _linker(wait).instantiate_async(store, component(SYNC))).exports["run"]
        task = (await _linker(wait).instantiate_async(store, component(BLOCKER))).exports["run"]
        return {
            "add_sync_store_us": plain,
            "add_us": await _awaited(lambda: exports["add"](1, 2)),
            "of_that_trio_checkpoint_us": await _awaited(trio.lowlevel.checkpoint),
            "run_sync_store_us": host,
            "run_us": await _awaited(lambda: exports["run"](1)),
            "run_host_awaited_us": await _awaited(lambda: waits(1)),
            "run_as_a_task_us": await _awaited(lambda: task(1)),
        }


def _timed(call: Callable[[], object], count: int = 200, rounds: int = 40) -> float:
    """Microseconds that a call takes: the best round."""
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(count):
            call()
        best = min(best, time.thread_time() - start)
    return best / count * 1e6


async def _awaited(call: Callable[[], Awaitable[object]], count: int = 200, rounds: int = 40) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(count):
            await call()
        best = min(best, time.thread_time() - start)
    return best / count * 1e6


@row("a call from guest to guest, awaited: count(string)")
async def _between() -> Figures:
    figures = {}
    for name, calls in (("machine_code_us", 0), ("through_python_us", 1 << 30)):
        adapt.CALLS_BEFORE_COMPILING, before = calls, adapt.CALLS_BEFORE_COMPILING
        async with rt.open_store(engine()) as store:
            exports = (await _linker(lambda n: n).instantiate_async(store, component(BETWEEN))).exports
            figures[name] = await _awaited(lambda: exports["count"](10))  # noqa: B023
        adapt.CALLS_BEFORE_COMPILING = before
    return figures


@row(f"{TASKS} guest tasks blocked in a host call (callback: no stack)")
async def _callbacks() -> Figures:
    return await _blocked(BLOCKER)


@row(f"{TASKS} guest tasks blocked in a host call (each keeps its stack)")
async def _stacks() -> Figures:
    return await _blocked(STACKFUL)


async def _blocked(text: str) -> Figures:
    traced = await _block(text, TASKS // 5, True)
    return {**await _block(text, TASKS, False), "python_kib_each": traced["python_kib_each"]}


async def _block(text: str, tasks: int, trace: bool) -> Figures:
    release = trio.Event()

    async def wait(n: int) -> int:
        if n < tasks:
            await release.wait()
        return n

    async with rt.open_store(engine()) as store:
        run = (await _linker(wait).instantiate_async(store, component(text))).exports["run"]
        await run(tasks)
        gc.collect()
        if trace:
            tracemalloc.start()
        before, resident = tracemalloc.get_traced_memory()[0], _resident()
        async with trio.open_nursery() as nursery:
            start = time.thread_time()
            for i in range(tasks):
                nursery.start_soon(run, i)
            while store.awaited < tasks:
                await trio.sleep(0)
            started = time.thread_time() - start
            traced, more = tracemalloc.get_traced_memory()[0] - before, _resident() - resident
            tracemalloc.stop()
            start = time.thread_time()
            release.set()
        woken = time.thread_time() - start
    if trace:
        return {"python_kib_each": traced / tasks / 1024}
    return {
        "start_us_each": started / tasks * 1e6,
        "wake_us_each": woken / tasks * 1e6,
        "resident_kib_each": more / tasks / 1024,
    }


@row(f"{TASKS} plain trio tasks that wait for another, to compare")
async def _trio() -> Figures:
    release = trio.Event()
    waiting = 0

    async def work(task: trio.lowlevel.Task) -> None:
        nonlocal waiting
        with trio.CancelScope():
            waiting += 1
            await release.wait()
        trio.lowlevel.reschedule(task)

    async def call() -> None:
        workers.start_soon(work, trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(lambda raise_cancel: trio.lowlevel.Abort.FAILED)

    async with trio.open_nursery() as workers, trio.open_nursery() as nursery:
        gc.collect()
        start = time.thread_time()
        for _ in range(TASKS):
            nursery.start_soon(call)
        while waiting < TASKS:
            await trio.sleep(0)
        started = time.thread_time() - start
        start = time.thread_time()
        release.set()
        while nursery.child_tasks:
            await trio.sleep(0)
    return {"start_us_each": started / TASKS * 1e6, "wake_us_each": (time.thread_time() - start) / TASKS * 1e6}


@row("wake-up of one task, with and without 5,000 idle ones beside it")
async def _idle() -> Figures:
    async def wait(n: int) -> int:
        await (trio.sleep_forever() if n else trio.lowlevel.checkpoint())
        return n

    async with rt.open_store(engine()) as store:
        run = (await _linker(wait).instantiate_async(store, component(BLOCKER))).exports["run"]

        async def each() -> float:
            times = []
            for _ in range(2000):
                start = time.thread_time()
                await run(0)
                times.append(time.thread_time() - start)
            return statistics.median(times) * 1e6

        await each()
        alone = await each()
        async with trio.open_nursery() as nursery:
            for _ in range(5000):
                nursery.start_soon(run, 1)
            while store.awaited < 5000:
                await trio.sleep(0.01)
            crowded = await each()
            nursery.cancel_scope.cancel()
    return {"alone_us": alone, "crowded_us": crowded}


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _pieces() -> Iterator[bytes]:
    piece = bytes(1 << 18)
    for _ in range(STREAMED // len(piece)):
        yield piece


@row("stream<u8>, 64 MiB")
async def _streams() -> Figures:
    async with rt.open_store(engine()) as store:
        linker = rt.Linker(engine())
        one = await linker.instantiate_async(store, component(PIPE))
        other = await linker.instantiate_async(store, component(PIPE))
        blocks = STREAMED // 32768
        figures: Figures = {}
        for _ in range(4):  # the first time compiles
            start = time.perf_counter()
            received = 0
            async for chunk in await one.exports["blocks"](blocks):
                received += len(chunk)
            _best(figures, "guest_to_host_mib_s", start)
            start = time.perf_counter()
            counted = await one.exports["count"](_pieces())
            _best(figures, "host_to_guest_mib_s", start)
            start = time.perf_counter()
            assert await other.exports["count"](await one.exports["blocks"](blocks)) == counted == received == STREAMED
            _best(figures, "guest_to_guest_mib_s", start)
    return figures


def _best(figures: Figures, name: str, start: float) -> None:
    rate = STREAMED / (time.perf_counter() - start) / (1 << 20)
    figures[name] = max(rate, figures.get(name, 0))


@row("latency of the event loop while four guests compute (four stores)")
async def _latency() -> Figures:
    late: list[float] = []
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(_spin)
        await trio.sleep(0.3)
        end = trio.current_time() + 5
        while trio.current_time() < end:
            start = trio.current_time()
            await trio.sleep(0.002)
            late.append(trio.current_time() - start - 0.002)
        nursery.cancel_scope.cancel()
    late.sort()
    return {"p50_ms": late[len(late) // 2] * 1e3, "p99_ms": late[len(late) * 99 // 100] * 1e3, "max_ms": late[-1] * 1e3}


async def _spin() -> None:
    async with rt.open_store(engine()) as store:
        instance = await _linker(lambda n: n).instantiate_async(store, component(SPIN))
        await instance.exports["forever"]()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.async_tasks", description=__doc__)
    parser.add_argument("--only", default="", help="rows in whose name this occurs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {name: trio.run(measure) for name, measure in _rows if options.only in name}
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for name, figures in results.items():
        print(name)
        for key, value in figures.items():
            print(f"    {key:32s} {value:12.2f}")


if __name__ == "__main__":
    main()
