"""This machine, and what code that was made here depends on, told without loading LLVM."""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Final

from core_rt.compile.cache import PAGE
from core_rt.errors import EngineBug
from core_rt.native import processor_words

__all__ = ["code_identity", "host_machine", "sources"]

_MACHINES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_HERE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_CODE_SOURCES: Final = ("compile", "validate", "vm", "binary", "")


def host_machine() -> str:
    """ "x86_64" or "aarch64"; raises `EngineBug` on a machine that nothing here generates code for."""
    name = os.uname().machine.lower()
    machine = _MACHINES.get(name)
    if machine is None:
        raise EngineBug(f"no code generation for {name}")
    return machine


@functools.cache
def code_identity() -> str:
    """What machine code depends on besides module and config: processor, page size, LLVM, and our own sources."""
    return repr((host_machine(), processor_words(), PAGE, _llvm(), sources(_HERE, _CODE_SOURCES)))


def _llvm() -> list[tuple[str, int, int]]:
    """The files of llvmlite that tell one version from another; none where it is not installed."""
    spec = importlib.util.find_spec("llvmlite")
    found = []
    for folder in (spec and spec.submodule_search_locations) or ():
        for name in ("_version.py", "binding/libllvmlite.so"):
            try:
                status = os.stat(f"{folder}/{name}")
            except OSError:
                continue
            found.append((name, status.st_size, status.st_mtime_ns))
    return found


@functools.cache
def sources(root: str, folders: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """What tells one version of a package from another (its files do not change under a process): the modules in these folders."""
    found = []
    for folder in folders:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((f"{folder}/{entry.name}", status.st_size, status.st_mtime_ns))
    return sorted(found)
