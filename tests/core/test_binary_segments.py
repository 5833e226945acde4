"""Data segments of the usual form are read by C: the result and the errors are those of the careful way."""

from __future__ import annotations

import random

import pytest

from core_rt.binary import decode
from core_rt.binary.decode import decode_module
from core_rt.binary.segments import PlainSegments
from core_rt.errors import WasmError
from core_rt.vm.contents import initial_contents

_HEAD = b"\0asm\1\0\0\0" + b"\x05\x03\x01\x00\x01"  # one memory of one page


def _uleb(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _module(*segments: bytes) -> bytes:
    body = _uleb(len(segments)) + b"".join(segments)
    return _HEAD + b"\x0b" + _uleb(len(body)) + body


def _plain(offset: bytes, data: bytes) -> bytes:
    return b"\x00\x41" + offset + b"\x0b" + _uleb(len(data)) + data


_USUAL = _module(
    _plain(b"\x00", b"abc"),
    _plain(b"\x7f", b""),
    _plain(b"\x80\x80\xc0\x00", b"x" * 200),
    _plain(b"\xc0\xbb\x78", b"y"),
)
_MIXED = _module(
    _plain(b"\x05", b"a"),
    b"\x01\x02pq",  # passive
    b"\x02\x00\x41\x06\x0b\x01c",  # memory given
    b"\x00\x41\x01\x41\x02\x6a\x0b\x01d",  # an expression
    _plain(b"\x80\x80\x80\x80\x78", b"e"),  # five bytes
)


def _outcome(data: bytes) -> object:
    try:
        return list(decode_module(data).data_segments)
    except WasmError as error:
        return type(error), str(error)


def _carefully(data: bytes, monkeypatch: pytest.MonkeyPatch) -> object:
    with monkeypatch.context() as patch:
        patch.setattr(decode.PlainSegments, "read", lambda data, at, count: ([], at))
        return _outcome(data)


def test_usual_segments():
    segments = decode_module(_USUAL).data_segments
    assert [(s.mode, s.memory, s.offset[0][:2], _USUAL[s.start : s.end]) for s in segments] == [
        ("active", 0, (0x41, 0), b"abc"),
        ("active", 0, (0x41, -1), b""),
        ("active", 0, (0x41, 0x100000), b"x" * 200),
        ("active", 0, (0x41, -0x1E240), b"y"),
    ]


def test_other_forms_follow():
    segments = decode_module(_MIXED).data_segments
    assert [(s.mode, _MIXED[s.start : s.end]) for s in segments] == [
        ("active", b"a"), ("passive", b"pq"), ("active", b"c"), ("active", b"d"), ("active", b"e"),
    ]  # fmt: skip
    assert segments[3].offset is not None and len(segments[3].offset) == 3
    assert segments[4].offset is not None and segments[4].offset[0][1] == -0x80000000


def test_many_segments_become_objects_when_they_are_looked_at(monkeypatch):
    offsets = [b"\x00", b"\x7f", b"\x80\x80\xc0\x00", b"\xc0\xbb\x78", b"\xff\x00"]
    whole = _module(*[_plain(offsets[i % 5], bytes([i]) * (i % 200)) for i in range(200)])
    module = decode_module(whole)
    assert isinstance(module.data_segments, PlainSegments) and len(module.data_segments) == 200
    assert list(module.data_segments) == _carefully(whole, monkeypatch)
    assert module.data_segments[-1] == list(module.data_segments)[199] and len(module.data_segments[3:7]) == 4
    assert module.passive_segments == ()
    with pytest.raises(IndexError):
        module.data_segments[200]


def test_contents_of_a_memory(monkeypatch):
    places = [(1000, b"one"), (1002, b"two"), (5, b""), (65000, b"x" * 536), (0, b"\1")]
    chosen = [places[i % 5] for i in range(100)]
    few = _module(*[_plain(_sleb(at), data) for at, data in chosen[:5]])
    many = _module(*[_plain(_sleb(at), data) for at, data in chosen])
    expected = bytearray(65536)
    for at, data in places:
        expected[at : at + len(data)] = data
    for whole in (few, many):
        assert initial_contents(decode_module(whole), 1, 1 << 20) == (0, expected)
        assert initial_contents(decode_module(whole), 1 << 20, 1 << 20) is None
        assert initial_contents(decode_module(whole), 1, 65535) is None
    beyond = _module(*[_plain(_sleb(at), data) for at, data in [*chosen, (65535, b"yz")]])
    assert initial_contents(decode_module(beyond), 1, 1 << 20) is None
    negative = _module(*[_plain(_sleb(at), data) for at, data in [*chosen, (-1, b"")]])
    assert initial_contents(decode_module(negative), 1, 1 << 20) is None


def _sleb(value: int) -> bytes:
    out = b""
    while not -64 <= value < 64:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value & 0x7F])


_MANY = _module(*[_plain(b"\x80\x01", b"abc")] * 70)


@pytest.mark.parametrize("whole", [_USUAL, _MIXED, _MANY])
def test_damage_is_found_alike(whole, monkeypatch):
    chosen = random.Random(11)
    assert _outcome(whole) == _carefully(whole, monkeypatch)
    for size in range(len(_HEAD) + 1, len(whole)):
        assert _outcome(whole[:size]) == _carefully(whole[:size], monkeypatch)
    for _ in range(3000):
        damaged = bytearray(whole)
        damaged[chosen.randrange(len(_HEAD), len(whole))] = chosen.choice([0, 1, 2, 0x0B, 0x41, 0x7F, 0x80, 0xFF])
        assert _outcome(bytes(damaged)) == _carefully(bytes(damaged), monkeypatch)
