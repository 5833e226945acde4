"""WASI 0.3 for components: streams and futures of the component model in place of `wasi:io`, over the same grants as WASI 0.2.

A package is imported when the first component that wants it is linked: `interfaces` answers `Deferred` objects.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import attrs

from component_rt.deferred import Deferred
from component_rt.wasi.config import WasiConfig

__all__ = ["PACKAGES", "VERSION", "Host", "interfaces"]

VERSION = "0.3.0"

PACKAGES: dict[str, tuple[str, ...]] = {
    "cli": (
        "environment",
        "exit",
        "stderr",
        "stdin",
        "stdout",
        "terminal-input",
        "terminal-output",
        "terminal-stderr",
        "terminal-stdin",
        "terminal-stdout",
        "types",
    ),
    "clocks": ("monotonic-clock", "system-clock", "timezone", "types"),
    "filesystem": ("preopens", "types"),
    "http": ("client", "handler", "types"),
    "random": ("insecure", "insecure-seed", "random"),
    "sockets": ("ip-name-lookup", "types"),
}
"""The interfaces of each package. The module of the same name has `interfaces(host)`, which answers all of them by name."""


@attrs.frozen(eq=False)
class Host:
    """What the packages are made of: the grants, and the objects of WASI 0.2 by name, whose open files they share."""

    config: WasiConfig
    older: Mapping[str, Any]
    _made: dict[str, Mapping[str, object]] = attrs.field(factory=dict, init=False, repr=False)

    def interface(self, package: str, name: str) -> object:
        """An interface of a package, without `wasi:` and version."""
        found = self._made.get(package)
        if found is None:
            found = self._made[package] = importlib.import_module(f"{__name__}.{package}").interfaces(self)
        return found[name]


def interfaces(config: WasiConfig, older: Mapping[str, Any]) -> dict[str, object]:
    """Every interface of WASI 0.3 by its name with version; `older` are those of 0.2 by name, made of the same `config`."""
    host = Host(config, older)
    return {
        f"wasi:{package}/{name}@{VERSION}": Deferred(functools.partial(host.interface, package, name))
        for package, names in PACKAGES.items()
        for name in names
    }
