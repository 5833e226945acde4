"""Tests that want a trio store and an instance in it."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager

import trio
import trio.testing

import component_rt as rt

from .guests import component, engine

__all__ = ["double", "forever", "in_store", "later", "linker", "raising", "run", "ticking"]


def linker(wait=None):
    """One that has nothing, or the host function `wait`."""
    made = rt.Linker(engine())
    if wait is not None:
        made.define("wait", wait)
    return made


async def double(n):
    await trio.sleep(n / 1000)
    return 2 * n


async def later(n):
    await trio.sleep(0.001)
    return n + 1


async def forever(n):
    await trio.sleep_forever()


def raising(error, awaits):
    """A host function that raises, after a checkpoint if `awaits`."""

    def plain(n):
        raise error

    async def asynchronous(n):
        await trio.lowlevel.checkpoint()
        raise error

    return asynchronous if awaits else plain


def run(function, *args, clock=False):
    return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0.01) if clock else None)


def in_store(text, wait=None, at_rest=False, **options):
    """Decorator: run the test with a store, an instance of the component, and its exports.

    `at_rest`: nothing of a call may be left when the test is over.
    """

    def decorate(test):
        @functools.wraps(test)
        def wrapper():
            async def main():
                async with rt.open_store(engine(), **options) as store:
                    instance = await linker(wait).instantiate_async(store, component(text))
                    await test(store, instance, instance.exports)
                    if at_rest:
                        assert store.statistics()["threads"] == store.statistics()["calls"] == store.awaited == 0

            run(main)

        del wrapper.__wrapped__  # pytest would take the test's parameters for fixtures
        return wrapper

    return decorate


@asynccontextmanager
async def ticking(also=trio.lowlevel.checkpoint):
    """Other tasks have their turn in the meantime, each time with an `await also()`."""
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await trio.sleep(0.001)
            await also()
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        yield
        nursery.cancel_scope.cancel()
    assert ticks
