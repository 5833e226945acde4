"""Cancelling calls in a trio store: guests that wait, guests that compute, host functions that do not mind."""

from __future__ import annotations

import pytest
import trio

import component_rt as rt
from core_rt.errors import InstancePoisoned, Trap

from .guests import BLOCKER, SPIN, SPIN_ASYNC, SYNC, component, engine, until
from .stores import double, forever, in_store, linker, run, ticking


def test_a_cancelled_call_tells_the_guest_and_the_host_function():
    ended = []

    async def wait(n):
        try:
            await trio.sleep(n / 1000)
        except trio.Cancelled:
            ended.append(n)
            raise
        return n

    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(wait).instantiate_async(store, component(BLOCKER))
            results = []

            async def other():
                results.append(await instance.exports["run"](150))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                with trio.move_on_after(0.05) as scope:
                    await instance.exports["run"](60_000)
                assert scope.cancelled_caught
                assert instance.trapped is None
            assert results == [150] and ended == [60_000]
            assert await instance.exports["run"](1) == 1
            assert store.statistics()["handles"] == store.awaited == store.statistics()["threads"] == 0

    run(main)


@in_store(BLOCKER, forever)
async def test_many_calls_can_be_cancelled_at_once(store, instance, exports):
    with trio.move_on_after(0.05) as scope:
        async with trio.open_nursery() as nursery:
            for n in range(200):
                nursery.start_soon(exports["run"], n)
    assert scope.cancelled_caught and instance.trapped is None
    await until(lambda: store.statistics()["handles"] == store.awaited == store.statistics()["threads"] == 0)


def test_a_host_function_may_not_mind_being_cancelled():
    async def wait(n):
        with trio.CancelScope() as scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                scope.shield = True
                await trio.sleep(0.001)
        return n

    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(wait).instantiate_async(store, component(SYNC))
            with trio.move_on_after(0.01) as scope:
                assert await instance.exports["run"](7) == 8
            assert not scope.cancelled_caught and instance.trapped is None
            assert store.awaited == 0 and not store.hosts

    run(main)


def test_host_functions_within_host_functions():
    depth = []

    async def main():
        async with rt.open_store(engine()) as store:

            async def wait(n):
                depth.append(n)
                await trio.lowlevel.checkpoint()
                return await instances[n - 1].exports["run"](n - 1) if n else 0

            instances = [await linker(wait).instantiate_async(store, component(SYNC)) for _ in range(4)]
            assert await instances[3].exports["run"](3) == 4
            assert depth == [3, 2, 1, 0]

            async def again(n):
                return await looped.exports["run"](n)

            looped = await linker(again).instantiate_async(store, component(SYNC))

            async def through(n):
                with pytest.raises(Trap, match="cannot enter"):
                    await looped.exports["run"](n)
                return n

            looped = await linker(through).instantiate_async(store, component(SYNC))
            assert await looped.exports["run"](1) == 2
            assert store.awaited == 0 and not store.hosts

    run(main)


@in_store(SYNC, forever)
async def test_cancelling_a_synchronous_call_poisons_its_instance_alone(store, instance, exports):
    other = await linker(double).instantiate_async(store, component(SYNC))
    with trio.move_on_after(0.02) as scope:
        await exports["run"](1)
    assert scope.cancelled_caught
    assert isinstance(instance.trapped, Trap)
    with pytest.raises(InstancePoisoned):
        await exports["add"](1, 2)
    assert await other.exports["run"](1) == 3
    await until(lambda: not store.awaited)


@pytest.mark.parametrize("text", [SYNC, BLOCKER])
def test_a_cancelled_call_ends_after_its_host_functions(text):
    ended = []

    async def wait(n):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.02)
            ended.append(n)

    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(wait).instantiate_async(store, component(text))
            with trio.move_on_after(0.01) as scope:
                await instance.exports["run"](7)
            assert scope.cancelled_caught and ended == [7]

    run(main)


@in_store(SPIN, forever)
async def test_a_guest_that_computes_for_ever_is_stopped(store, instance, exports):
    other = await linker(double).instantiate_async(store, component(SYNC))
    start = trio.current_time()
    with trio.move_on_after(0.05) as scope:
        await exports["forever"]()
    assert scope.cancelled_caught and trio.current_time() - start < 2
    assert isinstance(instance.trapped, Trap)
    assert await other.exports["run"](1) == 3


@pytest.mark.parametrize(
    "text", [SPIN_ASYNC, SPIN_ASYNC.replace("(core module", "(core func (canon task.cancel)) (core module")]
)
def test_an_asynchronous_function_that_computes_for_ever_is_stopped(text):
    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(double).instantiate_async(store, component(text))
            other = await linker(double).instantiate_async(store, component(SYNC))
            with trio.move_on_after(0.03) as scope:
                await instance.exports["forever"]()
            assert scope.cancelled_caught and isinstance(instance.trapped, Trap)
            assert await other.exports["run"](1) == 3

    run(main)


@in_store(SPIN, lambda n: n)
async def test_other_tasks_keep_going_while_a_guest_computes(store, instance, exports):
    other = await linker(double).instantiate_async(store, component(SYNC))

    async def add():
        assert await other.exports["add"](1, 2) == 3

    async with ticking(add):
        assert await exports["mixed"](4) == 6


def test_shielded_calls_are_not_cancelled():
    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(double).instantiate_async(store, component(BLOCKER))
            with trio.move_on_after(0.01):
                with trio.CancelScope(shield=True):
                    assert await instance.exports["run"](50) == 100
            assert await instance.exports["run"](1) == 2

    run(main)
