"""Exceptions of host functions in a trio store: whose call they come out of, and what they poison."""

from __future__ import annotations

import threading

import pytest
import trio

import component_rt as rt
from core_rt.errors import InstancePoisoned

from .guests import BLOCKER, SYNC, component, engine, until
from .stores import double, linker, raising, run


@pytest.mark.parametrize("text", [SYNC, BLOCKER])
@pytest.mark.parametrize("awaits", [False, True])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_exceptions_of_host_functions_come_out_of_the_call(text, awaits, kind):
    error = kind("from the host")

    async def main():
        async with rt.open_store(engine()) as store:
            good = await linker(double).instantiate_async(store, component(text))
            bad = await linker(raising(error, awaits)).instantiate_async(store, component(text))
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
