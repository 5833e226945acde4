"""Random schedules of calls, host functions and cancellations on a mock clock, against what they must come to."""

from __future__ import annotations

import functools
import random

import attrs
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import component_rt as rt

from .guests import BLOCKER, FEATURES, STACKFUL, SYNC, encode


@functools.cache
def engine():
    """One without ticks: the clock is not a real one."""
    return rt.Engine(rt.Config(cache=False, epoch_interruption=False))


@functools.cache
def guest(text):
    return rt.Component(engine(), encode(text), FEATURES)


@attrs.frozen
class Job:
    """A call at `start` whose host function takes `takes`, cancelled after `patience`; all in seconds, no two ends at once."""

    number: int
    start: float
    takes: float
    patience: float
    scoped: bool
    """Whether the host function ends by a cancel scope of its own."""

    @property
    def cancelled(self):
        return self.patience < self.takes


def jobs(seed, count):
    order = random.Random(seed)
    moments = order.sample(range(1, 100_000), 3 * count)
    return [
        Job(n, moments[3 * n] / 7, moments[3 * n + 1] / 11, moments[3 * n + 2] / 13, order.random() < 0.3)
        for n in range(count)
    ]


def play(text, plan, choose):
    """Run the plan; what came of each job, with the time that it took, and what the host functions saw."""
    results, seen = {}, {}

    async def wait(n):
        job = plan[n]
        try:
            if job.scoped:
                with trio.move_on_after(job.takes):
                    await trio.sleep_forever()
            else:
                await trio.sleep(job.takes)
        except trio.Cancelled:
            seen[n] = "cancelled"
            raise
        seen[n] = "done"
        return n + 1000

    async def main():
        linker = rt.Linker(engine())
        linker.define("wait", wait)
        async with rt.open_store(engine(), cancel_grace=1e9) as store:
            store.scheduler.choose = choose
            instance = await linker.instantiate_async(store, guest(text))
            begun = trio.current_time()

            async def one(job):
                await trio.sleep_until(begun + job.start)
                with trio.move_on_after(job.patience) as scope:
                    results[job.number] = await instance.exports["run"](job.number)
                if scope.cancelled_caught:
                    results[job.number] = "cancelled"
                results[job.number] = results[job.number], trio.current_time() - begun - job.start

            async with trio.open_nursery() as nursery:
                for job in plan:
                    nursery.start_soon(one, job)
            assert instance.trapped is None
            statistics = store.statistics()
            assert [statistics[what] for what in ("threads", "calls", "awaited", "handles")] == [0] * 4

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return results, seen


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25), st.booleans())
def test_guests_that_understand_cancellation(seed, count, shuffled):
    plan = jobs(seed, count)
    results, seen = play(BLOCKER, plan, random.Random(seed).randrange if shuffled else None)
    for job in plan:
        result, took = results[job.number]
        if job.cancelled:
            assert (result, seen[job.number]) == ("cancelled", "cancelled")
        else:
            assert (result, seen[job.number]) == (job.number + 1000, "done")
        assert abs(took - min(job.takes, job.patience)) < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_guests_that_keep_their_stacks(seed, count):
    plan = jobs(seed, count)
    results, _ = play(STACKFUL, [attrs.evolve(job, patience=1e6) for job in plan], None)
    assert {n: result for n, (result, _) in results.items()} == {job.number: job.number + 1000 for job in plan}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_synchronous_guests_take_one_call_after_the_other(seed, count):
    plan = [attrs.evolve(job, patience=1e9) for job in jobs(seed, count)]
    results, _ = play(SYNC, plan, None)
    free = 0.0
    for job in sorted(plan, key=lambda job: job.start):
        free = max(free, job.start) + job.takes
        result, took = results[job.number]
        assert result == job.number + 1001
        assert abs(job.start + took - free) < 1e-3
