"""Constants and result patterns of core scripts.

`raw` is what `Func.call_raw` takes (unsigned bit patterns, references as objects); `accepts` says whether what it gave
back is what the script wants.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import attrs

import core_rt

from .literals import float_bits, int_value
from .reader import List, ScriptError

__all__ = ["Pattern", "host_object", "parse_value"]


class Pattern(Protocol):
    """A constant, or what a result must look like."""

    @property
    def raw(self) -> object: ...

    def accepts(self, got: object) -> bool: ...


@attrs.frozen
class HostObject:
    """What `(ref.extern n)` and `(ref.host n)` stand for."""

    number: int


@functools.cache
def host_object(number: int) -> HostObject:
    """One object per number, so that results compare by identity."""
    return HostObject(number)


@attrs.frozen
class Bits:
    """A number of `width` bits, unsigned."""

    width: int
    raw: int

    def accepts(self, got: object) -> bool:
        return type(got) is int and got == self.raw


@attrs.frozen
class Nan:
    """`nan:canonical`: only the top bit of the payload is set; `nan:arithmetic`: at least that one."""

    width: int
    canonical: bool

    @property
    def raw(self) -> object:
        raise ScriptError("a NaN pattern is no argument")

    def accepts(self, got: object) -> bool:
        if type(got) is not int:
            return False
        mantissa = 23 if self.width == 32 else 52
        quiet = ((1 << self.width) - 1) >> 1 & ~((1 << (mantissa - 1)) - 1)  # exponent and top payload bit
        unsigned = got & ((1 << self.width) - 1) >> 1
        return unsigned == quiet if self.canonical else unsigned & quiet == quiet


@attrs.frozen
class Vector:
    """A v128, lane 0 in the lowest bits."""

    width: int
    lanes: tuple[Bits | Nan, ...]

    @property
    def raw(self) -> int:
        total = 0
        for index, lane in enumerate(self.lanes):
            assert isinstance(lane, Bits), "a NaN pattern is no argument"
            total |= lane.raw << index * self.width
        return total

    def accepts(self, got: object) -> bool:
        if type(got) is not int or got >> 128:
            return False
        mask = (1 << self.width) - 1
        return all(lane.accepts(got >> index * self.width & mask) for index, lane in enumerate(self.lanes))


@attrs.frozen
class Null:
    """`(ref.null t)`; the type is not observable."""

    raw: None = None

    def accepts(self, got: object) -> bool:
        return got is None


@attrs.frozen
class Host:
    """`(ref.extern n)`, `(ref.host n)`."""

    number: int

    @property
    def raw(self) -> HostObject:
        return host_object(self.number)

    def accepts(self, got: object) -> bool:
        return got is host_object(self.number)


@attrs.frozen
class AnyRef:
    """`(ref.func)`, `(ref.struct)` ...: some reference of that kind that is not null."""

    kind: str

    @property
    def raw(self) -> object:
        raise ScriptError(f"{self.kind} is no argument")

    def accepts(self, got: object) -> bool:
        if self.kind == "ref.func":
            return isinstance(got, core_rt.Func)
        # an i31 is an int in Python, and may stand wherever any reference may
        return got is not None and (type(got) is not int or self.kind not in ("ref.struct", "ref.array", "ref.exn"))


@attrs.frozen
class Either:
    """Relaxed instructions may give one of several results."""

    choices: tuple[Pattern, ...]

    @property
    def raw(self) -> object:
        raise ScriptError("`either` is no argument")

    def accepts(self, got: object) -> bool:
        return any(choice.accepts(got) for choice in self.choices)


_SHAPES = {"i8x16": 8, "i16x8": 16, "i32x4": 32, "i64x2": 64, "f32x4": 32, "f64x2": 64}


def _number(kind: str, text: str, width: int) -> Bits | Nan:
    if kind == "i":
        return Bits(width, int_value(text) & ((1 << width) - 1))
    if text in ("nan:canonical", "nan:arithmetic"):
        return Nan(width, text == "nan:canonical")
    return Bits(width, float_bits(text, width))


def _atoms(items: Sequence[object]) -> list[str]:
    if not all(type(item) is str for item in items):
        raise ScriptError(f"numbers expected, not {items!r}")
    return [str(item) for item in items]


def parse_value(node: List) -> Pattern:
    """A core constant or result pattern."""
    head, items = node.head, node.items[1:]
    match head:
        case "i32.const" | "i64.const" | "f32.const" | "f64.const":
            return _number(head[0], _atoms(items)[0], int(head[1:3]))
        case "v128.const":
            shape, *lanes = _atoms(items)
            width = _SHAPES[shape]
            if len(lanes) * width != 128:
                raise ScriptError(f"{len(lanes)} lanes for {shape}")
            return Vector(width, tuple(_number(shape[0], lane, width) for lane in lanes))
        case "ref.null":
            return Null()
        case "ref.extern" | "ref.host" if items:
            return Host(int_value(_atoms(items)[0]))
        case "either":
            return Either(tuple(parse_value(item) for item in items if isinstance(item, List)))
        case _ if head.startswith("ref."):
            return AnyRef(head)
    raise ScriptError(f"unknown value form {head!r}")
