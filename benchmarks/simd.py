"""Vector instructions: bytes scanned, counted and converted, products, and a relaxed operation."""

from __future__ import annotations

from .gc import program
from .rows import mean, row

_SIZE = 1 << 20

_GUEST = f"""
(module
  (memory (export "memory") 32)
  (func $fill (param $size i32) (local $i i32)
    (loop $next
      (i32.store8 (local.get $i) (i32.add (i32.const 32) (i32.rem_u (i32.mul (local.get $i) (i32.const 7)) (i32.const 90))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $size))))
    (i32.store8 (i32.sub (local.get $size) (i32.const 5)) (i32.const 10)))
  (start $start)
  (func $start (call $fill (i32.const {_SIZE})))

  ;; where the first byte of a value is, as `memchr` does it
  (func $find (param $at i32) (param $end i32) (param $byte i32) (result i32) (local $wanted v128) (local $same v128)
    (local.set $wanted (i8x16.splat (local.get $byte)))
    (loop $next
      (local.set $same (i8x16.eq (v128.load (local.get $at)) (local.get $wanted)))
      (if (v128.any_true (local.get $same))
        (then (return (i32.add (local.get $at) (i32.ctz (i8x16.bitmask (local.get $same)))))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (i32.const -1))
  (func (export "find") (param $times i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum)
        (call $find (i32.const 0) (i32.const {_SIZE}) (i32.const 10))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum))

  ;; how many bytes are one of three values
  (func (export "count") (param $times i32) (result i32) (local $at i32) (local $sum i32) (local $bytes v128)
    (loop $again
      (local.set $at (i32.const 0))
      (loop $next
        (local.set $bytes (v128.load (local.get $at)))
        (local.set $sum (i32.add (local.get $sum) (i32.popcnt (i8x16.bitmask (v128.or
          (v128.or (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 34)))
            (i8x16.eq (local.get $bytes) (i8x16.splat (i32.const 92))))
          (i8x16.lt_u (local.get $bytes) (i8x16.splat (i32.const 32))))))))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const {_SIZE}))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum))

  ;; bytes to hexadecimal digits, by a table in a register
  (func (export "hexadecimal") (param $times i32) (result i32) (local $at i32) (local $bytes v128) (local $table v128)
    (local $high v128) (local $low v128)
    (local.set $table (v128.const i8x16 48 49 50 51 52 53 54 55 56 57 97 98 99 100 101 102))
    (loop $again
      (local.set $at (i32.const 0))
      (loop $next
        (local.set $bytes (v128.load (local.get $at)))
        (local.set $high (i8x16.swizzle (local.get $table) (i8x16.shr_u (local.get $bytes) (i32.const 4))))
        (local.set $low (i8x16.swizzle (local.get $table)
          (v128.and (local.get $bytes) (i8x16.splat (i32.const 15)))))
        (v128.store (i32.add (i32.const {_SIZE // 2}) (i32.shl (local.get $at) (i32.const 1)))
          (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get $high) (local.get $low)))
        (v128.store offset=16 (i32.add (i32.const {_SIZE // 2}) (i32.shl (local.get $at) (i32.const 1)))
          (i8x16.shuffle 8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31 (local.get $high) (local.get $low)))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const {_SIZE // 2}))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (i32.load (i32.const {_SIZE // 2})))

  ;; the sum of products of 16-bit integers
  (func (export "dot") (param $times i32) (result i32) (local $at i32) (local $sum v128)
    (loop $again
      (local.set $at (i32.const 0))
      (loop $next
        (local.set $sum (i32x4.add (local.get $sum)
          (i32x4.dot_i16x8_s (v128.load (local.get $at)) (v128.load offset=4096 (local.get $at)))))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (i32.const {_SIZE // 2}))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (i32.add (i32.add (i32x4.extract_lane 0 (local.get $sum)) (i32x4.extract_lane 1 (local.get $sum)))
      (i32.add (i32x4.extract_lane 2 (local.get $sum)) (i32x4.extract_lane 3 (local.get $sum)))))

  ;; a polynomial of degree 8 for each of four numbers, fused or not as the host likes
  (func (export "polynomial") (param $times i32) (result f32) (local $x v128) (local $y v128) (local $sum v128)
    (local.set $x (v128.const f32x4 0.25 0.5 -0.25 0.75))
    (loop $again
      (local.set $y (v128.const f32x4 1 1 1 1))
      {
    "".join(
        f'''(local.set $y (f32x4.relaxed_madd (local.get $y) (local.get $x) (f32x4.splat (f32.const {k}))))
      '''
        for k in range(8)
    )
}
      (local.set $sum (f32x4.add (local.get $sum) (local.get $y)))
      (local.set $x (f32x4.mul (local.get $x) (v128.const f32x4 0.999 0.998 0.997 0.996)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (f32.add (f32x4.extract_lane 0 (local.get $sum)) (f32x4.extract_lane 3 (local.get $sum)))))
"""


def _register(export: str, times: int, name: str, target: float | None = 1.0) -> None:
    row("simd", name, target=target)(lambda: program(_GUEST, export, (times,)))


_register("find", 20, "find a byte in 1 MiB, 20 times")
_register("count", 20, "count three kinds of bytes in 1 MiB, 20 times")
_register("hexadecimal", 20, "512 KiB to hexadecimal digits, 20 times")
_register("dot", 20, "dot product of 16-bit integers, 512 KiB, 20 times")
_register("polynomial", 200_000, "relaxed polynomial of degree 8, 200 000 times", None)
mean("simd", target=1.0)
