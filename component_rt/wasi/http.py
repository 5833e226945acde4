"""`wasi:http`: the package's interfaces. Serving incoming requests is in `http_server`."""

from __future__ import annotations

from component_rt.wasi.config import WasiConfig
from component_rt.wasi.http_client import OutgoingHandler
from component_rt.wasi.http_types import Types

__all__ = ["interfaces"]


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {"wasi:http/outgoing-handler": OutgoingHandler(config.http, config.budget), "wasi:http/types": Types()}
