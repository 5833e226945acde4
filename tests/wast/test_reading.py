"""The script reader itself: literals round once, NaN patterns, names and forms of commands."""

from __future__ import annotations

import math
import struct

import pytest

from tests.wast.literals import float_bits, int_value
from tests.wast.reader import List, ScriptError, Source, Text, read
from tests.wast.script import AssertModule, AssertReturn, Define, Instantiate, Register, parse_script
from tests.wast.tally import same_text
from tests.wast.values import Bits, Nan, parse_value


def value(text: str):
    return parse_value(read(Source(text.encode()))[0])


@pytest.mark.parametrize(
    ("text", "width", "bits"),
    [
        ("0", 32, 0),
        ("-0", 32, 0x8000_0000),
        ("1", 32, 0x3F80_0000),
        ("inf", 64, 0x7FF0_0000_0000_0000),
        ("-nan", 32, 0xFFC0_0000),
        ("nan:0x1", 32, 0x7F80_0001),
        ("0x1p-149", 32, 1),
        ("0x1p-150", 32, 0),  # a tie, to even
        ("0x1.8p-150", 32, 1),
        ("0x1.fffffffp127", 32, 0x7F80_0000),
        ("8388608.5", 32, 0x4B00_0000),  # a tie, to even
        ("16777217.000000001", 32, 0x4B80_0001),  # through a double this would be a tie
        ("0x1p-1074", 64, 1),
    ],
)
def test_float_literals_round_once(text, width, bits):
    assert float_bits(text, width) == bits


def test_float_literals_agree_with_python():
    for text in ("3.14159", "1e-310", "-2.5e300", "1.7976931348623157e308", "123456789.123456789"):
        assert float_bits(text, 64) == struct.unpack("<Q", struct.pack("<d", float(text)))[0]
    assert math.isinf(struct.unpack("<d", float_bits("1e400", 64).to_bytes(8, "little"))[0])


def test_integers():
    assert int_value("-0x8000_0000") == -(1 << 31)
    assert value("(i32.const -1)") == Bits(32, 0xFFFF_FFFF)


def test_nan_patterns():
    canonical, arithmetic = value("(f32.const nan:canonical)"), value("(f32.const nan:arithmetic)")
    assert isinstance(canonical, Nan)
    assert canonical.accepts(0x7FC0_0000)
    assert canonical.accepts(0xFFC0_0000)
    assert not canonical.accepts(0x7FC0_0001)
    assert arithmetic.accepts(0x7FC0_0001)
    assert not arithmetic.accepts(0x7FA0_0000)  # signalling
    assert not arithmetic.accepts(0x7F80_0000)  # infinity


def test_vector_lanes():
    vector = value("(v128.const i16x8 1 2 3 4 5 6 7 -1)")
    assert vector.raw == int.from_bytes(struct.pack("<7HH", 1, 2, 3, 4, 5, 6, 7, 0xFFFF), "little")
    assert vector.accepts(vector.raw)
    assert not vector.accepts(vector.raw ^ 1)
    assert value("(v128.const f32x4 0 nan:canonical 0 0)").accepts(0x7FC0_0000 << 32)
    with pytest.raises(ScriptError):
        value("(v128.const i16x8 1 2)")


def test_either():
    either = value("(either (i32.const 1) (i32.const 2))")
    assert either.accepts(2)
    assert not either.accepts(3)


def test_reader_skips_comments_and_annotations():
    nodes = read(Source(b'(; a (; nested ;) ;) ((@note "x)") invoke ;; (\n "\\41\\u{e9}" "\xff")'))
    assert len(nodes) == 1
    assert nodes[0].items == ["invoke", Text("A\u00e9".encode()), Text(b"\xff")]


@pytest.mark.parametrize("text", [b"(a", b"a)", b"(a))", b"(; never closed"])
def test_reader_refuses(text):
    with pytest.raises(ScriptError):
        read(Source(text))


def test_commands():
    script = rb"""
      (module definition $D (func (export "f") (result i32) (i32.const 7)))
      (module instance $I $D)
      (module $B binary "\00asm" "\01\00\00\00")
      (register "b" $B)
      (assert_return (invoke $I "f") (i32.const 7))
      (assert_malformed (module quote "(") "unexpected token")
    """
    define, instance, binary, register, returns, malformed = parse_script(script, parse_value)
    assert isinstance(define, Define)
    assert define.source.wasm is not None
    assert instance == Instantiate(3, "$I", "module", "$D")
    assert isinstance(binary, Instantiate)
    assert binary.source.wasm == b"\0asm\1\0\0\0"
    assert register == Register(5, "b", "$B")
    assert isinstance(returns, AssertReturn)
    assert (returns.action.instance, returns.action.field, returns.expected) == ("$I", "f", (Bits(32, 7),))
    assert isinstance(malformed, AssertModule)
    assert malformed.module.form == "quote"
    with pytest.raises(ScriptError, match="line 1"):
        parse_script(b"(module) (frobnicate)", parse_value)


def test_inline_module_script():
    (command,) = parse_script(b'(memory 1) (func (export "f"))', parse_value)
    assert isinstance(command, Instantiate)
    assert command.source.wasm is not None


def test_texts():
    assert same_text("uninitialized element 2", "uninitialized element\n  0: frame")
    assert same_text("wasm trap: unaligned pointer", "unaligned pointer")
    assert not same_text("unreachable", "out of bounds memory access")
    assert not same_text("unreachable", "")
    assert List(0).head == ""
