"""Imports point one way, and each outside thing has one door.

The layers are those of docs/architecture.md. What only a type checker sees (`if TYPE_CHECKING`) does not count: a lower
layer may name the types of a higher one, but not depend on it to run.
"""

from __future__ import annotations

import pytest

from tests.imports import Import, imports_of, python_files

# Lowest first; a module may import from its own layer and from those before it. A name with a dot goes before its package.
CORE_LAYERS = (
    {"errors", "record", "collector", "types", "kinds", "config", "limits", "opcodes"},
    {"native"},
    {"binary", "validate", "vm"},
    {"interpret"},
    {"compile"},
    {
        "engine",
        "module",
        "store",
        "values",
        "func",
        "memory",
        "table",
        "globals",
        "tag",
        "instance",
        "linker",
        "objects",
    }
    # services of a store, which hand out objects of the public face
    | {"vm.refs", "vm.libcalls"},
)
LEVEL = {name: level for level, names in enumerate(CORE_LAYERS) for name in names}

# outside package -> places that may import it
DOORS = {
    "llvmlite": ("core_rt.compile.jit",),
    "cffi": ("core_rt.native",),
    "core_rt.native._shim": ("core_rt.native",),
    # `channels` are the ends of streams that a user of trio holds; the scheduler and what it schedules know no loop
    "trio": (
        "component_rt.tasks.cancelling",
        "component_rt.tasks.channels",
        "component_rt.tasks.driver",
        "component_rt.tasks.deadlock",
        "component_rt.tasks.opening",
        "component_rt.tasks.pending",
        "component_rt.tasks.supplies",
        "component_rt.tasks.waiting",
        "component_rt.wasi",
        "component_rt.cli",
    ),
    "outcome": ("component_rt.tasks.driver",),
    "click": ("component_rt.cli",),
    "rich": ("component_rt.cli",),
    "asyncio": (),
    "wasmtime": (),
    "pickle": (),
}

ALL = [found for path in python_files("core_rt", "component_rt", "wit") for found in imports_of(path)]


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _show(wrong: list[Import]) -> str:
    return "\n".join(map(str, wrong))


def test_imports_were_found():
    assert len(ALL) > 200
    assert any(found.target == "llvmlite.binding" for found in ALL)


def _level(module: str) -> int:
    """The layer of a module of the core; `core_rt` itself only hands out names."""
    parts = module.split(".")[1:3]
    if not parts:
        return 0
    return LEVEL[".".join(parts)] if ".".join(parts) in LEVEL else LEVEL[parts[0]]


def test_every_module_of_the_core_has_a_layer():
    names = {found.module.split(".")[1] for found in ALL if found.module.startswith("core_rt.")}
    assert names <= set(LEVEL), f"no layer: {sorted(names - set(LEVEL))}"


def test_layers_of_the_core():
    inside = [found for found in ALL if found.module.startswith("core_rt.") and _within(found.target, "core_rt")]
    wrong = [found for found in inside if _level(found.target) > _level(found.module)]
    assert not wrong, _show(wrong)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("core_rt", "component_rt"), ("core_rt", "wit"), ("wit", "component_rt")],
)
def test_packages_point_one_way(package, forbidden):
    wrong = [found for found in ALL if _within(found.module, package) and _within(found.target, forbidden)]
    assert not wrong, _show(wrong)


def test_wit_needs_only_the_root_of_the_errors():
    wrong = [
        f for f in ALL if _within(f.module, "wit") and _within(f.target, "core_rt") and f.target != "core_rt.errors"
    ]
    assert not wrong, _show(wrong)


@pytest.mark.parametrize("outside", DOORS)
def test_doors(outside):
    wrong = [
        found
        for found in ALL
        if _within(found.target, outside) and not any(_within(found.module, door) for door in DOORS[outside])
    ]
    assert not wrong, _show(wrong)


def test_the_checker_sees_a_wrong_import(tmp_path, monkeypatch):
    """The reader of imports itself: relative ones, nested ones, and none that only a type checker sees."""
    package = tmp_path / "core_rt" / "vm"
    package.mkdir(parents=True)
    (tmp_path / "core_rt" / "func.py").write_text("")
    source = package / "probe.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from ..store import Store\n"
        "def late():\n    from .. import func\n    with open('x'):\n        import llvmlite.binding\n"
    )
    monkeypatch.setattr("tests.imports.ROOT", tmp_path)
    assert [(found.target, found.line) for found in imports_of(source)] == [
        ("typing", 1),
        ("core_rt.func", 5),
        ("llvmlite.binding", 7),
    ]
