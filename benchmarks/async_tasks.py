"""`python -m benchmarks.async_tasks [--only TEXT] [--json]`: what tasks, streams and trio cost. There is no other Python host to compare with."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator

import trio

import component_rt as rt
from tests.async_.guests import BLOCKER, PIPE, SPIN, STACKFUL, SYNC, component, engine

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


@row("awaited call against a synchronous one: add(u32, u32)")
async def _calls() -> Figures:
    count = 20_000
    with rt.Store(engine()) as blocking:
        add = _linker(lambda n: n).instantiate(blocking, component(SYNC)).exports["add"]
        add(1, 2)
        start = time.perf_counter()
        for _ in range(count):
            add(1, 2)
        plain = (time.perf_counter() - start) / count
    async with rt.open_store(engine()) as store:
        add = (await _linker(lambda n: n).instantiate_async(store, component(SYNC))).exports["add"]
        await add(1, 2)
        start = time.perf_counter()
        for _ in range(count):
            await add(1, 2)
        awaited = (time.perf_counter() - start) / count
        start = time.perf_counter()
        for _ in range(count):
            await trio.lowlevel.checkpoint()
        checkpoint = (time.perf_counter() - start) / count
    return {"sync_us": plain * 1e6, "awaited_us": awaited * 1e6, "of_that_trio_checkpoint_us": checkpoint * 1e6}


@row(f"{TASKS} guest tasks blocked in a host call (callback: no stack)")
async def _callbacks() -> Figures:
    return await _blocked(BLOCKER)


@row(f"{TASKS} guest tasks blocked in a host call (each keeps its stack)")
async def _stacks() -> Figures:
    return await _blocked(STACKFUL)


async def _blocked(text: str) -> Figures:
    release = trio.Event()

    async def wait(n: int) -> int:
        await release.wait()
        return n

    tracemalloc.start()
    async with rt.open_store(engine()) as store:
        instance = await _linker(wait).instantiate_async(store, component(text))
        run = instance.exports["run"]
        before, resident = tracemalloc.get_traced_memory()[0], _resident()
        async with trio.open_nursery() as nursery:
            start = time.perf_counter()
            for i in range(TASKS):
                nursery.start_soon(run, i)
            while store.awaited < TASKS:
                await trio.sleep(0)
            started = time.perf_counter() - start
            traced, more = tracemalloc.get_traced_memory()[0] - before, _resident() - resident
            tracemalloc.stop()
            start = time.perf_counter()
            release.set()
        woken = time.perf_counter() - start
    return {
        "start_us_each_while_tracing": started / TASKS * 1e6,
        "wake_us_each": woken / TASKS * 1e6,
        "python_kib_each": traced / TASKS / 1024,
        "resident_kib_each": more / TASKS / 1024,
    }


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
                start = time.perf_counter()
                await run(0)
                times.append(time.perf_counter() - start)
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
        blocks, figures = STREAMED // 32768, {}
        for _ in range(2):  # the first time compiles
            start = time.perf_counter()
            received = 0
            async for chunk in await one.exports["blocks"](blocks):
                received += len(chunk)
            figures["guest_to_host_mib_s"] = STREAMED / (time.perf_counter() - start) / (1 << 20)
            start = time.perf_counter()
            counted = await one.exports["count"](_pieces())
            figures["host_to_guest_mib_s"] = STREAMED / (time.perf_counter() - start) / (1 << 20)
            start = time.perf_counter()
            assert await other.exports["count"](await one.exports["blocks"](blocks)) == counted == received == STREAMED
            figures["guest_to_guest_mib_s"] = STREAMED / (time.perf_counter() - start) / (1 << 20)
    return figures


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
