"""What a script's run comes to."""

from __future__ import annotations

from pathlib import Path

import attrs

__all__ = ["CommandFailed", "Tally"]


class CommandFailed(Exception):
    """The runtime did something else than the script wants."""


@attrs.define
class Tally:
    """Counted commands, those that passed, and what went wrong where."""

    script: Path
    total: int = 0
    passed: int = 0
    failures: list[tuple[int, str]] = attrs.field(factory=list)
    texts: int = 0
    """Messages compared with the script's wording where only the kind of error is binding."""
    texts_equal: int = 0
    strange_texts: list[tuple[int, str]] = attrs.field(factory=list)

    def record(self, line: int, failure: str | None) -> None:
        self.total += 1
        if failure is None:
            self.passed += 1
        else:
            self.failures.append((line, failure))

    def compare_text(self, line: int, wanted: str | None, message: str) -> None:
        """Counts agreement of wording; does not fail anything."""
        if wanted is None:
            return
        self.texts += 1
        if same_text(wanted, message):
            self.texts_equal += 1
        else:
            self.strange_texts.append((line, f"wanted {wanted!r}, got {message.splitlines()[0]!r}"))

    def report(self, shown: int = 20) -> str:
        """One line per failure."""
        lines = [f"{self.script.name}:{line}: {failure}" for line, failure in self.failures[:shown]]
        more = len(self.failures) - shown
        if more > 0:
            lines.append(f"... and {more} more")
        return "\n".join([f"{self.passed} of {self.total} commands passed", *lines])


def same_text(wanted: str, message: str) -> bool:
    """The suites give prefixes, and at times more detail than an implementation has."""
    first = message.splitlines()[0] if message else ""
    wanted = wanted.removeprefix("wasm trap: ")
    return wanted in first or (bool(first) and wanted.startswith(first))
