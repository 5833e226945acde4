"""Commands of a script, with their modules encoded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from .reader import List, ScriptError, Source, Text, read

# Older scripts use index forms that the encoder refuses unless told otherwise; it reads its environment once.
os.environ.setdefault("WAST_STRICT_COMPONENT_INDICES", "0")

import wasmtime

__all__ = [
    "Action",
    "AssertModule",
    "AssertOutcome",
    "AssertReturn",
    "Command",
    "Define",
    "Instantiate",
    "ModuleSource",
    "Register",
    "load_script",
    "parse_script",
]

ParseValue = Callable[[List], object]


@attrs.frozen
class ModuleSource:
    """A module or component as it stands in a script."""

    kind: str
    """`module` or `component`."""
    form: str
    """`text`, `binary` or `quote`."""
    wasm: bytes | None = attrs.field(repr=False)
    error: str | None
    """What the encoder said when there is no `wasm`."""


@attrs.frozen
class Command:
    """`line`: where it starts in the script."""

    line: int


@attrs.frozen
class Define(Command):
    """`(module definition $name ...)`."""

    name: str | None
    source: ModuleSource


@attrs.frozen
class Instantiate(Command):
    """`(module $name ...)`, or `(module instance $name $definition)`: `source` is then a definition's name or None."""

    name: str | None
    kind: str
    source: ModuleSource | str | None


@attrs.frozen
class Register(Command):
    """`(register "name" $instance)`."""

    as_name: str
    instance: str | None


@attrs.frozen
class Action(Command):
    """`(invoke ...)` or, with `arguments` None, `(get ...)`."""

    instance: str | None
    field: str
    arguments: tuple[object, ...] | None


@attrs.frozen
class AssertReturn(Command):
    action: Action
    expected: tuple[object, ...]


@attrs.frozen
class AssertOutcome(Command):
    """`assert_trap`, `assert_exhaustion`, `assert_exception`; instantiating a module traps too."""

    outcome: str
    subject: Action | ModuleSource
    text: str | None


@attrs.frozen
class AssertModule(Command):
    """`assert_malformed`, `assert_invalid`, `assert_unlinkable`."""

    outcome: str
    module: ModuleSource
    text: str | None


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _encode(text: bytes) -> bytes:
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        if "confusing" not in str(error):
            raise
    # Bidirectional controls written raw inside strings are refused, their escapes are not.
    return bytes(wasmtime.wat2wasm(re.sub(rb"[\x80-\xff]", lambda match: b"\\%02x" % match[0][0], text)))


def _encoded(kind: str, form: str, text: bytes) -> ModuleSource:
    try:
        return ModuleSource(kind, form, _encode(text), None)
    except wasmtime.WasmtimeError as error:
        return ModuleSource(kind, form, None, str(error).strip())


class _Parser:
    def __init__(self, source: Source, parse_value: ParseValue) -> None:
        self.source = source
        self.parse_value = parse_value

    def commands(self) -> Iterator[Command]:
        nodes = read(self.source)
        heads = {node.head for node in nodes}
        if not any(head in _COMMANDS or head.startswith("assert_") for head in heads):
            # a script may be one module without its parentheses
            module = _encoded("module", "text", self.source.text.encode("utf-8", "surrogateescape"))
            yield Instantiate(1, None, "module", module)
            return
        yield from map(self.command, nodes)

    def command(self, node: List) -> Command:
        head = node.head
        if head.startswith("assert_"):
            return self.assertion(node)
        parse = _COMMANDS.get(head)
        if parse is None:
            raise self.source.error(node, f"unknown command {head!r}")
        return parse(self, node)

    def name_at(self, node: List, index: int) -> str | None:
        item = node.items[index] if index < len(node.items) else None
        return item if type(item) is str and item.startswith("$") else None

    def string_at(self, node: List, index: int) -> str:
        item = node.items[index] if index < len(node.items) else None
        if not isinstance(item, Text):
            raise self.source.error(node, f"string expected as item {index} of {node.head}")
        return _utf8(item)

    def module(self, node: List) -> Command:
        line, keyword = self.source.line(node.start), node.items[1] if len(node.items) > 1 else None
        if keyword == "instance":
            return Instantiate(line, self.name_at(node, 2), node.head, self.name_at(node, 3))
        if keyword == "definition":
            return Define(line, self.name_at(node, 2), self.module_source(node, 2))
        return Instantiate(line, self.name_at(node, 1), node.head, self.module_source(node, 1))

    def module_source(self, node: List, index: int, *, encode_quoted: bool = True) -> ModuleSource:
        """`index`: the first item after `module` or `module definition`."""
        kind, items = node.head, node.items
        if self.name_at(node, index):
            index += 1
        form = items[index] if index < len(items) and items[index] in ("binary", "quote") else "text"
        if form == "text":
            text = re.sub(rb"\A\((module|component)\s+definition\b", rb"(\1", self.source.slice(node))
            return _encoded(kind, form, text)
        parts = [item for item in items[index + 1 :] if isinstance(item, Text)]
        if form == "binary":
            return ModuleSource(kind, form, b"".join(parts), None)
        if not encode_quoted:
            return ModuleSource(kind, "quote", None, "not encoded")
        body = b" ".join(parts)
        return _encoded(kind, "quote", b"(component " + body + b")" if kind == "component" else body)

    def register(self, node: List) -> Register:
        return Register(self.source.line(node.start), self.string_at(node, 1), self.name_at(node, 2))

    def action(self, node: List) -> Action:
        instance = self.name_at(node, 1)
        first = 2 if instance else 1
        arguments = self.values(node, first + 1) if node.head == "invoke" else None
        return Action(self.source.line(node.start), instance, self.string_at(node, first), arguments)

    def values(self, node: List, first: int) -> tuple[object, ...]:
        values = []
        for item in node.items[first:]:
            if not isinstance(item, List):
                raise self.source.error(node, f"value expected, not {item!r}")
            values.append(self.parse_value(item))
        return tuple(values)

    def assertion(self, node: List) -> Command:
        outcome, line = node.head.removeprefix("assert_"), self.source.line(node.start)
        subject = node.items[1] if len(node.items) > 1 else None
        if not isinstance(subject, List):
            raise self.source.error(node, f"{node.head} without a subject")
        text = self.string_at(node, 2) if len(node.items) > 2 and outcome != "return" else None
        match outcome, subject.head:
            case "return", "invoke" | "get":
                return AssertReturn(line, self.action(subject), self.values(node, 2))
            case "trap" | "exhaustion" | "exception", "invoke" | "get":
                return AssertOutcome(line, outcome, self.action(subject), text)
            case "trap", "module" | "component":
                return AssertOutcome(line, outcome, self.module_source(subject, 1), text)
            case "malformed", "module" | "component":
                # a quoted one tests a text parser: nothing of ours reads it
                return AssertModule(line, outcome, self.module_source(subject, 1, encode_quoted=False), text)
            case "invalid" | "unlinkable", "module" | "component":
                return AssertModule(line, outcome, self.module_source(subject, 1), text)
        raise self.source.error(node, f"unknown {node.head} of {subject.head!r}")


_COMMANDS: dict[str, Callable[[_Parser, List], Command]] = {
    "module": _Parser.module,
    "component": _Parser.module,
    "register": _Parser.register,
    "invoke": _Parser.action,
    "get": _Parser.action,
}


def parse_script(raw: bytes, parse_value: ParseValue) -> Sequence[Command]:
    """Commands of a script in order; `parse_value` reads constants and result patterns. Raises `ScriptError`."""
    return list(_Parser(Source(raw), parse_value).commands())


def load_script(path: Path, parse_value: ParseValue) -> Sequence[Command]:
    """As `parse_script`, from a file."""
    try:
        return parse_script(path.read_bytes(), parse_value)
    except ScriptError as error:
        raise ScriptError(f"{path.name}: {error}") from None
