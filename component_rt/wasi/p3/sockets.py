"""`wasi:sockets` 0.3: the package's interfaces. Policies, addresses and options are those of 0.2."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from component_rt.tasks.waits import drivable
from component_rt.wasi._values import Err, variant
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.dual import Overlap
from component_rt.wasi.network import IpNameLookup as OlderLookup
from component_rt.wasi.network import Network, ResolveAddressStream
from component_rt.wasi.p3 import Host
from component_rt.wasi.p3.sockets_tcp import TcpSocket
from component_rt.wasi.p3.sockets_udp import UdpSocket
from component_rt.wasi.pollable import wait_any

__all__ = ["IpNameLookup", "Types", "interfaces"]


class Types:
    """`wasi:sockets/types`."""

    def __init__(self, config: WasiConfig) -> None:
        self.TcpSocket = TcpSocket.granted(config)
        self.UdpSocket = UdpSocket.granted(config)


class IpNameLookup:
    """`wasi:sockets/ip-name-lookup`."""

    def __init__(self, config: WasiConfig) -> None:
        self._network = Network(config.network)
        self._lookup = OlderLookup(config)

    def _begin(self, name: str) -> ResolveAddressStream:
        found: ResolveAddressStream = self._lookup.resolve_addresses(self._network, name)
        return found

    @staticmethod
    def _end(stream: ResolveAddressStream) -> list[Any]:
        try:
            return stream.addresses()
        except Err as error:
            if error.value == "out-of-memory":
                raise Err(variant("other", "out of memory")) from None
            raise

    @Overlap
    def resolve_addresses(self, name: str) -> list[Any] | Coroutine[Any, Any, list[Any]]:
        """The addresses of a host; an address as text is answered as it is. Raises `Err(error-code)`."""
        stream = self._begin(name)
        return self._end(stream) if stream.answered.ready() else self._later(stream)

    @drivable
    async def _later(self, stream: ResolveAddressStream) -> list[Any]:
        await wait_any((stream.answered,))
        return self._end(stream)


def interfaces(host: Host) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {"ip-name-lookup": IpNameLookup(host.config), "types": Types(host.config)}
