"""WAVE, the text form of component values: `{name: "Ada", tags: [a, b]}`. Reading and writing are led by the type.

Grammar (the encoding that the component model's tools share):

    bool `true`; numbers `-12` `1.5e3` `nan` `inf` `-inf`; char `'x'`; string `"a\\n\\u{1f600}"`, or several lines
    between triple quotes; tuple `(1, "x")`; list `[1, 2]`; record `{field: 1}` (fields of option type may be left out,
    `{:}` leaves out all); variant and enum `case` `case(1)`; option `some(1)` `none`, or just `1` where that cannot be
    mistaken; result `ok(1)` `err("x")` `ok`, or just `1` likewise; flags `{read, write}`; `%` before a label that looks
    like something else; `//` begins a comment. A trailing comma is fine.

Values read are those that lowering accepts: records as mappings, enums and flags by label, variants as `Case`.
Recursion goes as deep as the type, which the runtime bounds.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from component_rt import types as t
from component_rt.values import Case, Err, Ok, Some
from core_rt.errors import WasmError
from wit.names import kebab_to_snake

__all__ = ["Call", "WaveError", "parse_arguments", "parse_call", "parse_numbers", "parse_value", "to_text"]


class WaveError(WasmError):
    """The text is no value of the wanted type; `position` is a character offset into it."""

    def __init__(self, message: str, text: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.position = position

    def __str__(self) -> str:
        line_start = self.text.rfind("\n", 0, self.position) + 1
        line_end = self.text.find("\n", self.position)
        line = self.text[line_start : line_end if line_end >= 0 else None]
        return f"{self.message}\n  {line}\n  {' ' * (self.position - line_start)}^"


_TOKEN = re.compile(
    r"""
    (?P<space>(?:\s|//[^\n]*)+)
  | (?P<number>-?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9a-zA-Z_])|[0-9][0-9a-zA-Z_]*|inf(?![0-9a-zA-Z-])))
  | (?P<label>%?[a-zA-Z][0-9a-zA-Z]*(?:-[0-9a-zA-Z]+)*)
  | (?P<multiline>\"\"\"\r?\n.*?\"\"\")
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<char>'(?:[^'\\\n]|\\u\{[0-9a-fA-F]+\}|\\.)')
  | (?P<mark>[()\[\]{},:=])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_RESERVED = frozenset({"true", "false", "some", "none", "ok", "err", "inf", "nan"})

_INTEGERS = {f"{sign}{bits}": (sign == "s", bits) for sign in "su" for bits in (8, 16, 32, 64)}


@attrs.frozen
class _Token:
    kind: str
    text: str
    position: int


@attrs.frozen
class Call:
    """`name(arguments)` taken apart: the name as it was written, and where its arguments begin in `text`."""

    name: str
    text: str
    start: int
    """Offset of the opening parenthesis; the text's length if there is none."""


def parse_call(text: str) -> Call:
    """Split an invocation; without parentheses it has no arguments. Raises `WaveError` if there is no name."""
    start = text.find("(")
    if start < 0:
        start = len(text)
    name = text[:start].strip()
    if not name:
        raise WaveError("expected the name of a function", text, 0)
    return Call(name, text, start)


def parse_arguments(call: Call, params: Sequence[tuple[str, t.ValType]]) -> list[Any]:
    """The arguments of a call by the parameters' names and types. Options at the end may be left out."""
    parser = _Parser(call.text, call.start)
    values: list[Any] = []
    if parser.peek().kind != "end":
        parser.expect("(")
        while not parser.accept(")"):
            if len(values) == len(params):
                raise parser.error(f"`{call.name}` takes {_count(len(params), 'argument')}")
            values.append(parser.value(params[len(values)][1]))
            if not parser.accept(","):
                parser.expect(")")
                break
        parser.end()
    while len(values) < len(params) and isinstance(params[len(values)][1], t.OptionType):
        values.append(None)
    if len(values) < len(params):
        wanted = ", ".join(f"{name}: {kind}" for name, kind in params)
        message = f"`{call.name}` takes {_count(len(params), 'argument')} ({wanted}), got {len(values)}"
        raise WaveError(message, call.text, max(len(call.text) - 1, 0))
    return values


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def parse_numbers(call: Call) -> list[int | float]:
    """The arguments of a call of a core function: numbers only, integers also as `0x…`."""
    rest = call.text[call.start :].strip()
    if not rest:
        return []
    if not rest.endswith(")"):
        raise WaveError("expected `)`", call.text, len(call.text) - 1)
    values: list[int | float] = []
    for piece in filter(None, (part.strip() for part in rest[1:-1].split(","))):
        try:
            values.append(int(piece, 0))
        except ValueError:
            try:
                values.append(float(piece))
            except ValueError:
                raise WaveError(f"`{piece}` is no number", call.text, call.text.find(piece)) from None
    return values


def parse_value(text: str, kind: t.ValType) -> Any:
    """One value. Raises `WaveError` if the text is no value of the type."""
    parser = _Parser(text, 0)
    value = parser.value(kind)
    parser.end()
    return value


class _Parser:
    """Recursive descent over tokens; one method per family of types."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.tokens: list[_Token] = []
        self.next = 0
        position = start
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise WaveError(f"unexpected character {text[position]!r}", text, position)
            kind = match.lastgroup or ""
            if kind != "space":
                self.tokens.append(_Token(kind, match.group(), position))
            position = match.end()
        self.tokens.append(_Token("end", "", len(text)))

    def peek(self) -> _Token:
        return self.tokens[self.next]

    def take(self) -> _Token:
        token = self.tokens[self.next]
        if token.kind != "end":
            self.next += 1
        return token

    def accept(self, mark: str) -> bool:
        token = self.peek()
        if token.kind == "mark" and token.text == mark:
            self.next += 1
            return True
        return False

    def error(self, message: str, token: _Token | None = None) -> WaveError:
        return WaveError(message, self.text, (token or self.peek()).position)

    def wanted(self, what: object) -> WaveError:
        found = self.peek()
        return self.error(f"expected {what}, found {f'`{found.text}`' if found.text else 'the end'}")

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.wanted(f"`{mark}`")

    def end(self) -> None:
        if self.peek().kind != "end":
            raise self.wanted("the end")

    def keyword(self) -> str:
        """The text of a label that comes next unescaped, else `""`."""
        token = self.peek()
        return token.text if token.kind == "label" else ""

    def label(self, what: str) -> tuple[str, _Token]:
        token = self.peek()
        if token.kind != "label" and token.text != "inf":
            raise self.wanted(what)
        self.next += 1
        return token.text.removeprefix("%"), token

    def value(self, kind: t.ValType) -> Any:
        read = _READERS.get(kind.kind)
        if read is None:
            raise self.error(f"a value of type `{kind}` cannot be written as text")
        return read(self, kind)

    # -- scalars -----------------------------------------------------------------------------------------------------

    def boolean(self, kind: t.ValType) -> bool:
        word = self.keyword()
        if word not in ("true", "false"):
            raise self.wanted("`true` or `false`")
        self.next += 1
        return word == "true"

    def integer(self, kind: t.ValType) -> int:
        token = self.peek()
        if token.kind != "number" or not re.fullmatch(r"-?(?:0|[1-9][0-9]*)", token.text):
            raise self.wanted(f"a number ({kind.kind})")
        if len(token.text) > 25:
            raise self.error(f"{token.text[:20]}… is out of range for {kind.kind}")
        value = int(token.text)
        signed, bits = _INTEGERS[kind.kind]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if not low <= value <= high:
            raise self.error(f"{value} is out of range for {kind.kind} ({low} to {high})")
        self.next += 1
        return value

    def float(self, kind: t.ValType) -> float:
        token = self.peek()
        if token.text in ("nan", "inf", "-inf"):
            self.next += 1
            return float(token.text)
        if token.kind != "number" or not _NUMBER.fullmatch(token.text):
            raise self.wanted(f"a number ({kind.kind})")
        value = float(token.text)
        if kind.kind == "f32":
            try:
                value = struct.unpack("<f", struct.pack("<f", value))[0]
            except OverflowError:
                value = math.copysign(math.inf, value)
        self.next += 1
        return value

    def unescape(self, body: str, token: _Token) -> str:
        def replace(match: re.Match[str]) -> str:
            code, letter = match.groups()
            if code is not None:
                point = int(code, 16)
                if point > 0x10FFFF or 0xD800 <= point < 0xE000:
                    raise self.error(f"\\u{{{code}}} is no Unicode scalar value", token)
                return chr(point)
            if letter not in _ESCAPES:
                raise self.error(f"unknown escape `\\{letter}`", token)
            return _ESCAPES[letter]

        return _ESCAPE.sub(replace, body)

    def char(self, kind: t.ValType) -> str:
        token = self.peek()
        if token.kind != "char":
            raise self.wanted("a character such as 'x'")
        self.next += 1
        return self.unescape(token.text[1:-1], token)

    def string(self, kind: t.ValType) -> str:
        token = self.peek()
        if token.kind == "multiline":
            self.next += 1
            return self.unescape(self.dedent(token), token)
        if token.kind != "string":
            raise self.wanted('a string such as "x"')
        self.next += 1
        return self.unescape(token.text[1:-1], token)

    def dedent(self, token: _Token) -> str:
        """The lines between triple quotes, less the indentation of the closing ones."""
        lines = token.text[3:-3].replace("\r\n", "\n").split("\n")[1:]
        indent = lines.pop()
        if indent.strip(" "):
            raise self.error("the closing quotes must stand on a line of their own", token)
        for line in lines:
            if line and not line.startswith(indent):
                raise self.error("a line is indented less than the closing quotes", token)
        return "\n".join(line[len(indent) :] for line in lines)

    # -- compounds ---------------------------------------------------------------------------------------------------

    def sequence(self, closing: str, item: Callable[[int], Any]) -> list[Any]:
        """Items separated by commas up to a closing mark, which is taken."""
        items: list[Any] = []
        while not self.accept(closing):
            items.append(item(len(items)))
            if not self.accept(","):
                self.expect(closing)
                break
        return items

    def list(self, kind: Any) -> list[Any]:
        opening = self.peek()
        self.expect("[")
        items = self.sequence("]", lambda index: self.value(kind.t))
        if kind.length is not None and len(items) != kind.length:
            raise self.error(f"`{kind}` has {kind.length} elements, not {len(items)}", opening)
        return items

    def map(self, kind: Any) -> dict[Any, Any]:
        self.expect("[")
        pair = t.TupleType((kind.k, kind.v))
        return dict(self.sequence("]", lambda index: self.value(pair)))

    def tuple(self, kind: Any) -> tuple[Any, ...]:
        opening = self.peek()
        self.expect("(")

        def item(index: int) -> Any:
            if index == len(kind.ts):
                raise self.error(f"`{kind}` has {len(kind.ts)} elements")
            return self.value(kind.ts[index])

        items = self.sequence(")", item)
        if len(items) != len(kind.ts):
            raise self.error(f"`{kind}` has {len(kind.ts)} elements, not {len(items)}", opening)
        return tuple(items)

    def record(self, kind: Any) -> dict[str, Any]:
        fields = {field.label: field.t for field in kind.fields}
        opening = self.peek()
        self.expect("{")
        found: dict[str, Any] = {}
        if self.accept(":"):
            self.expect("}")
        else:

            def item(index: int) -> None:
                label, token = self.label("a field")
                if label not in fields:
                    raise self.error(f"`{kind}` has no field `{label}`", token)
                if label in found:
                    raise self.error(f"field `{label}` is given twice", token)
                self.expect(":")
                found[label] = self.value(fields[label])

            self.sequence("}", item)
        for label, field in fields.items():
            if label not in found:
                if not isinstance(field, t.OptionType):
                    raise self.error(f"field `{label}` ({field}) is missing", opening)
                found[label] = None
        return {kebab_to_snake(label): found[label] for label in fields}

    def flags(self, kind: Any) -> frozenset[str]:
        self.expect("{")
        found: set[str] = set()

        def item(index: int) -> str:
            label, token = self.label("a flag")
            if label in found:
                raise self.error(f"flag `{label}` is given twice", token)
            found.add(label)
            if label not in kind.labels:
                raise self.error(f"`{kind}` has no flag `{label}`; it has {', '.join(kind.labels)}", token)
            return label

        return frozenset(self.sequence("}", item))

    def enum(self, kind: Any) -> str:
        label, token = self.label(f"one of {', '.join(kind.labels)}")
        if label not in kind.labels:
            raise self.error(f"`{label}` is none of {', '.join(kind.labels)}", token)
        return label

    def payload(self, kind: t.ValType | None) -> Any:
        if kind is None:
            return None
        self.expect("(")
        value = self.value(kind)
        self.accept(",")
        self.expect(")")
        return value

    def variant(self, kind: Any) -> Case:
        cases = {case.label: case.t for case in kind.cases}
        label, token = self.label(f"one of {', '.join(cases)}")
        if label not in cases:
            raise self.error(f"`{label}` is none of {', '.join(cases)}", token)
        return Case(label, self.payload(cases[label]))

    def option(self, kind: Any) -> Any:
        nested = isinstance(kind.t, t.OptionType)
        word = self.keyword()
        if word == "none":
            self.next += 1
            return None
        if word == "some":
            self.next += 1
            value = self.payload(kind.t)
            return Some(value) if nested else value
        if isinstance(kind.t, t.OptionType | t.ResultType):
            raise self.wanted("`some(…)` or `none`")
        return self.value(kind.t)

    def result(self, kind: Any) -> Any:
        word = self.keyword()
        if word == "ok":
            self.next += 1
            return Ok(self.payload(kind.ok))
        if word == "err":
            self.next += 1
            return Err(self.payload(kind.error))
        if kind.ok is None or isinstance(kind.ok, t.OptionType | t.ResultType):
            raise self.wanted("`ok` or `err`")
        return Ok(self.value(kind.ok))


_READERS: dict[str, Callable[[_Parser, Any], Any]] = {
    "bool": _Parser.boolean,
    **dict.fromkeys(_INTEGERS, _Parser.integer),
    "f32": _Parser.float,
    "f64": _Parser.float,
    "char": _Parser.char,
    "string": _Parser.string,
    "list": _Parser.list,
    "map": _Parser.map,
    "tuple": _Parser.tuple,
    "record": _Parser.record,
    "flags": _Parser.flags,
    "enum": _Parser.enum,
    "variant": _Parser.variant,
    "option": _Parser.option,
    "result": _Parser.result,
}


# ---- writing ---------------------------------------------------------------------------------------------------------


def to_text(value: Any, kind: t.ValType) -> str:
    """A value of a type as WAVE text; handles, streams and futures are shown as `<…>`, which cannot be read back."""
    write = _WRITERS.get(kind.kind)
    return f"<{kind}>" if write is None else write(value, kind)


def _label(label: str) -> str:
    return f"%{label}" if label in _RESERVED else label


def _escape(text: str, quote: str) -> str:
    out = []
    for char in text:
        if char in (quote, "\\"):
            out.append(f"\\{char}")
        elif char in "\n\r\t":
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char])
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{{{ord(char):x}}}")
    return f"{quote}{''.join(out)}{quote}"


def _float(value: float, kind: t.ValType) -> str:
    value = float(value)
    if value != value:
        return "nan"
    text = _shortest_f32(value) if kind.kind == "f32" else repr(value)
    return text.removesuffix(".0")


def _shortest_f32(value: float) -> str:
    """The shortest text that gives this value back after rounding to 32 bits."""
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        try:
            if struct.unpack("<f", struct.pack("<f", float(text)))[0] == value:
                return repr(float(text))
        except OverflowError:
            continue
    return repr(value)


def _case(label: str, kind: t.ValType | None, value: Any) -> str:
    return _label(label) if kind is None else f"{_label(label)}({to_text(value, kind)})"


def _keyword_case(word: str, kind: t.ValType | None, value: Any) -> str:
    return word if kind is None else f"{word}({to_text(value, kind)})"


def _write_record(value: Any, kind: Any) -> str:
    def get(label: str) -> Any:
        name = kebab_to_snake(label)
        return value[name] if isinstance(value, dict) else getattr(value, name)

    return "{" + ", ".join(f"{f.label}: {to_text(get(f.label), f.t)}" for f in kind.fields) + "}"


def _write_enum(value: Any, kind: Any) -> str:
    return _label(value if isinstance(value, str) else kind.labels[value.value])


def _write_flags(value: Any, kind: Any) -> str:
    if isinstance(value, frozenset | set):
        names = [label for label in kind.labels if label in value]
    else:
        names = [label for bit, label in enumerate(kind.labels) if value.value >> bit & 1]
    return "{" + ", ".join(map(_label, names)) + "}"


def _write_variant(value: Any, kind: Any) -> str:
    payload = next(case.t for case in kind.cases if case.label == value.label)
    return _case(value.label, payload, getattr(value, "value", None))


def _write_option(value: Any, kind: Any) -> str:
    if value is None:
        return "none"
    return f"some({to_text(value.value if isinstance(value, Some) else value, kind.t)})"


def _write_result(value: Any, kind: Any) -> str:
    if isinstance(value, Err):
        return _keyword_case("err", kind.error, value.value)
    return _keyword_case("ok", kind.ok, value.value if isinstance(value, Ok) else value)


def _write_map(value: Any, kind: Any) -> str:
    return "[" + ", ".join(f"({to_text(k, kind.k)}, {to_text(v, kind.v)})" for k, v in value.items()) + "]"


_WRITERS: dict[str, Callable[[Any, Any], str]] = {
    "bool": lambda value, kind: "true" if value else "false",
    **dict.fromkeys(_INTEGERS, lambda value, kind: str(int(value))),
    "f32": _float,
    "f64": _float,
    "char": lambda value, kind: _escape(value, "'"),
    "string": lambda value, kind: _escape(value, '"'),
    "list": lambda value, kind: "[" + ", ".join(to_text(item, kind.t) for item in value) + "]",
    "map": _write_map,
    "tuple": lambda value, kind: "(" + ", ".join(map(to_text, value, kind.ts)) + ")",
    "record": _write_record,
    "flags": _write_flags,
    "enum": _write_enum,
    "variant": _write_variant,
    "option": _write_option,
    "result": _write_result,
}
