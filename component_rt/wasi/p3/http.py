"""`wasi:http` 0.3: the package's interfaces. `component_rt.wasi.http_guests` serves components that export its handler."""

from __future__ import annotations

from component_rt.wasi.p3 import Host
from component_rt.wasi.p3.http_client import Client
from component_rt.wasi.p3.http_types import Types

__all__ = ["interfaces"]


def interfaces(host: Host) -> dict[str, object]:
    """The interfaces of this package by name."""
    client = Client(host.older["wasi:http/outgoing-handler"])
    return {"client": client, "handler": client, "types": Types()}
