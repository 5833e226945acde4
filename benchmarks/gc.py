"""Objects on the collected heap: binary trees, linked lists, arrays of references; in the optimised tier."""

from __future__ import annotations

from collections.abc import Iterator

import wasmtime

import core_rt

from .rows import Missing, Pair, mean, row

_GUEST = """
(module
  (type $node (struct (field $left (ref null $node)) (field $right (ref null $node))))
  (type $cell (struct (field $value i64) (field $next (ref null $cell))))
  (type $shape (sub (struct (field $width i32))))
  (type $square (sub final $shape (struct (field $width i32))))
  (type $box (sub final $shape (struct (field $width i32) (field $height i32))))
  (type $shapes (array (mut (ref null $shape))))
  (global $list (mut (ref null $cell)) (ref.null $cell))
  (func $make (param $depth i32) (result (ref $node))
    (if (result (ref $node)) (i32.eqz (local.get $depth))
      (then (struct.new $node (ref.null $node) (ref.null $node)))
      (else (struct.new $node
        (call $make (i32.sub (local.get $depth) (i32.const 1)))
        (call $make (i32.sub (local.get $depth) (i32.const 1)))))))
  (func $check (param $node (ref null $node)) (result i32)
    (if (result i32) (ref.is_null (local.get $node)) (then (i32.const 0))
      (else (i32.add (i32.const 1) (i32.add
        (call $check (struct.get $node $left (local.get $node)))
        (call $check (struct.get $node $right (local.get $node))))))))
  (func (export "trees") (param $depth i32) (param $times i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $check (call $make (local.get $depth)))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum))
  (func (export "list") (param $length i32) (param $walks i32) (result i64) (local $at (ref null $cell)) (local $sum i64)
    (loop $longer
      (local.set $at (struct.new $cell (i64.extend_i32_u (local.get $length)) (local.get $at)))
      (br_if $longer (local.tee $length (i32.sub (local.get $length) (i32.const 1)))))
    (global.set $list (local.get $at))
    (loop $again
      (local.set $at (global.get $list))
      (loop $walk
        (local.set $sum (i64.add (local.get $sum) (struct.get $cell $value (local.get $at))))
        (br_if $walk (i32.eqz (ref.is_null (local.tee $at (struct.get $cell $next (local.get $at)))))))
      (br_if $again (local.tee $walks (i32.sub (local.get $walks) (i32.const 1)))))
    (local.get $sum))
  (func (export "casts") (param $length i32) (param $times i32) (result i32)
    (local $shapes (ref $shapes)) (local $i i32) (local $sum i32) (local $shape (ref null $shape))
    (local.set $shapes (array.new_default $shapes (local.get $length)))
    (loop $fill
      (array.set $shapes (local.get $shapes) (local.get $i)
        (if (result (ref $shape)) (i32.and (local.get $i) (i32.const 1))
          (then (struct.new $square (local.get $i)))
          (else (struct.new $box (local.get $i) (i32.const 3)))))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $length))))
    (loop $again
      (local.set $i (i32.const 0))
      (loop $each
        (local.set $shape (array.get $shapes (local.get $shapes) (local.get $i)))
        (local.set $sum (i32.add (local.get $sum)
          (if (result i32) (ref.test (ref $box) (local.get $shape))
            (then (struct.get $box $height (ref.cast (ref $box) (local.get $shape))))
            (else (struct.get $shape $width (local.get $shape))))))
        (br_if $each (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $length))))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum)))
"""

PROGRAMS = (("trees", (14, 20)), ("list", (100_000, 50)), ("casts", (10_000, 100)))


def their_engine() -> wasmtime.Engine:
    """An engine of wasmtime's with all that WebAssembly 3.0 has."""
    config = wasmtime.Config()
    for name in ("wasm_function_references", "wasm_gc", "wasm_exceptions"):
        if not hasattr(type(config), name):
            raise Missing(f"this wasmtime has no {name}")
        setattr(config, name, True)
    return wasmtime.Engine(config)


def program(guest: str, export: str, arguments: tuple[int, ...]) -> Iterator[Pair]:
    """An export of a guest in text, on both sides."""
    wasm = bytes(wasmtime.wat2wasm(guest))
    engine = core_rt.Engine(core_rt.Config(cache=False, tiers="optimized"))
    their_store = wasmtime.Store(their_engine())
    with core_rt.Store(engine) as store:
        ours = core_rt.Linker(engine).instantiate(store, core_rt.Module(engine, wasm)).exports[export]
        their_module = wasmtime.Module(their_store.engine, wasm)
        theirs = wasmtime.Instance(their_store, their_module, []).exports(their_store)[export]
        mine, other = ours(*arguments), theirs(their_store, *arguments)
        assert mine == other, f"{export}: {mine!r}, wanted {other!r}"
        yield Pair(lambda: ours(*arguments), lambda: theirs(their_store, *arguments), 1, 1, repeats=3)


def _register(export: str, arguments: tuple[int, ...]) -> None:
    row("heap", f"{export}{arguments}", target=1.0)(lambda: program(_GUEST, export, arguments))


mean("heap", target=1.0)
for _entry in PROGRAMS:
    _register(*_entry)
