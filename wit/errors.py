"""`WitError`, and the places in WIT text that it points at.

An error prints as `file:line:column: message`, then the source line with carets, then what might help. Lines and
columns count from 1; columns count Unicode scalar values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from core_rt.errors import WasmError

__all__ = ["Source", "Span", "WitError", "near_name"]


_CONTEXT = 100
"""How much of a line is shown before a span, and half of how much is shown at most."""


@attrs.frozen(eq=False)
class Source:
    """One WIT document: `name` is what errors call it (a path, or `<text>`), `text` its whole content."""

    name: str
    text: str = attrs.field(repr=False)


@attrs.frozen
class Span:
    """The half-open range `start..end` (offsets in characters) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line number of `start`, from 1."""
        return self.source.text.count("\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """Column of `start`, from 1."""
        return self.start - (self.source.text.rfind("\n", 0, self.start) + 1) + 1

    @property
    def text(self) -> str:
        """The characters inside the span."""
        return self.source.text[self.start : self.end]

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.source.name}:{self.line}:{self.column}"

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.source, self.start, other.end)

    def excerpt(self) -> str:
        """The first line of the span with carets below what the span covers; of a long line the part around it."""
        text = self.source.text
        begin = text.rfind("\n", 0, self.start) + 1
        stop = text.find("\n", self.start)
        stop = len(text) if stop < 0 else stop
        before, behind = "", ""
        if self.start - begin > _CONTEXT:
            begin, before = self.start - _CONTEXT // 2, "…"
        if stop - begin > 2 * _CONTEXT:
            stop, behind = begin + 2 * _CONTEXT, "…"
        number = str(self.line)
        # A tab has the same width in both lines only if both lines have it.
        lead = "".join("\t" if c == "\t" else " " for c in before + text[begin : self.start])
        carets = "^" * max(1, min(self.end, stop) - self.start)
        margin = " " * len(number)
        return f"{number} | {before}{text[begin:stop].rstrip()}{behind}\n{margin} | {lead}{carets}"


@attrs.define(eq=False, init=False, repr=False, slots=False)
class WitError(WasmError):
    """WIT text or a WIT package that breaks a rule of WIT.md.

    `message` says what, `span` where (None for a package that came from elsewhere than text), `help` what to do about
    it, `related` other places that matter, each with a word on why.
    """

    message: str
    span: Span | None
    help: str | None
    related: tuple[tuple[str, Span], ...]

    def __init__(
        self,
        message: str,
        span: Span | None = None,
        help: str | None = None,
        related: Sequence[tuple[str, Span]] = (),
    ) -> None:
        super().__init__(message, span, help, tuple(related))
        self.message = message
        self.span = span
        self.help = help
        self.related = tuple(related)

    def __str__(self) -> str:
        lines = [self.message if self.span is None else f"{self.span.place}: {self.message}\n{self.span.excerpt()}"]
        lines += [f"{span.place}: {word}\n{span.excerpt()}" for word, span in self.related]
        if self.help is not None:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)


def near_name(name: str, known: Iterable[str]) -> str | None:
    """A help text that offers the known name nearest to `name`, or None where none is near."""
    import difflib  # rarely needed

    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None
