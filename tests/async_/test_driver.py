"""The trio store: calls, host functions, cancellation, errors, closing."""

from __future__ import annotations

import contextvars
import gc
import threading

import pytest
import trio
import trio.testing

import component_rt as rt
from component_rt.tasks.thread import Thread
from core_rt.errors import InstancePoisoned, StoreError, Trap

from .guests import BLOCKER, SPIN, SPIN_ASYNC, SYNC, component, engine, until


def linker(wait):
    made = rt.Linker(engine())
    made.define("wait", wait)
    return made


async def double(n):
    await trio.sleep(n / 1000)
    return 2 * n


async def forever(n):
    await trio.sleep_forever()


def run(function, *args, clock=False):
    return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0.01) if clock else None)


def in_store(text, wait, **options):
    """Decorator: run the test with a store and an instance of the component."""

    def decorate(test):
        def wrapper():
            async def main():
                async with rt.open_store(engine(), **options) as store:
                    instance = await linker(wait).instantiate_async(store, component(text))
                    await test(store, instance)

            run(main)

        wrapper.__name__ = test.__name__
        wrapper.__doc__ = test.__doc__
        return wrapper

    return decorate


# ---------------------------------------------------------------------------------------------------- calls


@in_store(BLOCKER, double)
async def test_calls_of_one_instance_overlap(store, instance):
    await instance.exports["run"](1)
    results = []

    async def one(i):
        results.append((i, await instance.exports["run"](100 + i)))

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
async def test_a_synchronous_guest_waits_for_an_async_host_function(store, instance):
    assert await instance.exports["run"](5) == 11
    assert await instance.exports["add"](3, 4) == 7
    assert await instance.exports["add"](b=3, a=4) == 7


@in_store(SYNC, lambda n: n)
async def test_host_functions_may_be_plain(store, instance):
    assert await instance.exports["run"](5) == 6
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        await instance.exports["add"](1)
    with pytest.raises((TypeError, OverflowError, ValueError), match="add"):
        await instance.exports["add"](1, -1)
    assert await instance.exports["add"](1, 2) == 3


@in_store(SYNC, double)
async def test_calls_into_a_busy_synchronous_instance_wait_for_their_turn(store, instance):
    results = []

    async def one(n):
        results.append(await instance.exports["run"](n))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 30)
        await until(lambda: store.awaited)
        nursery.start_soon(one, 1)
    assert results == [61, 3]


@in_store(SYNC, lambda n: n)
async def test_every_call_is_a_checkpoint(store, instance):
    with trio.testing.assert_checkpoints():
        await instance.exports["add"](1, 2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await instance.exports["add"](1, 2)
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
async def test_a_store_belongs_to_its_loop(store, instance):
    def elsewhere():
        async def call():
            with pytest.raises(StoreError, match="loop"):
                await instance.exports["add"](1, 2)

        trio.run(call)

    await trio.to_thread.run_sync(elsewhere)
    assert await trio.to_thread.run_sync(trio.from_thread.run, instance.exports["add"], 1, 2) == 3
    with rt.Store(engine()) as other, pytest.raises(StoreError, match="synchronous"):
        await linker(double).instantiate_async(other, component(SYNC))


@in_store(SYNC, double)
async def test_thousands_of_calls_wait_for_their_turn(store, instance):
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
                nursery.start_soon(instance.exports["run"], 0)
    assert woken < 3000  # the work for each does not grow with their number


# ---------------------------------------------------------------------------------------------------- cancellation


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
async def test_many_calls_can_be_cancelled_at_once(store, instance):
    with trio.move_on_after(0.05) as scope:
        async with trio.open_nursery() as nursery:
            for n in range(200):
                nursery.start_soon(instance.exports["run"], n)
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
async def test_cancelling_a_synchronous_call_poisons_its_instance_alone(store, instance):
    other = await linker(double).instantiate_async(store, component(SYNC))
    with trio.move_on_after(0.02) as scope:
        await instance.exports["run"](1)
    assert scope.cancelled_caught
    assert isinstance(instance.trapped, Trap)
    with pytest.raises(InstancePoisoned):
        await instance.exports["add"](1, 2)
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
async def test_a_guest_that_computes_for_ever_is_stopped(store, instance):
    other = await linker(double).instantiate_async(store, component(SYNC))
    start = trio.current_time()
    with trio.move_on_after(0.05) as scope:
        await instance.exports["forever"]()
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
async def test_other_tasks_keep_going_while_a_guest_computes(store, instance):
    other = await linker(double).instantiate_async(store, component(SYNC))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await trio.sleep(0.001)
            assert await other.exports["add"](1, 2) == 3
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        assert await instance.exports["mixed"](4) == 6
        nursery.cancel_scope.cancel()
    assert ticks > 0


def test_shielded_calls_are_not_cancelled():
    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(double).instantiate_async(store, component(BLOCKER))
            with trio.move_on_after(0.01):
                with trio.CancelScope(shield=True):
                    assert await instance.exports["run"](50) == 100
            assert await instance.exports["run"](1) == 2

    run(main)


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("text", [SYNC, BLOCKER])
@pytest.mark.parametrize("awaits", [False, True])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_exceptions_of_host_functions_come_out_of_the_call(text, awaits, kind):
    error = kind("from the host")

    def plain(n):
        raise error

    async def asynchronous(n):
        await trio.sleep(0)
        raise error

    async def main():
        async with rt.open_store(engine()) as store:
            good = await linker(double).instantiate_async(store, component(text))
            bad = await linker(asynchronous if awaits else plain).instantiate_async(store, component(text))
            with pytest.raises(kind) as caught:
                await bad.exports["run"](1)
            assert caught.value is error
            assert bad.trapped is error
            assert await good.exports["run"](1) in (2, 3)

    run(main)


def test_an_exception_of_one_call_poisons_the_others_of_the_instance():
    async def wait(n):
        await trio.sleep(0.01)
        if n == 7:
            raise ValueError("seven")
        await trio.sleep_forever()

    async def main():
        async with rt.open_store(engine()) as store:
            instance = await linker(wait).instantiate_async(store, component(BLOCKER))
            seen = []

            async def one(n):
                try:
                    await instance.exports["run"](n)
                except (ValueError, InstancePoisoned) as error:
                    seen.append((n, type(error)))

            async with trio.open_nursery() as nursery:
                for n in (6, 7, 8):
                    nursery.start_soon(one, n)
            assert sorted(seen, key=lambda pair: pair[0]) == [
                (6, InstancePoisoned),
                (7, ValueError),
                (8, InstancePoisoned),
            ]
            await until(lambda: not store.awaited)

    run(main)


def test_exceptions_in_eight_threads_each_in_its_place():
    caught = []

    def thread(i):
        async def wait(n):
            await trio.sleep(0.001 * (n % 3))
            raise ValueError(f"{i}.{n}")

        async def main():
            async with rt.open_store(engine()) as store:
                for n in range(5):
                    instance = await linker(wait).instantiate_async(store, component(SYNC))
                    with pytest.raises(ValueError) as error:
                        await instance.exports["run"](n)
                    caught.append(str(error.value))

        trio.run(main)

    threads = [threading.Thread(target=thread, args=(i,)) for i in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(caught) == sorted(f"{i}.{n}" for i in range(8) for n in range(5))


# ---------------------------------------------------------------------------------------------------- life


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


# ---------------------------------------------------------------------------------------------------- start functions, destructors

START = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (global $g (mut i32) (i32.const 0))
    (func $start (global.set $g (call $wait (i32.const 7))))
    (start $start)
    (func (export "get") (result i32) (global.get $g)))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (core instance $j (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (func (export "get") (result u32) (canon lift (core func $j "get"))))
"""

SPINS = "(component (core module $m (func $s (loop $l (br $l))) (start $s)) (core instance (instantiate $m)))"

DTOR = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $d
    (import "" "wait" (func $wait (param i32) (result i32)))
    (func (export "d") (param i32) (drop (call $wait (local.get 0)))))
  (core instance $d (instantiate $d (with "" (instance (export "wait" (func $wait'))))))
  (type $r' (resource (rep i32) (dtor (core func $d "d"))))
  (export $r "r" (type $r'))
  (core func $new (canon resource.new $r'))
  (core func $drop (canon resource.drop $r'))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "make") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "kill") (param i32) (call $drop (call $new (local.get 0)))))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
  (func (export "make") (param "n" u32) (result (own $r)) (canon lift (core func $i "make")))
  (func (export "kill") (param "n" u32) (canon lift (core func $i "kill"))))
"""


@in_store(START, double)
async def test_start_functions_may_wait_for_the_host(store, instance):
    assert await instance.exports["get"]() == 14
    assert store.awaited == store.statistics()["threads"] == 0


@pytest.mark.parametrize("awaits", [False, True])
def test_start_functions_that_fail(awaits):
    error = ValueError("no")

    def plain(n):
        raise error

    async def asynchronous(n):
        await trio.sleep(0)
        raise error

    async def main():
        async with rt.open_store(engine()) as store:
            with pytest.raises(ValueError, match="no") as caught:
                await linker(asynchronous if awaits else plain).instantiate_async(store, component(START))
            assert caught.value is error
            good = await linker(double).instantiate_async(store, component(SYNC))
            assert await good.exports["run"](1) == 3
            assert store.awaited == 0

    run(main)


def test_start_functions_can_be_cancelled():
    async def main():
        async with rt.open_store(engine()) as store:
            for text, wait in ((START, forever), (SPINS, forever)):
                with trio.move_on_after(0.05) as scope:
                    await linker(wait).instantiate_async(store, component(text))
                assert scope.cancelled_caught
            await until(lambda: store.awaited == store.statistics()["threads"] == 0)

    run(main)


@in_store(SPIN, double)
async def test_instances_are_made_while_others_compute(store, instance):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.exports["forever"])
        await trio.sleep(0.03)
        other = await linker(double).instantiate_async(store, component(START))
        assert await other.exports["get"]() == 14
        nursery.cancel_scope.cancel()


def test_destructors_may_wait_for_the_host():
    ended = []

    async def wait(n):
        await trio.sleep(0.001)
        ended.append(n)
        return n

    async def main():
        async with rt.open_store(engine()) as store:
            exports = (await linker(wait).instantiate_async(store, component(DTOR))).exports
            resource = await exports["make"](1)
            resource.close()
            await exports["kill"](2)
            with await exports["make"](3):
                pass
            with pytest.warns(ResourceWarning):
                await exports["make"](4)
                gc.collect()
            await exports["kill"](5)
            assert ended == [1, 2, 3, 4, 5]
            with trio.move_on_after(0) as scope:
                await exports["kill"](6)
            assert scope.cancelled_caught and ended[-1] == 5

    run(main)


def test_a_store_without_a_loop():
    with pytest.raises(StoreError, match="no trio loop is running"):
        rt.open_store(engine())
