"""Golden files: with `WIT_BLESS=1` in the environment the tests write what they would otherwise compare with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def golden() -> Callable[[Path, str], None]:
    """`golden(path, text)`: the file has this text."""

    def check(path: Path, text: str) -> None:
        if os.environ.get("WIT_BLESS"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path.name} is missing; run with WIT_BLESS=1 to write it"
        assert path.read_text(encoding="utf-8") == text

    return check
