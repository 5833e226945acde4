"""A guest that stays in one call of one loop gets optimised code all the same."""

from __future__ import annotations

import platform
import struct
import time

import pytest

import core_rt
from core_rt.compile.osr import Frame, can_be_left
from core_rt.types import F32, F64, I32, I64, V128
from core_rt.validate.function import validate_body
from tests.core.support import wasm

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only there can loops be left")

# `go` calls the host each time that its loop is entered anew, which says whether to go on.
KINDS = """(module
  (import "host" "on" (func $on (result i32)))
  (memory (export "memory") 1)
  (func $step (param i64) (result i64) (i64.add (i64.mul (local.get 0) (i64.const 6364136223846793005)) (i64.const 1)))
  (func (export "go") (param i32 i64 f32 f64 v128) (result f64)
    (local $n i32) (local $x i64) (local $f f32) (local $d f64) (local $v v128) (local $i i32)
    (local.set $x (i64.const 7))
    (loop $outer
      (local.set $i (i32.const 1000000))
      (loop $inner
        (local.set $x (call $step (i64.xor (local.get $x) (local.get 1))))
        (local.set $f (f32.add (local.get $f) (local.get 2)))
        (local.set $d (f64.add (local.get $d) (local.get 3)))
        (local.set $v (i32x4.add (local.get $v) (local.get 4)))
        (i32.store (i32.and (i32.wrap_i64 (local.get $x)) (i32.const 0xfffc)) (local.get $i))
        (br_if $inner (local.tee $i (i32.sub (local.get $i) (local.get 0)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $outer (call $on)))
    (i64.store (i32.const 0) (local.get $x))
    (f32.store (i32.const 8) (local.get $f))
    (v128.store (i32.const 16) (local.get $v))
    (i32.store (i32.const 32) (local.get $n))
    (f64.add (local.get $d) (f64.convert_i32_u (local.get $i)))))"""
ARGUMENTS = (1, 99, 0.25, 0.5, struct.pack("<4I", 5, 0, 0, 3))


def make(text, on, **config):
    engine = core_rt.Engine(core_rt.Config(cache=False, tick_seconds=0.001, **config))
    linker = core_rt.Linker(engine)
    linker.define_func("host", "on", core_rt.FuncType((), (I32,)), on)
    store = core_rt.Store(engine)
    return engine, linker.instantiate(store, core_rt.Module(engine, wasm(text)))


def patience(instance):
    """A function for the host: 1 until some loop was left, and then a little longer."""
    state = {"rounds": 0, "more": 3}
    limit = time.monotonic() + 30

    def on():
        state["rounds"] += 1
        if instance[0].module.compiled.loops_left:
            state["more"] -= 1
        assert time.monotonic() < limit, "the loop is not left"
        return int(state["more"] > 0)

    return on, state


def run(text, arguments, **config):
    """Call `go` until its loop was left; returns the instance, the result and the number of rounds."""
    box = []
    on, state = patience(box)
    engine, instance = make(text, lambda: on(), **config)
    box.append(instance)
    result = instance.exports["go"](*arguments)
    return engine, instance, result, state["rounds"]


def expected(text, arguments, rounds):
    left = [rounds]

    def on():
        left[0] -= 1
        return int(left[0] > 0)

    engine, instance = make(text, on, tiers="off")
    result = instance.exports["go"](*arguments)
    memory = instance.exports["memory"].read(0, 65536) if "memory" in instance.exports else b""
    engine.compiler.close()
    return result, memory


def test_locals_of_all_types_are_taken_over():
    engine, instance, result, rounds = run(KINDS, ARGUMENTS)
    wanted, memory = expected(KINDS, ARGUMENTS, rounds)
    assert instance.module.compiled.loops_left
    assert result == wanted
    assert instance.exports["memory"].read(0, 65536) == memory
    assert struct.unpack_from("<I", memory, 32)[0] == rounds
    assert engine.compiler.background.error is None
    engine.compiler.close()


# No call in the loop: the slots of `spin` lie in the red zone. The loop ends when the host has seen enough: see `test_a_leaf_is_left`.
LEAF = """(module
  (memory (export "memory") 1)
  (func $spin (export "spin") (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 31)) (local.get 0)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $l (i32.and (i32.ne (local.get 0) (i32.const 0)) (i32.eqz (i32.load (i32.const 0))))))
    (i32.store (i32.const 4) (local.get 0))
    (local.get 1)))"""


def test_a_leaf_is_left():
    engine = core_rt.Engine(core_rt.Config(cache=False, tick_seconds=0.001))
    store = core_rt.Store(engine)
    instance = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm(LEAF)))
    ticks = []
    limit = time.monotonic() + 30

    def on_interrupt():
        ticks.append(instance.module.compiled.loops_left)
        if ticks[-5:] == [1] * 5 or time.monotonic() > limit:
            instance.exports["memory"].write(0, b"\1")

    store.on_interrupt = on_interrupt
    result = instance.exports["spin"](0)  # 2 ** 32 times round, if nobody ends it
    assert ticks[-1] == instance.module.compiled.loops_left == 1
    (left,) = struct.unpack("<I", instance.exports["memory"].read(4, 4))
    value, n = 0, 0
    # x * 31 + n over n = 0, -1, -2 ...: check by the closed form, modulo 2 ** 32.
    rounds = -left % 2**32
    matrix = _power(((31, 1, 0), (0, 1, -1), (0, 0, 1)), rounds)
    value = (matrix[0][0] * value + matrix[0][1] * n + matrix[0][2]) % 2**32
    assert result % 2**32 == value
    engine.compiler.close()


def _times(a, b):
    return tuple(tuple(sum(a[i][k] * b[k][j] for k in range(3)) % 2**32 for j in range(3)) for i in range(3))


def _power(matrix, exponent):
    result = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    while exponent:
        if exponent & 1:
            result = _times(matrix, result)
        matrix = _times(matrix, matrix)
        exponent >>= 1
    return result


TRAPS = """(module
  (import "host" "on" (func $on (result i32)))
  (func $go (export "go") (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.const 300000))
      (loop $m (br_if $m (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
      (br_if $l (call $on)))
    (i32.div_u (local.get 0) (local.get 1)))
  (func (export "outside") (result i32) (call $go (i32.const 5))))"""


def test_the_frame_that_was_left_does_not_show():
    box = []
    on, _ = patience(box)
    engine, instance = make(TRAPS, lambda: on())
    box.append(instance)
    with pytest.raises(core_rt.Trap) as caught:
        instance.exports["outside"]()
    assert [frame.name for frame in caught.value.frames] == ["go", "outside"]
    assert instance.module.compiled.loops_left
    body = instance.module.decoded.bodies[0]
    assert caught.value.frames[0].offset is not None
    assert body[0] < caught.value.frames[0].offset < body[1]
    engine.compiler.close()


def test_a_frame_that_is_being_left_shows():
    """The host may end the guest at the very tick."""
    engine, instance = make(TRAPS, lambda: 1)
    limit = time.monotonic() + 30

    def on_interrupt():
        if instance.module.compiled.loops_left or time.monotonic() > limit:
            raise KeyError("enough")

    instance.store.on_interrupt = on_interrupt
    with pytest.raises(KeyError) as caught:
        instance.exports["outside"]()
    assert instance.module.compiled.loops_left == 1
    first, second = [line for line in "\n".join(caught.value.__notes__).splitlines() if "@ 0x" in line]
    assert "!go" in first and "!outside" in second
    engine.compiler.close()


STACKED = """(module
  (import "host" "on" (func $on (result i32)))
  (func (export "go") (param i32) (result i32) (local i32)
    (i32.add (local.get 0)
      (loop $l (result i32)
        (local.set 1 (i32.const 100000))
        (loop $m (br_if $m (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
        (br_if $l (call $on))
        (i32.const 4)))))"""


def test_a_loop_above_operands_is_not_left():
    left = [60]

    def on():
        left[0] -= 1
        return int(left[0] > 0)

    engine, instance = make(STACKED, on)
    assert instance.exports["go"](3) == 7
    limit = time.monotonic() + 30
    while engine.compiler.background.pending:
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert engine.compiler.background.error is None
    assert not instance.module.compiled.loop_entries and not instance.module.compiled.loops_left
    engine.compiler.close()


ROOTED = """(module
  (import "host" "on" (func $on (result i32)))
  (func $ref (param externref) (result externref) (local.get 0))
  (func $first (param externref i32) (result i32) (local.get 1))
  (func $null (result externref) (ref.null extern))
  (func (export "go") (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.const 300000))
      (loop $m (br_if $m (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
      (br_if $l (call $first (call $ref (call $null)) (call $on))))
    (local.get 1)))"""


def test_a_loop_with_a_linked_frame_is_not_left():
    box = []
    more = [20]
    limit = time.monotonic() + 30

    def on():
        more[0] -= bool(box[0].loop_entries)
        assert time.monotonic() < limit
        return int(more[0] > 0)

    engine, instance = make(ROOTED, on)
    box.append(instance.module.compiled)
    assert instance.exports["go"](0) == 0
    assert "store i64 0, ptr %mark" in box[0].function_code(3)
    assert box[0].loops_left == 0
    engine.compiler.close()


def test_a_frame_is_laid_out_as_llvm_does():
    assert Frame.of(0, [I32, I32, I64, F32, V128, F64]).locals == (12, 16, 24, 28, 48, 56)
    assert Frame.of(0, [I32]).mark_at == 24
    assert Frame.of(0, []).mark != Frame.of(1, []).mark
    assert Frame.of(0, [F64]).locals == (16,)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(func (loop))", True),
        ("(func)", False),
        ("(func (result i32 i32) (loop) (i32.const 1) (i32.const 2))", False),
        ("(func (local externref) (loop))", False),
        ("(func (loop) (return_call 0))", False),
    ],
)
def test_what_can_be_left(text, wanted):
    engine = core_rt.Engine(core_rt.Config(cache=False))
    module = core_rt.Module(engine, wasm(f"(module {text})"))
    assert can_be_left(validate_body(module.decoded, 0)) is wanted
    assert F32 is not F64
