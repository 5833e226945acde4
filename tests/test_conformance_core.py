"""The core suite, every script in both tiers. There is no list of expected failures."""

from __future__ import annotations

from pathlib import Path

import pytest

import core_rt
from tests.wast.core import run_core_script
from tests.wast.suites import MISSING, scripts, suite

SCRIPTS = scripts("core")


def _name(path: Path) -> str:
    folder = suite("core")
    assert folder is not None
    return str(path.relative_to(folder).with_suffix(""))


def test_suite_is_present():
    if not SCRIPTS:
        pytest.skip(MISSING)
    assert len(SCRIPTS) > 250


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_script(path, tier, conformance):
    engine = core_rt.Engine(core_rt.Config(tiers=tier, cache=False))
    conformance(f"core, {tier} tier", run_core_script(path, engine))
