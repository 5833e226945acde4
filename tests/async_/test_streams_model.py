"""Random interleavings of the built-ins of streams and futures, against a model written from the specification's prose.

The property: whatever two guests do to the two ends of a stream, each operation answers what the model answers, each byte arrives
once and in order, and no state is reached that the tables do not know.
"""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component_rt.tasks.states import CopyState
from component_rt.tasks.streams import (
    BLOCKED,
    Buffer,
    ReadableFutureEnd,
    ReadableStreamEnd,
    SharedFuture,
    SharedStream,
    WritableFutureEnd,
    WritableStreamEnd,
)
from component_rt.tasks.waitable import WaitableSet
from core_rt.errors import Trap

READ, WRITE = 0, 1
COMPLETED, DROPPED, CANCELLED = 0, 1, 2


class ListBuffer(Buffer):
    """A buffer of some guest, as a list."""

    def __init__(self, inst, values, length):
        self.inst = inst
        self.values = values
        self.length = length
        self.progress = 0

    def read(self, n):
        self.progress += n
        return self.values[self.progress - n : self.progress]

    def write(self, values, n):
        assert len(values) == n
        self.values += values
        self.progress += n


def finish(steps):
    """Run a built-in that must not block."""
    try:
        op = next(steps)
    except StopIteration as stop:
        return stop.value
    raise AssertionError(f"blocked: {op}")


@attrs.define
class Side:
    """The model's view of one end."""

    size: int = 0
    moved: int = 0
    waiting: bool = False
    """Its buffer is with the rendezvous."""
    copying: bool = False
    done: bool = False
    gone: bool = False
    event: str | None = None
    """`"some"` was copied while the buffer waits, or the final `"full"`, `"dropped"`."""


class Model:
    """Both ends of a stream. Answers are (code, count), or None for blocked."""

    def __init__(self):
        self.sides = [Side(), Side()]

    def start(self, which, size):
        me, other = self.sides[which], self.sides[1 - which]
        me.size, me.moved, me.copying = size, 0, True
        if other.gone:
            return self.end(me, DROPPED)
        if not other.waiting:
            me.waiting = True
            return None
        room = other.size - other.moved
        if room:
            count = min(room, size)
            if count:
                other.moved += count
                me.moved += count
                other.event = "some"
            return self.end(me, COMPLETED)
        if which == WRITE and size == 0 and other.size == 0:
            return self.end(me, COMPLETED)
        other.waiting, other.event = False, "full"
        me.waiting = True
        return None

    def end(self, me, code):
        me.copying = me.waiting = False
        me.event = None
        me.done = me.done or code == DROPPED
        return code, me.moved

    def take(self, which):
        me = self.sides[which]
        return self.end(me, DROPPED if me.event == "dropped" else COMPLETED)

    def cancel(self, which):
        me = self.sides[which]
        if me.event in ("full", "dropped") or (me.event == "some" and me.moved == me.size):
            return self.take(which)
        return self.end(me, CANCELLED)

    def drop(self, which):
        me, other = self.sides[which], self.sides[1 - which]
        me.gone = True
        if other.waiting:
            other.waiting, other.event = False, "dropped"


class Pair:
    """The real thing."""

    def __init__(self):
        shared = SharedStream(None, None)
        self.ends = [ReadableStreamEnd(shared), WritableStreamEnd(shared)]
        self.wset = WaitableSet()
        self.buffers = [None, None]
        self.sent, self.received = [], []
        self.next = 0

    def start(self, which, size):
        if which == WRITE:
            values = list(range(self.next, self.next + size))
            buffer = ListBuffer("writer", values, size)
        else:
            buffer = ListBuffer("reader", [], size)
        self.buffers[which] = buffer
        return self.answer(which, finish(self.ends[which].copy(which + 1, buffer, None, True)))

    def answer(self, which, payload):
        if payload == BLOCKED:
            return None
        buffer = self.buffers[which]
        code, count = payload & 15, payload >> 4
        if which == WRITE:
            self.sent += buffer.values[:count]
            self.next += count
        else:
            assert len(buffer.values) == count
            self.received += buffer.values
        return code, count

    def take(self, which):
        _, index, payload = self.ends[which].get_pending_event()
        assert index == which + 1
        return self.answer(which, payload)

    def cancel(self, which):
        return self.answer(which, finish(self.ends[which].cancel(None, True)))

    def drop(self, which):
        self.ends[which].drop()


def legal(model, which):
    me = model.sides[which]
    if me.gone:
        return []
    if me.copying:
        return ["cancel", "take"] if me.event else ["cancel"]
    return ["drop"] if me.done else ["start", "start", "start", "drop"]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_streams_do_what_the_model_does(seed, sizes):
    order = random.Random(seed)
    model, pair = Model(), Pair()
    for size in sizes:
        which = order.randrange(2)
        choices = legal(model, which)
        if not choices:
            continue
        act = order.choice(choices)
        if act == "start":
            assert pair.start(which, size) == model.start(which, size)
        else:
            assert getattr(pair, act)(which) == getattr(model, act)(which)
        for side, end in zip(model.sides, pair.ends):
            if not side.gone:
                assert end.has_pending_event() == (side.event is not None)
                assert end.copying() == side.copying
                assert (end.state is CopyState.DONE) == (side.done and not side.copying)
    assert pair.received == list(range(len(pair.received)))
    assert pair.sent == list(range(len(pair.sent)))


@given(st.booleans(), st.booleans())
def test_a_future_brings_one_value(reader_first, through_set):
    shared = SharedFuture(None, None)
    ends = [ReadableFutureEnd(shared), WritableFutureEnd(shared)]
    got = ListBuffer("reader", [], 1)
    buffers = [got, ListBuffer("writer", ["value"], 1)]
    first, second = (READ, WRITE) if reader_first else (WRITE, READ)
    wset = WaitableSet()
    if through_set:
        ends[first].join(wset)
    assert finish(ends[first].copy(1, buffers[first], None, True)) == BLOCKED
    assert not wset.has_pending_event()
    assert finish(ends[second].copy(2, buffers[second], None, True)) == COMPLETED
    assert wset.has_pending_event() == through_set
    event = wset.get_pending_event() if through_set else ends[first].get_pending_event()
    assert event[1:] == (1, COMPLETED)
    assert got.values == ["value"]
    for end in ends:
        assert end.state is CopyState.DONE
        end.join(None)
        end.drop()


def test_a_future_must_be_written():
    end = WritableFutureEnd(SharedFuture(None, None))
    with pytest.raises(Trap, match="cannot drop future write end without first writing a value"):
        end.drop()


def test_a_busy_end_cannot_be_dropped():
    end = ReadableStreamEnd(SharedStream(None, None))
    assert finish(end.copy(1, ListBuffer("reader", [], 4), None, True)) == BLOCKED
    with pytest.raises(Trap, match="cannot drop busy stream"):
        end.drop()


def test_sets_give_events_in_order_of_arrival():
    wset = WaitableSet()
    streams = [SharedStream(None, None) for _ in range(3)]
    readers = [ReadableStreamEnd(shared) for shared in streams]
    for index, reader in enumerate(readers):
        reader.join(wset)
        finish(reader.copy(index, ListBuffer("reader", [], 1), None, True))
    for index in (2, 0, 1):
        finish(WritableStreamEnd(streams[index]).copy(9, ListBuffer("writer", [index], 1), None, True))
    assert [wset.get_pending_event()[1] for _ in range(3)] == [2, 0, 1]
    with pytest.raises(Trap, match="waitables in it"):
        wset.drop()


def test_an_error_of_the_source_comes_out_of_the_next_read():
    shared = SharedStream(None, None)
    end = ReadableStreamEnd(shared)
    shared.source_error = ValueError("no more")
    shared.drop()
    with pytest.raises(ValueError, match="no more"):
        finish(end.copy(1, ListBuffer("reader", [], 4), None, True))
