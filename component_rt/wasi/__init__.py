"""WASI for components: one module per package of WASI 0.2, every interface a plain object over one `WasiConfig`.

`interfaces(config)` gives what a linker defines. The names carry the newest 0.2 version that is implemented in full;
versions match by semver, so it serves every 0.2.x import. `p3` does the same for WASI 0.3.
"""

from __future__ import annotations

from component_rt.wasi.config import Dir, HttpPolicy, NetworkPolicy, WasiConfig

__all__ = ["VERSION", "Dir", "HttpPolicy", "NetworkPolicy", "WasiConfig", "interfaces"]

VERSION = "0.2.12"


def interfaces(config: WasiConfig | None = None) -> dict[str, object]:
    """Every interface of WASI 0.2 and 0.3 by its name with version, as objects for `Linker.define`.

    Opens the configured directories: raises `OSError` if one cannot be opened.
    """
    from component_rt.wasi import cli, clocks, filesystem, http, io, p3, random, sockets

    config = WasiConfig() if config is None else config
    found = io.interfaces()
    for package in (cli, clocks, random, filesystem, sockets, http):
        found.update(package.interfaces(config))
    named = {f"{name}@{VERSION}": interface for name, interface in found.items()}
    return named | p3.interfaces(config, found)
