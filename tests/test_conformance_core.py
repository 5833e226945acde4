"""The core suite, every script in every tier. There is no list of expected failures."""

from __future__ import annotations

from pathlib import Path

import pytest

import core_rt
from tests.core.tiers import engine_of
from tests.wast.core import run_core_script
from tests.wast.suites import MISSING, scripts, suite

SCRIPTS = scripts("core")
LEAVING = (
    "block br br_if br_table call call_indirect fac float_exprs forward func func_ptrs global if labels left-to-right linking load loop "
    "memory_grow memory_trap nop return select stack start store switch traps unreachable unwind"
).split()
"""What the interpreter leaves at once, of scripts with loops, calls and branches."""


def _name(path: Path) -> str:
    folder = suite("core")
    assert folder is not None
    return str(path.relative_to(folder).with_suffix(""))


def test_suite_is_present():
    if not SCRIPTS:
        pytest.skip(MISSING)
    assert len(SCRIPTS) > 250
    assert {_name(path) for path in SCRIPTS}.issuperset(LEAVING)


@pytest.mark.parametrize("tier", ["lazy", "off", "optimized"])
@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_script(path, tier, conformance):
    engine = core_rt.Engine(core_rt.Config(tiers=tier, cache=False))
    conformance(f"core, {tier} tier", run_core_script(path, engine))


@pytest.mark.parametrize("path", [path for path in SCRIPTS if _name(path) in LEAVING], ids=_name)
def test_script_of_what_is_hot_at_once(path, conformance, monkeypatch):
    """Each function goes on in machine code at its second entry, or at the head of the first loop that it comes to."""
    conformance("core, leaving the interpreter", run_core_script(path, engine_of("leaving", monkeypatch)))
