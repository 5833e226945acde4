(module
  ;; a loop: phis for the locals it assigns, a check for interruption at its head
  (func (export "sum") (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  ;; joins: only what differs gets a phi, a block that nothing branches to gets no label
  (func (export "pick") (param i32 i32) (result i32)
    (block (nop))
    (if (result i32) (i32.lt_s (local.get 0) (local.get 1))
      (then (local.get 0))
      (else (local.get 1))))
  ;; no else: the edge of the condition goes to the end itself
  (func (export "clear") (param i32 i32) (result i32)
    (if (local.get 0) (then (local.set 1 (i32.const 0))))
    (local.get 1))
  ;; several cases of a table to one label go through one block; code after it is not written
  (func (export "switch") (param i32) (result i32)
    (block $b (block $a
      (br_table $a $b $a $b $a (local.get 0))
      (drop (i32.const 1)))
      (return (i32.const 10)))
    (i32.const 20)))
