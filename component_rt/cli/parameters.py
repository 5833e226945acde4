"""Types of command-line options: directories, variables, durations, sizes."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from component_rt.wasi.config import Dir

__all__ = ["DIRECTORY", "DURATION", "SIZE", "VARIABLE"]

_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


class _Directory(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions
    """`HOST[::GUEST[::ro|rw]]`: a directory and where the guest sees it."""

    name = "host[::guest[::ro]]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Dir]:
        from component_rt.wasi.config import Dir

        host, *rest = str(value).split("::")
        mode = "rw"
        if rest and rest[-1] in ("ro", "rw"):
            mode = rest.pop()
        if len(rest) > 1 or not host:
            self.fail(f"{value!r}: wanted HOST, HOST::GUEST or HOST::GUEST::ro", param, ctx)
        guest = rest[0] if rest else host
        if not guest:
            self.fail(f"{value!r}: the guest's path is empty", param, ctx)
        if not os.path.isdir(host):
            self.fail(f"{host!r} is no directory", param, ctx)
        return guest, Dir(host, "ro" if mode == "ro" else "rw")


class _Variable(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions
    """`NAME=VALUE`, or `NAME` to pass on the variable of this process."""

    name = "name[=value]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not name:
            self.fail(f"{value!r}: wanted NAME=VALUE", param, ctx)
        if not equals:
            if name not in os.environ:
                self.fail(f"{name} is not set here; to set it, write {name}=VALUE", param, ctx)
            text = os.environ[name]
        return name, text


class _Quantity(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions
    """A number with a unit."""

    def __init__(self, name: str, units: dict[str, float], example: str) -> None:
        self.name = name
        self.units = units
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-z]*)", str(value).strip().lower())
        unit = match[2] if match else None
        if unit not in self.units and unit is not None and self.name == "size":
            unit = unit.removesuffix("b")
        if match is None or unit not in self.units:
            self.fail(f"{value!r}: wanted a {self.name} such as {self.example}", param, ctx)
        return float(match[1]) * self.units[unit or ""]


DIRECTORY = _Directory()
VARIABLE = _Variable()
DURATION = _Quantity("duration", _SECONDS, "2s, 500ms or 1m")
SIZE = _Quantity("size", dict(_BYTES), "64MiB or 1g")
