"""`wasi:sockets/types.udp-socket` 0.3: datagrams, one with each call, with or without a fixed peer."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import Any, ClassVar

from component_rt.tasks.waits import drivable
from component_rt.wasi._values import enum_name, fail
from component_rt.wasi.addresses import FAMILIES, Endpoint, endpoint, endpoint_value, kernel_endpoint, make_socket
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.dual import Overlap
from component_rt.wasi.p3.sockets_errors import errors, somewhere
from component_rt.wasi.pollable import READ, WRITE, wait_any
from component_rt.wasi.socket_options import HeldSocket, Readiness, SharedOptions
from component_rt.wasi.udp import MAX_DATAGRAM, disconnect

__all__ = ["UdpSocket"]

Datagram = tuple[bytes, Any]
"""Its bytes and its sender."""


class UdpSocket(SharedOptions):
    """The resource `udp-socket`; of a class for each configuration (`granted`), since it makes itself."""

    __slots__ = ("__weakref__", "_held", "_local", "_peer")
    config: ClassVar[WasiConfig]

    @classmethod
    def granted(cls, config: WasiConfig) -> type[UdpSocket]:
        """The class for what `config` grants."""
        return type(cls.__name__, (cls,), {"__slots__": (), "__doc__": cls.__doc__, "config": config})

    def __init__(self, sock: socket.socket) -> None:
        self._held = HeldSocket(sock, self.config.budget)
        self._local: tuple[Any, ...] = ()
        """Where it is bound; empty: nowhere yet."""
        self._peer: Endpoint | None = None

    @classmethod
    @errors
    def create(cls, address_family: Any) -> UdpSocket:
        """A socket that is not bound yet. Raises `Err(error-code)`, as do all others."""
        return cls(make_socket(FAMILIES[enum_name(address_family)], socket.SOCK_DGRAM))

    # -- addresses ---------------------------------------------------------------------------------------------------

    @errors
    def bind(self, local_address: Any) -> None:
        """Bind to a local address."""
        if self._local:
            fail("invalid-state")
        local = endpoint(local_address)
        local.check(self._held.family)
        local.permit(self.config.network, "udp-bind")
        self._bind(local)

    def _bind(self, local: Endpoint) -> None:
        self._held.sock.bind(local.kernel)
        self._local = self._held.sock.getsockname()

    def _bind_somewhere(self) -> None:
        if not self._local:
            self._bind(somewhere(self.config.network, "udp-bind", self._held.family))

    @errors
    def connect(self, remote_address: Any) -> None:
        """Speak with one peer only, in place of an earlier one."""
        remote = self._remote(remote_address)
        self._bind_somewhere()
        if self._peer is not None:
            disconnect(self._held.sock, self._local)
            self._peer = None
        self._held.sock.connect(remote.kernel)
        self._peer = remote

    @errors
    def disconnect(self) -> None:
        """Speak with everybody again."""
        if self._peer is None:
            fail("invalid-state")
        disconnect(self._held.sock, self._local)
        self._peer = None

    def _remote(self, address: Any) -> Endpoint:
        remote = endpoint(address)
        remote.check_remote(self._held.family)
        remote.permit(self.config.network, "udp-send")
        return remote

    @errors
    def get_local_address(self) -> Any:
        """The address that the socket is bound to."""
        if not self._local:
            fail("invalid-state")
        return endpoint_value(kernel_endpoint(self._held.sock.getsockname()))

    @errors
    def get_remote_address(self) -> Any:
        """The peer's address; `invalid-state` without a peer."""
        if self._peer is None:
            fail("invalid-state")
        return endpoint_value(kernel_endpoint(self._held.sock.getpeername()))

    # -- datagrams ---------------------------------------------------------------------------------------------------

    @errors
    def _try_send(self, data: bytes, remote: Endpoint | None) -> bool:
        """Send a datagram, to the peer if `remote` is None. False: the kernel has no room just now."""
        try:
            if remote is None:
                self._held.sock.send(data)
            else:
                self._held.sock.sendto(data, remote.kernel)
        except BlockingIOError:
            return False
        return True

    @errors
    def _to(self, remote_address: Any) -> Endpoint | None:
        """Where a datagram goes."""
        if self._peer is not None:
            if remote_address is not None and endpoint(remote_address) != self._peer:
                fail("invalid-argument")
            return None
        if remote_address is None:
            fail("invalid-argument")
        remote = self._remote(remote_address)
        self._bind_somewhere()
        return remote

    @Overlap
    def send(self, data: bytes, remote_address: Any) -> Coroutine[Any, Any, None] | None:
        """Send a datagram."""
        remote = self._to(remote_address)
        return None if self._try_send(data, remote) else self._send_later(data, remote)

    @drivable
    async def _send_later(self, data: bytes, remote: Endpoint | None) -> None:
        while not self._try_send(data, remote):
            await wait_any((Readiness(self._held, WRITE),))

    @errors
    def _try_receive(self) -> Datagram | None:
        """A datagram that is there."""
        if not self._local:
            fail("invalid-state")
        while True:
            try:
                data, where = self._held.sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return None
            sender, peer = kernel_endpoint(where), self._peer
            # What came before the peer was fixed may be from others.
            if peer is None or (sender.address, sender.port) == (peer.address, peer.port):
                return data, endpoint_value(sender)

    @Overlap
    def receive(self) -> Datagram | Coroutine[Any, Any, Datagram]:
        """The next datagram and its sender."""
        return self._try_receive() or self._receive_later()

    @drivable
    async def _receive_later(self) -> Datagram:
        while True:
            await wait_any((Readiness(self._held, READ),))
            if (found := self._try_receive()) is not None:
                return found

    # -- options -----------------------------------------------------------------------------------------------------

    get_address_family = SharedOptions.address_family
    get_unicast_hop_limit = errors(SharedOptions._get_hops)
    set_unicast_hop_limit = errors(SharedOptions._set_hops)
    get_receive_buffer_size = errors(SharedOptions.receive_buffer_size)
    set_receive_buffer_size = errors(SharedOptions.set_receive_buffer_size)
    get_send_buffer_size = errors(SharedOptions.send_buffer_size)
    set_send_buffer_size = errors(SharedOptions.set_send_buffer_size)
