"""What the TCP sockets of WASI 0.2 and 0.3 share: one socket of the host, its state, its addresses and its options."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from component_rt.wasi._values import fail
from component_rt.wasi.addresses import endpoint, endpoint_value, kernel_endpoint
from component_rt.wasi.config import Budget, NetworkPolicy
from component_rt.wasi.errno_names import socket_errors
from component_rt.wasi.socket_options import HeldSocket, SharedOptions, option_seconds

__all__ = ["TcpBase"]

_BACKLOG = 128


class TcpBase(SharedOptions):
    """A TCP socket in a `state`. The methods raise `Err(error-code)` of 0.2, or `OSError`."""

    __slots__ = ("_backlog", "_held", "state")

    def __init__(self, sock: socket.socket, budget: Budget, state: str = "unbound") -> None:
        self._held = HeldSocket(sock, budget)
        self._backlog = _BACKLOG
        self.state = state

    # -- inside ------------------------------------------------------------------------------------------------------

    def _require(self, *states: str) -> None:
        if self.state not in states:
            fail("invalid-state")

    def _option(self, level: int, option: int) -> int:
        return self._held.sock.getsockopt(level, option)

    def _bind(self, policy: NetworkPolicy, local_address: Any) -> None:
        local = endpoint(local_address)
        local.check(self._held.family)
        local.permit(policy, "tcp-bind")
        sock = self._held.sock
        # A port in TIME_WAIT may be bound again, as the interface asks for; the kernel wants it said by the socket before, too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(local.kernel)

    def _begin_connect(self, policy: NetworkPolicy, remote_address: Any) -> None:
        remote = endpoint(remote_address)
        remote.check_remote(self._held.family)
        remote.permit(policy, "tcp-connect")
        code = self._held.sock.connect_ex(remote.kernel)
        self.state = "connecting"
        if code not in (0, errno.EINPROGRESS):
            self._connect_failed(code)

    def _end_connect(self) -> None:
        """The socket has become writable: it is connected, or is not."""
        code = self._option(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._connect_failed(code)
        self.state = "connected"

    def _connect_failed(self, code: int) -> None:
        self.state = "closed"
        if code in (errno.EADDRNOTAVAIL, errno.EAGAIN):
            # No ephemeral port was left for the implicit bind.
            fail("address-in-use")
        raise OSError(code, os.strerror(code))

    # -- addresses ---------------------------------------------------------------------------------------------------

    @socket_errors
    def local_address(self) -> Any:
        """The address that the socket is bound to."""
        self._require("bound", "listen-in-progress", "listening", "connecting", "connected")
        return endpoint_value(kernel_endpoint(self._held.sock.getsockname()))

    @socket_errors
    def remote_address(self) -> Any:
        """The peer's address."""
        self._require("connected")
        return endpoint_value(kernel_endpoint(self._held.sock.getpeername()))

    def is_listening(self) -> bool:
        """Whether it is in the `listening` state."""
        return self.state == "listening"

    # -- options -----------------------------------------------------------------------------------------------------

    @socket_errors
    def set_listen_backlog_size(self, value: int) -> None:
        """Ask for a queue of so many connections."""
        if not value:
            fail("invalid-argument")
        if self.state in ("connecting", "connected", "closed"):
            fail("invalid-state")
        self._backlog = min(value, 4096)
        if self.state in ("listen-in-progress", "listening"):
            self._held.sock.listen(self._backlog)

    @socket_errors
    def keep_alive_enabled(self) -> bool:
        """Whether idle connections are probed."""
        return bool(self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    @socket_errors
    def set_keep_alive_enabled(self, value: bool) -> None:
        """Switch the probing of idle connections."""
        self._held.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, value)

    @socket_errors
    def keep_alive_idle_time(self) -> int:
        """Nanoseconds of silence before the first probe."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) * 1_000_000_000

    @socket_errors
    def set_keep_alive_idle_time(self, value: int) -> None:
        """Set the silence before the first probe, rounded up to seconds."""
        self._held.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, option_seconds(value))

    @socket_errors
    def keep_alive_interval(self) -> int:
        """Nanoseconds between probes."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * 1_000_000_000

    @socket_errors
    def set_keep_alive_interval(self, value: int) -> None:
        """Set the time between probes, rounded up to seconds."""
        self._held.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, option_seconds(value))

    @socket_errors
    def keep_alive_count(self) -> int:
        """How many probes go unanswered before the connection counts as dead."""
        return self._option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)

    @socket_errors
    def set_keep_alive_count(self, value: int) -> None:
        """Set the number of probes (at most 127, the kernel's limit)."""
        if not value:
            fail("invalid-argument")
        self._held.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, min(value, 127))

    def hop_limit(self) -> int:
        """How many routers a packet may pass."""
        return self._get_hops()

    def set_hop_limit(self, value: int) -> None:
        """Set how many routers a packet may pass."""
        self._set_hops(value)
