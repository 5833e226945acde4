"""The suite's scripts do the same whatever thread runs next: seeded orders in place of first come, first served."""

from __future__ import annotations

import random

import pytest

import component_rt as rt
import core_rt
from component_rt.tasks.scheduler import Scheduler
from tests.wast.component import run_component_script
from tests.wast.suites import MISSING, scripts

# `async-calls-sync` numbers calls in the order in which they are let in, which the specification leaves open.
NAMES = (
    "big-interleaving-test",
    "cancel-subtask",
    "empty-wait",
    "partial-stream-copies",
    "sync-barges-in",
    "sync-streams",
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_any_order_passes(name, seed, monkeypatch):
    path = next((path for path in scripts("component-model") if path.stem == name), None)
    if path is None:
        pytest.skip(MISSING)
    make = Scheduler.__init__

    def seeded(self, core):
        make(self, core)
        self.choose = random.Random(seed).randrange

    monkeypatch.setattr(Scheduler, "__init__", seeded)
    tally = run_component_script(path, rt.Engine(core_rt.Config(cache=False)))
    assert tally.passed == tally.total, tally.report()
