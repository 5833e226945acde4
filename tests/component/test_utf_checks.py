"""The checks of encodings that adapters have, against Python's decoders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from component_rt.abi.utf_checks import CHECK_UTF8, CHECK_UTF16
from core_rt.compile.elf import ElfObject
from core_rt.compile.jit import Jit
from core_rt.native import CodeArena, ffi


@pytest.fixture(scope="module")
def check() -> Iterator[Callable[[str, bytes, int], int]]:
    arena = CodeArena()
    functions = {}
    for name, text in (("check_utf8", CHECK_UTF8), ("check_utf16", CHECK_UTF16)):
        head = "define hidden i32 @f0(ptr %p, i64 %n) #0 {\n"
        whole = text + head + f"%r = call i32 @{name}(ptr %p, i64 %n)\nret i32 %r\n}}\nattributes #0 = {{ nounwind }}\n"
        elf = ElfObject.parse(Jit().compile(whole))
        view, address = arena.alloc(elf.size, elf.align)
        view[:] = elf.load(address)
        functions[name] = ffi.cast("int32_t (*)(void *, int64_t)", address + elf.functions["f0"][0])
    arena.publish()
    yield lambda name, data, count: functions[name](ffi.from_buffer(data), count)
    arena.close()


def verdict(data: bytes, encoding: str) -> int:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return 2 if error.reason == "unexpected end of data" else 1
    return 0


EDGES = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)


@pytest.mark.parametrize("before", [b"", b"sevenby", b"eight..." + "ä".encode()])
def test_utf8(check, before):
    rests = [bytes(rest) for n in range(4) for rest in itertools.product(EDGES, repeat=n)]
    for first in range(256):
        # the third and fourth byte matter behind a few first ones only
        for rest in rests if first in (0x41, 0xC3, 0xE0, 0xE1, 0xED, 0xF0, 0xF1, 0xF4) else rests[:111]:
            data = before + bytes([first]) + rest
            assert check("check_utf8", data, len(data)) == verdict(data, "utf-8"), data.hex()


def test_utf8_of_every_length(check):
    text = "aä€\N{CRAB}" * 9 + "plain " * 5
    data = text.encode()
    for start, end in itertools.combinations(range(len(data) + 1), 2):
        piece = data[start:end]
        assert check("check_utf8", piece, len(piece)) == verdict(piece, "utf-8"), (start, end)


def test_utf16(check):
    units = (0x0041, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF)
    for n in range(5):
        for some in itertools.product(units, repeat=n):
            data = b"".join(unit.to_bytes(2, "little") for unit in some)
            assert check("check_utf16", data, n) == min(verdict(data, "utf-16-le"), 1), data.hex()
