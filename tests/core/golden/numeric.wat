(module
  (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  ;; a constant divisor needs no check
  (func (export "tenth") (param i32) (result i32) (i32.div_s (local.get 0) (i32.const 10)))
  (func (export "rem") (param i64 i64) (result i64) (i64.rem_s (local.get 0) (local.get 1)))
  (func (export "shift") (param i32 i32) (result i32) (i32.shl (i32.shr_u (local.get 0) (local.get 1)) (i32.const 33)))
  (func (export "trunc") (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
  (func (export "min") (param f32 f32) (result f32) (f32.min (local.get 0) (local.get 1)))
  (func (export "nan") (result f32) (f32.const nan:0x1234))
  ;; a comparison that is branched on stays one bit, and one that is kept becomes a number
  (func (export "compare") (param i32 i32) (result i32)
    (i32.add (select (i32.const 5) (i32.const 6) (i32.lt_u (local.get 0) (local.get 1)))
             (i32.eqz (i32.ge_s (local.get 0) (local.get 1))))))
