"""Exceptions: what a `try_table` finds when it is arrived at, in every tier; through the host and between instances."""

from __future__ import annotations

import gc

import pytest

import core_rt
from tests.core.support import World, wasmtime

TIERS = ["lazy", "optimized"]

LIVE = """
(module
  (tag $t (param i32)) (tag $w) (tag $v (param i64 f32 v128 externref))
  (func $odd (param $n i32) (if (i32.and (local.get $n) (i32.const 1)) (then (throw $t (local.get $n)))))
  (func (export "many") (param $a i32) (param $b i64) (param $c f32) (param $d f64) (result f64)
    (local $i0 i32) (local $i1 i32) (local $i2 i32) (local $i3 i32) (local $i4 i32) (local $i5 i32)
    (local $f0 f64) (local $f1 f64) (local $f2 f64) (local $f3 f64) (local $f4 f64)
    (local.set $i0 (i32.mul (local.get $a) (i32.const 3))) (local.set $i1 (i32.mul (local.get $a) (i32.const 5)))
    (local.set $i2 (i32.mul (local.get $a) (i32.const 7))) (local.set $i3 (i32.mul (local.get $a) (i32.const 11)))
    (local.set $f0 (f64.mul (local.get $d) (f64.const 3))) (local.set $f1 (f64.mul (local.get $d) (f64.const 5)))
    (local.set $f2 (f64.mul (local.get $d) (f64.const 7))) (local.set $f3 (f64.mul (local.get $d) (f64.const 11)))
    (f64.mul (local.get $d) (f64.const 1000))
    (f64.convert_i64_s (i64.mul (local.get $b) (i64.const 13)))
    (block $end (result f64)
      (block $c1 (result i32)
        (try_table (catch $t $c1)
          (local.set $i4 (i32.const 100))
          (local.set $f4 (f64.const 0.25))
          (local.set $i0 (i32.add (local.get $i0) (i32.const 1)))
          (call $odd (i32.const 2))
          (local.set $i5 (i32.const 10000))
          (call $odd (local.get $a))
          (local.set $i5 (i32.const 55555)))
        (br $end (f64.convert_i32_s (local.get $i5))))
      (f64.convert_i32_s)
      (f64.add (f64.convert_i32_s (i32.add (i32.add (local.get $i0) (local.get $i1))
        (i32.add (local.get $i2) (i32.add (local.get $i3) (i32.add (local.get $i4) (local.get $i5)))))))
      (f64.add (f64.add (f64.add (local.get $f0) (local.get $f1))
        (f64.add (local.get $f2) (f64.add (local.get $f3) (local.get $f4)))))
      (f64.add (f64.promote_f32 (local.get $c))))
    (f64.add) (f64.add))
  ;; operands of a loop wait below a try_table whose body changes what they are made of
  (func (export "waiting") (param $n i32) (result i32) (local $k i32)
    (i32.const 7)
    (loop $l (param i32) (result i32)
      (i32.add (i32.mul (local.get $k) (i32.const 3)))
      (block $c (result i32)
        (try_table (catch $t $c)
          (call $odd (i32.add (local.get $k) (i32.const 2)))
          (local.set $k (i32.add (local.get $k) (i32.const 1000)))
          (call $odd (i32.const 1)))
        (i32.const 0))
      (i32.add)
      (local.set $k (i32.rem_u (i32.add (local.get $k) (i32.const 1)) (i32.const 1000)))
      (br_if $l (i32.lt_s (local.get $k) (local.get $n)))))
  ;; the innermost of three that wants it; leaving by br, by return and by falling out restores the one outside
  (func (export "nested") (param $n i32) (result i32) (local $trace i32)
    (block $outer (result i32)
      (try_table (result i32) (catch $t $outer)
        (loop $again
          (block $inner (result i32)
            (block $left
              (try_table (catch $t $inner)
                (br_if $left (i32.eq (local.get $n) (i32.const 10)))
                (block $bad
                  (try_table (catch $w $bad)
                    (call $odd (i32.const 4))
                    (br_if $left (i32.eq (local.get $n) (i32.const 11)))
                    (call $odd (local.get $n)))
                  (return (i32.const -1)))
                (return (i32.const -2))))
            (throw $t (i32.const 5)))
          (local.set $trace (i32.add (i32.mul (local.get $trace) (i32.const 100))))
          (local.set $n (i32.add (local.get $n) (i32.const 2)))
          (br_if $again (i32.lt_s (local.get $n) (i32.const 9))))
        (throw $t (local.get $trace))))
  )
  (func (export "all") (param $x externref) (result i64 f32 externref i32) (local $e exnref)
    (block $c (result i64 f32 v128 externref exnref)
      (try_table (catch_ref $v $c)
        (block $again (result exnref)
          (try_table (catch_all_ref $again)
            (throw $v (i64.const 9) (f32.const 1.5) (v128.const i32x4 1 2 3 4) (local.get $x)))
          (unreachable))
        (throw_ref))
      (unreachable))
    (local.set $e)
    (local.set $x)
    (i32x4.extract_lane 3)
    (block (param i64 f32 i32) (result i64 f32 externref i32)
      (drop) (local.get $x) (i32.const 4)))
  (func $tail (param $n i32) (result i32) (call $odd (local.get $n)) (i32.const 0))
  (func $tail_in_try (param $n i32) (result i32)
    (block $c (result i32) (try_table (catch $t $c) (return_call $tail (local.get $n))) (unreachable))
    (drop) (i32.const 99))
  (func (export "tail") (param $n i32) (result i32)
    (block $c (result i32) (try_table (result i32) (catch $t $c) (call $tail_in_try (local.get $n))))
  )
  (func (export "null") (throw_ref (ref.null exn)))
  (func (export "trap") (result i32)
    (block $c (try_table (catch_all $c) (unreachable)) (return (i32.const 1))) (i32.const 2))
  (func (export "deep") (param $n i32) (result i32)
    (block $c (result i32)
      (try_table (result i32) (catch $t $c)
        (if (result i32) (local.get $n)
          (then (call $deep2 (i32.sub (local.get $n) (i32.const 1))))
          (else (throw $t (i32.const 1)))))))
  (func $deep2 (param $n i32) (result i32)
    (block $c
      (try_table (result i32) (catch $w $c)
        (if (result i32) (local.get $n)
          (then (call $deep2 (i32.sub (local.get $n) (i32.const 1))))
          (else (throw $t (i32.const 77)))))
      (return))
    (unreachable))
)
"""


def load(tier: str) -> tuple[World, dict]:
    made = World(core_rt.Config(cache=False, tiers=tier))
    return made, made.load(LIVE)


@pytest.mark.parametrize("tier", TIERS)
def test_values_survive(tier):
    _, exports = load(tier)
    many = exports["many"]
    a, b, c, d = 7, -3, 0.5, 1.25
    wanted = a + (3 * a + 1) + 5 * a + 7 * a + 11 * a + 100 + 10000 + d * 26 + 0.25 + c + b * 13 + d * 1000
    assert many(a, b, c, d) == wanted
    assert many(8, b, c, d) == 55555 + b * 13 + d * 1000

    def waiting(n: int) -> int:
        value, k = 7, 0
        while True:
            value += 3 * k
            if k % 2:
                thrown = k + 2
            else:
                k += 1000
                thrown = 1
            value += thrown
            k = (k + 1) % 1000
            if k >= n:
                return value

    for n in (1, 2, 9, 100):
        assert exports["waiting"](n) == waiting(n)


@pytest.mark.parametrize("tier", TIERS)
def test_the_innermost_that_wants_it(tier):
    _, exports = load(tier)
    assert exports["nested"](1) == 1030507
    assert exports["nested"](2) == -1
    assert exports["nested"](10) == 5
    assert exports["nested"](11) == 5
    assert exports["deep"](0) == 1
    assert exports["deep"](200) == 77


@pytest.mark.parametrize("tier", TIERS)
def test_payloads_and_references(tier):
    _, exports = load(tier)
    thing = object()
    assert exports["all"](thing) == (9, 1.5, thing, 4)
    with pytest.raises(core_rt.Trap, match=r"null .*reference"):
        exports["null"]()


@pytest.mark.parametrize("tier", TIERS)
def test_tail_calls_leave_the_handler(tier):
    _, exports = load(tier)
    assert exports["tail"](2) == 0
    assert exports["tail"](5) == 5


@pytest.mark.parametrize("tier", TIERS)
def test_traps_are_not_caught(tier):
    _, exports = load(tier)
    with pytest.raises(core_rt.Trap, match="unreachable"):
        exports["trap"]()


# ------------------------------------------------------------------------------------------------------ through the host

GUEST = """
(module
  (tag $t (export "t") (param i32 externref)) (tag $other (export "other") (param i64))
  (import "host" "call" (func $call (param i32) (result i32)))
  (func (export "throw") (param i32 externref) (throw $t (local.get 0) (local.get 1)))
  (func (export "other_throw") (throw $other (i64.const -1)))
  (func (export "catch") (param i32) (result i32 externref)
    (block $c (result i32 externref)
      (try_table (result i32) (catch $t $c) (call $call (local.get 0)))
      (ref.null extern)
      (return)))
  (func (export "pass") (param i32) (result i32) (call $call (local.get 0))))
"""


class Through:
    """A guest whose import calls a Python function that tests replace."""

    def __init__(self, tier: str) -> None:
        self.world = World(core_rt.Config(cache=False, tiers=tier))
        self.world.host("call", lambda n: self.action(n), "i32", "i32")
        self.exports = self.world.load(GUEST)
        self.action = lambda n: n


@pytest.mark.parametrize("tier", TIERS)
def test_uncaught_exceptions_reach_the_host(tier):
    guest = Through(tier)
    thing = object()
    with pytest.raises(core_rt.GuestException) as caught:
        guest.exports["throw"](5, thing)
    assert caught.value.tag is guest.exports["t"]
    assert caught.value.values == (5, thing)
    assert caught.value.frames[0].name == "throw"
    assert not hasattr(caught.value, "__notes__")
    message = str(caught.value).splitlines()
    assert message[0].startswith("uncaught exception <Tag (tag (param i32 externref))> with (5, ")
    assert "!throw @ 0x" in message[1]
    assert guest.exports["catch"](3) == (3, None)
    assert guest.world.store.statistics()["running"] == 0


@pytest.mark.parametrize("tier", TIERS)
def test_through_the_host_to_an_outer_guest(tier):
    guest = Through(tier)
    thing = object()

    def action(n: int) -> int:
        if n:
            return guest.exports["pass"](n - 1)
        guest.exports["throw"](41, thing)
        return 0

    guest.action = action
    assert guest.exports["catch"](0) == (41, thing)
    assert guest.exports["catch"](5) == (41, thing)
    with pytest.raises(core_rt.GuestException) as caught:
        guest.exports["pass"](2)
    assert [frame.name for frame in caught.value.frames] == ["throw"]
    assert [note.count("!pass") for note in caught.value.__notes__] == [1, 1, 1]  # those it passed through
    guest.action = lambda n: guest.exports["other_throw"]()
    with pytest.raises(core_rt.GuestException) as caught:
        guest.exports["catch"](0)
    assert caught.value.values == (-1,)


@pytest.mark.parametrize("tier", TIERS)
def test_the_host_throws_and_swallows(tier):
    guest = Through(tier)

    def action(n: int) -> int:
        if n == 1:
            try:
                guest.exports["throw"](1, None)
            except core_rt.GuestException:
                return 100
        if n == 2:
            raise core_rt.GuestException(guest.exports["t"], [2, "two"])
        if n == 3:
            raise core_rt.GuestException(guest.exports["t"], ["no number", None])
        raise KeyError("python's own")

    guest.action = action
    assert guest.exports["catch"](1) == (100, None)
    assert guest.exports["catch"](2) == (2, "two")
    with pytest.raises(TypeError):
        guest.exports["catch"](3)
    with pytest.raises(KeyError):
        guest.exports["catch"](4)
    stranger = World().load('(module (tag (export "t") (param i32 externref)))')["t"]

    def foreign(n: int) -> int:
        raise core_rt.GuestException(stranger, [1, None])

    guest.action = foreign
    with pytest.raises(core_rt.GuestException) as caught:
        guest.exports["catch"](0)
    assert caught.value.tag is stranger
    assert guest.world.store.statistics()["running"] == 0


@pytest.mark.parametrize("tier", TIERS)
def test_between_instances(tier):
    made = World(core_rt.Config(cache=False, tiers=tier))
    made.linker.define_instance(
        "lib",
        made.linker.instantiate(
            made.store,
            core_rt.Module(
                made.engine,
                bytes(
                    wasmtime.wat2wasm(
                        """(module (tag $t (export "t") (param f64))
                        (func (export "f") (param f64) (throw $t (local.get 0))))"""
                    )
                ),
            ),
        ),
    )
    exports = made.load(
        """(module (tag $t (import "lib" "t") (param f64)) (tag $mine (param f64))
        (import "lib" "f" (func $f (param f64)))
        (func (export "run") (param f64) (result f64)
          (block $c (result f64)
            (block $m (result f64)
              (try_table (catch $mine $m) (catch $t $c) (call $f (local.get 0))) (f64.const 0))
            (f64.neg))))"""
    )
    assert exports["run"](2.5) == 2.5


def test_exceptions_are_collected_and_so_is_their_payload():
    guest = Through("lazy")

    class Thing:
        alive = 0

        def __init__(self) -> None:
            Thing.alive += 1

        def __del__(self) -> None:
            Thing.alive -= 1

    def action(n: int) -> int:
        guest.exports["throw"](1, Thing())
        return 0

    guest.action = action
    for _ in range(50):
        guest.exports["catch"](0)
    try:
        guest.exports["throw"](1, Thing())
    except core_rt.GuestException as error:
        guest.world.store.collect()
        assert isinstance(error.values[1], Thing)
    gc.collect()
    guest.world.store.collect()
    assert Thing.alive == 0
    assert guest.world.store.statistics()["held_references"] == 0


def test_a_million_throws_need_no_memory():
    exports_of = World(core_rt.Config(cache=False, tiers="optimized"))
    exports = exports_of.load(
        """(module (tag $t (param i64))
        (func $f (param i64) (throw $t (local.get 0)))
        (func (export "run") (param $n i64) (result i64) (local $s i64)
          (loop $l
            (block $c (result i64) (try_table (catch $t $c) (call $f (local.get $n))) (unreachable))
            (local.set $s (i64.add (local.get $s)))
            (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
          (local.get $s)))"""
    )
    assert exports["run"](1_000_000) == 500_000_500_000
    statistics = exports_of.store.statistics()
    assert statistics["heap_allocated_bytes"] > 20 << 20
    assert statistics["heap_bytes"] < 16 << 20


@pytest.mark.parametrize("tier", TIERS)
def test_vector_registers_hold_nothing_across_a_catch(tier):
    """Values that wait while the body of a `try_table` runs, with calls in it that use every register the C library likes."""
    made = World(core_rt.Config(cache=False, tiers=tier))
    made.store.refs.heap.native.stress()  # each allocation collects, which sets memory with the widest vectors there are
    count = 24
    params = " ".join(["f64"] * count)
    waiting = "\n".join(f"(f64.mul (local.get {i}) (f64.const 3))" for i in range(count))
    adding = "f64.add " * (count - 1)
    exports = made.load(
        f"""(module (tag $t (param i32)) (type $a (array (mut i64)))
        (func $f (param $n i32)
          (drop (array.new_default $a (i32.const 600)))
          (if (local.get $n) (then (throw $t (local.get $n)))))
        (func (export "run") (param {params}) (param $n i32) (result f64)
          {waiting}
          (block $c (result i32)
            (try_table (catch $t $c) (call $f (local.get $n)) (drop (array.new_default $a (i32.const 600))))
            (i32.const 0))
          (drop)
          {adding}))"""
    )
    values = [float(i + 1) for i in range(count)]
    for thrown in (0, 1):
        assert exports["run"](*values, thrown) == 3 * sum(values)


@pytest.mark.parametrize("tier", TIERS)
def test_operands_that_only_the_landing_uses(tier):
    """What waits below is used after a catch only; the body computes another value for the same loop parameter and leaves with it."""
    exports = World(core_rt.Config(cache=False, tiers=tier)).load(
        """(module (tag $t (param i32))
        (func $f (param $n i32) (result i32)
          (if (i32.eq (i32.rem_u (local.get $n) (i32.const 5)) (i32.const 3)) (then (throw $t (local.get $n))))
          (local.get $n))
        (func (export "run") (param $x i32) (param $y i64) (result i64) (local $k i32)
          (local.get $y) (local.get $x)
          (loop $l (param i64 i32) (result i64)
            (local.set $k (i32.add (local.get $k) (i32.const 1)))
            (if (param i64 i32) (result i64 i32) (i32.gt_u (local.get $k) (i32.const 40))
              (then (i64.extend_i32_u) (i64.mul (i64.const 1000000)) (i64.add) (return)))
            (i32.const 3) (i32.mul) (i32.const 1) (i32.add)
            (block $c (result i32)
              (try_table (catch $t $c)
                (i64.extend_i32_u (i32.mul (local.get $k) (i32.const 17)))
                (i32.add (local.get $k) (call $f (local.get $k)))
                (drop (call $f (i32.add (local.get $k) (i32.const 2))))
                (br $l))
              (unreachable))
            (drop)
            (br $l))))"""
    )

    def run(x: int, y: int) -> int:
        k = 0
        while True:
            k += 1
            if k > 40:
                return y + x * 1000000
            x = (x * 3 + 1) & 0xFFFFFFFF
            if k % 5 != 3 and (k + 2) % 5 != 3:
                y, x = k * 17, 2 * k

    assert exports["run"](5, 9) == run(5, 9)
