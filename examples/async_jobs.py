"""Many guest tasks at once: nurseries, deadlines and streams, with trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import trio

import component_rt as rt

GUESTS = Path(__file__).parent / "guest"


async def work(n: int) -> int:
    """The host function that the guest's jobs wait for: job n takes n hundredths of a second."""
    await trio.sleep(n / 100)
    return n * n


async def words() -> AsyncIterator[bytes]:
    for word in (b"streams ", b"go ", b"in ", b"and ", b"out"):
        await trio.sleep(0.01)
        yield word


async def main() -> None:
    engine = rt.Engine()
    linker = rt.Linker(engine)
    linker.define("work", work)

    async with rt.open_store(engine) as store:
        jobs = await linker.instantiate_async(store, rt.Component.from_file(engine, GUESTS / "jobs.wasm"))
        upper = await linker.instantiate_async(store, rt.Component.from_file(engine, GUESTS / "upper.wasm"))
        await jobs.exports["run"](0)  # the first call compiles what it runs
        results: dict[int, int] = {}
        late: list[int] = []

        async def job(n: int) -> None:
            # The guest is told when its time is over; it cancels its call of `work` and ends.
            with trio.move_on_after(0.35) as deadline:
                results[n] = await jobs.exports["run"](n)
            if deadline.cancelled_caught:
                late.append(n)

        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for n in (5, 10, 15, 20, 25, 100, 200):
                nursery.start_soon(job, n)
        print("results:", *sorted(results.items()))
        print("too late:", *sorted(late), f"(all of it took less than a second: {trio.current_time() - start < 1})")

        stream = await upper.exports["upper"](words())
        print("stream:", b"".join([chunk async for chunk in stream]).decode())
        print("left behind:", store.statistics()["handles"], "handles,", store.statistics()["threads"], "tasks")


if __name__ == "__main__":
    trio.run(main)
