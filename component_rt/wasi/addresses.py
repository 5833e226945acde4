"""Socket addresses: as a guest gives them, as the kernel takes them, and which of them make sense."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from typing import Any

import attrs

from component_rt.wasi._values import Case, fail, field, split_case, variant
from component_rt.wasi.config import Address, NetworkPolicy

__all__ = ["FAMILIES", "FAMILY_NAMES", "Endpoint", "address_value", "endpoint", "endpoint_value", "kernel_endpoint"]

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
FAMILY_NAMES = {family: name for name, family in FAMILIES.items()}

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@attrs.frozen
class Endpoint:
    """An IP address and a port; flow and scope are IPv6's."""

    address: Address
    port: int
    flow: int = 0
    scope: int = 0

    @property
    def family(self) -> socket.AddressFamily:
        """The kernel's number of the family."""
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6

    @property
    def kernel(self) -> tuple[Any, ...]:
        """The tuple that Python's `socket` takes."""
        if self.address.version == 4:
            return str(self.address), self.port
        # The scope travels as a number of its own, never inside the text.
        return str(self.address), self.port, self.flow, self.scope

    def check(self, family: socket.AddressFamily) -> None:
        """Raise `Err(invalid-argument)` unless this is a unicast address of the family, and not IPv4 inside IPv6."""
        address = self.address
        mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
        if self.family != family or address.is_multicast or address == _BROADCAST or mapped:
            fail("invalid-argument")

    def check_remote(self, family: socket.AddressFamily) -> None:
        """`check`, and neither the unspecified address nor port 0."""
        self.check(family)
        if self.address.is_unspecified or self.port == 0:
            fail("invalid-argument")

    def permit(self, policy: NetworkPolicy, kind: str) -> None:
        """Raise `Err(access-denied)` unless the policy allows this use."""
        if not policy.allow(kind, self.address, self.port):
            fail("access-denied")


def endpoint(value: Any) -> Endpoint:
    """An `ip-socket-address` from the guest."""
    case, record = split_case(value)
    parts = tuple(field(record, "address"))
    port = field(record, "port")
    if case == "ipv4":
        return Endpoint(ipaddress.IPv4Address(bytes(parts)), port)
    address = ipaddress.IPv6Address(struct.pack(">8H", *parts))
    return Endpoint(address, port, field(record, "flow_info"), field(record, "scope_id"))


def kernel_endpoint(name: tuple[Any, ...]) -> Endpoint:
    """An endpoint from `getsockname` and its like."""
    if len(name) == 2:
        return Endpoint(ipaddress.IPv4Address(name[0]), name[1])
    host = name[0].partition("%")[0]
    return Endpoint(ipaddress.IPv6Address(host), name[1], name[2], name[3])


def address_value(address: Address) -> Case:
    """An `ip-address` for the guest."""
    if address.version == 4:
        return variant("ipv4", tuple(address.packed))
    return variant("ipv6", struct.unpack(">8H", address.packed))


def endpoint_value(of: Endpoint) -> Case:
    """An `ip-socket-address` for the guest."""
    case = address_value(of.address)
    record: dict[str, Any] = {"port": of.port, "address": case.value}
    if case.label == "ipv6":
        record |= {"flow_info": of.flow, "scope_id": of.scope}
    return variant(case.label, record)


def make_socket(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """A non-blocking socket; an IPv6 one speaks IPv6 only. Raises `OSError`."""
    if not socket.has_ipv6 and family == socket.AF_INET6:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except BaseException:
        made.close()
        raise
    return made
