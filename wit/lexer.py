"""WIT text → tokens (WIT.md, "Lexical structure").

One regular expression finds a token, so that a token is a match of a named group and nothing is looked at twice. Only
block comments are beyond it, since they nest. Semantic versions are tokens of their own: `1.0.0` cannot begin
anything else, and `types@1.0.0.{a}` must not take the last dot.

Doc comments (`///` and `/** */`) are kept and handed to the parser with the token they precede.
"""

from __future__ import annotations

import re

import attrs

from wit.errors import Source, Span, WitError

__all__ = ["FORBIDDEN", "KEYWORDS", "Token", "check_characters", "tokenize"]

KEYWORDS = frozenset(
    """as async bool borrow char constructor enum export f32 f64 flags from func future import include interface list
    map option own package record resource result s16 s32 s64 s8 static stream string tuple type u16 u32 u64 u8 use
    variant with world""".split()
)

_SEGMENTS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\r\n]+)
    | (?P<line>//[^\n]*)
    | (?P<block>/\*)
    | (?P<version>[0-9]+\.[0-9]+\.[0-9]+(?:-{_SEGMENTS})?(?:\+{_SEGMENTS})?)
    | (?P<integer>[0-9]+(?![0-9A-Za-z-]))
    | (?P<id>%?[0-9A-Za-z][0-9A-Za-z-]*)
    | (?P<string>"(?:[^"\\\n]|\\[^\n])*")
    | (?P<op>->|[=,:;(){{}}<>*/.@_])
    """,
    re.VERBOSE,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")

# Control codes, bidirectional overrides, and what Unicode deprecates or strongly discourages. (Surrogates are no
# characters at all.)
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
    "\u0149\u0673\u0f77\u0f79\u17a3\u17a4\u17b4\u17b5\u206a-\u206f\u2329\u232a\U000e0001\ud800-\udfff]"
)


@attrs.frozen
class Token:
    """`kind` is `id`, `keyword`, `integer`, `version`, `string`, `end`, or the operator itself.

    `text` is the source text, for identifiers without the `%`. `docs` is the doc comment that stands before the token.
    """

    kind: str
    text: str
    start: int
    end: int
    docs: str | None = None


def check_characters(source: Source) -> None:
    """Raise `WitError` at the first character that no WIT file may hold."""
    bad = FORBIDDEN.search(source.text)
    if bad is None:
        return
    code = ord(bad[0])
    if code < 0xA0:
        what = "control code"
    elif 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069:
        what = "bidirectional override"
    else:
        what = "lone surrogate" if 0xD800 <= code <= 0xDFFF else "deprecated codepoint"
    raise WitError(f"{what} U+{code:04X} is not allowed in WIT", Span(source, bad.start(), bad.end()))


def tokenize(source: Source) -> list[Token]:
    """All tokens of the document, an `end` token last. Raises `WitError` at what is no token."""
    check_characters(source)
    text = source.text
    tokens: list[Token] = []
    docs: list[str] = []
    match_token = _TOKEN.match
    position = 0
    while position < len(text):
        match = match_token(text, position)
        if match is None:
            raise _no_token(source, position)
        kind = match.lastgroup
        start, position = position, match.end()
        if kind == "space":
            continue
        if kind == "line":
            comment = match[0]
            if comment.startswith("///") and not comment.startswith("////"):
                docs.append(_line_docs(comment))
            continue
        if kind == "block":
            position = _block_end(source, start)
            comment = text[start:position]
            if comment.startswith("/**") and len(comment) > 4 and comment[3] not in "*/":
                docs.extend(_block_docs(comment))
            continue
        word = match[0]
        if kind == "id":
            if word[0] == "%":
                word = word[1:]
            elif word in KEYWORDS:
                kind = "keyword"
        elif kind == "op":
            kind = word
        assert kind is not None
        tokens.append(Token(kind, word, start, position, "\n".join(docs) or None))
        docs.clear()
    tokens.append(Token("end", "", len(text), len(text), "\n".join(docs) or None))
    return tokens


def _no_token(source: Source, position: int) -> WitError:
    span = Span(source, position, position + 1)
    character = source.text[position]
    if character == '"':
        return WitError("unterminated string", span)
    if character == "%":
        return WitError("expected an identifier after `%`", span)
    return WitError(f"unexpected character {character!r}", span)


def _block_end(source: Source, start: int) -> int:
    """The offset behind the block comment that opens at `start`; comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(source.text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise WitError("unterminated block comment", Span(source, start, start + 2))


def _line_docs(comment: str) -> str:
    return comment[3:].removeprefix(" ").rstrip()


def _block_docs(comment: str) -> list[str]:
    """The lines of a `/** */` comment without its frame and the indentation that all lines share."""
    lines = [line.strip() for line in comment[3:-2].splitlines()]
    starred = all(line.startswith("*") for line in lines[1:] if line)
    if starred:
        lines = [lines[0], *(line[1:].removeprefix(" ") for line in lines[1:])]
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    return lines
