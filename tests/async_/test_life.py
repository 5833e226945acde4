"""Opening, leaving, cancelling and closing a trio store."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import trio
import trio.testing

import component_rt as rt
from core_rt.errors import StoreError
from core_rt.native import start_ticker, stop_ticker, ticker_period

from .guests import BLOCKER, SPIN, SYNC, component, encode, engine, until
from .stores import double, forever, linker, run


def test_leaving_the_store_ends_everything():
    ended = []

    async def wait(n):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(n)

    async def main():
        errors = []

        async def one(instance, n):
            try:
                await instance.exports["run"](n)
            except StoreError as error:
                errors.append(str(error))

        async with trio.open_nursery() as nursery:
            async with rt.open_store(engine()) as store:
                for n, text in enumerate([BLOCKER, BLOCKER, SYNC]):
                    nursery.start_soon(one, await linker(wait).instantiate_async(store, component(text)), n)
                await until(lambda: store.awaited == 3)
            assert sorted(ended) == [0, 1, 2]
            assert store.closed
        assert errors == ["the store was closed"] * 3
        assert store.statistics()["fibers"] == store.awaited == 0

    run(main)


def test_a_closed_store_is_gone_without_the_collector():
    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(double).instantiate_async(store, component(SYNC))
            assert await instance.exports["run"](3) == 7
            gone = weakref.ref(store)
        del store, instance
        await trio.testing.wait_all_tasks_blocked()
        assert gone() is None

    gc.collect()
    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


def test_exceptions_leave_the_store_as_they_are():
    async def main(error):
        async with rt.open_store(engine()) as store:
            instance = await linker(forever).instantiate_async(store, component(BLOCKER))
            with trio.move_on_after(0):
                await instance.exports["run"](1)
            raise error

    for error in (ValueError("body"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            run(main, error)
        assert caught.value is error


def test_cancelling_around_a_store_ends_guests_that_compute():
    async def main():
        with trio.move_on_after(0.1) as scope:
            async with rt.open_store(engine()) as store:
                instance = await linker(forever).instantiate_async(store, component(SPIN))
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(instance.exports["forever"])
        assert scope.cancelled_caught and store.closed

    run(main)


@pytest.mark.parametrize("inside", ["body", "nursery"])
def test_what_goes_wrong_in_the_store_itself_comes_out_of_it(inside):
    async def fails():
        await trio.sleep(0.01)
        raise ValueError("on its own")

    async def main():
        async with rt.open_store(engine()) as store:
            store.start_task(fails)
            if inside == "body":
                await trio.sleep_forever()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)

    with pytest.raises(ValueError, match="on its own"):
        run(main)


def test_cancelling_around_a_store_with_a_nursery():
    async def main():
        with trio.move_on_after(0.01) as scope:
            async with rt.open_store(engine()), trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        assert scope.cancelled_caught

    run(main)


def test_a_closed_store_says_so():
    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(double).instantiate_async(store, component(SYNC))
            run_ = instance.exports["run"]
        with pytest.raises(StoreError, match="closed"):
            await run_(1)

    run(main)


def test_the_synchronous_store_runs_the_same_component():
    with rt.Store(engine()) as store:
        instance = linker(lambda n: 2 * n).instantiate(store, component(BLOCKER))
        assert instance.exports["run"](21) == 42
        refusing = linker(double).instantiate(store, component(BLOCKER))
        with pytest.raises(StoreError, match="open_store"):
            refusing.exports["run"](1)


def test_a_store_without_a_loop():
    with pytest.raises(StoreError, match="no trio loop is running"):
        rt.open_store(engine())


ENTERS = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (func $same (param i32) (result i32) (local.get 0))
    (func (export "run") (param $n i32) (result i32)
      (loop $again
        (drop (call $same (call $wait (local.get $n))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $n)))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run")))
)
"""
"""`run(n)` calls `wait` n times, and enters a function after each."""


@pytest.mark.parametrize(("epochs", "ticks", "aside"), [(False, 2, False), (True, 1, False), (True, 2, True)])
def test_a_guest_is_put_aside_when_it_has_run_for_a_whole_tick(epochs, ticks, aside, request):
    if ticker_period():  # the ticks of other engines reach every store: only those counted here shall
        request.addfinalizer(partial(start_ticker, ticker_period()))
    ticking = rt.Engine(rt.Config(cache=False, epoch_interruption=epochs, tick_seconds=3600))

    def wait(n):
        ticking.increment_epoch()
        return n

    async def main():
        made = rt.Linker(ticking)
        made.define("wait", wait)
        async with rt.open_store(ticking) as store:
            instance = await made.instantiate_async(store, rt.Component(ticking, encode(ENTERS)))
            stop_ticker()
            assert await instance.exports["run"](ticks) == 0
            in_slices = store.core.seconds_in_slices
            assert (in_slices > 0) == aside
            # A tick in one call does not count for the next.
            assert await instance.exports["run"](1) == 0
            assert store.core.seconds_in_slices == in_slices

    run(main)
