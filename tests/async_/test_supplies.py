"""Streams that the host feeds when a guest reads, and drains when a guest writes: `tasks.supplies`, in stores of both kinds."""

import pytest
import trio

import component_rt as rt
from component_rt.tasks.supplies import Drain, Supply, refuse
from component_rt.tasks.waits import Sources, driving

from .guests import LIBC, component, engine

# Takes a stream from the host, and a number of bytes to read of it; gives the host a stream of its own.
READER = f"""
(component
  (type $bytes (stream u8))
  (import "give" (func $give (result $bytes)))
  (import "take" (func $take (param "stream" $bytes)))
  {LIBC}
  (core func $give (canon lower (func $give)))
  (core func $take (canon lower (func $take)))
  (core func $read (canon stream.read $bytes (memory $mem)))
  (core func $try (canon stream.read $bytes async (memory $mem)))
  (core func $cancel (canon stream.cancel-read $bytes))
  (core func $drop (canon stream.drop-readable $bytes))
  (core func $new (canon stream.new $bytes))
  (core func $write (canon stream.write $bytes (memory $mem)))
  (core func $close (canon stream.drop-writable $bytes))
  (core module $m
    (import "" "give" (func $give (result i32)))
    (import "" "take" (func $take (param i32)))
    (import "" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "" "try" (func $try (param i32 i32 i32) (result i32)))
    (import "" "cancel" (func $cancel (param i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (import "" "new" (func $new (result i64)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "" "close" (func $close (param i32)))
    (global $in (mut i32) (i32.const 0))
    (global $out (mut i32) (i32.const 0))
    (func (export "open") (global.set $in (call $give)))
    (func (export "read") (param i32) (result i32) (call $read (global.get $in) (i32.const 64) (local.get 0)))
    (func (export "try") (param i32) (result i32) (call $try (global.get $in) (i32.const 64) (local.get 0)))
    (func (export "cancel") (result i32) (call $cancel (global.get $in)))
    (func (export "drop") (call $drop (global.get $in)))
    (func (export "start") (local $ends i64)
      (local.set $ends (call $new))
      (global.set $out (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (call $take (i32.wrap_i64 (local.get $ends))))
    (func (export "write") (param i32) (result i32) (call $write (global.get $out) (i32.const 64) (local.get 0)))
    (func (export "close") (call $close (global.get $out)))
    (func (export "pass") (call $take (call $give))))
  (core instance $i (instantiate $m (with "" (instance
    (export "give" (func $give)) (export "take" (func $take)) (export "read" (func $read)) (export "drop" (func $drop))
    (export "try" (func $try)) (export "cancel" (func $cancel))
    (export "new" (func $new)) (export "write" (func $write)) (export "close" (func $close))))))
  (func (export "open") async (canon lift (core func $i "open")))
  (func (export "read") async (param "n" u32) (result u32) (canon lift (core func $i "read")))
  (func (export "try") async (param "n" u32) (result u32) (canon lift (core func $i "try")))
  (func (export "cancel") async (result u32) (canon lift (core func $i "cancel")))
  (func (export "drop") async (canon lift (core func $i "drop")))
  (func (export "start") async (canon lift (core func $i "start")))
  (func (export "write") async (param "n" u32) (result u32) (canon lift (core func $i "write")))
  (func (export "close") async (canon lift (core func $i "close")))
  (func (export "pass") async (canon lift (core func $i "pass"))))
"""
COMPLETED, DROPPED, CANCELLED, BLOCKED = 0, 1, 2, 0xFFFF_FFFF


class Numbers(Supply):
    """Chunks of a list; those that are functions are awaited in a trio store."""

    def __init__(self, *chunks):
        super().__init__()
        self.chunks = list(chunks)
        self.asked = self.ends = 0

    def next(self):
        self.asked += 1
        chunk = self.chunks.pop(0) if self.chunks else None
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def next_async(self):
        chunk = self.next()
        return chunk() if callable(chunk) else chunk

    def over(self):
        self.ends += 1


class Takes(Drain):
    """Keeps what comes, until it is as much as is wanted."""

    def __init__(self, most=1 << 60, wait=None):
        super().__init__()
        self.got = b""
        self.most = most
        self.wait = wait
        self.ends = 0

    def put(self, chunk):
        self.got += chunk
        return len(self.got) < self.most

    def put_async(self, chunk):
        if self.wait is None:
            return self.put(chunk)
        return self.later(chunk)

    async def later(self, chunk):
        await self.wait()
        return self.put(chunk)

    def over(self):
        self.ends += 1


async def _same(result):
    return result


class Sync:
    """The guest's functions in a synchronous store, to be awaited like those of the other."""

    def __init__(self, exports):
        self._exports = exports

    def __getattr__(self, name):
        call = getattr(self._exports, name)
        return lambda *args: _same(call(*args))


@pytest.fixture(params=["synchronous", "trio"])
def with_guest(request):
    """Run a test with a guest that is given `supply` and gives to `drain`."""

    def run(test, supply=None, take=None):
        linker = rt.Linker(engine())
        linker.define("give", lambda: supply)
        linker.define("take", take or (lambda stream: None))

        async def main():
            with trio.fail_after(20):
                if request.param == "trio":
                    async with rt.open_store(engine()) as store:
                        await test((await linker.instantiate_async(store, component(READER))).exports)
                else:
                    with rt.Store(engine()) as store:
                        await test(Sync(linker.instantiate(store, component(READER)).exports))

        trio.run(main)

    return run


def test_a_supply_is_asked_when_the_guest_reads(with_guest):
    supply = Numbers(b"abc", b"de")

    async def test(guest):
        await guest.open()
        assert supply.asked == 0
        assert await guest.read(2) == COMPLETED | 2 << 4
        assert supply.asked == 1
        assert await guest.read(2) == COMPLETED | 1 << 4
        assert supply.asked == 1, "what is left of a chunk comes first"
        assert await guest.read(100) == COMPLETED | 2 << 4
        assert supply.asked == 2 and supply.ends == 0
        assert await guest.read(1) == DROPPED and supply.ends == 1
        await guest.drop()

    with_guest(test, supply)
    assert supply.ends == 1


def test_asking_whether_there_is_something(with_guest):
    """A read of no bytes is over when there are some."""
    supply = Numbers(b"abc")

    async def test(guest):
        await guest.open()
        assert await guest.read(0) == COMPLETED and supply.asked == 1
        assert await guest.read(5) == COMPLETED | 3 << 4

    with_guest(test, supply)


class Slow(Supply):
    """Has nothing until `up`, whatever the guest does meanwhile."""

    def __init__(self):
        super().__init__()
        self.up = False
        self.asked = self.ends = 0

    def ready(self):
        return self.up

    def next(self):
        self.asked += 1
        return self._wait()

    async def _wait(self):
        while not self.up:
            if driving():
                await Sources((self,), block)
            else:
                await trio.sleep(0.001)
        return b"here"

    def over(self):
        self.ends += 1


def block(sources):
    return [i for i, source in enumerate(sources) if source.ready()]


def test_what_comes_for_a_read_that_was_given_up_is_there_for_the_next(with_guest):
    supply = Slow()

    async def test(guest):
        await guest.open()
        for _ in range(3):
            assert await guest.try_(2) == BLOCKED
            assert await guest.cancel() == CANCELLED
        assert supply.asked == 1, "who has been asked is not asked again"
        supply.up = True
        assert await guest.read(2) == COMPLETED | 2 << 4
        supply.up = False
        assert await guest.read(2) == COMPLETED | 2 << 4
        assert supply.asked == 1
        assert await guest.try_(2) == BLOCKED and supply.asked == 2
        assert await guest.cancel() == CANCELLED
        await guest.drop()
        assert supply.ends == 1

    with_guest(test, supply)


def test_a_supply_learns_that_nobody_reads(with_guest):
    supply = Numbers(b"abc")

    async def test(guest):
        await guest.open()
        await guest.drop()
        assert supply.asked == 0 and supply.ends == 1

    with_guest(test, supply)


def test_what_a_supply_raises_ends_the_guest(with_guest):
    supply = Numbers(KeyError("mine"))

    async def test(guest):
        await guest.open()
        with pytest.raises(KeyError):
            await guest.read(1)

    with_guest(test, supply)


def test_a_drain_takes_what_the_guest_writes(with_guest):
    drain = Takes()

    async def test(guest):
        await guest.start()
        for _ in range(3):
            assert await guest.write(5) == COMPLETED | 5 << 4
        assert len(drain.got) == 15 and drain.ends == 0
        await guest.close()
        assert drain.ends == 1

    with_guest(test, take=drain.begin)


def test_a_drain_may_want_no_more(with_guest):
    drain = Takes(most=5)

    async def test(guest):
        await guest.start()
        await guest.write(5)
        assert drain.ends == 1
        assert await guest.write(5) == DROPPED

    with_guest(test, take=drain.begin)
    assert len(drain.got) == 5


def test_closing_the_store_ends_both(with_guest):
    supply, slow, drain = Numbers(b"abc"), Slow(), Takes()

    async def test(guest):
        await guest.open()
        await guest.read(1)
        await guest.start()
        await guest.write(1)
        assert supply.ends == drain.ends == 0

    with_guest(test, supply, drain.begin)
    assert supply.ends == drain.ends == 1

    async def waiting(guest):
        await guest.open()
        await guest.try_(1)

    with_guest(waiting, slow)
    assert slow.ends == 1


def test_a_stream_that_is_refused(with_guest):
    async def test(guest):
        await guest.start()
        assert await guest.write(5) == DROPPED

    with_guest(test, take=refuse)


def test_from_the_host_to_the_host(with_guest):
    """The guest only hands the stream on. However long it is, it needs no deep stack."""
    supply, drain = Numbers(*[b"ab"] * 5000), Takes()

    async def test(guest):
        await guest.pass_()
        while not drain.ends:
            await trio.lowlevel.checkpoint()

    with_guest(test, supply, drain.begin)
    assert drain.got == b"ab" * 5000 and supply.ends == 1


def test_supplies_and_drains_may_wait():
    """In a trio store: the guest waits for the host, and the store's end for what the host has taken."""

    async def later():
        await trio.sleep(0.01)
        return b"later"

    async def none():
        await trio.sleep(0.01)

    supply, drain = Numbers(b"now", later, none), Takes(wait=none)
    linker = rt.Linker(engine())
    linker.define("give", lambda: supply)
    linker.define("take", drain.begin)

    async def main():
        async with rt.open_store(engine()) as store:
            guest = (await linker.instantiate_async(store, component(READER))).exports
            await guest.open()
            assert await guest.read(10) == COMPLETED | 3 << 4
            assert await guest.read(10) == COMPLETED | 5 << 4
            assert await guest.read(10) == DROPPED
            await guest.start()
            await guest.write(4)
            assert drain.got == b""
        assert len(drain.got) == 4

    trio.run(main)


def test_who_waits_for_nobody_is_cancelled():
    cancelled = []

    async def forever():
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    supply = Numbers(forever)
    linker = rt.Linker(engine())
    linker.define("give", lambda: supply)
    linker.define("take", lambda stream: None)

    async def main():
        async with rt.open_store(engine()) as store:
            guest = (await linker.instantiate_async(store, component(READER))).exports
            await guest.open()
            with trio.move_on_after(0.01):
                await guest.read(1)
        assert cancelled

    trio.run(main)


def test_supplies_are_streams_and_given_once():
    supply = Numbers(b"x")
    linker = rt.Linker(engine())
    linker.define("give", lambda: supply)
    linker.define("take", lambda stream: None)
    with rt.Store(engine()) as store:
        guest = linker.instantiate(store, component(READER)).exports
        guest.open()
        with pytest.raises(ValueError, match="once"):
            guest.open()
