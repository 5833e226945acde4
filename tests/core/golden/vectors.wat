(module
  (memory 1)
  ;; casts between two instructions on one shape are saved
  (func (export "chain") (param v128 v128) (result v128)
    (i32x4.mul (i32x4.add (local.get 0) (local.get 1)) (local.get 0)))
  (func (export "shuffle") (param v128 v128) (result v128)
    (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 (local.get 0) (local.get 1)))
  (func (export "lane") (param i32 v128) (result i32) (i16x8.extract_lane_s 3 (v128.load16_lane 2 (local.get 0) (local.get 1))))
  (func (export "compare") (param v128) (result i32) (i32x4.all_true (f32x4.lt (local.get 0) (v128.const f32x4 1 2 3 4)))))
