"""Bodies that C reads: records and refusals are those of the reader in Python."""

from __future__ import annotations

import random

import pytest

from core_rt.binary.decode import decode_module
from core_rt.binary.model import DecodedModule
from core_rt.config import Features
from core_rt.errors import DecodeError, ValidationError, WasmError
from core_rt.validate import function
from core_rt.validate.function import FuncBody, validate_body
from core_rt.validate.plain import read_plain
from tests.core import wasmbytes as w
from tests.core.support import wasm

TEXT = """(module
  (type $none (func))
  (type $two (func (param i32 i64) (result i64 i32)))
  (import "m" "f" (func $f (param i32) (result i32)))
  (import "m" "g" (global $g f32))
  (memory 1) (table 2 funcref) (table $other 1 externref)
  (global $m (mut i64) (i64.const 0)) (global $r (mut externref) (ref.null extern))
  (data $d "passive")
  (func $numbers (param i32 i64 f32 f64) (result i64) (local i64 i64 f64)
    (local.set 4 (i64.add (local.get 1) (i64.const -0x8000000000000000)))
    (local.set 6 (f64.mul (local.tee 6 (f64.const -nan:0x8000000000001)) (f64.convert_i32_u (local.get 0))))
    (drop (f32.const nan)) (drop (i32.const 2147483647)) (drop (i32.const -65)) (drop (i32.const 191)) (drop (i32.const 192))
    (drop (i32.trunc_sat_f64_u (local.get 3)))
    (global.set $m (i64.extend8_s (global.get $m)))
    (drop (select (global.get $g) (local.get 2) (i32.eqz (local.get 0))))
    nop (local.get 4))
  (func $blocks (param i32) (result i32 i64)
    (i64.const 2)
    (loop $again (param i64) (result i64)
      (block (param i64) (result i64 i64) (i64.const 3) (local.set 0 (i32.const 1)))
      drop
      (br_if $again (local.tee 0 (i32.const 5)))
      (if (param i64) (result i64) (local.get 0)
        (then (i64.const 1) i64.add)
        (else (br_table $again 0 $again 0 (local.get 0)))))
    (f32.const 1) (i32.const 1)
    (loop (param i32) (br_if 0 (local.get 0)) (local.set 0) (loop (block (br 1))))
    drop
    (local.get 0) i64.extend_i32_s
    (block $two (param i64 i64) (result i32 i64)
      (local.set 0 (i32.wrap_i64)) (local.set 0 (i32.wrap_i64)) (local.get 0) (i64.const 3)
      (if (type $none) (local.get 0) (then (return (i32.const 1) (i64.const 2))))
      (br $two)))
  (func $memory (param i32)
    (i64.store32 offset=300 (local.get 0) (i64.load8_s offset=255 align=1 (local.get 0)))
    (f64.store (local.get 0) (f64.load offset=0xffffffff align=2 (local.get 0)))
    (memory.fill (memory.grow (memory.size)) (i32.const 1) (i32.const 2))
    (memory.copy (local.get 0) (i32.const 1) (i32.const 2))
    (memory.init $d (local.get 0) (i32.const 1) (i32.const 2)) (data.drop $d))
  (func $calls (param i32) (result i32)
    (drop (call_indirect (type $two) (i32.const 1) (i64.const 2) (local.get 0))) (drop)
    (call $f (call $f (local.get 0))))
  (func $unknown (param i32) (result i32)
    unreachable (select) (drop) (i32.add) (br_table 0 0 (i32.const 0)) (local.set 0) (select (i32.const 1) (local.get 0)))
  (func $reference (drop (ref.null func)))
  (func $of_references (drop (global.get $r)))
  (func $table (drop (table.get $other (i32.const 0)))))"""
PLAIN = 5


def _carefully(module: DecodedModule, index: int, monkeypatch: pytest.MonkeyPatch) -> FuncBody:
    with monkeypatch.context() as patch:
        patch.setattr(function, "read_plain", lambda module, index: None)
        return validate_body(module, index)


def _same(module: DecodedModule, index: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether C takes the body; then the other reader gives the same."""
    found = read_plain(module, index)
    if found is None:
        return False
    wanted = _carefully(module, index, monkeypatch)
    quick = validate_body(module, index)
    assert (quick.locals, quick.uses, quick.type) == (wanted.locals, wanted.uses, wanted.type)
    assert [type(imm) for _, imm, _ in quick.code] == [type(imm) for _, imm, _ in wanted.code]
    assert quick.code == wanted.code
    return True


def _module(code: bytes, locals_: list[tuple[int, bytes]] | None = None) -> DecodedModule:
    return decode_module(w.one_func(code + b"\x0b", locals_=locals_ or []))


def test_all_that_is_plain(monkeypatch):
    module = decode_module(wasm(TEXT))
    taken = [_same(module, index, monkeypatch) for index in range(len(module.bodies))]
    assert taken == [True] * PLAIN + [False] * (len(taken) - PLAIN)


def test_what_is_damaged_is_never_taken_for_valid(monkeypatch):
    module = decode_module(wasm(TEXT))
    data, bodies, chance = bytes(module.data), [*module.bodies], random.Random(11)
    taken = 0
    for _ in range(4000):
        index = chance.randrange(PLAIN)
        start, end = bodies[index]
        body = bytearray(data[start:end])
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(body))
            body[at : at + chance.randrange(2)] = bytes(
                [chance.choice((chance.randrange(256), body[at] ^ 1, 0x0B, 0x1A))]
            )
        module.data = bytes(body)
        module.bodies[index] = (0, len(body))
        taken += _same(module, index, monkeypatch)
        module.bodies[index] = (start, end)
    assert taken > 50


def test_every_body_that_ends_early_is_refused():
    module = decode_module(wasm(TEXT))
    for index, (start, end) in enumerate([*module.bodies]):
        for stop in range(start, end):
            module.bodies[index] = (start, stop)
            with pytest.raises(WasmError):
                validate_body(module, index)
        module.bodies[index] = (start, end)


@pytest.mark.parametrize(
    ("code", "locals_"),
    [
        (b"\x02\x40" * 300 + b"\x0b" * 300, []),
        (b"\x02\x40" * 2100 + b"\x0b" * 2100, []),
        (b"\x41\x00" * 5000 + b"\x1a" * 5000, []),
        (b"", [(3000, b"\x7f")]),
        (b"\x41\x00\x21\x00" + b"\x02\x40" * 200 + b"\x0b" * 200, [(2048, b"\x7f")]),
        (b"\x41\x00" * 65 + b"\x03\x40\x0b" + b"\x1a" * 65, []),
        (b"\x41\x00" * 60 + b"\x03\x40\x0b" * 70 + b"\x1a" * 60, []),
    ],
    ids=["nested", "nested deeply", "high", "locals", "assigned", "below", "below often"],
)
def test_beyond_a_capacity(code, locals_, monkeypatch):
    module = _module(code, locals_)
    _same(module, 0, monkeypatch)
    assert len(validate_body(module, 0).code) == len(_carefully(module, 0, monkeypatch).code)


def test_errors_are_those_of_the_careful_reader():
    with pytest.raises(ValidationError, match="type mismatch"):
        validate_body(_module(b"\x6a"), 0)
    with pytest.raises(DecodeError, match="illegal opcode"):
        validate_body(_module(b"\xff"), 0)
    with pytest.raises(DecodeError, match="integer representation too long"):
        validate_body(_module(b"\x41\x80\x80\x80\x80\x80\x00\x1a"), 0)


def test_with_a_feature_switched_off_nothing_is_plain():
    data = w.one_func(b"\x41\x00\xc0\x1a\x0b")
    assert read_plain(decode_module(data), 0) is not None
    module = decode_module(data, Features(sign_extension=False))
    assert read_plain(module, 0) is None
    with pytest.raises(DecodeError, match="sign_extension"):
        validate_body(module, 0)
