"""`wasi:sockets/udp`: datagrams, with or without a fixed peer."""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Any, ClassVar

from component_rt.wasi._values import Err, enum_name, fail, field
from component_rt.wasi.addresses import FAMILIES, Endpoint, endpoint, endpoint_value, kernel_endpoint, make_socket
from component_rt.wasi.config import Budget, WasiConfig
from component_rt.wasi.errno_names import socket_errors
from component_rt.wasi.network import Network
from component_rt.wasi.pollable import ALWAYS, READ, WRITE, Pollable, Wake, fd_ready, wait_fd
from component_rt.wasi.socket_options import HeldSocket, SharedOptions
from core_rt.errors import Trap, TrapCode

__all__ = [
    "MAX_DATAGRAM",
    "IncomingDatagramStream",
    "OutgoingDatagramStream",
    "Udp",
    "UdpCreateSocket",
    "UdpSocket",
    "disconnect",
]

MAX_DATAGRAM = 65535
"""Bytes that the largest has at most."""
_MOST_AT_ONCE = 64
"""Datagrams that one `receive` hands out at most."""
_PERMIT = 16
"""Datagrams that one `check-send` allows."""

_libc = ctypes.CDLL(None, use_errno=True)


def disconnect(sock: socket.socket, local: tuple[Any, ...]) -> None:
    """Forget the peer: connect to "no family", which Python's own `connect` cannot say. Raises `OSError`.

    `local` is where the socket was bound: the kernel forgets a port that it has chosen itself.
    """
    nowhere = (ctypes.c_char * 16)()
    if _libc.connect(sock.fileno(), nowhere, 16) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if not sock.getsockname()[1]:
        sock.bind(local)


class UdpSocket(SharedOptions):
    """The resource `wasi:sockets/udp.udp-socket`."""

    __slots__ = ("__weakref__", "_held", "_local", "_network", "generation", "peer", "state")

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        self._held = HeldSocket(sock, budget)
        self._network: Network | None = None
        self._local: tuple[Any, ...] = ()
        self.state = "unbound"
        self.peer: Endpoint | None = None
        self.generation = 0
        """Which pair of streams is in force: a new one makes the older ones useless."""

    @socket_errors
    def start_bind(self, network: Network, local_address: Any) -> None:
        """Bind to a local address."""
        if self.state != "unbound":
            fail("invalid-state")
        local = endpoint(local_address)
        local.check(self._held.family)
        local.permit(network.policy, "udp-bind")
        self._held.sock.bind(local.kernel)
        self._local = self._held.sock.getsockname()
        self._network = network
        self.state = "bind-in-progress"

    def finish_bind(self) -> None:
        """End `start-bind`."""
        if self.state != "bind-in-progress":
            fail("not-in-progress")
        self.state = "bound"

    @socket_errors
    def stream(self, remote_address: Any) -> tuple[IncomingDatagramStream, OutgoingDatagramStream]:
        """Streams to and from one peer, or (None) any."""
        network = self._network
        if self.state != "bound" or network is None:
            fail("invalid-state")
        remote: Endpoint | None = None
        if remote_address is not None:
            remote = endpoint(remote_address)
            remote.check_remote(self._held.family)
            remote.permit(network.policy, "udp-send")
        if self.peer is not None:
            disconnect(self._held.sock, self._local)
            self.peer = None
        if remote is not None:
            self._held.sock.connect(remote.kernel)
            self.peer = remote
        self.generation += 1
        return IncomingDatagramStream(self), OutgoingDatagramStream(self, network)

    @socket_errors
    def local_address(self) -> Any:
        """The address that the socket is bound to."""
        if self.state != "bound":
            fail("invalid-state")
        return endpoint_value(kernel_endpoint(self._held.sock.getsockname()))

    @socket_errors
    def remote_address(self) -> Any:
        """The peer's address; `invalid-state` without a peer."""
        if self.peer is None:
            fail("invalid-state")
        return endpoint_value(kernel_endpoint(self._held.sock.getpeername()))

    def unicast_hop_limit(self) -> int:
        """How many routers a packet may pass."""
        return self._get_hops()

    def set_unicast_hop_limit(self, value: int) -> None:
        """Set how many routers a packet may pass."""
        self._set_hops(value)

    def subscribe(self) -> Pollable:
        """A pollable for `start-bind`, which never has to wait."""
        return Pollable(ALWAYS)


class _DatagramStream:
    """What both directions share: the socket, which generation of streams they are, and waiting."""

    __slots__ = ("__weakref__", "_generation", "_held", "_peer", "_socket")
    EVENTS: ClassVar[int] = 0

    def __init__(self, of: UdpSocket) -> None:
        self._socket = of
        self._held = of._held
        self._peer = of.peer
        self._generation = of.generation

    def _check(self) -> None:
        if self._generation != self._socket.generation:
            fail("invalid-state")

    def ready(self) -> bool:
        return fd_ready(self._held.fd, self.EVENTS)

    def wake(self) -> Wake:
        return Wake(self._held.fd, self.EVENTS)

    async def wait(self) -> None:
        await wait_fd(self._held.fd, self.EVENTS)

    def subscribe(self) -> Pollable:
        """A pollable that is ready when a datagram can be moved."""
        return Pollable(self)


class IncomingDatagramStream(_DatagramStream):
    """The resource `incoming-datagram-stream`."""

    __slots__ = ()
    EVENTS: ClassVar[int] = READ

    @socket_errors
    def receive(self, max_results: int) -> list[dict[str, Any]]:
        """Datagrams that are there now, at most so many; empty if none is."""
        self._check()
        found: list[dict[str, Any]] = []
        for _ in range(4 * _MOST_AT_ONCE):
            if len(found) >= min(max_results, _MOST_AT_ONCE):
                break
            try:
                data, where = self._held.sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                if found:
                    break
                raise
            sender = kernel_endpoint(where)
            # What came before the peer was fixed may be from others.
            if self._peer is None or (sender.address, sender.port) == (self._peer.address, self._peer.port):
                found.append({"data": data, "remote_address": endpoint_value(sender)})
        return found


class OutgoingDatagramStream(_DatagramStream):
    """The resource `outgoing-datagram-stream`."""

    __slots__ = ("_network", "_permit")
    EVENTS: ClassVar[int] = WRITE

    def __init__(self, of: UdpSocket, network: Network) -> None:
        super().__init__(of)
        self._network = network
        self._permit = 0

    @socket_errors
    def check_send(self) -> int:
        """How many datagrams the next `send` may carry."""
        self._check()
        self._permit = _PERMIT if self.ready() else 0
        return self._permit

    @socket_errors
    def send(self, datagrams: list[Any]) -> int:
        """Send datagrams in order; returns how many went out. Raises `Trap` for more than `check-send` allowed."""
        self._check()
        if len(datagrams) > self._permit:
            raise Trap(TrapCode.HOST, f"send of {len(datagrams)} datagrams, but check-send allowed {self._permit}")
        self._permit -= len(datagrams)
        sent = 0
        for datagram in datagrams:
            try:
                self._send(field(datagram, "data"), field(datagram, "remote_address"))
            except BlockingIOError:
                break
            except (OSError, Err):
                if sent:
                    break
                raise
            sent += 1
        return sent

    def _send(self, data: bytes, remote_address: Any) -> None:
        if remote_address is None:
            if self._peer is None:
                fail("invalid-argument")
            self._held.sock.send(data)
            return
        remote = endpoint(remote_address)
        remote.check_remote(self._held.family)
        if self._peer is not None:
            if remote != self._peer:
                fail("invalid-argument")
            self._held.sock.send(data)
            return
        remote.permit(self._network.policy, "udp-send")
        self._held.sock.sendto(data, remote.kernel)


class UdpCreateSocket:
    """`wasi:sockets/udp-create-socket`."""

    def __init__(self, config: WasiConfig) -> None:
        self._budget = config.budget

    @socket_errors
    def create_udp_socket(self, address_family: Any) -> UdpSocket:
        """A socket that is not bound yet."""
        return UdpSocket(make_socket(FAMILIES[enum_name(address_family)], socket.SOCK_DGRAM), self._budget)


class Udp:
    """`wasi:sockets/udp`."""

    UdpSocket: ClassVar = UdpSocket
    IncomingDatagramStream: ClassVar = IncomingDatagramStream
    OutgoingDatagramStream: ClassVar = OutgoingDatagramStream
