"""`wasi:sockets/tcp`: one socket, a state machine, and the two streams of its connection.

States (TcpSocketOperationalSemantics): unbound → bind-in-progress → bound → listen-in-progress → listening, and unbound or
bound → connecting → connected or closed. `start-*` does the work, `finish-*` only ends it: the kernel binds and listens
at once. A call in the wrong state is `invalid-state` and changes nothing.
"""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any, ClassVar

from component_rt.wasi._values import enum_name, fail
from component_rt.wasi.addresses import FAMILIES, make_socket
from component_rt.wasi.config import Budget, WasiConfig
from component_rt.wasi.errno_names import socket_errors
from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.network import Network
from component_rt.wasi.pollable import READ, WRITE, Pollable, Wake, fd_ready, wait_fd
from component_rt.wasi.socket_options import HeldSocket
from component_rt.wasi.tcp_base import TcpBase

__all__ = ["SocketInput", "SocketOutput", "Tcp", "TcpCreateSocket", "TcpSocket"]

_CHUNK = 1 << 16
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


class TcpSocket(TcpBase):
    """The resource `wasi:sockets/tcp.tcp-socket`."""

    __slots__ = ("__weakref__", "_input", "_network", "_output")

    def __init__(self, sock: socket.socket, budget: Budget, state: str = "unbound") -> None:
        super().__init__(sock, budget, state)
        self._network: Network | None = None
        self._input: SocketInput | None = None
        self._output: SocketOutput | None = None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _finish(self, state: str, then: str) -> None:
        if self.state != state:
            fail("not-in-progress")
        self.state = then

    def _streams(self) -> tuple[SocketInput, SocketOutput]:
        self._input, self._output = SocketInput(self._held), SocketOutput(self._held)
        return self._input, self._output

    # -- binding, listening, connecting ------------------------------------------------------------------------------

    @socket_errors
    def start_bind(self, network: Network, local_address: Any) -> None:
        """Bind to a local address."""
        self._require("unbound")
        self._bind(network.policy, local_address)
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
        if self._network is not None and self._network.policy is not network.policy:
            fail("invalid-argument")
        self._begin_connect(network.policy, remote_address)

    @socket_errors
    def finish_connect(self) -> tuple[SocketInput, SocketOutput]:
        """The streams of the connection; `would-block` while it is not there yet."""
        if self.state != "connecting":
            fail("not-in-progress")
        if not fd_ready(self._held.fd, WRITE):
            fail("would-block")
        self._end_connect()
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
