"""What TCP and UDP sockets share: who closes them, waiting for them, and their options, hop limit and buffer sizes.

The kernel reports twice the buffer size that was asked for (it counts its own bookkeeping); the guest sees what it asked for.
"""

from __future__ import annotations

import socket

from component_rt.wasi._values import fail
from component_rt.wasi.addresses import FAMILY_NAMES
from component_rt.wasi.config import Budget
from component_rt.wasi.errno_names import socket_errors
from component_rt.wasi.pollable import Wake, fd_ready, wait_fd

__all__ = ["HeldSocket", "Readiness", "SharedOptions", "option_seconds"]

_INT_MAX = (1 << 31) - 1


class HeldSocket:
    """A socket of the host that is closed when the last resource that uses it is gone."""

    __slots__ = ("__weakref__", "_taken", "budget", "family", "fd", "sock")

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        """Takes over `sock`. Raises `OSError` (EMFILE) if that is one too many for `budget`; it is closed then."""
        self.sock = sock
        self.family = socket.AddressFamily(sock.family)
        self.fd = sock.fileno()
        self.budget = budget
        self._taken = False
        try:
            budget.take()
        except OSError:
            sock.close()
            raise
        self._taken = True

    def __del__(self) -> None:
        self.sock.close()
        if self._taken:
            self.budget.give()


class Readiness:
    """A socket that is waited for; see `pollable.Source`."""

    __slots__ = ("_events", "_held")

    def __init__(self, held: HeldSocket, events: int) -> None:
        self._held = held
        self._events = events

    def ready(self) -> bool:
        return fd_ready(self._held.fd, self._events)

    def wake(self) -> Wake:
        return Wake(self._held.fd, self._events)

    async def wait(self) -> None:
        await wait_fd(self._held.fd, self._events)


class SharedOptions:
    """Mixed into the two socket resources, which have `_held`."""

    __slots__ = ()
    _held: HeldSocket

    def address_family(self) -> str:
        """`ipv4` or `ipv6`."""
        return FAMILY_NAMES[self._held.family]

    def _hops(self) -> tuple[int, int]:
        if self._held.family == socket.AF_INET:
            return socket.IPPROTO_IP, socket.IP_TTL
        return socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS

    @socket_errors
    def _get_hops(self) -> int:
        return self._held.sock.getsockopt(*self._hops())

    @socket_errors
    def _set_hops(self, value: int) -> None:
        if not value:
            fail("invalid-argument")
        self._held.sock.setsockopt(*self._hops(), value)

    @socket_errors
    def _get_size(self, option: int) -> int:
        return self._held.sock.getsockopt(socket.SOL_SOCKET, option) // 2

    @socket_errors
    def _set_size(self, option: int, value: int) -> None:
        if not value:
            fail("invalid-argument")
        self._held.sock.setsockopt(socket.SOL_SOCKET, option, min(value, _INT_MAX // 2))

    def receive_buffer_size(self) -> int:
        """Bytes that the kernel keeps for what has arrived."""
        return self._get_size(socket.SO_RCVBUF)

    def set_receive_buffer_size(self, value: int) -> None:
        """Ask for a size; the kernel may choose another."""
        self._set_size(socket.SO_RCVBUF, value)

    def send_buffer_size(self) -> int:
        """Bytes that the kernel keeps for what is to be sent."""
        return self._get_size(socket.SO_SNDBUF)

    def set_send_buffer_size(self, value: int) -> None:
        """Ask for a size; the kernel may choose another."""
        self._set_size(socket.SO_SNDBUF, value)


def option_seconds(nanoseconds: int) -> int:
    """A duration as the kernel's keep-alive options count it: whole seconds, at least one."""
    if not nanoseconds:
        fail("invalid-argument")
    return min(max(-(-nanoseconds // 1_000_000_000), 1), 32767)
