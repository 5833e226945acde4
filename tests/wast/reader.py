"""Script text to nested lists.

A script is a sequence of s-expressions whose modules are WebAssembly text. Only the script level is understood here:
what stands inside `(module ...)` is handed on as text, so that neither grammar nor numbering of a module matters.
Bytes that are not UTF-8 (some scripts hold them inside comments and strings) pass through as surrogates.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

import attrs

__all__ = ["List", "ScriptError", "Source", "Text", "read", "unescape"]


class ScriptError(Exception):
    """The script itself is not understood."""


class Text(bytes):
    """A string literal, unescaped."""


@attrs.define(eq=False)
class List:
    """A parenthesised list; items are `List`, `Text` or `str` (atoms). `start`, `end`: its place in the source."""

    start: int
    end: int = -1
    items: list[List | Text | str] = attrs.field(factory=list)

    @property
    def head(self) -> str:
        """The leading atom, or an empty string."""
        first = self.items[0] if self.items else ""
        return first if type(first) is str else ""


_TOKEN = re.compile(
    r"""
      [ \t\r\n\f\v]+ | ;;[^\n]*
    | (?P<comment>\(;)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<atom>[^\s()";]+)
    | (?P<atom_semicolon>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"\(;|;\)")
_ESCAPE = re.compile(rb"\\(?:u\{([0-9a-fA-F_]+)\}|([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTER = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b'"': b'"', b"'": b"'", b"\\": b"\\"}


def unescape(token: str) -> Text:
    """The bytes of a quoted string token."""
    raw = token[1:-1].encode("utf-8", "surrogateescape")
    if b"\\" not in raw:
        return Text(raw)

    def one(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return chr(int(match[1].replace(b"_", b""), 16)).encode("utf-8", "surrogatepass")
        if match[2]:
            return bytes([int(match[2], 16)])
        return _LETTER[match[3]]

    return Text(_ESCAPE.sub(one, raw))


class Source:
    """The text of one script, with line numbers."""

    def __init__(self, raw: bytes) -> None:
        self.text = raw.decode("utf-8", "surrogateescape")
        self._line_ends = [match.start() for match in re.finditer("\n", self.text)]

    def line(self, position: int) -> int:
        """Line (from 1) of a position."""
        return bisect.bisect_left(self._line_ends, position) + 1

    def slice(self, node: List) -> bytes:
        """The bytes of a list as they stand in the script."""
        return self.text[node.start : node.end].encode("utf-8", "surrogateescape")

    def error(self, node: List, message: str) -> ScriptError:
        return ScriptError(f"line {self.line(node.start)}: {message}")


def _skip_comment(text: str, position: int) -> int:
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, position)
        if edge is None:
            raise ScriptError("unterminated block comment")
        depth += 1 if edge[0] == "(;" else -1
        position = edge.end()
    return position


def read(source: Source) -> Sequence[List]:
    """The top-level lists of a script; stray atoms between them are an error."""
    text, position = source.text, 0
    root = List(0)
    stack = [root]
    match_token = _TOKEN.match
    while position < len(text):
        match = match_token(text, position)
        if match is None:
            raise ScriptError(f"line {source.line(position)}: bad token {text[position : position + 20]!r}")
        start, position = position, match.end()
        match match.lastgroup:
            case None:
                pass
            case "comment":
                position = _skip_comment(text, position)
            case "open":
                node = List(start)
                stack[-1].items.append(node)
                stack.append(node)
            case "close":
                if len(stack) == 1:
                    raise ScriptError(f"line {source.line(start)}: unbalanced ')'")
                node = stack.pop()
                node.end = position
                if node.head.startswith("@"):  # an annotation means nothing at this level
                    stack[-1].items.pop()
            case "text":
                stack[-1].items.append(unescape(match[0]))
            case _:
                stack[-1].items.append(match[0])
    if len(stack) > 1:
        raise source.error(stack[-1], "unclosed '('")
    lists = [item for item in root.items if isinstance(item, List)]
    if len(lists) != len(root.items):
        raise ScriptError("text outside of parentheses")
    return lists
