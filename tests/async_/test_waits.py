"""What a synchronous store waits for while its guests go on: coroutines that wait for `Sources` only."""

import gc

import pytest

import component_rt as rt
from component_rt.tasks.waits import Sources, Waits, drivable, driving
from tests.wasi.p3.guests import WAITS

from .guests import BLOCKER, STACKFUL, SYNC, component, engine


class Flag:
    """A source that tests raise."""

    def __init__(self):
        self.up = False
        self.looked = 0

    def ready(self):
        self.looked += 1
        return self.up


def block(sources):
    """As `wait_any_sync`, but what is never ready is a mistake of the test."""
    for _ in range(1000):
        if found := [i for i, source in enumerate(sources) if source.ready()]:
            return found
    raise AssertionError("nobody raises the flag")


@drivable
async def until(flag, result=None):
    assert driving()
    while not flag.ready():
        await Sources((flag,), block)
    if isinstance(result, BaseException):
        raise result
    return result


class Clock:
    """Each `wait_for` waits for the flag; the second `wait_until` raises it."""

    def __init__(self, result=None):
        self.flag = Flag()
        self.calls = []
        self.result = result

    def now(self):
        return 0

    def wait_for(self, how_long):
        self.calls.append("for")
        return until(self.flag, self.result)

    def wait_until(self, when):
        self.calls.append("until")
        self.flag.up = self.calls.count("until") == 2


def run(clock):
    linker = rt.Linker(engine())
    linker.define("wasi:clocks/monotonic-clock", clock)
    with rt.Store(engine()) as store:
        exports = linker.instantiate(store, component(WAITS)).exports
        try:
            return exports.wait(5)
        finally:
            assert not store.waits.under_way


def test_the_guest_goes_on_meanwhile():
    clock = Clock()
    assert run(clock) == 0
    assert clock.calls == ["for", "until", "until"], "the first call had not ended when the others were made"


def test_what_a_coroutine_raises_is_the_callers():
    with pytest.raises(KeyError):
        run(Clock(KeyError("mine")))
    with pytest.raises(KeyboardInterrupt):
        run(Clock(KeyboardInterrupt()))


def test_waiting_can_be_interrupted():
    """What is raised in the middle of waiting ends the guest."""

    class Interrupts(Clock):
        def wait_until(self, when):
            self.flag.ready = self.interrupt

        def interrupt(self):
            raise KeyboardInterrupt

    linker = rt.Linker(engine())
    linker.define("wasi:clocks/monotonic-clock", Interrupts())
    with rt.Store(engine()) as store:
        instance = linker.instantiate(store, component(WAITS))
        with pytest.raises(KeyboardInterrupt):
            instance.exports.wait(5)
        with pytest.raises(rt.InstancePoisoned):
            instance.exports.wait(5)


def test_other_coroutines_are_refused():
    closed = []

    class Other(Clock):
        async def wait_for(self, how_long):
            closed.append("ran")

    with pytest.raises(rt.StoreError, match="open_store"):
        run(Other())
    assert not closed

    class Strange:
        def __await__(self):
            yield "something else"

    @drivable
    async def strange():
        try:
            await Strange()
        finally:
            closed.append("closed")

    wait = Waits().begin(strange())
    with pytest.raises(rt.StoreError, match="open_store"):
        wait.result()
    assert closed == ["closed"]


def test_a_coroutine_may_end_at_once():
    flag = Flag()
    flag.up = True
    wait = Waits().begin(until(flag, 7))
    assert wait.done and wait.outcome() == (7, None) and not driving()
    error = rt.Err("no")
    assert Waits().begin(until(flag, error)).outcome() == (None, error)


def test_cancelling_and_closing():
    waits, told = Waits(), []
    first, second = (waits.begin(until(Flag())) for _ in range(2))
    first.on_done = second.on_done = lambda: told.append("done")
    assert waits.turn(False) and len(waits.under_way) == 2
    first.cancel()
    first.cancel()
    assert first.done and first.cancelled and told == ["done"]
    waits.close()
    assert second.done and told == ["done"] and not waits.turn(True)


def test_a_guest_cancels_what_it_waits_for():
    linker = rt.Linker(engine())
    flag = Flag()
    linker.define("wait", lambda n: until(flag, n))
    store = rt.Store(engine())
    with store:
        exports = linker.instantiate(store, component(BLOCKER)).exports
        flag.up = True
        assert exports.run(3) == 3
        assert not store.waits.under_way


def test_closing_the_store_ends_coroutines():
    ended = []

    @drivable
    async def forever():
        try:
            await Sources((Flag(),), block)
        finally:
            ended.append(True)

    store = rt.Store(engine())
    store.waits.begin(forever())
    store.close()
    assert ended == [True]
    gc.collect()


@pytest.mark.parametrize(
    "text", [SYNC.replace("$wait (param", "$wait async (param", 1), STACKFUL], ids=["synchronous", "stackful"]
)
def test_a_call_that_is_held_up(text):
    """A guest that calls an asynchronous function synchronously waits in that call."""

    class Late(Flag):
        def ready(self):
            self.looked += 1
            return self.looked > 3

    flag = Late()
    linker = rt.Linker(engine())
    linker.define("wait", lambda n: until(flag, n + 1))
    with rt.Store(engine()) as store:
        assert linker.instantiate(store, component(text)).exports.run(3) in (4, 5)
        assert not store.waits.under_way
    assert flag.looked > 3
