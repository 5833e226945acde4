"""Random sequences of built-ins, called by a real guest, against a small model written from the specification's prose.

The guest exports one function for each built-in. The model has handle tables, both ends of streams and futures and waitable sets; it
says what each call answers or that it traps, which events may come out of a set, and which bytes have arrived.
"""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import component_rt as rt
from core_rt.errors import InstancePoisoned, Trap

from .guests import component, engine
from .test_streams_model import CANCELLED, COMPLETED, DROPPED, READ, WRITE, Model, Side

BLOCKED = 0xFFFF_FFFF
CODES = {("stream", READ): 2, ("stream", WRITE): 3, ("future", READ): 4, ("future", WRITE): 5}

BUILTINS = {
    "stream-new": ("stream.new $s", "", "u64"),
    "stream-read": ("stream.read $s async (memory $mem)", "index at n", "u32"),
    "stream-write": ("stream.write $s async (memory $mem)", "index at n", "u32"),
    "stream-cancel-read": ("stream.cancel-read $s async", "index", "u32"),
    "stream-cancel-write": ("stream.cancel-write $s async", "index", "u32"),
    "stream-drop-read": ("stream.drop-readable $s", "index", ""),
    "stream-drop-write": ("stream.drop-writable $s", "index", ""),
    "future-new": ("future.new $f", "", "u64"),
    "future-read": ("future.read $f async (memory $mem)", "index at", "u32"),
    "future-write": ("future.write $f async (memory $mem)", "index at", "u32"),
    "future-cancel-read": ("future.cancel-read $f async", "index", "u32"),
    "future-cancel-write": ("future.cancel-write $f async", "index", "u32"),
    "future-drop-read": ("future.drop-readable $f", "index", ""),
    "future-drop-write": ("future.drop-writable $f", "index", ""),
    "set-new": ("waitable-set.new", "", "u32"),
    "set-poll": ("waitable-set.poll (memory $mem)", "index at", "u32"),
    "set-drop": ("waitable-set.drop", "index", ""),
    "join": ("waitable.join", "index set", ""),
}


def guest() -> str:
    core = {"": "", "u32": "(result i32)", "u64": "(result i64)"}
    lines = {"canon": [], "import": [], "export": [], "give": [], "lift": []}
    for name, (canon, params, result) in BUILTINS.items():
        names = params.split()
        args = " ".join("i32" for _ in names)
        passed = " ".join(f"(local.get {i})" for i in range(len(names)))
        lines["canon"].append(f"(core func ${name} (canon {canon}))")
        lines["import"].append(f'(import "" "{name}" (func ${name} (param {args}) {core[result]}))')
        lines["export"].append(f'(func (export "{name}") (param {args}) {core[result]} (call ${name} {passed}))')
        lines["give"].append(f'(export "{name}" (func ${name}))')
        typed = " ".join(f'(param "{each}" u32)' for each in names)
        typed_result = f"(result {result})" if result else ""
        lines["lift"].append(f'(func (export "{name}") {typed} {typed_result} (canon lift (core func $i "{name}")))')
    text = {key: "\n".join(value) for key, value in lines.items()}
    return f"""
    (component
      (type $s (stream u8)) (type $f (future u8))
      (core module $libc (memory (export "mem") 1))
      (core instance $libc (instantiate $libc))
      (alias core export $libc "mem" (core memory $mem))
      {text["canon"]}
      (core module $m
        (import "libc" "mem" (memory 1))
        {text["import"]}
        {text["export"]}
        (func (export "put") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
        (func (export "get") (param i32) (result i32) (i32.load (local.get 0))))
      (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance {text["give"]}))))
      {text["lift"]}
      (func (export "put") (param "at" u32) (param "value" u32) (canon lift (core func $i "put")))
      (func (export "get") (param "at" u32) (result u32) (canon lift (core func $i "get"))))
    """


class FutureModel:
    """Both ends of a future. Answers are codes, or None for blocked."""

    def __init__(self):
        self.sides = [Side(), Side()]

    def start(self, which, size):
        me, other = self.sides[which], self.sides[1 - which]
        me.copying = True
        if other.gone:
            return self.end(me, DROPPED)
        if not other.waiting:
            me.waiting = True
            return None
        other.waiting, other.event = False, "full"
        return self.end(me, COMPLETED)

    def end(self, me, code):
        me.copying = me.waiting = False
        me.event = None
        me.done = me.done or code != CANCELLED
        return code, 0

    def take(self, which):
        return self.end(self.sides[which], DROPPED if self.sides[which].event == "dropped" else COMPLETED)

    def cancel(self, which):
        return self.take(which) if self.sides[which].event else self.end(self.sides[which], CANCELLED)

    def drop(self, which):
        me, other = self.sides[which], self.sides[1 - which]
        me.gone = True
        if other.waiting:
            other.waiting, other.event = False, "dropped"


@attrs.define(eq=False)
class Flow:
    """How many bytes have been sent and received."""

    sent: int = 0
    received: int = 0


@attrs.define(eq=False)
class End:
    """A handle of the model."""

    kind: str
    which: int
    pair: object
    area: int
    """Where the guest's buffer is."""
    flow: Flow
    joined: int = 0

    @property
    def side(self):
        return self.pair.sides[self.which]


@attrs.define
class World:
    """The model of one instance: `handles` by index (ends, and sets as the string "set")."""

    handles: list = attrs.field(factory=lambda: [None])
    free: list = attrs.field(factory=list)
    areas: int = 0

    def add(self, item):
        if self.free:
            index = self.free.pop()
            self.handles[index] = item
            return index
        self.handles.append(item)
        return len(self.handles) - 1

    def remove(self, index):
        self.handles[index] = None
        self.free.append(index)

    def get(self, index):
        return self.handles[index] if 0 < index < len(self.handles) else None


class Refused(Exception):
    """The model says that the call traps."""


class Driver:
    """Does an operation in the guest and in the model."""

    def __init__(self, exports):
        self.exports = exports
        self.world = World()

    def call(self, name, *args):
        return self.exports[name](*args)

    def new(self, kind):
        model = Model() if kind == "stream" else FutureModel()
        flow = Flow()
        self.world.areas += 1
        at = 1024 + 64 * self.world.areas
        indices = [self.world.add(End(kind, which, model, at + 32 * which, flow)) for which in (READ, WRITE)]
        assert self.call(f"{kind}-new") == indices[0] | indices[1] << 32

    def end(self, index, kind, which):
        end = self.world.get(index)
        if type(end) is not End or (end.kind, end.which) != (kind, which):
            raise Refused
        return end

    def answer(self, end, answer):
        """What the guest is told; `answer` is of the model. Bytes that have arrived are looked at."""
        if answer is None:
            return BLOCKED
        code, count = answer
        if end.kind == "future":
            if end.which == READ and code == COMPLETED:
                assert self.call("get", end.area) & 255 == 77
            return code
        if end.which == WRITE:
            end.flow.sent += count
        else:
            for i in range(count):
                assert self.call("get", end.area + i) & 255 == (end.flow.received + i) % 251
            end.flow.received += count
        return code | count << 4

    def copy(self, kind, which, index, size):
        name, args = f"{kind}-{('read', 'write')[which]}", (index, 0) if kind == "future" else (index, 0, size)
        try:
            end = self.end(index, kind, which)
            if end.side.copying or end.side.done:
                raise Refused
        except Refused:
            self.refuse(name, *args)
        if which == WRITE:
            for i in range(size if kind == "stream" else 1):
                self.call("put", end.area + i, (end.flow.sent + i) % 251 if kind == "stream" else 77)
        answer = self.call(name, index, end.area, *args[2:])
        assert answer == self.answer(end, end.pair.start(which, size))

    def cancel(self, kind, which, index):
        name = f"{kind}-cancel-{('read', 'write')[which]}"
        try:
            end = self.end(index, kind, which)
            if not end.side.copying:
                raise Refused
        except Refused:
            self.refuse(name, index)
        answer = self.call(name, index)
        assert answer == self.answer(end, end.pair.cancel(which))

    def drop(self, kind, which, index):
        name = f"{kind}-drop-{('read', 'write')[which]}"
        try:
            end = self.end(index, kind, which)
            if end.side.copying or (kind == "future" and which == WRITE and not end.side.done):
                raise Refused
        except Refused:
            self.refuse(name, index)
        self.call(name, index)
        end.pair.drop(which)
        self.world.remove(index)

    def new_set(self):
        assert self.call("set-new") == self.world.add("set")

    def members(self, index):
        return [(i, end) for i, end in enumerate(self.world.handles) if type(end) is End and end.joined == index]

    def drop_set(self, index):
        if self.world.get(index) != "set" or self.members(index):
            self.refuse("set-drop", index)
        self.call("set-drop", index)
        self.world.remove(index)

    def poll(self, index):
        if self.world.get(index) != "set":
            self.refuse("set-poll", index, 0)
        code = self.call("set-poll", index, 16)
        ready = {i: end for i, end in self.members(index) if end.side.event}
        if not ready:
            assert (code, self.call("get", 16), self.call("get", 20)) == (0, 0, 0)
            return
        which, payload = self.call("get", 16), self.call("get", 20)
        end = ready[which]
        assert code == CODES[end.kind, end.which]
        assert payload == self.answer(end, end.pair.take(end.which))

    def join(self, index, to):
        end = self.world.get(index)
        if type(end) is not End or (to and self.world.get(to) != "set"):
            self.refuse("join", index, to)
        self.call("join", index, to)
        end.joined = to

    def refuse(self, name, *args):
        with pytest.raises(Trap) as caught:
            self.call(name, *args)
        assert not isinstance(caught.value, InstancePoisoned)
        raise Refused


def act(driver, order, wild):
    """One operation, of those that make sense, or (`wild`) of all."""
    world = driver.world
    ends = [(i, end) for i, end in enumerate(world.handles) if type(end) is End]
    sets = [i for i, item in enumerate(world.handles) if item == "set"]
    if wild:
        kind, which, index = (
            order.choice(["stream", "future"]),
            order.randrange(2),
            order.randrange(len(world.handles) + 1),
        )
        choice = order.randrange(5)
        if choice == 0:
            driver.copy(kind, which, index, order.randrange(4))
        elif choice == 1:
            driver.cancel(kind, which, index)
        elif choice == 2:
            driver.drop(kind, which, index)
        elif choice == 3:
            driver.join(index, order.randrange(len(world.handles) + 1))
        else:
            order.choice([driver.drop_set, driver.poll])(index)
        return
    choices = [lambda: driver.new(order.choice(["stream", "stream", "future"]))] if len(ends) < 4 else []
    if len(sets) < 2:
        choices.append(driver.new_set)
    for index, end in ends:
        side = end.side
        if side.copying:
            choices += [lambda i=index, e=end: driver.cancel(e.kind, e.which, i)] * (3 if side.event else 1)
        elif not side.done:
            choices += [lambda i=index, e=end: driver.copy(e.kind, e.which, i, order.choice([0, 0, 1, 2, 3, 4]))] * 6
        if not side.copying and (end.kind == "stream" or end.which == READ or side.done):
            choices.append(lambda i=index, e=end: driver.drop(e.kind, e.which, i))
        if sets and not end.joined:
            choices.append(lambda i=index: driver.join(i, order.choice([0, *sets])))
    for index in sets:
        choices.append(lambda i=index: driver.poll(i))
        if not driver.members(index):
            choices.append(lambda i=index: driver.drop_set(i))
    order.choice(choices)()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 100), st.booleans())
def test_built_ins_do_what_the_model_does(seed, length, ends_badly):
    order = random.Random(seed)
    with rt.Store(engine()) as store:
        instance = rt.Linker(engine()).instantiate(store, component(guest()))
        driver = Driver(instance.exports)
        for _ in range(length):
            act(driver, order, False)
        if ends_badly:
            try:
                for _ in range(30):
                    act(driver, order, True)
            except Refused:
                assert isinstance(instance.trapped, Trap)
                return
        held = sum(item is not None for item in driver.world.handles)
        assert store.statistics()["handles"] == held
