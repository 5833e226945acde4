"""Bad text is refused with `WitError`, whatever it is; large text takes time in proportion."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wit
from tests.wit.cases import inputs
from wit.bindgen import generate
from wit.loader import load_text

SEEDS = [p.read_text(encoding="utf-8") for folder in ("cases", "errors") for p in inputs(folder) if p.suffix == ".wit"]
WORDS = """package interface world use include with import export func async static constructor resource record variant
enum flags type list map tuple option result stream future own borrow u8 string error-context a b:c d/e @1.0.0 %list
@since(version @unstable(feature = ) { } ( ) < > , ; : -> . / _ /// /** */ " \\u{41} 7""".split()


def attempt(text: str) -> bool:
    try:
        document = load_text(text)
    except wit.WitError as error:
        assert str(error)
        return False
    assert wit.parse(wit.to_text(document)) == document
    return True


def test_mutated_texts() -> None:
    rng = random.Random(3)
    parsed = 0
    for _ in range(3000):
        text = rng.choice(SEEDS)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text) + 1)
            match rng.randrange(4):
                case 0:
                    text = text[:at] + text[at + rng.randint(1, 12) :]
                case 1:
                    text = text[:at] + rng.choice(WORDS) + " " + text[at:]
                case 2:
                    other = rng.choice(SEEDS)
                    start = rng.randrange(len(other))
                    text = text[:at] + other[start : start + rng.randint(1, 40)] + text[at:]
                case 3:
                    text = text[:at] + chr(rng.choice([0, 10, 34, 92, 0x202E, 0xE9, 0x10FFFF])) + text[at:]
        parsed += attempt(text)
    assert parsed > 20


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_any_words(text: str) -> None:
    attempt(text)
    attempt("package a:b; interface i { " + text)
    attempt("package a:b; world w { " + text)


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_any_text(text: str) -> None:
    attempt(text)


@pytest.mark.parametrize(
    "text",
    [
        "package a:b; interface i { type t0 = u8; "
        + "".join(f"type t{n + 1} = list<t{n}>; " for n in range(3000))
        + "}",
        "package a:b; interface i { type t0 = u8; "
        + "".join(f"type t{n + 1} = tuple<t{n}, t{n}, t{n}>; " for n in range(3000))
        + "}",
        "package a:b; interface i0 { type t = u8; } "
        + "".join(f"interface i{n + 1} {{ use i{n}.{{t}}; }} " for n in range(200)),
        "package a:b; world w0 { import f: func(); } "
        + "".join(f"world w{n + 1} {{ include w{n}; }} " for n in range(500)),
        "package a:b; " + "".join(f"package p{n}:q {{ interface i {{}} }} " for n in range(1500)),
        "package a:b; interface i { " + "".join(f"f{n}: func(a: u8); " for n in range(8000)) + "}",
        "package a:b; interface i { record r { " + "".join(f"f{n}: u8, " for n in range(8000)) + "} }",
        "package a:b; " + "/*" * 50_000,
        "package a:b; interface i { type t = " + "list<" * 50_000,
        "use a as b; " * 5000,
        "",
    ],
    ids=[
        "list-chain",
        "tuple-chain",
        "use-chain",
        "include-chain",
        "packages",
        "functions",
        "fields",
        "comments",
        "nesting",
        "uses",
        "nothing",
    ],
)
def test_long_texts(text: str) -> None:
    begin = time.process_time()
    if attempt(text):
        document = load_text(text)
        for world in document.root.worlds.values():
            generate(world)
        if document.root.interfaces or document.root.worlds:
            assert wit.decode(wit.encode(document)) == document.root
    assert time.process_time() - begin < 20
