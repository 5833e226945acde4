"""The component-model suite, every script in both kinds of store."""

from __future__ import annotations

from pathlib import Path

import pytest

import component_rt as rt
import core_rt
from tests.wast.component import run_component_script, run_component_script_in_trio
from tests.wast.suites import MISSING, scripts, suite

SCRIPTS = scripts("component-model")
# Uses the `cancellable` immediate, which the binary format has since lost (component-model #716): it no longer encodes.
OUTDATED = {"async/cancellable"}
# Numbers calls in an order that the specification leaves open. A trio store sets guests aside at ticks, so on a loaded machine another
# order comes out: these run without ticks.
IN_ORDER = {"async/async-calls-sync"}


def _name(path: Path) -> str:
    folder = suite("component-model")
    assert folder is not None
    return str(path.relative_to(folder).with_suffix(""))


def test_suite_is_present():
    if not SCRIPTS:
        pytest.skip(MISSING)
    assert len(SCRIPTS) > 60


RUNNERS = {"sync": run_component_script, "trio": run_component_script_in_trio}


@pytest.mark.parametrize("store", RUNNERS)
@pytest.mark.parametrize("path", [path for path in SCRIPTS if _name(path) not in OUTDATED], ids=_name)
def test_script(path, store, conformance):
    engine = rt.Engine(core_rt.Config(cache=False, epoch_interruption=_name(path) not in IN_ORDER))
    conformance(f"component model, {store} stores", RUNNERS[store](path, engine))
