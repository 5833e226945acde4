"""`wasi:sockets/network`, `instance-network` and `ip-name-lookup`."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any, ClassVar

from component_rt.wasi._values import fail
from component_rt.wasi.addresses import address_value
from component_rt.wasi.config import Address, Budget, NetworkPolicy, WasiConfig
from component_rt.wasi.errno_names import socket_code
from component_rt.wasi.io import IoError
from component_rt.wasi.pollable import Notice, Pollable

__all__ = ["InstanceNetwork", "IpNameLookup", "Network", "NetworkInterface", "ResolveAddressStream"]

_MAX_NAME = 253


class Network:
    """The resource `wasi:sockets/network.network`: what the configuration allows of the network."""

    __slots__ = ("__weakref__", "policy")

    def __init__(self, policy: NetworkPolicy) -> None:
        self.policy = policy


class NetworkInterface:
    """`wasi:sockets/network`."""

    Network: ClassVar = Network

    def network_error_code(self, err: IoError) -> str | None:
        """The error code behind a stream's error, if a socket was the cause."""
        error = err.exception
        return socket_code(error) if err.origin == "sockets" and isinstance(error, OSError) else None


class InstanceNetwork:
    """`wasi:sockets/instance-network`."""

    def __init__(self, config: WasiConfig) -> None:
        self._policy = config.network

    def instance_network(self) -> Network:
        """The network that was granted, which may be none."""
        return Network(self._policy)


_LOOKUP_ERRORS = {
    socket.EAI_AGAIN: "temporary-resolver-failure",
    socket.EAI_FAIL: "permanent-resolver-failure",
    socket.EAI_MEMORY: "out-of-memory",
    socket.EAI_SYSTEM: "temporary-resolver-failure",
}


class ResolveAddressStream:
    """The resource `resolve-address-stream`: addresses as they become known."""

    __slots__ = ("__weakref__", "_addresses", "_error", "_notice")

    def __init__(self) -> None:
        self._addresses: list[Address] = []
        self._error: str | None = None
        self._notice = Notice()

    @classmethod
    def of(cls, address: Address) -> ResolveAddressStream:
        """A stream of one address that needs no looking up."""
        self = cls()
        # One that stands for an address of IPv4 is that address: it never comes out as it is.
        self._addresses.append(getattr(address, "ipv4_mapped", None) or address)
        self._notice.set()
        return self

    @classmethod
    def look_up(cls, name: str, budget: Budget) -> ResolveAddressStream:
        """A stream that a thread fills: the system's resolver knows no other way to be asked without waiting."""
        self = cls()
        try:
            budget.take()
        except OSError:
            fail("temporary-resolver-failure")
        threading.Thread(target=self._run, args=(name, budget), name="wasi-lookup", daemon=True).start()
        return self

    def _run(self, name: str, budget: Budget) -> None:
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            for family, _, _, _, where in found:
                if family in (socket.AF_INET, socket.AF_INET6):
                    address = ipaddress.ip_address(str(where[0]).partition("%")[0])
                    if address not in self._addresses and getattr(address, "ipv4_mapped", None) is None:
                        self._addresses.append(address)
            if not self._addresses:
                self._error = "name-unresolvable"
        except socket.gaierror as error:
            self._error = _LOOKUP_ERRORS.get(error.errno or 0, "name-unresolvable")
        except (OSError, UnicodeError):
            self._error = "temporary-resolver-failure"
        finally:
            budget.give()
            self._notice.set()

    @property
    def answered(self) -> Notice:
        """Raised when there is an answer."""
        return self._notice

    def addresses(self) -> list[Any]:
        """All addresses of the answer. Raises `Err` if it is none."""
        if self._error is not None:
            fail(self._error)
        return [address_value(address) for address in self._addresses]

    def resolve_next_address(self) -> Any:
        """The next address, None after the last; `would-block` while there is no answer yet."""
        if not self._notice.ready():
            fail("would-block")
        if self._error is not None:
            fail(self._error)
        return address_value(self._addresses.pop(0)) if self._addresses else None

    def subscribe(self) -> Pollable:
        """A pollable that is ready once there is an answer."""
        return Pollable(self._notice)


class IpNameLookup:
    """`wasi:sockets/ip-name-lookup`."""

    ResolveAddressStream: ClassVar = ResolveAddressStream

    def __init__(self, config: WasiConfig) -> None:
        self._budget = config.budget

    def resolve_addresses(self, network: Network, name: str) -> Any:
        """Begin to look up a host's addresses; an address as text is answered as it is."""
        try:
            return ResolveAddressStream.of(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
        except ValueError:
            pass
        try:
            ascii_name = name.encode("idna").decode("ascii")
        except UnicodeError:
            fail("invalid-argument")
        labels = ascii_name.removesuffix(".").split(".")
        if not ascii_name or len(ascii_name) > _MAX_NAME or not all(map(_is_label, labels)):
            fail("invalid-argument")
        if not network.policy.names:
            fail("access-denied")
        return ResolveAddressStream.look_up(ascii_name, self._budget)


def _is_label(label: str) -> bool:
    allowed = label.replace("-", "").replace("_", "")
    return 0 < len(label) <= 63 and allowed.isalnum() and not label.startswith("-") and not label.endswith("-")
