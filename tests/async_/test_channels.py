"""Streams and futures between Python and guests."""

from __future__ import annotations

import array
import gc
import io

import pytest
import trio
import trio.testing

import component_rt as rt
from core_rt.errors import InstancePoisoned, Trap

from .guests import ECHO, LATE, PIPE, component, engine, until
from .stores import in_store, linker, run


async def collect(source):
    return [item async for item in source]


async def numbers(n):
    for i in range(n):
        await trio.sleep(0)
        yield f"{i}"


def test_pairs_are_trio_streams():
    async def main():
        async with rt.open_store(engine()) as store:

            async def maker():
                return store.open_stream()

            await trio.testing.check_one_way_stream(maker, None)

    run(main)


@in_store(ECHO)
async def test_bytes_go_to_a_guest_and_back(store, instance, exports):
    echo = exports["bytes"]
    for source in (b"hello", bytearray(b"hello"), [104, 101, 108, 108, 111], [b"he", b"llo"], (c for c in b"hello")):
        assert b"".join(await collect(await echo(source))) == b"hello"

    send, receive = store.open_stream()
    back = await echo(receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send.send_all, b"hello")
        assert await back.receive_some(2) == b"he"
        assert await back.receive_some() == b"llo"
    await send.aclose()
    assert await back.receive_some() == b""


@in_store(ECHO)
async def test_texts_go_to_a_guest_and_back(store, instance, exports):
    echo = exports["texts"]
    assert await collect(await echo(["a", "b"])) == ["a", "b"]
    assert await collect(await echo(numbers(10))) == [f"{i}" for i in range(10)]
    send, receive = trio.open_memory_channel(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_all, send, ["x", "y", "z"])
        assert await collect(await echo(receive)) == ["x", "y", "z"]
    with pytest.raises(TypeError, match="iterable"):
        await echo(5)


async def _send_all(channel, values):
    async with channel:
        for value in values:
            await channel.send(value)


@in_store(ECHO)
async def test_futures_go_to_a_guest_and_back(store, instance, exports):
    late = exports["late"]
    assert await (await late("now")) == "now"

    async def soon():
        await trio.sleep(0.01)
        return "soon"

    future = await late(soon())
    assert await future == "soon"
    assert await future == "soon"


@in_store(PIPE)
async def test_megabytes_in_both_directions(store, instance, exports):
    data = bytes(range(97, 123)) * 40_000
    assert await exports["count"](data) == len(data)
    got = b"".join(await collect(await exports["upper"](data)))
    assert got == data.upper()
    assert sum(map(len, await collect(await exports["blocks"](64)))) == 64 * 32768


@in_store(PIPE)
async def test_from_guest_to_guest_through_python(store, instance, exports):
    other = await linker().instantiate_async(store, component(PIPE))
    stream = await exports["blocks"](10)
    assert await other.exports["count"](stream) == 10 * 32768
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


@in_store(PIPE)
async def test_reading_can_be_cancelled_and_taken_up_again(store, instance, exports):
    send, receive = store.open_stream()
    back = await exports["upper"](receive)
    with trio.move_on_after(0.01) as scope:
        await back.receive_some()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send.send_all, b"abc")
        assert await back.receive_some() == b"ABC"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(back.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await back.receive_some()
        nursery.cancel_scope.cancel()
    await send.aclose()


@in_store(PIPE)
async def test_a_guest_learns_that_nobody_reads(store, instance, exports):
    stream = await exports["blocks"](1000)
    assert len(await stream.receive_some(10)) == 10
    await stream.aclose()
    await until(lambda: store.statistics()["threads"] == 0)
    send, receive = store.open_stream()
    await receive.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await send.send_all(b"x")


@in_store(PIPE)
async def test_a_source_that_fails_ends_the_guest(store, instance, exports):
    async def source():
        yield b"abc"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await exports["count"](source())
    assert isinstance(instance.trapped, ValueError)


@in_store(PIPE)
async def test_readers_and_senders_learn_that_the_guest_was_ended(store, instance, exports):
    stream = await exports["blocks"](1000)
    await stream.receive_some(10)
    send, receive = store.open_stream()

    async def bad():
        await trio.sleep(0.01)
        raise ValueError("bad")
        yield b""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_count, instance, receive)
        await trio.testing.wait_all_tasks_blocked()
        await until(lambda: store.idle)
        nursery.start_soon(_count, instance, bad())
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await send.send_all(bytes(1000))
        with pytest.raises(trio.BrokenResourceError) as caught:
            while True:
                await stream.receive_some()
        assert isinstance(caught.value.__cause__, ValueError)


async def _count(instance, source):
    with pytest.raises((ValueError, InstancePoisoned)):
        await instance.exports["count"](source)


def test_the_synchronous_store_has_streams_too():
    with rt.Store(engine()) as store:
        pipe = linker().instantiate(store, component(PIPE))
        assert pipe.exports["count"](b"x" * 100_000) == 100_000
        assert b"".join(pipe.exports["upper"]([b"ab", b"cd"])) == b"ABCD"
        echo = linker().instantiate(store, component(ECHO))
        assert list(echo.exports["texts"](iter("abc"))) == ["a", "b", "c"]
        assert echo.exports["late"]("x").get() == "x"
        with pytest.raises(TypeError, match="open_store"):
            echo.exports["texts"](numbers(1))


def test_what_can_never_come_is_a_deadlock():
    with rt.Store(engine()) as store:
        future = linker().instantiate(store, component(LATE)).exports["f"]()
        with pytest.raises(Trap, match="deadlock"):
            future.get()


@in_store(PIPE)
async def test_streams_that_are_forgotten_are_closed(store, instance, exports):
    stream = await exports["blocks"](1000)
    del stream
    gc.collect()
    await trio.sleep(0)
    await until(lambda: store.statistics()["threads"] == store.ends == 0)


@in_store(ECHO)
async def test_a_future_can_be_awaited_by_several_tasks(store, instance, exports):
    event, got = trio.Event(), []

    async def soon():
        await event.wait()
        return "soon"

    future = await exports["late"](soon())

    async def one(scope):
        with scope:
            got.append(await future)

    scopes = [trio.CancelScope() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(one, scope)
        await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()  # perhaps the one that reads
        await trio.testing.wait_all_tasks_blocked()
        event.set()
    assert got == ["soon", "soon"]


def test_ends_that_went_through_a_guest_are_trio_streams():
    async def main():
        async with rt.open_store(engine()) as store:
            echo = (await linker().instantiate_async(store, component(ECHO))).exports["bytes"]

            async def maker():
                send, receive = store.open_stream()
                return send, await echo(receive)

            await trio.testing.check_one_way_stream(maker, None)

    run(main)


@in_store(PIPE)
async def test_every_kind_of_source(store, instance, exports):
    count = exports["count"]
    assert await count(memoryview(b"abc")) == 3
    assert await count(array.array("H", [1, 2])) == 4
    assert await count(io.BytesIO(b"abc\ndef")) == 7
    assert await count(range(10)) == 10
    assert await count([]) == await count(b"") == 0
    assert await count(iter([b"ab", b"", b"c"])) == 3
    assert await count(b"ab" if n else n for n in range(3)) == 5
    send, receive = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_bytes, send, 1000)
        assert await count(receive) == 1000
    channel, receiver = trio.open_memory_channel(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_all, channel, [b"abc", bytearray(b"de"), 65])
        assert await count(receiver) == 6
    for wrong in (5, "text", None, object()):
        with pytest.raises(TypeError, match="iterable"):
            await count(wrong)
    with pytest.raises(ValueError, match="range"):
        await count([300])


async def _send_bytes(stream, n):
    async with stream:
        await stream.send_all(bytes(n))


@in_store(ECHO)
async def test_what_a_source_raised_comes_to_the_host_if_no_guest_is_between(store, instance, exports):
    async def source():
        yield b"abc"
        raise ValueError("no more")

    stream = await exports["bytes"](source())
    assert await stream.receive_some() == b"abc"
    with pytest.raises(ValueError, match="no more"):
        await stream.receive_some()
    assert instance.trapped is None


@in_store(ECHO)
async def test_sources_are_closed_when_nobody_reads(store, instance, exports):
    closed = []

    async def asynchronous():
        try:
            while True:
                yield b"abc"
        finally:
            closed.append("asynchronous")

    def plain():
        try:
            while True:
                yield b"abc"
        finally:
            closed.append("plain")

    for source in (asynchronous, plain):
        stream = await exports["bytes"](source())
        assert await stream.receive_some()
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(closed) == ["asynchronous", "plain"]
