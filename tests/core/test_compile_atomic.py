"""Atomic instructions on one thread: values, widths, alignment."""

from __future__ import annotations

import pytest

import core_rt
from tests.core.support import World

OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "xchg": lambda a, b: b,
}
WIDTHS = {("i32", ""): 32, ("i64", ""): 64} | {
    (t, str(w)): w for t, most in (("i32", 16), ("i64", 32)) for w in (8, 16, 32) if w <= most
}
START, OPERAND = 0x8899AABBCCDDEEFF, 0x1122334455667788


@pytest.fixture(scope="module", params=["lazy", "optimized"])
def exports(request):
    functions = []
    for (t, width), _ in WIDTHS.items():
        u = "_u" if width else ""
        for name in OPERATIONS:
            functions.append(
                f'(func (export "{t}.{width}.{name}") (param i32 {t}) (result {t})'
                f" ({t}.atomic.rmw{width}.{name}{u} (local.get 0) (local.get 1)))"
            )
        functions.append(
            f'(func (export "{t}.{width}.cmpxchg") (param i32 {t} {t}) (result {t})'
            f" ({t}.atomic.rmw{width}.cmpxchg{u} (local.get 0) (local.get 1) (local.get 2)))"
            f'(func (export "{t}.{width}.load") (param i32) (result {t})'
            f" ({t}.atomic.load{width}{u} offset=1 (local.get 0)))"
            f'(func (export "{t}.{width}.store") (param i32 {t})'
            f" ({t}.atomic.store{width} (local.get 0) (local.get 1)))"
        )
    world = World(core_rt.Config(tiers=request.param, cache=False))
    exports = world.load(f'(module (memory (export "m") 1) {"".join(functions)} (func (export "fence") atomic.fence))')
    exports["fence"]()
    return exports


def put(exports, value=START):
    exports["m"].write(0, value.to_bytes(8, "little"))


def got(exports):
    return int.from_bytes(exports["m"].read(0, 8), "little")


@pytest.mark.parametrize(("t", "width"), WIDTHS, ids="".join)
def test_read_modify_write(exports, t, width):
    bits = WIDTHS[t, width]
    mask = (1 << bits) - 1
    operand = OPERAND & ((1 << int(t[1:])) - 1)
    for name, operation in OPERATIONS.items():
        put(exports)
        assert exports[f"{t}.{width}.{name}"].call_raw([0, operand]) == [START & mask], name
        assert got(exports) == START & ~mask | operation(START & mask, operand & mask) & mask, name


@pytest.mark.parametrize(("t", "width"), WIDTHS, ids="".join)
def test_compare_and_exchange(exports, t, width):
    bits = WIDTHS[t, width]
    mask = (1 << bits) - 1
    name = f"{t}.{width}.cmpxchg"
    put(exports)
    assert exports[name].call_raw([0, START & mask, OPERAND & mask]) == [START & mask]
    assert got(exports) == START & ~mask | OPERAND & mask
    put(exports)
    assert exports[name].call_raw([0, 1, OPERAND & mask]) == [START & mask]
    assert got(exports) == START
    if bits < int(t[1:]):  # of a wider expected value, what is above the access does not count
        put(exports)
        assert exports[name].call_raw([0, START & mask | 1 << bits, 0]) == [START & mask]
        assert got(exports) == START & ~mask


@pytest.mark.parametrize(("t", "width"), WIDTHS, ids="".join)
def test_loads_and_stores(exports, t, width):
    bits = WIDTHS[t, width]
    mask = (1 << bits) - 1
    size = bits // 8
    put(exports, 0)
    exports[f"{t}.{width}.store"].call_raw([0, OPERAND & ((1 << int(t[1:])) - 1)])
    assert got(exports) == OPERAND & mask
    exports["m"].write(size, (START & mask).to_bytes(size, "little"))
    assert exports[f"{t}.{width}.load"].call_raw([size - 1]) == [START & mask]
    if size > 1:
        for wrong in (f"{t}.{width}.store", f"{t}.{width}.xchg"):
            with pytest.raises(core_rt.Trap) as caught:
                exports[wrong](1, 0)
            assert caught.value.code is core_rt.TrapCode.HEAP_MISALIGNED
        with pytest.raises(core_rt.Trap):
            exports[f"{t}.{width}.load"](0)
    with pytest.raises(core_rt.Trap) as caught:
        exports[f"{t}.{width}.store"](65536, 0)
    assert caught.value.code is core_rt.TrapCode.MEMORY_OUT_OF_BOUNDS
