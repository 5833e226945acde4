"""What tests want that lies outside of the repository; where it is not there, they are skipped.

Guests of other people's toolchains: below $WASM_GUESTS, or in ../shared/guests. A clone of github.com/WebAssembly/WASI: $WASI_REPOSITORY.
The conformance suites: `tests.wast.suites`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.imports import ROOT

__all__ = ["WASI", "guest"]

_GUESTS = Path(os.environ.get("WASM_GUESTS") or ROOT.parent / "shared" / "guests")
WASI = Path(os.environ.get("WASI_REPOSITORY") or ROOT.parent / ".mirror" / "WebAssembly+WASI" / "repo")


def guest(name: str) -> Path:
    """A file or folder of the guests."""
    path = _GUESTS / name
    if not path.exists():
        pytest.skip(f"no guest {name}: set WASM_GUESTS")
    return path
