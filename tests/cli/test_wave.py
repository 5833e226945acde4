"""WAVE: every type there and back, every refusal with its place."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component_rt import types as t
from component_rt.cli.wave import WaveError, parse_arguments, parse_call, parse_numbers, parse_value, to_text
from component_rt.values import Case, Err, Ok, Some

POINT = t.RecordType([("x", t.S32), ("the-y", t.OptionType(t.S32))])
SHAPE = t.VariantType([("circle", t.F64), ("none", None), ("pair", t.TupleType((t.U8, t.U8)))])
COLOR = t.EnumType(("red", "ultra-violet", "ok"))
PERMS = t.FlagsType(("read", "write", "some"))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", t.BOOL, True),
        ("-128", t.S8, -128),
        ("18446744073709551615", t.U64, 2**64 - 1),
        ("1.5e3", t.F64, 1500.0),
        ("-0", t.F64, -0.0),
        ("0.000e+100", t.F64, 0.0),
        ("12e-1", t.F64, 1.2),
        ("-3.5e39", t.F32, -math.inf),
        ("inf", t.F32, math.inf),
        ("-inf", t.F64, -math.inf),
        ("'☃'", t.CHAR, "☃"),
        (r"'\''", t.CHAR, "'"),
        (r"'\u{1f600}'", t.CHAR, "😀"),
        (r'"a\n\t\"\\ \u{e9}"', t.STRING, 'a\n\t"\\ é'),
        ('"""\n  two\n    lines\n  """', t.STRING, "two\n  lines"),
        ("[1, 2, 3,]", t.ListType(t.U8), [1, 2, 3]),
        ("[]", t.ListType(t.U8), []),
        ("[1, 2]", t.ListType(t.U8, 2), [1, 2]),
        ('[("a", 1)]', t.MapType(t.STRING, t.U8), {"a": 1}),
        ("(1, 'x')", t.TupleType((t.U8, t.CHAR)), (1, "x")),
        ("{x: 1, the-y: some(2)}", POINT, {"x": 1, "the_y": 2}),
        ("{x: 1}", POINT, {"x": 1, "the_y": None}),
        ("{:}", t.RecordType([("o", t.OptionType(t.U8))]), {"o": None}),
        ("{inf: 1, nan: 2}", t.RecordType([("inf", t.U8), ("nan", t.U8)]), {"inf": 1, "nan": 2}),
        ("circle(1.5)", SHAPE, Case("circle", 1.5)),
        ("%none", SHAPE, Case("none")),
        ("pair((1, 2))", SHAPE, Case("pair", (1, 2))),
        ("ultra-violet", COLOR, "ultra-violet"),
        ("%ok", COLOR, "ok"),
        ("{read, %some}", PERMS, frozenset({"read", "some"})),
        ("{}", PERMS, frozenset()),
        ("none", t.OptionType(t.U8), None),
        ("some(1)", t.OptionType(t.U8), 1),
        ("1", t.OptionType(t.U8), 1),
        ("some(none)", t.OptionType(t.OptionType(t.U8)), Some(None)),
        ("some(some(3))", t.OptionType(t.OptionType(t.U8)), Some(3)),
        ("ok(1)", t.ResultType(t.U8, t.STRING), Ok(1)),
        ("1", t.ResultType(t.U8, t.STRING), Ok(1)),
        ('err("x")', t.ResultType(t.U8, t.STRING), Err("x")),
        ("ok", t.ResultType(), Ok()),
        ("err", t.ResultType(), Err()),
        ("  // note\n 7 // more", t.U8, 7),
    ],
)
def test_reading(text: str, kind: t.ValType, value: object) -> None:
    got = parse_value(text, kind)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "kind", "message", "position"),
    [
        ("256", t.U8, "256 is out of range for u8 (0 to 255)", 0),
        ("-1", t.U32, "out of range for u32", 0),
        ("9" * 5000, t.U64, "out of range", 0),
        ("1.5", t.U8, "expected a number (u8)", 0),
        ("01", t.U8, "expected a number (u8), found `01`", 0),
        ("yes", t.BOOL, "expected `true` or `false`, found `yes`", 0),
        ("'ab'", t.CHAR, "unexpected character", 0),
        (r"'\u{d800}'", t.CHAR, "no Unicode scalar value", 0),
        (r'"\q"', t.STRING, "unknown escape", 0),
        ('"open', t.STRING, "unexpected character", 0),
        ("[1 2]", t.ListType(t.U8), "expected `]`, found `2`", 3),
        ("[1]", t.ListType(t.U8, 2), "has 2 elements, not 1", 0),
        ("(1, 2)", t.TupleType((t.U8,)), "has 1 elements", 4),
        ("{z: 1}", POINT, "has no field `z`", 1),
        ("{read, read}", PERMS, "flag `read` is given twice", 7),
        ("{x: 1, x: 2}", POINT, "given twice", 7),
        ("{}", POINT, "field `x` (s32) is missing", 0),
        ("green", COLOR, "`green` is none of red, ultra-violet, ok", 0),
        ("{exec}", PERMS, "no flag `exec`", 1),
        ("square(1)", SHAPE, "`square` is none of", 0),
        ("circle", SHAPE, "expected `(`, found the end", 6),
        ("1 2", t.U8, "expected the end, found `2`", 2),
        ("", t.U8, "found the end", 0),
        ("1", t.OptionType(t.OptionType(t.U8)), "expected `some(…)` or `none`", 0),
        ("1", t.StreamType(t.U8), "cannot be written as text", 0),
    ],
)
def test_refusals_say_what_and_where(text: str, kind: t.ValType, message: str, position: int) -> None:
    with pytest.raises(WaveError) as caught:
        parse_value(text, kind)
    assert message in caught.value.message
    assert caught.value.position == position


def test_the_place_is_drawn() -> None:
    with pytest.raises(WaveError) as caught:
        parse_value("[1,\n 300]", t.ListType(t.U8))
    assert str(caught.value).splitlines()[1:] == ["   300]", "   ^"]


def test_calls() -> None:
    call = parse_call('local:demo/api#greet("Ada", 3)')
    assert call.name == "local:demo/api#greet"
    assert parse_arguments(call, [("name", t.STRING), ("times", t.U8)]) == ["Ada", 3]
    assert parse_arguments(parse_call("run"), []) == []
    assert parse_arguments(parse_call("run()"), [("o", t.OptionType(t.U8))]) == [None]
    with pytest.raises(WaveError, match=r"takes 2 arguments \(a: u8, b: u8\), got 1"):
        parse_arguments(parse_call("f(1)"), [("a", t.U8), ("b", t.U8)])
    with pytest.raises(WaveError, match="takes no arguments"):
        parse_arguments(parse_call("f(1)"), [])
    with pytest.raises(WaveError, match="expected the name"):
        parse_call("(1)")
    assert parse_numbers(parse_call("add(1, -0x10, 2.5)")) == [1, -16, 2.5]
    with pytest.raises(WaveError, match="`x` is no number"):
        parse_numbers(parse_call("add(x)"))


def _f32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def kinds_and_values() -> st.SearchStrategy[tuple[t.ValType, Any]]:
    def fixed(kind: t.ValType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[t.ValType, Any]]:
        return values.map(lambda value: (kind, value))

    texts = st.text(st.characters(exclude_categories=("Cs",)))
    base = st.one_of(
        fixed(t.BOOL, st.booleans()),
        fixed(t.U8, st.integers(0, 255)),
        fixed(t.S64, st.integers(-(2**63), 2**63 - 1)),
        fixed(t.F64, st.floats(allow_nan=False)),
        fixed(t.F32, st.floats(allow_nan=False, width=32).map(_f32)),
        fixed(t.CHAR, st.characters(exclude_categories=("Cs",))),
        fixed(t.STRING, texts),
        fixed(COLOR, st.sampled_from(COLOR.labels)),
        fixed(PERMS, st.frozensets(st.sampled_from(PERMS.labels))),
    )

    def grow(inner: st.SearchStrategy[tuple[t.ValType, Any]]) -> st.SearchStrategy[tuple[t.ValType, Any]]:
        return st.one_of(
            inner.map(lambda p: (t.ListType(p[0]), [p[1], p[1]])),
            st.tuples(inner, inner).map(lambda p: (t.TupleType((p[0][0], p[1][0])), (p[0][1], p[1][1]))),
            inner.map(lambda p: (t.RecordType([("a-b", p[0])]), {"a_b": p[1]})),
            inner.map(lambda p: (t.VariantType([("ok", p[0]), ("x", None)]), Case("ok", p[1]))),
            inner.map(lambda p: (t.OptionType(p[0]), Some(p[1]) if isinstance(p[0], t.OptionType) else p[1])),
            inner.map(lambda p: (t.ResultType(p[0], t.STRING), Ok(p[1]))),
            inner.map(lambda p: (t.ResultType(None, p[0]), Err(p[1]))),
        )

    return st.recursive(base, grow, max_leaves=6)


@settings(max_examples=200, deadline=None)
@given(kinds_and_values())
def test_what_is_written_reads_back(pair: tuple[t.ValType, Any]) -> None:
    kind, value = pair
    assert parse_value(to_text(value, kind), kind) == value


@settings(max_examples=300, deadline=None)
@given(
    st.text("(){}[],:\"'\\%-ab1.e \nok", max_size=20), st.sampled_from([POINT, SHAPE, COLOR, PERMS, t.STRING, t.F64])
)
def test_any_text_is_a_value_or_an_error(text: str, kind: t.ValType) -> None:
    try:
        parse_value(text, kind)
    except WaveError as error:
        assert 0 <= error.position <= len(text)
        str(error)
