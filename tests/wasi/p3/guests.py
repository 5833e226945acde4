"""Guests that use `wasi:cli` and `wasi:clocks` 0.3, as text."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import component_rt as rt

from .mirror import engine

__all__ = ["COPY", "FIVE", "STUCK", "WAITS", "WRITE", "component"]

_STREAMS = """
  (import "wasi:cli/types@0.3.0" (instance $types
    (type $e (enum "io" "illegal-byte-sequence" "pipe")) (export "error-code" (type (eq $e)))))
  (alias export $types "error-code" (type $code))
  (import "wasi:cli/stdin@0.3.0" (instance $stdin
    (alias outer 1 $code (type $c0)) (export "error-code" (type $c (eq $c0)))
    (type $s (stream u8)) (type $r (result (error $c))) (type $f (future $r)) (type $t (tuple $s $f))
    (export "read-via-stream" (func (result $t)))))
  (import "wasi:cli/stdout@0.3.0" (instance $stdout
    (alias outer 1 $code (type $c0)) (export "error-code" (type $c (eq $c0)))
    (type $s (stream u8)) (type $r (result (error $c))) (type $f (future $r))
    (export "write-via-stream" (func (param "data" $s) (result $f)))))
  (import "wasi:cli/exit@0.3.0" (instance $exit (export "exit-with-code" (func (param "status-code" u8)))))
  (core module $libc (memory (export "memory") 2) (data (i32.const 1024) "hello\\n"))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (type $bytes (stream u8))
  (type $result (result (error $code)))
  (type $done (future $result))
  (core func $stdin (canon lower (func $stdin "read-via-stream") (memory (core memory $memory))))
  (core func $stdout (canon lower (func $stdout "write-via-stream")))
  (core func $exit (canon lower (func $exit "exit-with-code")))
  (core func $new (canon stream.new $bytes))
  (core func $read (canon stream.read $bytes (memory (core memory $memory))))
  (core func $write (canon stream.write $bytes (memory (core memory $memory))))
  (core func $drop-readable (canon stream.drop-readable $bytes))
  (core func $drop-writable (canon stream.drop-writable $bytes))
  (core func $done (canon future.read $done (memory (core memory $memory))))
  (core func $done.drop (canon future.drop-readable $done))
"""
_IMPORTS = """
    (import "libc" "memory" (memory 2))
    (import "h" "stdin" (func $stdin (param i32)))
    (import "h" "stdout" (func $stdout (param i32) (result i32)))
    (import "h" "exit" (func $exit (param i32)))
    (import "h" "new" (func $new (result i64)))
    (import "h" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "h" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "h" "drop-readable" (func $drop-readable (param i32)))
    (import "h" "drop-writable" (func $drop-writable (param i32)))
    (import "h" "done" (func $done (param i32 i32) (result i32)))
    (import "h" "done.drop" (func $done.drop (param i32)))
    (func $outcome (param $future i32) (result i32)  ;; 0: ok; otherwise 1 + the error code
      (drop (call $done (local.get $future) (i32.const 64)))
      (call $done.drop (local.get $future))
      (if (result i32) (i32.load8_u (i32.const 64))
        (then (i32.add (i32.const 1) (i32.load8_u (i32.const 65)))) (else (i32.const 0))))
"""
_GIVEN = " ".join(
    f'(export "{name}" (func ${name}))'
    for name in "stdin stdout exit new read write drop-readable drop-writable done done.drop".split()
)


def _command(body: str) -> str:
    return f"""
(component
  {_STREAMS}
  (core module $main {_IMPORTS} {body})
  (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "h" (instance {_GIVEN}))))
  (func $run async (result (result)) (canon lift (core func $main "run")))
  (instance $api (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $api)))
"""


COPY = _command("""
    (func (export "run") (result i32) (local $in i32) (local $future i32) (local $n i32) (local $code i32)
      (local $ends i64) (local $out i32) (local $failed i32)
      (call $stdin (i32.const 0))
      (local.set $in (i32.load (i32.const 0)))
      (local.set $ends (call $new))
      (local.set $out (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (local.set $future (call $stdout (i32.wrap_i64 (local.get $ends))))
      (block $end
        (loop $more
          (local.set $n (call $read (local.get $in) (i32.const 4096) (i32.const 60000)))
          (if (i32.shr_u (local.get $n) (i32.const 4))
            (then (local.set $code
              (call $write (local.get $out) (i32.const 4096) (i32.shr_u (local.get $n) (i32.const 4))))))
          (br_if $end (i32.and (i32.or (local.get $code) (local.get $n)) (i32.const 1)))
          (br $more)))
      (call $drop-readable (local.get $in))
      (call $drop-writable (local.get $out))
      (local.set $failed (call $outcome (local.get $future)))
      (local.set $failed
        (i32.or (local.get $failed) (i32.shl (call $outcome (i32.load (i32.const 4))) (i32.const 4))))
      (if (local.get $failed) (then (call $exit (local.get $failed))))
      (i32.const 0))
""")
"""Copies stdin to stdout through its memory; exits with 1 + the error code of stdout, or 16 times that of stdin."""

WRITE = _command("""
    (func (export "run") (result i32) (local $ends i64)
      (local.set $ends (call $new))
      (drop (call $stdout (i32.wrap_i64 (local.get $ends))))
      (drop (call $write (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))) (i32.const 1024) (i32.const 6)))
      (call $exit (i32.const 7))
      (i32.const 0))
""")
"""Writes a line and exits with 7 without waiting for it to be out. Opens no stdin."""

FIVE = _command("""
    (func (export "run") (result i32)
      (call $stdin (i32.const 0))
      (drop (call $read (i32.load (i32.const 0)) (i32.const 4096) (i32.const 5)))
      (call $drop-readable (i32.load (i32.const 0)))
      (call $outcome (i32.load (i32.const 4))))
""")
"""Reads five bytes of stdin; fails if the future says so."""

STUCK = _command("""
    (func (export "run") (result i32)
      (call $outcome (call $stdout (i32.wrap_i64 (call $new)))))
""")
"""Waits for the end of a stream that it could end itself."""

WAITS = """
(component
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
    (export "now" (func (result u64)))
    (export "wait-until" (func async (param "when" u64)))
    (export "wait-for" (func async (param "how-long" u64)))))
  (core func $now (canon lower (func $clock "now")))
  (core func $until (canon lower (func $clock "wait-until") async))
  (core func $for (canon lower (func $clock "wait-for") async))
  (core func $set.new (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core module $libc (memory (export "memory") 1))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (core func $wait (canon waitable-set.wait (memory (core memory $memory))))
  (core func $drop (canon subtask.drop))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "h" "now" (func $now (result i64)))
    (import "h" "until" (func $until (param i64) (result i32)))
    (import "h" "for" (func $for (param i64) (result i32)))
    (import "h" "new" (func $new (result i32)))
    (import "h" "join" (func $join (param i32 i32)))
    (import "h" "wait" (func $wait (param i32 i32) (result i32)))
    (import "h" "drop" (func $drop (param i32)))
    (global $set (mut i32) (i32.const 0))
    (func $started (param $status i32) (result i32)
      (if (i32.ne (i32.and (local.get $status) (i32.const 15)) (i32.const 2)) (then
        (call $join (i32.shr_u (local.get $status) (i32.const 4)) (global.get $set))
        (return (i32.const 1))))
      (i32.const 0))
    (func (export "wait") (param $each i64) (result i64) (local $start i64) (local $left i32)
      (global.set $set (call $new))
      (local.set $start (call $now))
      (local.set $left (i32.add
        (call $started (call $for (local.get $each)))
        (i32.add
          (call $started (call $until (i64.add (local.get $start) (local.get $each))))
          (call $started (call $until (i64.const 0))))))
      (block $end
        (loop $more
          (br_if $end (i32.eqz (local.get $left)))
          (drop (call $wait (global.get $set) (i32.const 0)))
          (call $drop (i32.load (i32.const 0)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br $more)))
      (i64.sub (call $now) (local.get $start))))
  (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "h" (instance
    (export "now" (func $now)) (export "until" (func $until)) (export "for" (func $for)) (export "new" (func $set.new))
    (export "join" (func $join)) (export "wait" (func $wait)) (export "drop" (func $drop))))))
  (func (export "wait") async (param "each" u64) (result u64) (canon lift (core func $main "wait"))))
"""
"""Waits three times at once, and says how long that took."""


@functools.cache
def component(text: str) -> rt.Component:
    wasmtime: Any = pytest.importorskip("wasmtime")
    return rt.Component(engine(), bytes(wasmtime.wat2wasm(text)))
