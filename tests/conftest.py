"""Shared by all tests: a code cache of their own, and what the conformance scripts came to."""

from __future__ import annotations

import os
import tempfile
from collections import Counter

import pytest

from tests.wast.tally import Tally

# What a user's programs left in the cache must not matter, nor grow. Processes that tests start inherit it.
_CACHE = tempfile.TemporaryDirectory(prefix="component-rt-tests-")
os.environ.setdefault("COMPONENT_RT_CACHE", _CACHE.name)

# user_properties travel from xdist's workers to the process that writes the summary
_PROPERTY = "conformance"


@pytest.fixture
def conformance(record_property, request):
    """Call with a suite's label and a `Tally`: it is summed up at the end, and every failure fails the test."""

    def check(label: str, tally: Tally) -> None:
        record_property(_PROPERTY, [label, tally.passed, tally.total, tally.texts_equal, tally.texts])
        assert tally.total == tally.passed, tally.report()

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    sums: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    label, *figures = value
                    fields = ("passed", "total", "texts_equal", "texts")
                    sums.setdefault(label, Counter()).update(dict(zip(fields, figures)))
    for label, total in sorted(sums.items()):
        line = f"conformance {label}: {total['passed']} of {total['total']}"
        if total["texts"]:
            line += f" (wording of refusals as in the suite: {total['texts_equal']} of {total['texts']})"
        terminalreporter.write_line(line)
