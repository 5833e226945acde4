"""Whatever fits its type comes out of a guest as it went in; whatever does not is refused with a reason."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component_rt import types as t
from component_rt.abi import convert
from component_rt.abi.errors import explain_value
from component_rt.abi.mismatch import Mismatch
from component_rt.values import Err, Ok, Some, class_of

from .fake_guest import FakeGuest

_LABELS = [f"label-{i}" for i in range(40)]
_KEYS = [t.BOOL, t.S8, t.U64, t.CHAR, t.STRING]


def _compound(inner: st.SearchStrategy[t.ValType]) -> st.SearchStrategy[t.ValType]:
    some = st.lists(inner, min_size=1, max_size=4)
    maybe = st.none() | inner
    return st.one_of(
        inner.map(t.ListType),
        st.builds(t.ListType, inner, st.integers(1, 4)),
        some.map(lambda ts: t.RecordType(list(zip(_LABELS, ts)))),
        some.map(t.TupleType),
        st.lists(maybe, min_size=1, max_size=5).map(lambda ts: t.VariantType(list(zip(_LABELS, ts)))),
        inner.map(t.OptionType),
        st.builds(t.ResultType, maybe, maybe),
        st.builds(t.MapType, st.sampled_from(_KEYS), inner),
    )


_LEAVES = st.one_of(
    st.sampled_from([p for p in t.PRIMITIVES.values() if p is not t.ERROR_CONTEXT]),
    st.integers(1, 32).map(lambda n: t.FlagsType(_LABELS[:n])),
    st.integers(1, 40).map(lambda n: t.EnumType(_LABELS[:n])),
)
TYPES = st.recursive(_LEAVES, _compound, max_leaves=12)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _single(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]  # type: ignore[no-any-return]


def values(of: t.ValType) -> st.SearchStrategy[Any]:
    """Python values of a component type."""
    match of:
        case t.PrimValType(kind="bool"):
            return st.booleans()
        case t.PrimValType(kind="char"):
            return st.characters(exclude_categories=["Cs"])
        case t.PrimValType(kind="string"):
            return _TEXT
        case t.PrimValType(kind="f32"):
            return st.floats(width=32).map(_single)
        case t.PrimValType(kind="f64"):
            return st.floats()
        case t.PrimValType(kind=kind):
            return st.integers(*convert.RANGES[kind])
        case t.ListType(t=inner, length=length):
            sizes = {"max_size": 5} if length is None else {"min_size": length, "max_size": length}
            items = st.lists(values(inner), **sizes)
            return items.map(bytes) if inner == t.U8 else items
        case t.MapType(k=k, v=v):
            return st.dictionaries(values(k), values(v), max_size=4)
        case t.RecordType(fields=fields):
            return st.tuples(*[values(f.t) for f in fields]).map(lambda vs: class_of(of)(*vs))
        case t.TupleType(ts=ts):
            return st.tuples(*map(values, ts))
        case t.VariantType(cases=cases):
            made = zip(cases, class_of(of).__cases__)
            return st.one_of([st.builds(cls) if c.t is None else values(c.t).map(cls) for c, cls in made])
        case t.EnumType():
            return st.sampled_from(list(class_of(of)))
        case t.FlagsType(labels=labels):
            return st.integers(0, (1 << len(labels)) - 1).map(class_of(of))
        case t.OptionType(t=inner):
            present = values(inner)
            return st.none() | (present.map(Some) if inner.kind == "option" else present)
        case t.ResultType(ok=ok, error=error):
            return st.one_of(
                (st.none() if ok is None else values(ok)).map(Ok),
                (st.none() if error is None else values(error)).map(Err),
            )
    raise AssertionError(of)


def same(a: Any, b: Any) -> bool:
    """Equality that takes NaN for equal and an int for no float."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (Ok, Err, Some)):
        return same(a.value, b.value)
    if hasattr(a, "__attrs_attrs__"):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in a.__attrs_attrs__)
    return bool(a == b)


guests = st.builds(
    FakeGuest, encoding=st.sampled_from(["utf8", "utf16", "latin1+utf16"]), pointer=st.sampled_from([4, 8])
)


@settings(max_examples=150, deadline=None)
@given(guests, st.lists(TYPES, min_size=1, max_size=4), st.data())
def test_arguments_arrive_as_they_were_sent(guest: FakeGuest, types: list[t.ValType], data: st.DataObject) -> None:
    sent = [data.draw(values(of)) for of in types]
    assert same(list(guest.pass_arguments(types, sent)), sent)


@settings(max_examples=150, deadline=None)
@given(guests, TYPES, st.data())
def test_results_arrive_as_they_were_sent(guest: FakeGuest, of: t.ValType, data: st.DataObject) -> None:
    sent = data.draw(values(of))
    assert same(guest.pass_result(of, sent), sent)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2) | inner.map(Ok),
    max_leaves=4,
)


@settings(max_examples=250, deadline=None)
@given(TYPES, _ANYTHING)
def test_what_does_not_fit_is_a_mismatch_that_can_be_explained(of: t.ValType, value: Any) -> None:
    try:
        FakeGuest().pass_arguments([of], [value])
    except Mismatch:
        error = explain_value("here", of, value)
        assert isinstance(error, (TypeError, ValueError, OverflowError))
        assert str(error).startswith("here") and "changed while" not in str(error)


@pytest.mark.parametrize(
    ("of", "value", "kind", "words"),
    [
        (t.U8, 256, OverflowError, "x: 256 is not in 0..255 (wanted u8)"),
        (t.S8, True, TypeError, "x: True is of type bool (wanted s8)"),
        (t.F32, 1e300, OverflowError, "x: 1e+300 is too large (wanted f32)"),
        (t.CHAR, "ab", ValueError, "x: 'ab' has 2 characters (wanted char)"),
        (t.STRING, "a\ud800", ValueError, "x: surrogate U+D800 at index 1 (wanted string)"),
        (t.ListType(t.STRING), "abc", TypeError, "x: 'abc' is of type str (wanted list<string>)"),
        (t.ListType(t.ListType(t.U16)), [[1], [2, -1]], OverflowError, "x[1][1]: -1 is not in 0..65535 (wanted u16)"),
        (t.TupleType([t.U8, t.U8]), (1,), ValueError, "x: has 1 elements (wanted tuple<u8, u8>)"),
        (t.RecordType([("a-b", t.U8)]), {}, TypeError, "x: the mapping has no `a_b` (wanted record { a-b: u8 })"),
        (t.RecordType([("a", t.U8)]), {"a": 1, "b": 2}, TypeError, "the mapping has unknown 'b'"),
        (t.EnumType(["a", "b"]), "c", ValueError, "x: 'c' is none of the cases (wanted enum { a, b })"),
        (t.OptionType(t.OptionType(t.U8)), 7, TypeError, "a nested option is None or Some(...)"),
        (t.ResultType(t.U8), 7, TypeError, "x: 7 is neither Ok(...) nor Err(...) (wanted result<u8>)"),
        (t.MapType(t.STRING, t.U8), {"k": "v"}, TypeError, "x['k']: 'v' is of type str (wanted u8)"),
    ],
)
def test_messages_say_where_and_what(of: t.ValType, value: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(Mismatch):
        FakeGuest().pass_arguments([of], [value])
    error = explain_value("x", of, value)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    ("of", "given_", "want"),
    [
        (t.ListType(t.U8), bytearray(b"ab"), b"ab"),
        (t.ListType(t.U8), [1, 2], b"\1\2"),
        (t.ListType(t.U32), memoryview(struct.pack("<2I", 5, 6)).cast("I"), [5, 6]),
        (t.ListType(t.S16), range(3), [0, 1, 2]),
        (t.ListType(t.F64), (1, 2.5), [1.0, 2.5]),
        (t.F64, 3, 3.0),
        (t.TupleType([t.U8]), [4], (4,)),
        (t.MapType(t.U8, t.U8), [(1, 2)], {1: 2}),
        (t.OptionType(t.U8), Some(3), 3),
    ],
)
def test_other_forms_are_accepted(of: t.ValType, given_: Any, want: Any) -> None:
    (got,) = FakeGuest().pass_arguments([of], [given_])
    assert same(got, want)


def test_values_by_name() -> None:
    enum, flags = t.EnumType(["ultra-violet", "red"]), t.FlagsType(["a-b", "c"])
    variant = t.VariantType([("none", None), ("some-thing", t.U8)])
    guest = FakeGuest()
    from component_rt.values import Case

    assert guest.pass_arguments([enum, enum], ["ultra-violet", "RED"]) == tuple(class_of(enum))
    assert guest.pass_arguments([flags], [{"a-b", "C"}]) == (class_of(flags)(3),)
    none, thing = class_of(variant).__cases__
    assert guest.pass_arguments([variant, variant], ["none", Case("some-thing", 4)]) == (none(), thing(4))


def test_a_list_that_changes_while_it_is_stored_stays_within_its_space() -> None:
    class Growing:
        def __init__(self, items: list[Any]) -> None:
            self.items = items

        @property
        def label_0(self) -> int:
            self.items.append(self)
            return 7

    items: list[Any] = []
    items += [Growing(items), Growing(items)]
    of = t.ListType(t.RecordType([("label-0", t.U8)]))
    (got,) = FakeGuest().pass_arguments([of], [items])
    assert [record.label_0 for record in got] == [7, 7]
