"""The component-model suite, every script."""

from __future__ import annotations

from pathlib import Path

import pytest

import core_rt
from tests.wast.suites import MISSING, scripts, suite

rt = pytest.importorskip("component_rt")
if not hasattr(rt, "Linker"):
    pytest.skip("component_rt has no linker yet", allow_module_level=True)

from tests.wast.component import run_component_script  # noqa: E402 - needs what was just looked for

SCRIPTS = scripts("component-model")
# Uses the `cancellable` immediate, which the binary format has since lost (component-model #716): it no longer encodes.
OUTDATED = {"async/cancellable"}


def _name(path: Path) -> str:
    folder = suite("component-model")
    assert folder is not None
    return str(path.relative_to(folder).with_suffix(""))


def test_suite_is_present():
    if not SCRIPTS:
        pytest.skip(MISSING)
    assert len(SCRIPTS) > 60


@pytest.mark.parametrize("path", [path for path in SCRIPTS if _name(path) not in OUTDATED], ids=_name)
def test_script(path, conformance):
    engine = rt.Engine(core_rt.Config(cache=False))
    conformance("component model", run_component_script(path, engine))
