"""LEB128 and the reader: exact limits of each width, and nothing but `DecodeError` at the end of the data."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_rt.binary.reader import Reader, sleb, uleb
from core_rt.binary.scan import LONG
from core_rt.errors import DecodeError
from tests.core import wasmbytes as w


@given(st.integers(0, 2**32 - 1))
def test_u32_round_trips(value):
    data = w.leb(value)
    assert uleb(data, 0, 32) == (value, len(data))


@given(st.integers(-(2**63), 2**63 - 1))
def test_s64_round_trips(value):
    data = w.sleb(value)
    assert sleb(data, 0, 64) == (value, len(data))


@given(st.integers(-(2**32), 2**32 - 1))
def test_s33_round_trips(value):
    assert sleb(w.sleb(value), 0, 33)[0] == value


@pytest.mark.parametrize(
    ("data", "bits", "value"),
    [
        ("80808080 00", 32, 0),
        ("ffffffff 0f", 32, 2**32 - 1),
        ("ffffffff ffffffffff 01", 64, 2**64 - 1),
        ("8300", 7 * 2, 3),
    ],
)
def test_unsigned_padding_is_allowed_up_to_the_widths_bytes(data, bits, value):
    assert uleb(bytes.fromhex(data), 0, bits)[0] == value


@pytest.mark.parametrize(
    ("read", "data", "bits", "message"),
    [
        (uleb, "8080808080 00", 32, "integer representation too long"),
        (uleb, "80808080 10", 32, "integer too large"),
        (uleb, "80808080 70", 32, "integer too large"),
        (uleb, "ffffffffffffffffff 02", 64, "integer too large"),
        (sleb, "8080808080 00", 32, "integer representation too long"),
        (sleb, "ffffffff 0f", 32, "integer too large"),
        (sleb, "80808080 70", 32, "integer too large"),
        (sleb, "ffffffff 1f", 32, "integer too large"),
        (sleb, "ffffffffffffffffff 7e", 64, "integer too large"),
        (sleb, "8080808080 80 00", 33, "integer representation too long"),
    ],
)
def test_too_long_and_too_large(read, data, bits, message):
    with pytest.raises(DecodeError, match=message):
        read(bytes.fromhex(data), 0, bits)


@pytest.mark.parametrize("data", ["7f", "ffffffff 7f", "80808080 78"])
def test_signed_edges_are_accepted(data):
    assert sleb(bytes.fromhex(data), 0, 32)[0] in (-1, -(2**31))


@pytest.mark.parametrize("method", ["byte", "u32", "u64", "s32", "s33", "s64", "length", "name"])
@pytest.mark.parametrize("data", [b"", b"\x80", b"\x85\x80"])
def test_end_of_data_is_a_decode_error_there(method, data):
    reader = Reader(data, len(data) if method == "byte" else 0)
    with pytest.raises(DecodeError, match="unexpected end") as caught:
        getattr(reader, method)()
    assert caught.value.offset == len(data)


def test_a_readers_end_holds_before_the_datas():
    reader = Reader(b"\x81\x01\x02", 0, 1)
    with pytest.raises(DecodeError, match="unexpected end"):
        reader.u32()


def test_a_count_beyond_the_data_is_refused_before_it_is_believed():
    with pytest.raises(DecodeError, match="length out of bounds"):
        Reader(b"\xff\xff\xff\xff\x0f").length()


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x80"])
def test_names_are_strict_utf8(raw):
    with pytest.raises(DecodeError, match="malformed UTF-8 encoding"):
        Reader(w.leb(len(raw)) + raw).name()


@pytest.mark.parametrize("count", [3, LONG, 200])
def test_lists_of_numbers(count):
    chance = random.Random(count)
    numbers = [
        chance.choice((0, 1, 0x7F, 0x80, 0x3FFF, 0x4000, 0xFFFF_FFFF, chance.randrange(1 << 32))) for _ in range(count)
    ]
    data = b"\xff" + b"".join([w.leb(number) for number in numbers]) + b"\x07"
    reader = Reader(data, 1)
    assert reader.u32s(count) == numbers
    assert reader.byte() == 7
    with pytest.raises(DecodeError, match="unexpected end"):
        Reader(data[:-1], 1).u32s(count + 1)
    with pytest.raises(DecodeError, match="unexpected end"):
        Reader(data, 1, len(data) - 2).u32s(count)


@pytest.mark.parametrize(
    ("number", "message", "offset"),
    [
        (b"\x80\x80\x80\x80\x10", "integer too large", 44),
        (b"\x80\x80\x80\x80\x80\x00", "integer representation too long", 45),
    ],
)
def test_a_malformed_number_in_a_list(number, message, offset):
    data = b"\x01" * 40 + number + b"\x01" * 40
    with pytest.raises(DecodeError, match=message) as error:
        Reader(data).u32s(80)
    assert error.value.offset == offset


def test_padded_numbers_in_a_list():
    assert Reader(w.leb(5, pad=4) * 50).u32s(50) == [5] * 50
