"""Components for tests, as text; encoded once each."""

from __future__ import annotations

import functools

import trio
import wasmtime

import component_rt as rt

__all__ = [
    "BLOCKER",
    "ECHO",
    "LATE",
    "LIBC",
    "PIPE",
    "SPIN",
    "SPIN_ASYNC",
    "STACKFUL",
    "SYNC",
    "component",
    "encode",
    "engine",
    "until",
]

LIBC = """
  (core module $libc (memory (export "mem") 64)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "mem" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))
"""
"""A memory `$mem` of 4 MiB, and a `$realloc` that never gives back."""

BLOCKER = f"""
(component
  (import "wait" (func $wait async (param "n" u32) (result u32)))
  {LIBC}
  (core func $wait' (canon lower (func $wait) async (memory $mem)))
  (core func $task.return (canon task.return (result u32)))
  (core func $task.cancel (canon task.cancel))
  (core func $subtask.cancel (canon subtask.cancel))
  (core func $subtask.drop (canon subtask.drop))
  (core func $set.new (canon waitable-set.new))
  (core func $set.drop (canon waitable-set.drop))
  (core func $join (canon waitable.join))
  (core func $get (canon context.get i32 0))
  (core func $put (canon context.set i32 0))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "wait" (func $wait (param i32 i32) (result i32)))
    (import "" "task.return" (func $task.return (param i32)))
    (import "" "task.cancel" (func $task.cancel))
    (import "" "subtask.cancel" (func $subtask.cancel (param i32) (result i32)))
    (import "" "subtask.drop" (func $subtask.drop (param i32)))
    (import "" "set.new" (func $set.new (result i32)))
    (import "" "set.drop" (func $set.drop (param i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "get" (func $get (result i32)))
    (import "" "put" (func $put (param i32)))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    ;; a record for each call: set, subtask, result
    (func (export "run") (param $n i32) (result i32) (local $at i32) (local $ret i32)
      (local.set $at (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 16)))
      (if (i32.gt_u (local.get $at) (i32.const 4000000)) (then unreachable))
      (local.set $ret (call $wait (local.get $n) (i32.add (local.get $at) (i32.const 8))))
      (if (i32.eq (i32.and (local.get $ret) (i32.const 15)) (i32.const 2))
        (then (call $task.return (i32.load offset=8 (local.get $at))) (return (i32.const 0))))
      (i32.store offset=4 (local.get $at) (i32.shr_u (local.get $ret) (i32.const 4)))
      (i32.store (local.get $at) (call $set.new))
      (call $join (i32.load offset=4 (local.get $at)) (i32.load (local.get $at)))
      (call $put (local.get $at))
      (i32.or (i32.const 2) (i32.shl (i32.load (local.get $at)) (i32.const 4))))
    (func (export "run-cb") (param $event i32) (param $index i32) (param $payload i32) (result i32) (local $at i32)
      (local.set $at (call $get))
      (call $join (i32.load offset=4 (local.get $at)) (i32.const 0))
      (if (i32.eq (local.get $event) (i32.const 6))
        (then
          (if (i32.eq (call $subtask.cancel (i32.load offset=4 (local.get $at))) (i32.const 2))
            (then (call $task.return (i32.load offset=8 (local.get $at))))
            (else (call $task.cancel))))
        (else (call $task.return (i32.load offset=8 (local.get $at)))))
      (call $subtask.drop (i32.load offset=4 (local.get $at)))
      (call $set.drop (i32.load (local.get $at)))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "wait" (func $wait')) (export "task.return" (func $task.return)) (export "task.cancel" (func $task.cancel))
    (export "subtask.cancel" (func $subtask.cancel)) (export "subtask.drop" (func $subtask.drop))
    (export "set.new" (func $set.new)) (export "set.drop" (func $set.drop)) (export "join" (func $join))
    (export "get" (func $get)) (export "put" (func $put))))))
  (func (export "run") async (param "n" u32) (result u32)
    (canon lift (core func $i "run") async (callback (core func $i "run-cb"))))
)
"""
"""`run(n)` calls `wait(n)` asynchronously and returns what that returns; cancelled, it cancels the subtask."""

STACKFUL = """
(component
  (import "wait" (func $wait async (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core func $task.return (canon task.return (result u32)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (import "" "task.return" (func $task.return (param i32)))
    (func (export "run") (param i32) (call $task.return (call $wait (local.get 0)))))
  (core instance $i (instantiate $m (with "" (instance
    (export "wait" (func $wait')) (export "task.return" (func $task.return))))))
  (func (export "run") async (param "n" u32) (result u32) (canon lift (core func $i "run") async))
)
"""
"""`run(n)` is `wait(n)`; the guest's stack is kept while it waits."""

SYNC = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (func (export "run") (param i32) (result i32) (i32.add (call $wait (local.get 0)) (i32.const 1)))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run")))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
)
"""
"""`run(n)` is `wait(n) + 1`, all synchronous."""

SPIN = """
(component
  (import "wait" (func $wait (param "n" u32) (result u32)))
  (core func $wait' (canon lower (func $wait)))
  (core module $m
    (import "" "wait" (func $wait (param i32) (result i32)))
    (func (export "spin") (param $n i64) (result i64) (local $i i64) (local $x i64)
      (loop $again
        (local.set $x (i64.mul (i64.add (local.get $x) (local.get $i)) (i64.const 6364136223846793005)))
        (local.set $i (i64.add (local.get $i) (i64.const 1)))
        (br_if $again (i64.lt_u (local.get $i) (local.get $n))))
      (local.get $x))
    (func (export "forever") (loop $again (br $again)))
    (func (export "mixed") (param $n i32) (result i32) (local $i i32) (local $x i32) (local $k i32)
      (loop $again
        (local.set $k (i32.const 0))
        (loop $inner
          (local.set $k (i32.add (local.get $k) (i32.const 1)))
          (br_if $inner (i32.lt_u (local.get $k) (i32.const 20000000))))
        (local.set $x (i32.add (local.get $x) (call $wait (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (local.get $n))))
      (local.get $x)))
  (core instance $i (instantiate $m (with "" (instance (export "wait" (func $wait'))))))
  (func (export "spin") (param "n" u64) (result u64) (canon lift (core func $i "spin")))
  (func (export "forever") (canon lift (core func $i "forever")))
  (func (export "mixed") (param "n" u32) (result u32) (canon lift (core func $i "mixed")))
)
"""
"""Guests that compute: `spin(n)` n rounds, `forever`, and `mixed(n)`, which calls `wait` now and then."""

SPIN_ASYNC = """
(component
  (core func $return (canon task.return))
  (core module $m (import "" "return" (func $return))
    (func (export "forever") (loop $again (br $again)) (call $return)))
  (core instance $i (instantiate $m (with "" (instance (export "return" (func $return))))))
  (func (export "forever") async (canon lift (core func $i "forever") async))
)
"""
"""`forever`, with an asynchronous type."""

ECHO = f"""
(component
  {LIBC}
  (type $bytes (stream u8))
  (type $texts (stream string))
  (type $late (future string))
  (core func $return-bytes (canon task.return (result $bytes)))
  (core func $return-texts (canon task.return (result $texts)))
  (core func $return-late (canon task.return (result $late)))
  (core module $m
    (import "" "bytes" (func $bytes (param i32)))
    (import "" "texts" (func $texts (param i32)))
    (import "" "late" (func $late (param i32)))
    (func (export "cb") (param i32 i32 i32) (result i32) unreachable)
    (func (export "bytes") (param i32) (result i32) (call $bytes (local.get 0)) (i32.const 0))
    (func (export "texts") (param i32) (result i32) (call $texts (local.get 0)) (i32.const 0))
    (func (export "late") (param i32) (result i32) (call $late (local.get 0)) (i32.const 0)))
  (core instance $i (instantiate $m (with "" (instance
    (export "bytes" (func $return-bytes)) (export "texts" (func $return-texts)) (export "late" (func $return-late))))))
  (func (export "bytes") async (param "s" $bytes) (result $bytes)
    (canon lift (core func $i "bytes") async (callback (core func $i "cb"))))
  (func (export "texts") async (param "s" $texts) (result $texts)
    (canon lift (core func $i "texts") async (callback (core func $i "cb"))))
  (func (export "late") async (param "f" $late) (result $late)
    (canon lift (core func $i "late") async (callback (core func $i "cb"))))
)
"""
"""Gives back the end that it was given."""

LATE = """
(component
  (type $late (future u8))
  (core func $return (canon task.return (result $late)))
  (core func $new (canon future.new $late))
  (core module $m
    (import "" "return" (func $return (param i32)))
    (import "" "new" (func $new (result i64)))
    (func (export "cb") (param i32 i32 i32) (result i32) unreachable)
    (func (export "f") (result i32) (call $return (i32.wrap_i64 (call $new))) (i32.const 0)))
  (core instance $i (instantiate $m (with "" (instance (export "return" (func $return)) (export "new" (func $new))))))
  (func (export "f") async (result $late) (canon lift (core func $i "f") async (callback (core func $i "cb")))))
"""
"""`f` gives a future that is never written."""

PIPE = f"""
(component
  {LIBC}
  (type $bytes (stream u8))
  (core func $return (canon task.return (result $bytes)))
  (core func $new (canon stream.new $bytes))
  (core func $read (canon stream.read $bytes (memory $mem)))
  (core func $write (canon stream.write $bytes (memory $mem)))
  (core func $drop-r (canon stream.drop-readable $bytes))
  (core func $drop-w (canon stream.drop-writable $bytes))
  (core func $return-count (canon task.return (result u64)))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "return" (func $return (param i32)))
    (import "" "return-count" (func $return-count (param i64)))
    (import "" "new" (func $new (result i64)))
    (import "" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "" "drop-r" (func $drop-r (param i32)))
    (import "" "drop-w" (func $drop-w (param i32)))
    (func $write-all (param $w i32) (param $n i32) (result i32) (local $at i32) (local $ret i32)
      (local.set $at (i32.const 16384))
      (loop $again
        (local.set $ret (call $write (local.get $w) (local.get $at) (local.get $n)))
        (local.set $at (i32.add (local.get $at) (i32.shr_u (local.get $ret) (i32.const 4))))
        (local.set $n (i32.sub (local.get $n) (i32.shr_u (local.get $ret) (i32.const 4))))
        (if (i32.and (local.get $ret) (i32.const 15)) (then (return (i32.const 1))))
        (br_if $again (local.get $n)))
      (i32.const 0))
    ;; upper-case copy of a stream, 32 KiB at a time
    (func (export "upper") (param $r i32) (local $pair i64) (local $w i32) (local $ret i32) (local $n i32) (local $i i32)
      (local.set $pair (call $new))
      (local.set $w (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))
      (call $return (i32.wrap_i64 (local.get $pair)))
      (block $end (loop $again
        (local.set $ret (call $read (local.get $r) (i32.const 16384) (i32.const 32768)))
        (local.set $n (i32.shr_u (local.get $ret) (i32.const 4)))
        (local.set $i (i32.const 0))
        (block $done (loop $next
          (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
          (if (i32.and
                (i32.ge_u (i32.load8_u offset=16384 (local.get $i)) (i32.const 97))
                (i32.le_u (i32.load8_u offset=16384 (local.get $i)) (i32.const 122)))
            (then (i32.store8 offset=16384 (local.get $i)
              (i32.sub (i32.load8_u offset=16384 (local.get $i)) (i32.const 32)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next)))
        (if (local.get $n) (then (br_if $end (call $write-all (local.get $w) (local.get $n)))))
        (br_if $again (i32.eqz (i32.and (local.get $ret) (i32.const 15))))))
      (call $drop-r (local.get $r))
      (call $drop-w (local.get $w)))
    ;; how many bytes a stream brings
    (func (export "count") (param $r i32) (local $ret i32) (local $sum i64)
      (loop $again
        (local.set $ret (call $read (local.get $r) (i32.const 16384) (i32.const 32768)))
        (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (i32.shr_u (local.get $ret) (i32.const 4)))))
        (br_if $again (i32.eqz (i32.and (local.get $ret) (i32.const 15)))))
      (call $drop-r (local.get $r))
      (call $return-count (local.get $sum)))
    ;; n blocks of 32 KiB
    (func (export "blocks") (param $n i32) (local $pair i64) (local $w i32)
      (local.set $pair (call $new))
      (local.set $w (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))
      (call $return (i32.wrap_i64 (local.get $pair)))
      (block $end (loop $again
        (br_if $end (i32.eqz (local.get $n)))
        (br_if $end (call $write-all (local.get $w) (i32.const 32768)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $again)))
      (call $drop-w (local.get $w))))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "return" (func $return)) (export "return-count" (func $return-count)) (export "new" (func $new))
    (export "read" (func $read)) (export "write" (func $write))
    (export "drop-r" (func $drop-r)) (export "drop-w" (func $drop-w))))))
  (func (export "upper") async (param "s" $bytes) (result $bytes) (canon lift (core func $i "upper") async))
  (func (export "count") async (param "s" $bytes) (result u64) (canon lift (core func $i "count") async))
  (func (export "blocks") async (param "n" u32) (result $bytes) (canon lift (core func $i "blocks") async))
)
"""
"""Reads and writes streams of bytes with synchronous built-ins, on fibers of its own."""

FEATURES = rt.Features.from_flags(
    f"component-model-{name}" for name in ("more-async-builtins", "threading", "async-stackful")
)


@functools.cache
def engine() -> rt.Engine:
    return rt.Engine(rt.Config(cache=False))


@functools.cache
def encode(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


@functools.cache
def component(text: str) -> rt.Component:
    """The component that `text` describes."""
    return rt.Component(engine(), encode(text), FEATURES)


async def until(condition):
    """Wait, also for guests that compute in a worker thread, which trio's testing tools do not see."""
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.001)
