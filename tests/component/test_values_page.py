"""The tables of docs/values.md: every expression is evaluated, and goes through a guest's memory."""

from __future__ import annotations

import re
from array import array
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import component_rt as rt
import wit
from component_rt import types as t
from component_rt.values import adopt, class_of

from .fake_guest import FakeGuest
from .guests import engine

PAGE = (Path(__file__).parents[2] / "docs" / "values.md").read_text("utf-8")
SECTION = PAGE.partition("## One of each")[2].partition("\n## ")[0]
WIT = re.findall(r"```wit\n(.*?)```", SECTION, re.DOTALL)[0]
ROWS = [
    tuple([re.findall(r"`([^`]+)`", cell.replace(r"\|", "|")) for cell in re.split(r" (?<!\\)\| ", line.strip("| "))])
    for line in SECTION.splitlines()
    if line.startswith("| `")
]


def types() -> tuple[dict[str, t.ValType], list[t.ValType]]:
    """The named types of the page's interface, and those of the rows."""
    functions = "".join(f"  f{i}: func(v: {kind[0]});\n" for i, (kind, _, _) in enumerate(ROWS))
    package = wit.parse(WIT.rstrip().removesuffix("}") + functions + "}\n")
    found = rt.Component(engine(), wit.encode(package)).validated.type.exports["api"]
    exports = found.t.exports["docs:values/api"].exports  # type: ignore[union-attr]
    named = {name: of.t for name, of in exports.items() if isinstance(of, t.TypeBound)}
    return named, [exports[f"f{i}"].params[0][1] for i in range(len(ROWS))]


NAMED, TYPES = types()
API = SimpleNamespace(**{name.capitalize(): class_of(of) for name, of in NAMED.items()})
for case in API.Shape.__cases__:
    setattr(API, case.__name__, case)
NAMES = {"api": API, "array": array, "Fraction": Fraction, "SimpleNamespace": SimpleNamespace}
NAMES |= {name: getattr(rt, name) for name in ("Case", "Err", "Ok", "Some")}


def value(text: str) -> Any:
    return eval(text, NAMES)


@pytest.mark.parametrize("index", range(len(ROWS)), ids=lambda i: f"{i}-{ROWS[i][0][0]}")
def test_row(index: int) -> None:
    _, given, (wanted,) = ROWS[index]
    guest = FakeGuest()
    for text in given:
        (argument,) = guest.pass_arguments([TYPES[index]], [value(text)])
        assert argument == value(wanted)
        assert type(argument) is type(value(wanted))


def test_the_table_has_every_type() -> None:
    kinds = {of.kind for of in TYPES}
    assert kinds >= {of.kind for of in t.PRIMITIVES.values()} - {"error-context"}
    assert kinds >= {"list", "tuple", "record", "variant", "enum", "flags", "option", "result", "map"}


def test_a_class_of_ones_own() -> None:
    class Pair:
        def __init__(self, left: int, right: int) -> None:
            self.left, self.right = left, right

    adopt("record", "own-pair", "left", "right")(Pair)
    of = t.RecordType([("left", t.U8), ("right", t.U8)]).named(t.TypeName("own-pair"))
    (got,) = FakeGuest().pass_arguments([of], [{"left": 1, "right": 2}])
    assert type(got) is Pair
    assert (got.left, got.right) == (1, 2)
