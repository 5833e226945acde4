"""`wasi:sockets`: the package's interfaces, gathered from `network`, `tcp` and `udp`."""

from __future__ import annotations

from component_rt.wasi.config import WasiConfig
from component_rt.wasi.network import InstanceNetwork, IpNameLookup, NetworkInterface
from component_rt.wasi.tcp import Tcp, TcpCreateSocket
from component_rt.wasi.udp import Udp, UdpCreateSocket

__all__ = ["interfaces"]


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    return {
        "wasi:sockets/instance-network": InstanceNetwork(config),
        "wasi:sockets/ip-name-lookup": IpNameLookup(config),
        "wasi:sockets/network": NetworkInterface(),
        "wasi:sockets/tcp": Tcp(),
        "wasi:sockets/tcp-create-socket": TcpCreateSocket(config),
        "wasi:sockets/udp": Udp(),
        "wasi:sockets/udp-create-socket": UdpCreateSocket(config),
    }
