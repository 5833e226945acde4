"""A hostile guest can make the host trap, never crash, hang or take more memory than there is reason for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component_rt import types as t
from component_rt.abi import writer
from component_rt.abi.unit import MAX_LIFTED
from component_rt.handles import CallScope
from core_rt.errors import Trap

from .fake_guest import FakeGuest
from .test_abi_round_trip import TYPES


@settings(max_examples=200, deadline=None)
@given(TYPES, st.integers(0, 2**32 - 1), st.sampled_from([4, 8]))
def test_garbage_lifts_or_traps(of: t.ValType, seed: int, pointer: int) -> None:
    guest = FakeGuest(4096, pointer=pointer)
    rng = random.Random(seed)
    guest.cx.memory.bytes[:] = rng.randbytes(4096)
    # small numbers here and there, so that addresses and lengths have a chance to be good
    for at in range(0, 4096, 4):
        if rng.random() < 0.5:
            guest.cx.memory.bytes[at : at + 4] = rng.randrange(64).to_bytes(4, "little")
    guest.cx.buffer[:] = rng.randbytes(len(guest.cx.buffer))
    lift, lower = guest.signatures([of], of)
    for what, signature, index in (("callee", lift, 1), ("caller", lower, 0)):
        guest.cx.u64[0] = rng.randrange(0, 4096, 8)
        try:
            guest.code.get(what, signature)(guest.cx)[index](CallScope())
        except Trap:
            pass


def lift_string(encoding: str, data: bytes, units: int, address: int = 32) -> object:
    guest = FakeGuest(1024, encoding=encoding)
    guest.cx.memory.bytes[address : address + len(data)] = data
    _, lower = guest.signatures([t.STRING], None)
    guest.cx.u32[0], guest.cx.u32[4] = address, units
    return guest.code.get("caller", lower)(guest.cx)[0](CallScope())[0][0]


@pytest.mark.parametrize(
    ("encoding", "data", "units", "address", "message"),
    [
        ("utf8", b"\xff", 1, 32, "invalid utf-8"),
        ("utf8", b"\xc3", 1, 32, "incomplete utf-8 byte sequence"),
        ("utf8", b"\xed\xa0\x80", 3, 32, "invalid utf-8"),
        ("utf8", b"", 1, 1024, "string pointer/length out of bounds of memory"),
        ("utf8", b"", 0, 1025, "string pointer/length out of bounds of memory"),
        ("utf8", b"", 0xFFFFFFFF, 32, "string pointer/length out of bounds of memory"),
        ("utf16", b"\0\xd8", 1, 32, "invalid utf-16"),
        ("utf16", b"", 1, 33, "pointer not aligned"),
        ("latin1+utf16", b"\0\xdc", 1 | 1 << 31, 32, "invalid utf-16"),
        ("latin1+utf16", b"a", 1, 33, "pointer not aligned"),
    ],
)
def test_bad_strings(encoding: str, data: bytes, units: int, address: int, message: str) -> None:
    with pytest.raises(Trap, match=message):
        lift_string(encoding, data, units, address)


@pytest.mark.parametrize(
    ("encoding", "data", "units", "text"),
    [
        ("utf8", "hö☃".encode(), 6, "hö☃"),
        ("utf16", "hö🍰".encode("utf-16-le"), 4, "hö🍰"),
        ("latin1+utf16", "hö".encode("latin-1"), 2, "hö"),
        ("latin1+utf16", "hö☃".encode("utf-16-le"), 3 | 1 << 31, "hö☃"),
    ],
)
def test_good_strings(encoding: str, data: bytes, units: int, text: str) -> None:
    assert lift_string(encoding, data, units) == text


def _flat(of: t.ValType, *slots: int) -> object:
    guest = FakeGuest(1024)
    _, lower = guest.signatures([of], None)
    for i, slot in enumerate(slots):
        guest.cx.u64[2 * i] = slot
    return guest.code.get("caller", lower)(guest.cx)[0](CallScope())[0][0]


@pytest.mark.parametrize(
    ("of", "slots", "message"),
    [
        (t.CHAR, [0xD800], "invalid `char` bit pattern"),
        (t.CHAR, [0x110000], "invalid `char` bit pattern"),
        (t.EnumType(["a", "b"]), [2], "invalid variant discriminant"),
        (t.OptionType(t.U8), [2, 0], "invalid variant discriminant"),
        (t.ResultType(), [2], "invalid variant discriminant"),
        (t.VariantType([("a", t.U8)]), [1, 0], "invalid variant discriminant"),
        (t.ListType(t.U32), [6, 0], "pointer not aligned"),
        (t.ListType(t.U32), [1024, 1], "list pointer/length out of bounds of memory"),
        (t.ListType(t.U32), [4, 0xFFFFFFFF], "list pointer/length out of bounds of memory"),
    ],
)
def test_bad_flat_values(of: t.ValType, slots: list[int], message: str) -> None:
    with pytest.raises(Trap, match=message):
        _flat(of, *slots)


@pytest.mark.parametrize(
    ("of", "slot", "want"),
    [(t.BOOL, 2, True), (t.U8, 0xF01, 1), (t.S8, 0xFF, -1), (t.S16, 0x18000, -32768), (t.S32, 0xFFFFFFFF, -1)],
)
def test_high_bits_are_ignored(of: t.ValType, slot: int, want: object) -> None:
    assert _flat(of, slot) == want


def test_lists_that_share_their_bytes_run_out_of_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    # One page of (address, length) pairs, each meaning the page itself: 512 ** 4 lists if nobody counted.
    monkeypatch.setattr(writer, "MAX_LIFTED", 1 << 20)
    guest = FakeGuest(4096)
    guest.cx.memory.bytes[:] = ((0).to_bytes(4, "little") + (512).to_bytes(4, "little")) * 512
    of: t.ValType = t.ListType(t.U8)
    for _ in range(4):
        of = t.ListType(of)
    _, lower = guest.signatures([of], None)
    lift_args, _ = guest.code.get("caller", lower)(guest.cx)
    guest.cx.u32[0], guest.cx.u32[4] = 0, 512
    with pytest.raises(Trap, match="bytes of lists and strings in one call"):
        lift_args(CallScope())


def test_the_budget_is_for_one_call() -> None:
    assert MAX_LIFTED >= 1 << 28
    guest = FakeGuest()
    of = t.ListType(t.STRING)
    for _ in range(3):
        assert guest.pass_arguments([of], [["abc"] * 100]) == (["abc"] * 100,)
    assert MAX_LIFTED - 2000 < guest.cx.budget[0] < MAX_LIFTED
