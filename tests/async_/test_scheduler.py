"""The scheduler alone: threads that are plain generators, no guests."""

from __future__ import annotations

import random

import pytest

from component_rt.handles import Table
from component_rt.tasks.scheduler import ASIDE, Scheduler, Tree
from component_rt.tasks.states import TaskState, ThreadState
from component_rt.tasks.thread import Task, Thread, exclusive_released


class NoCore:
    """A core store in which nothing runs."""

    can_park = False


class Instance:
    """As much of a component instance as threads look at."""

    def __init__(self):
        self.root = self
        self.handles = Table()
        self.chain = (self,)
        self.flags = [1, 1]
        self.backpressure = 0
        self.num_waiting_to_enter = 0
        self.exclusive_thread = None
        self.threads = Table()
        self.turns = self.tree = None
        self.first_trap = None

    def entering_set(self, caller):
        return self.chain

    def tables(self):
        return [(self, self.handles)]

    def poison(self, error):
        self.first_trap = error
        self.flags[0] = 0


class Options:
    is_async = True
    callback = None
    type = None


class Lifted:
    """A stackful asynchronous function."""

    options = Options()

    class type:
        is_async = True


@pytest.fixture
def inst():
    return Instance()


@pytest.fixture
def scheduler():
    return Scheduler(NoCore())


def make_task(inst, results=None):
    task = Task(inst, Lifted(), lambda: None, lambda result, cancelled: results is not None and results.append(result))
    task.state = TaskState.STARTED
    return task


def spawn(scheduler, inst, body, task=None):
    thread = Thread(scheduler, Tree.of(inst), task or make_task(inst), None)
    thread.body = body(thread)
    thread.task.register_thread(thread)
    thread.resume_later()
    return thread


def run(scheduler):
    count = 0
    while scheduler.tick():
        count += 1
    return count


def ending(thread):
    thread.task.state = TaskState.RESOLVED
    thread.task.unregister_thread(thread)


def test_threads_take_turns_in_the_order_they_were_woken(scheduler, inst):
    log = []

    def body(name):
        def steps(thread):
            for i in range(3):
                log.append(f"{name}{i}")
                yield from thread.yield_(False)
            ending(thread)

        return steps

    for name in "abc":
        spawn(scheduler, inst, body(name))
    run(scheduler)
    assert log == [f"{name}{i}" for i in range(3) for name in "abc"]
    assert not Tree.of(inst).threads and inst.flags == [1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_threads_gives_the_same_sums(scheduler, inst, seed):
    scheduler.choose = random.Random(seed).randrange
    box, total = [], []

    def producer(thread):
        for i in range(10):
            box.append(i)
            consumer_thread.wake()
            yield from thread.yield_(False)
        ending(thread)

    def consumer(thread):
        while len(total) < 20:
            yield from thread.wait_until(lambda: bool(box))
            total.append(box.pop())
        ending(thread)

    consumer_thread = spawn(scheduler, inst, consumer)
    spawn(scheduler, inst, producer)
    spawn(scheduler, inst, producer)
    run(scheduler)
    assert sorted(total) == sorted([*range(10), *range(10)])


def test_idle_threads_cost_nothing(scheduler, inst):
    def idle(thread):
        yield from thread.suspend(False)

    def busy(thread):
        for _ in range(10):
            yield from thread.yield_(False)
        ending(thread)

    for _ in range(1000):
        spawn(scheduler, inst, idle)
    assert run(scheduler) == 1000
    spawn(scheduler, inst, busy)
    assert run(scheduler) == 11
    assert len(Tree.of(inst).threads) == 1000


def test_a_thread_is_asked_again_when_it_is_woken(scheduler, inst):
    there = []
    got = []

    def waiting(thread):
        yield from thread.wait_until(lambda: bool(there))
        got.append(there.pop())
        ending(thread)

    threads = [spawn(scheduler, inst, waiting) for _ in range(3)]
    run(scheduler)
    there.append("one")
    for thread in threads:
        thread.wake()
    run(scheduler)
    assert got == ["one"]
    assert [thread.state for thread in threads].count(ThreadState.WAITING) == 2


def test_switching_passes_control_and_the_way_back(scheduler, inst):
    log = []

    def second(thread):
        log.append("second")
        first_thread.resume_later()
        ending(thread)
        return
        yield

    def first(thread):
        log.append("first")
        yield from thread.suspend_then_resume(False, second_thread)
        log.append("first again")
        ending(thread)

    second_thread = Thread(scheduler, Tree.of(inst), make_task(inst), None)
    second_thread.body = second(second_thread)
    second_thread.task.register_thread(second_thread)
    first_thread = spawn(scheduler, inst, first)
    run(scheduler)
    assert log == ["first", "second", "first again"]


def test_an_exception_poisons_its_tree_and_no_other(scheduler, inst):
    other, log = Instance(), []

    def bad(thread):
        yield from thread.yield_(False)
        raise ValueError("bad")

    def good(thread):
        for _ in range(3):
            yield from thread.yield_(False)
        log.append("good")
        ending(thread)

    left = spawn(scheduler, inst, good)
    spawn(scheduler, inst, bad)
    spawn(scheduler, other, good)
    run(scheduler)
    assert isinstance(inst.first_trap, ValueError) and other.first_trap is None
    assert log == ["good"] and left.state is ThreadState.DONE
    assert not Tree.of(inst).threads


def test_keyboard_interrupt_leaves_the_scheduler(scheduler, inst):
    def bad(thread):
        raise KeyboardInterrupt
        yield

    spawn(scheduler, inst, bad)
    with pytest.raises(KeyboardInterrupt):
        run(scheduler)
    assert isinstance(inst.first_trap, KeyboardInterrupt)


def test_what_is_aside_keeps_its_tree_and_only_that(scheduler, inst):
    other, log = Instance(), []

    def aside(thread):
        yield ASIDE
        log.append("back")
        ending(thread)

    def body(name):
        def steps(thread):
            log.append(name)
            ending(thread)
            return
            yield

        return steps

    spawn(scheduler, inst, aside)
    spawn(scheduler, inst, body("same tree"))
    spawn(scheduler, other, body("other tree"))
    run(scheduler)
    assert log == ["other tree"] and inst.flags[0] == 0
    scheduler.continue_aside(Tree.of(inst))
    run(scheduler)
    assert log == ["other tree", "back", "same tree"] and inst.flags[0] == 1


def test_backpressure_lets_calls_in_one_after_the_other(scheduler, inst):
    log = []
    inst.backpressure = 1

    def body(name):
        def steps(thread):
            if not (yield from thread.task.enter_implicit_thread(thread)):
                log.append(f"{name} cancelled")
                return
            log.append(name)
            thread.task.state = TaskState.RESOLVED
            thread.task.exit_implicit_thread(thread)

        return steps

    tasks = []
    for name in "abc":
        task = make_task(inst)
        task.state = TaskState.INITIAL
        thread = Thread(scheduler, Tree.of(inst), task, None)
        thread.body = body(name)(thread)
        thread.resume_later()
        tasks.append(task)
    run(scheduler)
    assert log == [] and inst.num_waiting_to_enter == 3
    scheduler.run(Tree.of(inst), tasks[1].request_cancellation(None))
    assert log == ["b cancelled"]
    inst.backpressure = 0
    exclusive_released(inst)
    run(scheduler)
    assert log == ["b cancelled", "a", "c"] and inst.num_waiting_to_enter == 0
