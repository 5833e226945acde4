"""The core suite, every script in both tiers. There is no list of expected failures."""

from __future__ import annotations

from pathlib import Path

import pytest

import core_rt
from tests.wast.core import run_core_script
from tests.wast.suites import MISSING, scripts, suite

# Folders whose instructions the compiler does not emit yet: decoded and validated, not run.
LATER = ("exceptions",)

SCRIPTS = scripts("core")


def _name(path: Path) -> str:
    folder = suite("core")
    assert folder is not None
    return str(path.relative_to(folder).with_suffix(""))


def _is_later(path: Path) -> bool:
    return _name(path).split("/")[0] in LATER


NOW = [path for path in SCRIPTS if not _is_later(path)]


def test_suite_is_present():
    if not SCRIPTS:
        pytest.skip(MISSING)
    assert len(NOW) > 90


@pytest.mark.parametrize("tier", ["lazy", "optimized"])
@pytest.mark.parametrize("path", NOW, ids=_name)
def test_script(path, tier, conformance):
    engine = core_rt.Engine(core_rt.Config(tiers=tier, cache=False))
    conformance(f"core, {tier} tier", run_core_script(path, engine))


@pytest.mark.parametrize("path", [path for path in SCRIPTS if _is_later(path)], ids=_name)
def test_script_decodes_and_validates(path, conformance):
    engine = core_rt.Engine(core_rt.Config(cache=False))
    conformance("core, decoded and validated only", run_core_script(path, engine, execute=False))
