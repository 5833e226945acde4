"""Where the conformance suites lie."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["MISSING", "scripts", "suite"]

_ROOT = Path(__file__).resolve().parents[2]

MISSING = "the conformance suites are not here: set WASM_CONFORMANCE to the folder of core/ and component-model/"


def suite(name: str) -> Path | None:
    """The folder `core` or `component-model`: below $WASM_CONFORMANCE, or beside the project."""
    given = os.environ.get("WASM_CONFORMANCE")
    root = Path(given) if given else _ROOT.parent / "shared" / "conformance"
    folder = root / name
    return folder if folder.is_dir() else None


def scripts(name: str) -> list[Path]:
    """All scripts of a suite, sorted; empty when it is not here."""
    folder = suite(name)
    return sorted(folder.rglob("*.wast")) if folder else []
