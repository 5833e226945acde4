"""`component-rt inspect`: what is in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from component_rt.cli.files import is_component, read_wasm

__all__ = ["inspect_file"]


def inspect_file(path: Path, as_json: bool) -> None:
    """Print what a module or component imports and exports. Raises `DecodeError` or `ValidationError`."""
    data = read_wasm(path)
    found = {"file": str(path), "bytes": len(data), **(_component(data) if is_component(data) else _module(data))}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


def _engine() -> Any:
    from core_rt import Config, Engine

    return Engine(Config(cache=False))


def _module(data: bytes) -> dict[str, Any]:
    from core_rt import Module

    module = Module(_engine(), data)
    return {
        "kind": "module",
        "imports": [{"module": of, "name": name, "type": str(kind)} for of, name, kind in module.imports],
        "exports": [{"name": name, "type": str(kind)} for name, kind in module.exports],
    }


def _component(data: bytes) -> dict[str, Any]:
    from component_rt import Component
    from component_rt.plan import LoadModule

    component = Component(_engine(), data)
    modules = [step.definition for step in component.plan.steps if isinstance(step, LoadModule)]
    return {
        "kind": "component",
        "imports": [_extern(name, of) for name, of in component.imports.items()],
        "exports": [_extern(name, of) for name, of in component.exports.items()],
        "core_modules": [{"offset": module.start, "bytes": module.end - module.start} for module in modules],
    }


def _extern(name: str, of: Any) -> dict[str, Any]:
    """An import or export of a component; an interface with its functions and types."""
    inner: Mapping[str, Any] | None = getattr(of, "exports", None) if of.kind == "instance" else None
    if inner is None:
        return {"name": name, "kind": of.kind, "type": str(getattr(of, "t", of))}
    functions = {label: str(item) for label, item in inner.items() if item.kind == "func"}
    types = {label: _spelled(item.t) for label, item in inner.items() if item.kind == "type"}
    return {"name": name, "kind": "interface", "functions": functions, "types": types}


def _spelled(of: Any) -> str:
    return "resource" if of.kind == "resource" else str(of.spelled())


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console

    # Text that is longer than the terminal is wide belongs on one line all the same: it may be searched for.
    console = Console(highlight=False, soft_wrap=True)

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False)

    line(f"{found['file']}: {found['kind']}, {found['bytes']:,} bytes", "bold")
    for side in ("imports", "exports"):
        line(f"{side} ({len(found[side])})", "bold")
        for item in found[side]:
            name = f"{item['module']} {item['name']}" if "module" in item else item["name"]
            line(f"  {name}: {item['type']}" if "type" in item else f"  {name}")
            for label, kind in {**item.get("types", {}), **item.get("functions", {})}.items():
                line(f"    {label}: {kind}", "dim")
    for index, module in enumerate(found.get("core_modules", ())):
        line(f"core module {index}: {module['bytes']:,} bytes at offset 0x{module['offset']:x}")
