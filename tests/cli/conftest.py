"""Runs the command line in this process; guests come as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("click")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def component_rt(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call with arguments; answers exit code, stdout and stderr (what guests write to the descriptors included)."""
    from component_rt.cli.commands import cli

    def run(*args: object) -> Outcome:
        capfd.readouterr()
        try:
            cli.main([str(arg) for arg in args], prog_name="component-rt")
            code = 0
        except SystemExit as exited:
            code = exited.code if isinstance(exited.code, int) else int(exited.code is not None)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def wasm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Encode a module or component given as text into a file."""
    wasmtime = pytest.importorskip("wasmtime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def encode(text: str, name: str = "guest.wasm") -> Path:
        path = tmp_path / name
        path.write_bytes(wasmtime.wat2wasm(text))
        return path

    return encode
