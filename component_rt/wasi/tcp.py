"""`wasi:sockets/tcp`: one socket, a state machine, and the two streams of its connection.

States (TcpSocketOperationalSemantics): unbound → bind-in-progress → bound → listen-in-progress → listening, and unbound or
bound → connecting → connected or closed. `start-*` does the work, `finish-*` only ends it: the kernel binds and listens
at once. A call in the wrong state is `invalid-state` and changes nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any, ClassVar

from component_rt.wasi._values import enum_name, fail
from component_rt.wasi.addresses import FAMILIES, endpoint, endpoint_value, kernel_endpoint, make_socket
from component_rt.wasi.config import Budget, WasiConfig
from component_rt.wasi.errno_names import socket_errors
from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.network import Network
from component_rt.wasi.pollable import READ, WRITE, Pollable, Wake, fd_ready, wait_fd
from component_rt.wasi.socket_options import HeldSocket, SharedOptions, option_seconds

__all__ = ["Tcp", "TcpCreateSocket", "TcpSocket"]

_CHUNK = 1 << 16
_BACKLOG = 128
_DRAIN_SECONDS = 30.0


class SocketInput(InputStream):
    """What arrives on a connection."""

    __slots__ = ("_held",)
    origin: ClassVar[str] = "sockets"

    def __init__(self, held: HeldSocket) -> None:
        super().__init__()
        self._held = held

    def _take(self, count: int) -> bytes | None:
        try:
            return self._held.sock.recv(min(count, _CHUNK)) or None
        except BlockingIOError:
            return b""

    def ready(self) -> bool:
        return fd_ready(self._held.fd, READ)

    def wake(self) -> Wake:
        return Wake(self._held.fd, READ)

    async def wait(self) -> None:
        await wait_fd(self._held.fd, READ)


class SocketOutput(OutputStream):
    """What is sent on a connection.

    The kernel may take less than `check-write` allowed: the rest waits in `_rest` (bounded by one permit) and goes out
    with the next call or wait. While there is a rest, `check-write` says 0.
    """

    __slots__ = ("_error", "_finish", "_held", "_rest")
    origin: ClassVar[str] = "sockets"

    def __init__(self, held: HeldSocket) -> None:
        super().__init__()
        self._held = held
        self._rest = b""
        self._error: OSError | None = None
        self._finish = False
        """Whether the sending side is to be shut down once the rest is out."""

    def _push(self) -> None:
        """Send what the kernel takes of the rest; remember an error for the next call."""
        try:
            while self._rest:
                self._rest = self._rest[self._held.sock.send(self._rest) :]
            if self._finish:
                self._finish = False
                self._held.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError as error:
            self._error, self._rest = error, b""

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _room(self) -> int:
        self._push()
        self._raise()
        return _CHUNK if not self._rest and fd_ready(self._held.fd, WRITE) else 0

    def _put(self, data: bytes) -> int:
        self._rest += bytes(data)
        self._push()
        return len(data)

    def _flush_now(self) -> None:
        self._push()
        self._raise()

    def _flushed(self) -> bool:
        return not self._rest

    def ready(self) -> bool:
        self._push()
        return self._error is not None or (not self._rest and fd_ready(self._held.fd, WRITE))

    def wake(self) -> Wake:
        return Wake(self._held.fd, WRITE)

    async def wait(self) -> None:
        await wait_fd(self._held.fd, WRITE)

    def finish(self) -> None:
        """Accept no more; shut the sending side down as soon as the rest is out."""
        self._ended = self._finish = True
        self._push()

    def close(self) -> None:
        self._ended = True
        self._push()
        if self._rest:
            # Rare: the guest dropped a stream whose peer does not read. What was accepted must still go out.
            threading.Thread(target=self._drain, name="wasi-tcp-drain", daemon=True).start()

    def _drain(self) -> None:
        copy = self._held.sock.dup()
        with copy:
            copy.settimeout(_DRAIN_SECONDS)
            try:
                copy.sendall(self._rest)
            except OSError:
                return


class _Progress:
    """The source behind `tcp-socket.subscribe`: what it waits for depends on the socket's state at the time."""

    __slots__ = ("_socket",)

    def __init__(self, of: TcpSocket) -> None:
        self._socket = of

    def _events(self) -> int:
        return {"connecting": WRITE, "listening": READ}.get(self._socket.state, 0)

    def ready(self) -> bool:
        events = self._events()
        return not events or fd_ready(self._socket._held.fd, events)

    def wake(self) -> Wake:
        events = self._events()
        return Wake(self._socket._held.fd, events) if events else Wake(remaining=0)

    async def wait(self) -> None:
        if events := self._events():
            await wait_fd(self._socket._held.fd, events)


class TcpSocket(SharedOptions):
    """The resource `wasi:sockets/tcp.tcp-socket`."""

    __slots__ = ("__weakref__", "_backlog", "_held", "_input", "_network", "_output", "state")

    def __init__(self, sock: socket.socket, budget: Budget, state: str = "unbound") -> None:
        self._held = HeldSocket(sock, budget)
        self._backlog = _BACKLOG
        self._network: Network | None = None
        self._input: SocketInput | None = None
        self._output: SocketOutput | None = None
        self.state = state

    # -- inside ------------------------------------------------------------------------------------------------------

    def _require(self, *states: str) -> None:
        if self.state not in states:
            fail("invalid-state")

    def _finish(self, state: str, then: str) -> None:
        if self.state != state:
            fail("not-in-progress")
        self.state = then

    def _streams(self) -> tuple[SocketInput, SocketOutput]:
        self._input, self._output = SocketInput(self._held), SocketOutput(self._held)
        return self._input, self._output

    def _option(self, level: int, option: int) -> int:
        return self._held.sock.getsockopt(level, option)

    # -- binding, listening, connecting ------------------------------------------------------------------------------

    @socket_errors
    def start_bind(self, network: Network, local_address: Any) -> None:
        """Bind to a local address."""
        self._require("unbound")
        local = endpoint(local_address)
        local.check(self._held.family)
        local.permit(network.policy, "tcp-bind")
        sock = self._held.sock
        # A port in TIME_WAIT may be bound again, as the interface asks for.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if local.port else 0)
        sock.bind(local.kernel)
        self._network = network
        self.state = "bind-in-progress"

    def finish_bind(self) -> None:
        """End `start-bind`."""
        self._finish("bind-in-progress", "bound")

    @socket_errors
    def start_listen(self) -> None:
        """Listen for connections."""
        self._require("bound")
        self._held.sock.listen(self._backlog)
        self.state = "listen-in-progress"

    def finish_listen(self) -> None:
        """End `start-listen`."""
        self._finish("listen-in-progress", "listening")

    @socket_errors
    def accept(self) -> tuple[TcpSocket, SocketInput, SocketOutput]:
        """A connection that has come in; `would-block` if none has."""
        self._require("listening")
        accepted, _ = self._held.sock.accept()
        accepted.setblocking(False)
        child = TcpSocket(accepted, self._held.budget, "connected")
        child._network = self._network
        return (child, *child._streams())

    @socket_errors
    def start_connect(self, network: Network, remote_address: Any) -> None:
        """Begin to connect."""
        self._require("unbound", "bound")
        remote = endpoint(remote_address)
        remote.check_remote(self._held.family)
        if self._network is not None and self._network.policy is not network.policy:
            fail("invalid-argument")
        remote.permit(network.policy, "tcp-connect")
        code = self._held.sock.connect_ex(remote.kernel)
        if code in (0, errno.EINPROGRESS):
            self.state = "connecting"
            return
        self.state = "closed"
        self._connect_failed(code)

    @staticmethod
    def _connect_failed(code: int) -> None:
        if code in (errno.EADDRNOTAVAIL, errno.EAGAIN):
            # No ephemeral port was left for the implicit bind.
            fail("address-in-use")
        raise OSError(code, os.strerror(code))

    @socket_errors
    def finish_connect(self) -> tuple[SocketInput, SocketOutput]:
        """The streams of the connection; `would-block` while it is not there yet."""
        if self.state != "connecting":
            fail("not-in-progress")
        if not fd_ready(self._held.fd, WRITE):
            fail("would-block")
        code = self._option(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.state = "closed"
            self._connect_failed(code)
        self.state = "connected"
        return self._streams()

    @socket_errors
    def shutdown(self, shutdown_type: Any) -> None:
        """Close one direction or both; again is no error."""
        self._require("connected")
        what = enum_name(shutdown_type)
        if what in ("receive", "both"):
            try:
                self._held.sock.shutdown(socket.SHUT_RD)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
            if self._input is not None:
                self._input._ended = True
        if what in ("send", "both") and self._output is not None:
            self._output.finish()

    def subscribe(self) -> Pollable:
        """A pollable for whatever `start-*` began and for `accept`."""
        return Pollable(_Progress(self))

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


class TcpCreateSocket:
    """`wasi:sockets/tcp-create-socket`."""

    def __init__(self, config: WasiConfig) -> None:
        self._budget = config.budget

    @socket_errors
    def create_tcp_socket(self, address_family: Any) -> TcpSocket:
        """A socket that is not bound yet."""
        return TcpSocket(make_socket(FAMILIES[enum_name(address_family)], socket.SOCK_STREAM), self._budget)


class Tcp:
    """`wasi:sockets/tcp`."""

    TcpSocket: ClassVar = TcpSocket
