"""Random component types with random values, as text for an encoder and as values for both engines.

Variants always have two cases without a payload and results the same type on both sides: wasmtime's Python interface
gives a value of a variant with its tag only where the classes of two cases overlap, and so they always do.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence

import attrs

from tests.wast.component_values import Const

__all__ = ["Type", "TypeSource"]

_INTEGERS = {
    "u8": (0, 255), "s8": (-128, 127), "u16": (0, 65535), "s16": (-32768, 32767), "u32": (0, 2**32 - 1),
    "s32": (-(2**31), 2**31 - 1), "u64": (0, 2**64 - 1), "s64": (-(2**63), 2**63 - 1),
}  # fmt: skip
_SIZES = {
    "bool": 1,
    "u8": 1,
    "s8": 1,
    "u16": 2,
    "s16": 2,
    "u32": 4,
    "s32": 4,
    "u64": 8,
    "s64": 8,
    "f32": 4,
    "f64": 8,
    "char": 4,
}
_SCALARS = tuple(_SIZES)
_CHARACTERS = "aZ09 \n\0éÿŁ☃\ud7ff\ue000\uffff\U00010000\U0001f980\U0010ffff"
_FLOATS = (0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, 2.0**-149, 3.0e38, 65504.0)


@attrs.frozen
class Type:
    """`text` refers to it in a component's text; `parts` are fields, elements or cases (None: no payload)."""

    kind: str
    text: str
    parts: tuple[tuple[str, Type | None], ...] = ()

    @property
    def types(self) -> list[Type]:
        return [part for _, part in self.parts if part is not None]

    @property
    def flat(self) -> list[str]:
        """Core types of the flattened value (CanonicalABI.md, "Flattening")."""
        match self.kind:
            case "u64" | "s64":
                return ["i64"]
            case "f32" | "f64":
                return [self.kind]
            case "string" | "list":
                return ["i32", "i32"]
            case "record" | "tuple":
                return [core for part in self.types for core in part.flat]
            case "variant" | "option" | "result":
                joined: list[str] = []
                for part in self.types:
                    for i, core in enumerate(part.flat):
                        if i < len(joined):
                            joined[i] = _join(joined[i], core)
                        else:
                            joined.append(core)
                return ["i32", *joined]
        return ["i32"]

    @property
    def layout(self) -> tuple[int, int]:
        """Size and alignment in memory (CanonicalABI.md, "Element Size", "Alignment"), for 32-bit pointers."""
        match self.kind:
            case "string" | "list":
                return 8, 4
            case "enum":
                return 1, 1
            case "flags":
                size = 1 if len(self.parts) <= 8 else 2 if len(self.parts) <= 16 else 4
                return size, size
            case "record" | "tuple":
                end = align = 1
                end = 0
                for size, own in (part.layout for part in self.types):
                    end = _up(end, own) + size
                    align = max(align, own)
                return _up(end, align), align
            case "variant" | "option" | "result":
                layouts = [part.layout for part in self.types]
                align = max([1, *(own for _, own in layouts)])
                return _up(_up(1, align) + max([0, *(size for size, _ in layouts)]), align), align
        return _SIZES[self.kind], _SIZES[self.kind]


def _up(offset: int, align: int) -> int:
    return (offset + align - 1) // align * align


def _join(a: str, b: str) -> str:
    if a == b:
        return a
    return "i32" if {a, b} == {"i32", "f32"} else "i64"


class TypeSource:
    """Makes types and their values from one generator; `definitions` are those that a component must name."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.definitions: list[tuple[str, str]] = []
        """Name and text, in the order of definition."""

    def type(self, depth: int) -> Type:
        """A type nested at most `depth` deep."""
        makers: list[Callable[[int], Type]] = [self._scalar, self._scalar, self._text]
        if depth > 0:
            makers += [
                self._list,
                self._tuple,
                self._option,
                self._result,
                self._record,
                self._variant,
                self._enum,
                self._flags,
            ]
        return self.rng.choice(makers)(depth - 1)

    def _scalar(self, depth: int) -> Type:
        kind = self.rng.choice(_SCALARS)
        return Type(kind, kind)

    def _text(self, depth: int) -> Type:
        return Type("string", "string")

    def _list(self, depth: int) -> Type:
        element = self.type(depth)
        return Type("list", f"(list {element.text})", (("", element),))

    def _tuple(self, depth: int) -> Type:
        parts = [self.type(depth) for _ in range(self.rng.randrange(1, 5))]
        return Type("tuple", f"(tuple {' '.join(part.text for part in parts)})", tuple(("", part) for part in parts))

    def _option(self, depth: int) -> Type:
        part = self.type(depth)
        return Type("option", f"(option {part.text})", (("none", None), ("some", part)))

    def _result(self, depth: int) -> Type:
        part = self.type(depth) if self.rng.random() < 0.8 else None
        text = f"(result {part.text} (error {part.text}))" if part else "(result)"
        return Type("result", text, (("ok", part), ("err", part)))

    def _named(self, kind: str, text: str, parts: Sequence[tuple[str, Type | None]]) -> Type:
        name = f"t{len(self.definitions)}"
        self.definitions.append((name, text))
        return Type(kind, f"${name}", tuple(parts))

    def _record(self, depth: int) -> Type:
        fields = [(f"f{i}", self.type(depth)) for i in range(self.rng.randrange(1, 6))]
        text = " ".join(f'(field "{name}" {part.text})' for name, part in fields)
        return self._named("record", f"(record {text})", fields)

    def _variant(self, depth: int) -> Type:
        payloads = [(f"c{i}", self.type(depth)) for i in range(self.rng.randrange(1, 5))]
        cases: list[tuple[str, Type | None]] = [*payloads, ("none-a", None), ("none-b", None)]
        self.rng.shuffle(cases)
        text = " ".join(f'(case "{name}" {part.text})' if part else f'(case "{name}")' for name, part in cases)
        return self._named("variant", f"(variant {text})", cases)

    def _labels(self, most: int) -> list[tuple[str, Type | None]]:
        return [(f"n{i}", None) for i in range(self.rng.randrange(1, most))]

    def _enum(self, depth: int) -> Type:
        labels = self._labels(40)
        return self._named("enum", f"(enum {' '.join(repr(name) for name, _ in labels)})".replace("'", '"'), labels)

    def _flags(self, depth: int) -> Type:
        labels = self._labels(33)
        return self._named("flags", f"(flags {' '.join(repr(name) for name, _ in labels)})".replace("'", '"'), labels)

    # ---- values

    def value(self, of: Type) -> Const:
        """A value of a type."""
        rng = self.rng
        match of.kind:
            case "bool":
                return Const("bool", rng.random() < 0.5)
            case "f32" | "f64":
                number = rng.choice(_FLOATS) if rng.random() < 0.6 else rng.uniform(-1e6, 1e6)
                return Const(of.kind, struct.unpack("<f", struct.pack("<f", number))[0] if of.kind == "f32" else number)
            case "char":
                return Const("char", rng.choice(_CHARACTERS))
            case "string":
                return Const("string", "".join(rng.choices(_CHARACTERS[: rng.choice((4, 8, 16))], k=rng.randrange(12))))
            case "list":
                element = of.types[0]
                return Const("list", tuple(self.value(element) for _ in range(rng.choice((0, 1, 2, 3, 9)))))
            case "tuple":
                return Const("tuple", tuple(self.value(part) for part in of.types))
            case "record":
                return Const("record", tuple((name, self.value(part)) for name, part in of.parts if part))
            case "enum":
                return Const("enum", rng.choice(of.parts)[0])
            case "flags":
                return Const("flags", frozenset(name for name, _ in of.parts if rng.random() < 0.4))
            case "variant" | "option" | "result":
                name, part = rng.choice(of.parts)
                return Const(of.kind, self.value(part) if part else None, name)
        low, high = _INTEGERS[of.kind]
        return Const(of.kind, rng.choice((low, high, 0, 1)) if rng.random() < 0.5 else rng.randint(low, high))
