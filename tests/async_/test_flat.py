"""Elements of streams that go from memory to memory, compared with lifting and lowering them."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import component_rt as rt
from component_rt import types as t
from component_rt.abi import layout as lay
from component_rt.tasks.flat import flat_of

from .guests import LIBC, component, engine


def record(*types):
    return t.RecordType([(f"f{i}", of) for i, of in enumerate(types)])


FLAT = [
    t.U8,
    t.F64,
    t.BOOL,
    t.CHAR,
    t.EnumType(["a", "b", "c"]),
    t.FlagsType([f"x{i}" for i in range(11)]),
    t.FlagsType([f"x{i}" for i in range(8)]),
    t.TupleType([t.U8, t.U32]),
    record(t.U8, t.CHAR, t.BOOL, t.U16, t.TupleType([t.U64, t.U8])),
    t.ListType(t.U16, 3),
]


@pytest.mark.parametrize("of", FLAT, ids=str)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_copies_leave_padding_alone_and_copy_the_rest(of, data):
    flat = flat_of(of)
    assert flat is not None
    n = data.draw(st.integers(0, 20))
    source = data.draw(st.binary(min_size=n * flat.size + 3, max_size=n * flat.size + 3))
    before = data.draw(st.binary(min_size=len(source) + 5, max_size=len(source) + 5))
    target = bytearray(before)
    flat.copy(memoryview(source), 3, memoryview(target), 5, n)
    kept = {offset + i for offset, length in flat.runs for i in range(length)}
    for i in range(n * flat.size):
        assert target[5 + i] == (source[3 + i] if i % flat.size in kept else before[5 + i])
    assert bytes(target[:5]) == before[:5] and bytes(target[5 + n * flat.size :]) == before[5 + n * flat.size :]


def test_what_has_addresses_handles_or_cases_is_not_flat():
    wide = t.EnumType([f"c{i}" for i in range(300)])
    for of in (t.STRING, t.ListType(t.U8), t.OptionType(t.U8), record(t.U8, t.STRING), wide, t.ListType(t.U8, 300)):
        assert flat_of(of) is None


@given(st.binary(min_size=16, max_size=16))
def test_characters_fit_as_python_says(data):
    try:
        data.decode("utf-32-le")
        fine = True
    except UnicodeDecodeError:
        fine = False
    assert flat_of(t.CHAR).fits(memoryview(data), 0, 4) == fine


def test_limits():
    assert not flat_of(t.BOOL).fits(memoryview(b"\0\2"), 0, 2)
    assert flat_of(t.BOOL).fits(memoryview(b"\0\1"), 0, 2)
    assert not flat_of(t.EnumType(["a", "b"])).fits(memoryview(b"\0\2"), 0, 2)
    eleven = flat_of(t.FlagsType([f"x{i}" for i in range(11)]))
    assert eleven.fits(memoryview(b"\xff\x07"), 0, 1) and not eleven.fits(memoryview(b"\xff\x08"), 0, 1)
    assert lay.layout(t.FlagsType(["x"])).size == flat_of(t.FlagsType(["x"])).size


# ---------------------------------------------------------------------------------------------------- through guests

TEXT = """
(component
  (type $kind (enum "a" "b" "c"))
  (type $part {of})
  (export $named "part" (type $part))
  (type $parts (stream $named))
  {libc}
  (core func $new (canon stream.new $parts))
  (core func $read (canon stream.read $parts (memory $mem) (realloc $realloc)))
  (core func $write (canon stream.write $parts (memory $mem) (realloc $realloc)))
  (core func $drop-r (canon stream.drop-readable $parts))
  (core func $drop-w (canon stream.drop-writable $parts))
  (core func $give (canon task.return (result $parts)))
  (core func $all (canon task.return (result (list u8)) (memory $mem)))
  (core module $m
    (import "libc" "mem" (memory 1))
    (import "" "new" (func $new (result i64)))
    (import "" "read" (func $read (param i32 i32 i32) (result i32)))
    (import "" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "" "drop-r" (func $drop-r (param i32)))
    (import "" "drop-w" (func $drop-w (param i32)))
    (import "" "give" (func $give (param i32)))
    (import "" "all" (func $all (param i32 i32)))
    ;; gives `n` elements that are the bytes it was given
    (func (export "source") (param $at i32) (param $bytes i32) (param $n i32) (local $pair i64) (local $w i32)
      (local.set $pair (call $new))
      (local.set $w (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))
      (call $give (i32.wrap_i64 (local.get $pair)))
      (drop (call $write (local.get $w) (local.get $at) (local.get $n)))
      (call $drop-w (local.get $w)))
    ;; the bytes of up to `n` elements of `size` bytes
    (func (export "sink") (param $r i32) (param $n i32) (param $size i32) (local $ret i32)
      (local.set $ret (call $read (local.get $r) (i32.const 1024) (local.get $n)))
      (call $drop-r (local.get $r))
      (call $all (i32.const 1024) (i32.mul (i32.shr_u (local.get $ret) (i32.const 4)) (local.get $size)))))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "" (instance
    (export "new" (func $new)) (export "read" (func $read)) (export "write" (func $write))
    (export "drop-r" (func $drop-r)) (export "drop-w" (func $drop-w)) (export "give" (func $give))
    (export "all" (func $all))))))
  (func (export "source") async (param "bytes" (list u8)) (param "n" u32) (result $parts)
    (canon lift (core func $i "source") async (memory $mem) (realloc $realloc)))
  (func (export "sink") async (param "s" $parts) (param "n" u32) (param "size" u32) (result (list u8))
    (canon lift (core func $i "sink") async (memory $mem)))
)
"""


@pytest.mark.parametrize(
    "of, given, size, wanted",
    [
        ("(tuple u8 u32)", bytes(range(1, 17)), 8, bytes([1, 0, 0, 0, 5, 6, 7, 8, 9, 0, 0, 0, 13, 14, 15, 16])),
        ("(flags \"x\" \"y\")", b"\1\2\3", 1, b"\1\2\3"),
        ("(flags \"x\" \"y\")", b"\1\6\7", 1, b"\1\2\3"),
        ("(record (field \"x\" bool) (field \"y\" u8))", b"\1\7\0\5", 2, b"\1\7\0\5"),
        ("(record (field \"x\" bool) (field \"y\" u8))", b"\1\7\4\5", 2, b"\1\7\1\5"),
        ("(enum \"a\" \"b\")", b"\0\1\1", 1, b"\0\1\1"),
        ("(enum \"a\" \"b\")", b"\0\2\1", 1, "discriminant"),
        ("(option u8)", b"\1\7\0\5", 2, b"\1\7\0\0"),
        ("(tuple char)", "xä€\N{CRAB}".encode("utf-32-le"), 4, "xä€\N{CRAB}".encode("utf-32-le")),
        ("(tuple char)", b"x\0\0\0\0\xd8\0\0", 4, "character|char|scalar"),
    ],
)  # fmt: skip
def test_from_guest_to_guest(of, given, size, wanted):
    guest = component(TEXT.replace("{libc}", LIBC).replace("{of}", of))

    async def main():
        async with rt.open_store(engine()) as store:
            one, two = [await rt.Linker(engine()).instantiate_async(store, guest) for _ in range(2)]
            stream = await one.exports["source"](given, len(given) // size)
            if isinstance(wanted, str):
                with pytest.raises(rt.Trap, match=wanted):
                    await two.exports["sink"](stream, 100, size)
            else:
                assert await two.exports["sink"](stream, 100, size) == wanted

    trio.run(main)
