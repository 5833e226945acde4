"""`component-rt wit` and `component-rt bindgen`: interfaces as text and as Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wit
from component_rt.cli.files import is_component
from core_rt.errors import WasmError

__all__ = ["print_wit", "world_of", "write_bindings"]


def _component_world(data: bytes) -> Any:
    from component_rt import Component
    from core_rt import Config, Engine

    return Component(Engine(Config(cache=False)), data).world


def _binary(path: Path) -> bytes | None:
    """The bytes of a WebAssembly binary, None for anything else."""
    if path.is_dir():
        return None
    with path.open("rb") as file:
        return file.read() if file.read(4) == b"\0asm" and file.seek(0) == 0 else None


def print_wit(path: Path, binary: Path | None) -> None:
    """Print a component's world, or a document after resolving it; write it as a binary if asked to."""
    data = _binary(path)
    if data is None:
        document = wit.parse(path)
        if binary is not None:
            binary.write_bytes(wit.encode(document))
            return
        print(wit.to_text(document).rstrip("\n"))
        return
    if not is_component(data):
        raise WasmError(f"{path} is a core module: it has no WIT")
    if binary is not None:
        raise WasmError("--binary is for WIT documents")
    print(wit.to_text(_component_world(data).package).rstrip("\n"))


def world_of(path: Path, name: str | None) -> Any:
    """The world of a component or of a WIT document. Raises `WitError` or `WasmError` if it cannot be told which."""
    data = _binary(path)
    if data is None:
        return wit.parse(path).world(name)
    if not is_component(data):
        raise WasmError(f"{path} is a core module: it has no world")
    return _component_world(data)


def write_bindings(path: Path, name: str | None, output: Path | None) -> None:
    """Write typed bindings for a world to a file, or print them."""
    from wit.bindgen import generate

    text = generate(world_of(path, name))
    if output is None:
        print(text, end="")
    else:
        output.write_text(text)
