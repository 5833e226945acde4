"""Exceptions: thrown and caught ten frames up, and a `try_table` that nothing is thrown in."""

from __future__ import annotations

from .gc import program
from .rows import row

_GUEST = """
(module
  (tag $t (param i32 f64))
  (func $deep (param $frames i32) (result i32)
    (if (result i32) (i32.eqz (local.get $frames))
      (then (throw $t (i32.const 42) (f64.const 1.5)))
      (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get $frames) (i32.const 1)))))))
  (func (export "thrown") (param $times i32) (param $frames i32) (result i32) (local $sum i32) (local $real f64)
    (loop $again
      (block $caught (result i32 f64)
        (try_table (catch $t $caught) (drop (call $deep (local.get $frames))))
        (return (i32.const -1)))
      (local.set $real (f64.add (local.get $real)))
      (local.set $sum (i32.add (local.get $sum)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (i32.add (local.get $sum) (i32.trunc_f64_s (local.get $real))))
  (func $step (param $n i32) (result i32)
    (if (i32.eqz (local.get $n)) (then (throw $t (i32.const 1) (f64.const 2))))
    (i32.mul (local.get $n) (i32.const 3)))
  (func (export "entered") (param $times i32) (param $unused i32) (result i32) (local $sum i32)
    (loop $again
      (block $caught (result i32 f64)
        (try_table (catch $t $caught) (local.set $sum (i32.add (local.get $sum) (call $step (local.get $times)))))
        (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))
        (return (local.get $sum)))
      (unreachable))
    (unreachable)))
"""


def _register(export: str, arguments: tuple[int, int], name: str, target: float | None) -> None:
    row("exceptions", name, target=target)(lambda: program(_GUEST, export, arguments))


_register("thrown", (20_000, 10), "thrown and caught ten frames up, 20 000 times", 1.0)
_register("entered", (2_000_000, 0), "a try_table around a call, nothing thrown, 2 000 000 times", None)
