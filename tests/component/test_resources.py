"""Resources of guests and of the host: handles, destructors, loans, leaks."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import trio

import component_rt as rt
from component_rt.resources import came_here

from .guests import engine, instantiate, load

COUNTER = """(component
  (component $c
    (core module $table (table (export "t") 1 funcref) (type $d (func (param i32)))
      (func (export "dtor") (param i32) (call_indirect (type $d) (local.get 0) (i32.const 0))))
    (core instance $table (instantiate $table))
    (type $r (resource (rep i32) (dtor (core func $table "dtor"))))
    (core func $new (canon resource.new $r))
    (core func $rep (canon resource.rep $r))
    (core func $drop (canon resource.drop $r))
    (core module $m
      (import "" "t" (table 1 funcref))
      (import "" "new" (func $new (param i32) (result i32)))
      (import "" "rep" (func $rep (param i32) (result i32)))
      (import "" "drop" (func $drop (param i32)))
      (global $dropped (mut i32) (i32.const 0))
      (func $dtor (param i32) (global.set $dropped (i32.add (global.get $dropped) (local.get 0))))
      (elem (i32.const 0) $dtor)
      (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
      (func (export "value") (param i32) (result i32) (local.get 0))
      (func (export "take") (param i32) (result i32)
        (local $r i32) (local.set $r (call $rep (local.get 0))) (call $drop (local.get 0)) (local.get $r))
      (func (export "dropped") (result i32) (global.get $dropped)))
    (core instance $i (instantiate $m (with "" (instance (export "t" (table $table "t"))
      (export "new" (func $new)) (export "rep" (func $rep)) (export "drop" (func $drop))))))
    (export $R "counter" (type $r))
    (func (export "[constructor]counter") (param "n" u32) (result (own $R)) (canon lift (core func $i "new")))
    (func (export "[method]counter.value") (param "self" (borrow $R)) (result u32) (canon lift (core func $i "value")))
    (func (export "[static]counter.take") (param "c" (own $R)) (result u32) (canon lift (core func $i "take")))
    (func (export "dropped") (result u32) (canon lift (core func $i "dropped"))))
  (instance $i (instantiate $c))
  (export "test:res/api" (instance $i)))"""


def api(store: rt.Store) -> Any:
    return instantiate(store, COUNTER).exports["test:res/api"]


def test_a_guest_resource_is_a_class() -> None:
    with rt.Store(engine()) as store:
        a = api(store)
        with a.Counter(5) as counter:
            assert isinstance(counter, a.Counter)
            assert counter.value() == 5
            assert a.dropped() == 0
        assert a.dropped() == 5
        assert counter.closed
        counter.close()
        assert a.dropped() == 5
        with pytest.raises(ValueError, match="closed or given away"):
            counter.value()


def test_giving_a_resource_away_moves_it() -> None:
    with rt.Store(engine()) as store:
        a = api(store)
        counter = a.Counter(3)
        assert a.Counter.take(counter) == 3
        with pytest.raises(ValueError, match="given away"):
            a.Counter.take(counter)
        assert a.dropped() == 3


def test_resources_of_another_instance_are_refused() -> None:
    with rt.Store(engine()) as store:
        one, two = api(store), api(store)
        with one.Counter(1) as counter:
            with pytest.raises(TypeError, match="counter"):
                two.Counter.take(counter)
            with pytest.raises(TypeError):
                two.Counter.value(counter)
            with pytest.raises(TypeError):
                one.Counter.take(7)
            assert counter.value() == 1


def test_a_refused_call_gives_back_what_it_took() -> None:
    with rt.Store(engine()) as store:
        text = COUNTER.replace(
            '"[static]counter.take") (param "c" (own $R))',
            '"[static]counter.take") (param "c" (own $R)) (param "n" u8)',
        )
        a = instantiate(
            store, text.replace('(func (export "take") (param i32)', '(func (export "take") (param i32 i32)')
        ).exports["test:res/api"]
        counter = a.Counter(3)
        with pytest.raises(OverflowError):
            a.Counter.take(counter, 256)
        assert counter.value() == 3
        assert a.Counter.take(counter, 255) == 3


def test_a_leaked_resource_is_reported_and_dropped_later() -> None:
    with rt.Store(engine()) as store:
        a = api(store)
        a.Counter(9)  # the class is complete now
        gc.collect()
        store.drop_orphans()
        before = a.dropped()
        with pytest.warns(ResourceWarning, match=r"unclosed <Counter rep=4>, which came from .*test_resources.py:\d+"):
            a.Counter(4)
            gc.collect()
        assert a.dropped() == before
        with a.Counter(0):
            assert a.dropped() == before + 4


def test_where_an_awaited_resource_came_from() -> None:
    async def main() -> None:
        async with rt.open_store(engine()) as store:
            instance = await rt.Linker(engine()).instantiate_async(store, load(COUNTER))
            a = instance.exports["test:res/api"]
            for rep in (3, 4):
                with pytest.warns(
                    ResourceWarning, match=rf"unclosed <Counter rep={rep}>, which came from .*test_resources.py:\d+"
                ):
                    await a.Counter(rep)
                    gc.collect()

    trio.run(main)


def test_places_of_resources_inside_of_results() -> None:
    with rt.Store(engine()) as store:
        made = [api(store).Counter(number) for number in range(3)]
        for counter in made:
            counter._place = None
        came_here([made[0], (rt.Some(made[1]), None, object()), rt.Ok(made[2])])
        assert all(counter._place and counter._place[0] == __file__ for counter in made)
        for counter in made:
            counter.close()


def test_no_warning_after_the_store_is_closed() -> None:
    with rt.Store(engine()) as store:
        counter = api(store).Counter(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del counter
        gc.collect()


def test_a_class_without_constructor() -> None:
    with rt.Store(engine()) as store:
        text = COUNTER.replace("[constructor]counter", "make")
        a = instantiate(store, text).exports["test:res/api"]
        with pytest.raises(TypeError, match="no constructor"):
            a.Counter(1)
        with a.make(2) as counter:
            assert counter.value() == 2


# ---- host resources ------------------------------------------------------------------------------------------------

HOLDER = """(component
  (import "test:host/files" (instance $h
    (export "file" (type $f (sub resource)))
    (export "[constructor]file" (func (param "n" u32) (result (own $f))))
    (export "[method]file.size" (func (param "self" (borrow $f)) (result u32)))
    (export "[static]file.largest" (func (param "a" (borrow $f)) (param "b" (borrow $f)) (result (own $f))))))
  (alias export $h "file" (type $file))
  (core func $new (canon lower (func $h "[constructor]file")))
  (core func $size (canon lower (func $h "[method]file.size")))
  (core func $largest (canon lower (func $h "[static]file.largest")))
  (core func $drop (canon resource.drop $file))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (import "" "size" (func $size (param i32) (result i32)))
    (import "" "largest" (func $largest (param i32 i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "new") (param i32) (result i32) (call $new (local.get 0)))
    (func (export "size") (param i32) (result i32) (call $size (local.get 0)))
    (func (export "borrow") (param i32) (result i32) (local $r i32)
      (local.set $r (call $size (local.get 0))) (call $drop (local.get 0)) (local.get $r))
    (func (export "keep") (param i32))
    (func (export "largest") (param i32 i32) (result i32) (call $largest (local.get 0) (local.get 1)))
    (func (export "drop") (param i32) (call $drop (local.get 0))))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new)) (export "size" (func $size))
    (export "largest" (func $largest)) (export "drop" (func $drop))))))
  (func (export "new") (param "n" u32) (result u32) (canon lift (core func $i "new")))
  (func (export "size") (param "h" u32) (result u32) (canon lift (core func $i "size")))
  (func (export "borrow") (param "f" (borrow $file)) (result u32) (canon lift (core func $i "borrow")))
  (func (export "keep") (param "f" (borrow $file)) (canon lift (core func $i "keep")))
  (func (export "give") (param "f" (own $file)) (canon lift (core func $i "drop")))
  (func (export "largest") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "largest")))
  (func (export "drop") (param "h" u32) (canon lift (core func $i "drop"))))"""


class Files:
    def __init__(self) -> None:
        closed: list[int] = []
        self.closed = closed

        class File:
            def __init__(self, n: int) -> None:
                self.n = n

            def size(self) -> int:
                return self.n

            @staticmethod
            def largest(a: File, b: File) -> File:
                return max(a, b, key=File.size)

            def close(self) -> None:
                closed.append(self.n)

        self.File = File


def holder(store: rt.Store) -> tuple[Any, Files]:
    files = Files()
    return instantiate(store, HOLDER, **{"test:host/files": files}).exports, files


def test_host_objects_travel_as_handles() -> None:
    with rt.Store(engine()) as store:
        exports, files = holder(store)
        a, b = exports["new"](10), exports["new"](20)
        assert exports["size"](a) == 10
        assert files.closed == []
        exports["drop"](a)
        assert files.closed == [10]
        exports["drop"](b)
        assert files.closed == [10, 20]
        assert store.statistics()["host_resources"] == 0


def test_an_object_given_out_twice_is_closed_once() -> None:
    with rt.Store(engine()) as store:
        exports, files = holder(store)
        a, b = exports["new"](1), exports["new"](2)
        again = exports["largest"](a, b)
        exports["drop"](b)
        assert files.closed == []
        assert exports["size"](again) == 2
        exports["drop"](again)
        assert files.closed == [2]


def test_a_lent_object_stays_with_the_host() -> None:
    with rt.Store(engine()) as store:
        exports, files = holder(store)
        assert exports["borrow"](files.File(30)) == 30
        assert files.closed == []
        assert store.statistics()["host_resources"] == 0
        with pytest.raises(TypeError, match="file"):
            exports["borrow"]("no file")
        exports["give"](files.File(40))
        assert files.closed == [40]


def test_a_guest_may_not_keep_what_it_borrowed() -> None:
    with rt.Store(engine()) as store:
        exports, files = holder(store)
        with pytest.raises(rt.Trap, match="borrow handles still remain at the end of the call"):
            exports["keep"](files.File(1))


def test_unknown_handles_trap() -> None:
    with rt.Store(engine()) as store:
        exports, _ = holder(store)
        with pytest.raises(rt.Trap, match="unknown handle index 5"):
            exports["size"](5)


def test_closing_the_store_closes_what_guests_own() -> None:
    with rt.Store(engine()) as store:
        exports, files = holder(store)
        exports["new"](1)
        exports["new"](2)
    assert sorted(files.closed) == [1, 2]


def test_wrong_handles_are_named_with_their_place() -> None:
    with rt.Store(engine()) as store:
        a, other = api(store), api(store)
        with a.Counter(1) as counter, other.Counter(2) as stranger:
            with pytest.raises(TypeError) as wrong:
                a.Counter.take(stranger)
            assert str(wrong.value).startswith(
                "test:res/api.[static]counter.take: parameter `c`: <Counter rep=2> is no counter"
            )
            assert str(wrong.value).endswith("(wanted own<counter>)")
            with pytest.raises(TypeError, match=r"\[static\]counter\.take: parameter `c`: 5 is no counter"):
                a.Counter.take(5)
            assert counter.value() == 1
        with pytest.raises(
            ValueError, match=r"counter\.value: parameter `self`: this Counter was closed or given away \(wanted borrow"
        ):
            counter.value()
        assert not store.statistics().get("host_resources")
        assert a.dropped() == 1


KEEPS = """(component
  (import "make" (instance $make (export "thing" (type $t (sub resource)))
    (export "[constructor]thing" (func (param "n" u32) (result (own $t))))))
  (core func $new (canon lower (func $make "[constructor]thing")))
  (core module $m (import "" "new" (func $new (param i32) (result i32)))
    (func (export "keep") (param i32) (drop (call $new (local.get 0)))))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
  (func (export "keep") (param "n" u32) (canon lift (core func $i "keep"))))"""


def things(closed: list[int], kind: str) -> Any:
    class Thing:
        def __init__(self, n: int) -> None:
            self.n = n

    def close(self: Any) -> None:
        closed.append(self.n)
        if self.n % 2:
            raise KeyError(self.n)

    async def aclose(self: Any) -> None:
        await trio.sleep(0)
        close(self)

    setattr(Thing, kind, close if kind == "close" else aclose)
    linker = rt.Linker(engine())
    linker.define("make", {"Thing": Thing})
    return linker


def test_closing_a_store_closes_every_resource_that_guests_own() -> None:
    closed: list[int] = []
    store = rt.Store(engine())
    keep = things(closed, "close").instantiate(store, load(KEEPS)).exports["keep"]
    for n in range(4):
        keep(n)
    with pytest.raises(ExceptionGroup, match="resources of the host") as caught:
        store.close()
    assert sorted(closed) == [0, 1, 2, 3]
    assert sorted(error.args for error in caught.value.exceptions) == [(1,), (3,)]
    assert store.closed
    with rt.Store(engine()) as other, pytest.raises(KeyError):
        things(closed, "close").instantiate(other, load(KEEPS)).exports["keep"](5)
        other.close()


def test_a_synchronous_store_cannot_await_the_end_of_a_resource() -> None:
    store = rt.Store(engine())
    things([], "aclose").instantiate(store, load(KEEPS)).exports["keep"](2)
    with pytest.raises(rt.WasmError, match="has only `aclose\\(\\)`"):
        store.close()
    assert store.closed


@pytest.mark.parametrize("cancelled", [False, True])
def test_leaving_a_trio_store_awaits_the_end_of_resources(cancelled: bool) -> None:
    closed: list[int] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with rt.open_store(engine()) as store:
                instance = await things(closed, "aclose").instantiate_async(store, load(KEEPS))
                for n in (0, 2):
                    await instance.exports["keep"](n)
                if cancelled:
                    scope.cancel()
        assert sorted(closed) == [0, 2]

    trio.run(main)


def test_a_resource_that_takes_for_ever_to_end() -> None:
    class Thing:
        def __init__(self, n: int) -> None: ...

        async def aclose(self) -> None:
            begun.append(self)
            await trio.sleep_forever()

    begun: list[Thing] = []

    async def main() -> None:
        linker = rt.Linker(engine())
        linker.define("make", {"Thing": Thing})
        async with rt.open_store(engine(), cancel_grace=0.01) as store:
            await (await linker.instantiate_async(store, load(KEEPS))).exports["keep"](1)

    trio.run(main)
    assert len(begun) == 1
