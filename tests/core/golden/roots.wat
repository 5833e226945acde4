(module
  (import "m" "f" (func $f (param externref) (result externref)))
  (import "m" "g" (func $g))
  ;; nothing lives across the call
  (func (export "pass") (param externref) (result externref) (call $f (local.get 0)) (drop) (ref.null extern))
  ;; a parameter and a result live across calls
  (func (export "keep") (param externref) (result externref)
    (call $f (local.get 0))
    (call $g)
    (drop)
    (local.get 0)))
