"""A real guest (componentize-py): asynchronous exports and imports, streams and futures, every function of its world."""

from __future__ import annotations

import functools

import pytest
import trio

import component_rt as rt
from tests.outside import guest


class HostIo:
    """Implements `guests:asyncy/host-io`."""

    async def sleep(self, ms):
        await trio.sleep(ms / 1000)

    async def fetch(self, key):
        await trio.sleep(0.001)
        if key.startswith("bad"):
            raise rt.Err(f"no {key}")
        return f"v{key}"


@functools.cache
def load():
    engine = rt.Engine()
    return engine, rt.Component.from_file(engine, guest("asyncy/asyncy_py_stub.wasm"))


async def numbers(n):
    for i in range(n):
        yield i


async def soon(value):
    await trio.sleep(0.01)
    return value


async def collect(source):
    return [item async for item in source]


async def simple(api, store):
    assert await api.plain(4) == 5
    assert await api.slow_add(1, 2, 5) == 3
    assert await api.gather(["a", "bad1", "b"]) == [rt.Ok("va"), rt.Err("no bad1"), rt.Ok("vb")]


async def streams(api, store):
    assert await collect(await api.range(2500)) == list(range(2500))
    data = b"hello stream, " * 20_000
    assert b"".join(await collect(await api.upper(data))) == data.upper()
    assert await api.total(range(10_000)) == sum(range(10_000))
    assert await api.total(numbers(500)) == sum(range(500))


async def futures(api, store):
    assert await (await api.later("x", 5)) == "x!"
    assert await api.greet(soon("you")) == "hello you"
    assert await api.greet("you") == "hello you"


async def overlap(api, store):
    await api.slow_add(0, 0, 1)
    got = []

    async def one(i):
        got.append(await api.slow_add(i, i, 200))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(one, i)
    assert sorted(got) == [2 * i for i in range(20)]
    assert trio.current_time() - start < 2


async def cancellation(api, store):
    await api.slow_add(0, 0, 1)
    results = []

    async def other():
        results.append(await api.slow_add(20, 22, 200))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.move_on_after(0.05) as scope:
            await api.slow_add(1, 1, 60_000)
        assert scope.cancelled_caught
    assert results == [42]
    assert await api.slow_add(2, 3, 1) == 5


@pytest.mark.parametrize("check", [simple, streams, futures, overlap, cancellation], ids=lambda check: check.__name__)
def test_asyncy(check):
    engine, component = load()

    async def main():
        linker = rt.Linker(engine)
        linker.define_wasi(rt.WasiConfig())
        linker.define("guests:asyncy/host-io", HostIo())
        async with rt.open_store(engine) as store:
            instance = await linker.instantiate_async(store, component)
            await check(instance.exports["guests:asyncy/api"], store)

    trio.run(main)
