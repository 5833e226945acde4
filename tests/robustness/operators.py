"""Operators for the generator of random modules, written down from the specification's index of instructions.

Kept apart from the engine's own table, so that a wrong row there is found here.
"""

from __future__ import annotations

import attrs

__all__ = ["BY_RESULT", "F32", "F64", "I32", "I64", "LOADS", "STORES", "V128", "VECTOR_BY_RESULT", "Operator"]

I32, I64, F32, F64, V128 = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B


@attrs.frozen
class Operator:
    code: bytes
    params: tuple[int, ...]
    result: int
    traps: str = ""
    """`divide` or `truncate`: traps for some operands."""
    makes_nan: bool = False
    """The bits of a NaN it gives are not determined."""
    equal: bytes = b""
    """For vectors that may hold such NaNs: the comparison of their lanes."""


def _row(start: int, count: int, params: tuple[int, ...], result: int, makes_nan: bool = False) -> list[Operator]:
    return [Operator(bytes([code]), params, result, makes_nan=makes_nan) for code in range(start, start + count)]


def _division(code: int, kind: int) -> Operator:
    return Operator(bytes([code]), (kind, kind), kind, "divide")


_OPERATORS = [
    *_row(0x45, 1, (I32,), I32),
    *_row(0x46, 10, (I32, I32), I32),
    *_row(0x50, 1, (I64,), I32),
    *_row(0x51, 10, (I64, I64), I32),
    *_row(0x5B, 6, (F32, F32), I32),
    *_row(0x61, 6, (F64, F64), I32),
    *_row(0x67, 3, (I32,), I32),
    *_row(0x6A, 3, (I32, I32), I32),
    *(_division(code, I32) for code in range(0x6D, 0x71)),
    *_row(0x71, 8, (I32, I32), I32),
    *_row(0x79, 3, (I64,), I64),
    *_row(0x7C, 3, (I64, I64), I64),
    *(_division(code, I64) for code in range(0x7F, 0x83)),
    *_row(0x83, 8, (I64, I64), I64),
    *_row(0x8B, 2, (F32,), F32),  # abs, neg
    *_row(0x8D, 5, (F32,), F32, True),
    *_row(0x92, 6, (F32, F32), F32, True),
    *_row(0x98, 1, (F32, F32), F32),  # copysign
    *_row(0x99, 2, (F64,), F64),
    *_row(0x9B, 5, (F64,), F64, True),
    *_row(0xA0, 6, (F64, F64), F64, True),
    *_row(0xA6, 1, (F64, F64), F64),
    *_row(0xA7, 1, (I64,), I32),
    *(Operator(bytes([0xA8 + n]), (F32 if n < 2 else F64,), I32, "truncate") for n in range(4)),
    *_row(0xAC, 2, (I32,), I64),
    *(Operator(bytes([0xAE + n]), (F32 if n < 2 else F64,), I64, "truncate") for n in range(4)),
    *_row(0xB2, 2, (I32,), F32),
    *_row(0xB4, 2, (I64,), F32),
    *_row(0xB6, 1, (F64,), F32, True),
    *_row(0xB7, 2, (I32,), F64),
    *_row(0xB9, 2, (I64,), F64),
    *_row(0xBB, 1, (F32,), F64, True),
    *_row(0xBC, 1, (F32,), I32),
    *_row(0xBD, 1, (F64,), I64),
    *_row(0xBE, 1, (I32,), F32),
    *_row(0xBF, 1, (I64,), F64),
    *_row(0xC0, 2, (I32,), I32),
    *_row(0xC2, 3, (I64,), I64),
    *(Operator(bytes([0xFC, n]), (F32 if n % 4 < 2 else F64,), I32 if n < 4 else I64) for n in range(8)),
]


def _by_result(operators: list[Operator]) -> dict[int, list[Operator]]:
    table: dict[int, list[Operator]] = {}
    for operator in operators:
        table.setdefault(operator.result, []).append(operator)
    return table


BY_RESULT = _by_result(_OPERATORS)

# type -> (code, log2 of the natural alignment)
LOADS = {
    I32: [(0x28, 2), (0x2C, 0), (0x2D, 0), (0x2E, 1), (0x2F, 1)],
    I64: [(0x29, 3), (0x30, 0), (0x31, 0), (0x32, 1), (0x33, 1), (0x34, 2), (0x35, 2)],
    F32: [(0x2A, 2)],
    F64: [(0x2B, 3)],
}
STORES = {
    I32: [(0x36, 2), (0x3A, 0), (0x3B, 1)],
    I64: [(0x37, 3), (0x3C, 0), (0x3D, 1), (0x3E, 2)],
    F32: [(0x38, 2)],
    F64: [(0x39, 3)],
}


def _vector(code: int, *params: int, result: int = V128) -> Operator:
    low = code & 0x7F
    raw = bytes([low]) if code < 0x80 else bytes([low | 0x80, code >> 7])
    return Operator(b"\xfd" + raw, params, result)


def _lane(code: int, lanes: int, *params: int, result: int = V128) -> list[Operator]:
    raw = _vector(code).code
    return [Operator(raw + bytes([lane]), params, result) for lane in {0, lanes // 2, lanes - 1}]


_F32X4_EQUAL, _F64X2_EQUAL = b"\xfd\x41", b"\xfd\x47"


def _floats(codes: tuple[int, ...], equal: bytes, *params: int) -> list[Operator]:
    return [attrs.evolve(_vector(code, *params), makes_nan=True, equal=equal) for code in codes]


def _shuffle(lanes: list[int]) -> Operator:
    return Operator(b"\xfd\x0d" + bytes(lanes), (V128, V128), V128)


_VECTOR_OPERATORS = [
    _vector(0x0E, V128, V128),  # swizzle
    *(_vector(0x0F + n, (I32, I32, I32, I64, F32, F64)[n]) for n in range(6)),  # splat
    *(_vector(code, V128, V128) for code in range(0x23, 0x4D)),  # compare
    _vector(0x4D, V128),
    *(_vector(code, V128, V128) for code in range(0x4E, 0x52)),
    _vector(0x52, V128, V128, V128),
    _vector(0x53, V128, result=I32),
    *(_vector(code, V128) for code in (0x60, 0x61, 0x62, 0x80, 0x81, 0xA0, 0xA1, 0xC0, 0xC1)),  # abs, neg, popcnt
    *(_vector(base + n, V128, result=I32) for base in (0x63, 0x83, 0xA3, 0xC3) for n in (0, 1)),  # all_true, bitmask
    *(_vector(base + n, V128, I32) for base in (0x6B, 0x8B, 0xAB, 0xCB) for n in range(3)),  # shifts
    *(_vector(code, V128, V128) for code in (0x65, 0x66, *range(0x6E, 0x74), *range(0x76, 0x7A), 0x7B)),
    *(_vector(code, V128, V128) for code in (0x82, 0x85, 0x86, *range(0x8E, 0x94), *range(0x95, 0x9A), 0x9B)),
    *(_vector(code, V128, V128) for code in (*range(0x9C, 0xA0), 0xAE, 0xB1, *range(0xB5, 0xBB), *range(0xBC, 0xC0))),
    *(_vector(code, V128, V128) for code in (0xCE, 0xD1, 0xD5, *range(0xD6, 0xE0))),
    *(_vector(code, V128) for code in (*range(0x7C, 0x80), *range(0x87, 0x8B), *range(0xA7, 0xAB), *range(0xC7, 0xCB))),
    *(_vector(code, V128) for code in (0xE0, 0xE1, 0xEC, 0xED, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)),
    *(op for code, n, kind in ((0x15, 16, I32), (0x16, 16, I32), (0x18, 8, I32), (0x19, 8, I32), (0x1B, 4, I32),
      (0x1D, 2, I64), (0x1F, 4, F32), (0x21, 2, F64)) for op in _lane(code, n, V128, result=kind)),
    *(op for code, n, kind in ((0x17, 16, I32), (0x1A, 8, I32), (0x1C, 4, I32), (0x1E, 2, I64), (0x20, 4, F32),
      (0x22, 2, F64)) for op in _lane(code, n, V128, kind)),
    *_floats((0x67, 0x68, 0x69, 0x6A, 0xE3), _F32X4_EQUAL, V128),  # roundings, sqrt
    *_floats((0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9), _F32X4_EQUAL, V128, V128),  # add ... max
    *_floats((0x74, 0x75, 0x7A, 0x94, 0xEF), _F64X2_EQUAL, V128),
    *_floats((0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5), _F64X2_EQUAL, V128, V128),
    *_floats((0x5E,), _F32X4_EQUAL, V128),  # demote, promote
    *_floats((0x5F,), _F64X2_EQUAL, V128),
    *(_vector(code, V128, V128) for code in (0xEA, 0xEB, 0xF6, 0xF7)),  # pmin, pmax
    *_floats((0x105, 0x106), _F32X4_EQUAL, V128, V128, V128),  # relaxed multiply and add
    *_floats((0x107, 0x108), _F64X2_EQUAL, V128, V128, V128),
    *_floats((0x10D, 0x10E), _F32X4_EQUAL, V128, V128),  # relaxed min, max
    *_floats((0x10F, 0x110), _F64X2_EQUAL, V128, V128),
    *(_vector(code, V128) for code in range(0x101, 0x105)),  # relaxed truncation
    *(_vector(code, V128, V128, V128) for code in (0x109, 0x10A, 0x10B, 0x10C, 0x113)),  # laneselect, dot and add
    *(_vector(code, V128, V128) for code in (0x100, 0x111, 0x112)),  # swizzle, q15mulr, dot
    *(_shuffle(lanes) for lanes in (
        [*range(16)], [*range(31, 15, -1)], [*range(0, 32, 2)], [*range(3, 19)], [0] * 16, [7, 30] * 8,
        [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23], [4, 5, 6, 7, 20, 21, 22, 23, 0, 1, 2, 3, 16, 17, 18, 19],
        [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14])),
]  # fmt: skip

VECTOR_LOADS = [
    (0x00, 4),
    *((code, 3) for code in range(1, 7)),
    (0x07, 0),
    (0x08, 1),
    (0x09, 2),
    (0x0A, 3),
    (0x5C, 2),
    (0x5D, 3),
]
"""(code after the prefix, log2 of the natural alignment): whole, extended, splat, with zeros."""
LANE_ACCESSES = [(0x54, 0x58, 0, 16), (0x55, 0x59, 1, 8), (0x56, 0x5A, 2, 4), (0x57, 0x5B, 3, 2)]
"""(load, store, alignment, lanes)"""
VECTOR_BY_RESULT = _by_result(_VECTOR_OPERATORS)
