"""The short version of `python -m tests.robustness.mutate`; $MUTATIONS says how many cases."""

from __future__ import annotations

import os

import pytest

from tests.robustness.supervise import supervise
from tests.wast.suites import MISSING, suite


@pytest.mark.parametrize("name", ["core", "component-model"])
def test_damaged_binaries_are_refused(name):
    if suite(name) is None:
        pytest.skip(MISSING)
    from tests.robustness.mutate import run

    count = int(os.environ.get("MUTATIONS", "1500"))
    report = run(count, seed=20, suite=name)
    assert not report.findings, str(report)
    assert report.cases == count
    # damage must leave enough binaries valid for the later phases to be reached at all
    assert len(report.outcomes) > 3


def test_supervisor_sees_deaths_silence_and_failures():
    report = supervise("tests.robustness.faulty_worker", [], 8, silence=1.0)
    assert report.outcomes == {"fine": 5}
    whats = {finding.index: finding.what for finding in report.findings}
    assert sorted(whats) == [2, 4, 6]
    assert "ZeroDivisionError at faulty_worker.py" in whats[2]
    assert "SIGSEGV" in whats[4]
    assert "no answer" in whats[6]
