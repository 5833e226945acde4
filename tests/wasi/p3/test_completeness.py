"""Every function of WASI 0.3 is there and takes what the WIT says (skipped without a mirror of the WASI repository)."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import wit
from component_rt.wasi import interfaces, p3
from tests.wit.test_wasi import release
from wit.names import kebab_to_camel, kebab_to_snake, parse_plain_name

EXPORTED = {"wasi:cli/run"}


def _implementation(item: Any, name: str) -> Any:
    plain = parse_plain_name(name)
    if not plain.kind:
        return getattr(item, kebab_to_snake(plain.label), None)
    assert plain.resource is not None
    cls = getattr(item, kebab_to_camel(plain.resource), None)
    return cls if plain.kind == "constructor" else getattr(cls, kebab_to_snake(plain.label), None)


@pytest.mark.parametrize("package", p3.PACKAGES)
def test_every_function_is_there(package: str, tmp_path: Path) -> None:
    for name, text in release("v0.3.0").items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "root.wit").write_text("package test:root;\n", encoding="utf-8")
    document = wit.load(tmp_path, options=wit.Options(all_features=True))
    found: dict[str, Any] = interfaces()
    (wasi,) = (p for p in document.packages.values() if p.name == package)
    for name, interface in wasi.interfaces.items():
        full = f"wasi:{package}/{name}"
        if full in EXPORTED:
            continue
        assert f"{full}@{p3.VERSION}" in found, full
        item = found[f"{full}@{p3.VERSION}"].make()
        for function, of in interface.functions.items():
            implementation = _implementation(item, function)
            assert implementation is not None, f"{full}.{function}"
            inspect.signature(implementation).bind(*[None] * len(of.params))
