"""`component-rt validate` and `component-rt compile`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from component_rt.cli.files import is_component, read_wasm
from core_rt.errors import WasmError

__all__ = ["compile_files", "validate_files"]


def _validate(data: bytes) -> str:
    """Validate all of a binary and say what it is. Raises `DecodeError` or `ValidationError`."""
    import core_rt

    engine = core_rt.Engine(core_rt.Config(cache=False))
    if is_component(data):
        from component_rt import Component

        Component(engine, data).validate()
        return "component"
    core_rt.Module(engine, data).validate()
    return "module"


def validate_files(files: Sequence[Path], as_json: bool) -> int:
    """Validate each file, print what was found, and return the exit code."""
    found: list[dict[str, Any]] = []
    for path in files:
        try:
            found.append({"file": str(path), "valid": True, "kind": _validate(read_wasm(path))})
        except WasmError as error:
            offset = getattr(error, "offset", None)
            message = getattr(error, "message", str(error))
            found.append({"file": str(path), "valid": False, "error": message, "offset": offset})
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        for one in found:
            if one["valid"]:
                print(f"{one['file']}: valid {one['kind']}")
            else:
                at = "" if one["offset"] is None else f" (at offset 0x{one['offset']:x})"
                print(f"{one['file']}: {one['error']}{at}", file=sys.stderr)
    return int(not all(one["valid"] for one in found))


def compile_files(files: Sequence[Path]) -> None:
    """Put into the cache all that a start of each file can do without making: optimised code, images, what is known about it."""
    import core_rt
    from component_rt.component import Component

    engine = core_rt.Engine(core_rt.Config())
    for path in files:
        data = read_wasm(path)
        start = time.monotonic()
        with _progress(f"compiling {path.name}") as progress:
            engine.precompile(data, progress)
            if is_component(data):
                _ = Component(engine, data).plan
        print(f"{path}: compiled in {time.monotonic() - start:.1f} s")


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int], object]]:
    """A progress bar on stderr, if that is a terminal: call with (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
