"""Calls in a trio store: they overlap, wait for their turn, and see the context of who calls."""

from __future__ import annotations

import contextvars

import pytest
import trio
import trio.testing

import component_rt as rt
from component_rt.tasks.thread import Thread
from core_rt.errors import StoreError, Trap

from .guests import BLOCKER, SYNC, component, engine, until
from .stores import double, in_store, linker, run


@in_store(BLOCKER, double)
async def test_calls_of_one_instance_overlap(store, instance, exports):
    await exports["run"](1)
    results = []

    async def one(i):
        results.append((i, await exports["run"](100 + i)))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(one, i)
    assert sorted(results) == [(i, 2 * (100 + i)) for i in range(20)]
    assert trio.current_time() - start < 1
    assert store.statistics()["handles"] == store.awaited == 0


def test_calls_overlap_on_a_mock_clock():
    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(double).instantiate_async(store, component(BLOCKER))
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(instance.exports["run"], 3_600_000)
            return trio.current_time() - start

    assert 3600 <= run(main, clock=True) < 3700


@in_store(SYNC, double)
async def test_a_synchronous_guest_waits_for_an_async_host_function(store, instance, exports):
    assert await exports["run"](5) == 11
    assert await exports["add"](3, 4) == 7
    assert await exports["add"](b=3, a=4) == 7


@in_store(SYNC, lambda n: n)
async def test_host_functions_may_be_plain(store, instance, exports):
    assert await exports["run"](5) == 6
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        await exports["add"](1)
    with pytest.raises((TypeError, OverflowError, ValueError), match="add"):
        await exports["add"](1, -1)
    assert await exports["add"](1, 2) == 3


@in_store(SYNC, double)
async def test_calls_into_a_busy_synchronous_instance_wait_for_their_turn(store, instance, exports):
    results = []

    async def one(n):
        results.append(await exports["run"](n))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 30)
        await until(lambda: store.awaited)
        nursery.start_soon(one, 1)
    assert results == [61, 3]


@in_store(SYNC, lambda n: n)
async def test_every_call_is_a_checkpoint(store, instance, exports):
    with trio.testing.assert_checkpoints():
        await exports["add"](1, 2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await exports["add"](1, 2)
    assert scope.cancelled_caught
    assert instance.trapped is None


def test_host_functions_see_the_context_of_the_call():
    variable = contextvars.ContextVar("variable")
    seen = []

    async def wait(n):
        seen.append((n, variable.get()))
        return n

    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(wait).instantiate_async(store, component(BLOCKER))

            async def one(n):
                variable.set(f"call {n}")
                await instance.exports["run"](n)

            async with trio.open_nursery() as nursery:
                for n in range(3):
                    nursery.start_soon(one, n)

    run(main)
    assert sorted(seen) == [(n, f"call {n}") for n in range(3)]


@pytest.mark.parametrize("through", ["itself", "another"])
def test_a_host_function_cannot_enter_what_waits_for_it(through):
    async def main():
        async with rt.open_store(engine()) as store:

            async def again(n):
                return await one.exports["add"](n, 1)

            async def other(n):
                return await two.exports["run"](n)

            two = await linker(again).instantiate_async(store, component(SYNC))
            one = two if through == "itself" else await linker(other).instantiate_async(store, component(SYNC))
            with pytest.raises(Trap, match="cannot enter component instance"):
                await one.exports["run"](1)

    run(main)


def test_host_functions_may_enter_again_where_the_guest_goes_on():
    async def main():
        async with rt.open_store(engine()) as store:

            async def wait(n):
                return 1 + await instance.exports["run"](n - 1) if n else 0

            instance = await linker(wait).instantiate_async(store, component(BLOCKER))
            assert await instance.exports["run"](5) == 5

    run(main)


@in_store(SYNC, double)
async def test_a_store_belongs_to_its_loop(store, instance, exports):
    def elsewhere():
        async def call():
            with pytest.raises(StoreError, match="loop"):
                await exports["add"](1, 2)

        trio.run(call)

    await trio.to_thread.run_sync(elsewhere)
    assert await trio.to_thread.run_sync(trio.from_thread.run, exports["add"], 1, 2) == 3
    with rt.Store(engine()) as other, pytest.raises(StoreError, match="synchronous"):
        await linker(double).instantiate_async(other, component(SYNC))


@in_store(SYNC, double)
async def test_thousands_of_calls_wait_for_their_turn(store, instance, exports):
    woken = 0
    wake = Thread.wake

    def counting(thread):
        nonlocal woken
        woken += 1
        wake(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Thread, "wake", counting)
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(exports["run"], 0)
    assert woken < 3000  # the work for each does not grow with their number
