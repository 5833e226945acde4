"""`wasi:sockets/types.tcp-socket` 0.3: connections whose bytes are streams, and listeners whose connections are one.

States (TcpSocketOperationalSemantics-0.3.0): unbound → bound → listening, and unbound or bound → connecting → connected or closed.
A call in the wrong state is `invalid-state` and changes nothing. The kernel's socket is closed with the last that uses it: the
resource, a stream, or a call.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from component_rt.tasks.later import Later
from component_rt.tasks.supplies import Supply, refuse
from component_rt.tasks.waits import drivable
from component_rt.wasi._values import Err, enum_name
from component_rt.wasi.addresses import FAMILIES, make_socket
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.dual import Overlap
from component_rt.wasi.p3.sockets_errors import code, errors, somewhere
from component_rt.wasi.p3.streams import InputSupply, OutputDrain
from component_rt.wasi.pollable import READ, WRITE, Deadline, Source, wait_any
from component_rt.wasi.socket_options import HeldSocket, Readiness
from component_rt.wasi.tcp import SocketInput, SocketOutput
from component_rt.wasi.tcp_base import TcpBase

__all__ = ["TcpSocket"]

_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""`accept` says so again and again until something is closed."""
_PAUSE = 100_000_000
"""Nanoseconds until the next attempt then."""


class _Received(InputSupply):
    """What arrives on a connection. When the guest reads no more, the receiving side is shut down."""

    __slots__ = ("_held",)

    def __init__(self, held: HeldSocket) -> None:
        super().__init__(SocketInput(held), code)
        self._held = held

    def over(self) -> None:
        with contextlib.suppress(OSError):
            self._held.sock.shutdown(socket.SHUT_RD)
        del self._held, self._input, self._source
        super().over()


class _Sent(OutputDrain):
    """What goes out on a connection. Behind the last of it the sending side is shut down."""

    __slots__ = ("_held",)
    OVERLAPS: ClassVar[bool] = True

    def __init__(self, held: HeldSocket) -> None:
        super().__init__(SocketOutput(held), code)
        self._held = held

    def over(self) -> None:
        with contextlib.suppress(OSError):
            self._held.sock.shutdown(socket.SHUT_WR)
        del self._held, self._output
        super().over()


class _Accepted(Supply):
    """The connections that come in, each when the guest reads."""

    __slots__ = ("_held", "_make")

    def __init__(self, held: HeldSocket, make: Callable[[socket.socket], TcpSocket]) -> None:
        super().__init__()
        self._held = held
        self._make = make

    def _accept(self) -> tuple[list[TcpSocket], int]:
        """A connection if one is there, and how long to wait then before asking again."""
        pause = 0
        try:
            sock, _ = self._held.sock.accept()
            sock.setblocking(False)
            return [self._make(sock)], 0
        except BlockingIOError:
            pass
        except OSError as error:
            # Errors of a connection that is gone already are none of the listener's.
            pause = _PAUSE if error.errno in _SHORT_OF else 0
        return [], pause

    def _source(self, pause: int) -> Source:
        return Deadline(time.monotonic_ns, time.monotonic_ns() + pause) if pause else Readiness(self._held, READ)

    def next(self) -> list[TcpSocket] | Coroutine[Any, Any, list[TcpSocket]]:
        found, pause = self._accept()
        return found or self._wait(pause)

    async def _wait(self, pause: int) -> list[TcpSocket]:
        found: list[TcpSocket] = []
        while not found:
            await wait_any((self._source(pause),))
            found, pause = self._accept()
        return found

    def over(self) -> None:
        del self._held, self._make


class TcpSocket(TcpBase):
    """The resource `tcp-socket`; of a class for each configuration (`granted`), since it makes itself."""

    __slots__ = ("__weakref__", "_receiving", "_sending")
    config: ClassVar[WasiConfig]

    @classmethod
    def granted(cls, config: WasiConfig) -> type[TcpSocket]:
        """The class for what `config` grants."""
        return type(cls.__name__, (cls,), {"__slots__": (), "__doc__": cls.__doc__, "config": config})

    def __init__(self, sock: socket.socket, state: str = "unbound") -> None:
        super().__init__(sock, self.config.budget, state)
        self._receiving = self._sending = False

    @classmethod
    @errors
    def create(cls, address_family: Any) -> TcpSocket:
        """A socket that is not bound yet. Raises `Err(error-code)`, as do all others."""
        return cls(make_socket(FAMILIES[enum_name(address_family)], socket.SOCK_STREAM))

    # -- binding, listening, connecting ------------------------------------------------------------------------------

    @errors
    def bind(self, local_address: Any) -> None:
        """Bind to a local address."""
        self._require("unbound")
        self._bind(self.config.network, local_address)
        self.state = "bound"

    @errors
    def listen(self) -> Supply:
        """Listen for connections; these are the elements of the stream, which does not end."""
        self._require("unbound", "bound")
        if self.state == "unbound":
            self._held.sock.bind(somewhere(self.config.network, "tcp-bind", self._held.family).kernel)
        self._held.sock.listen(self._backlog)
        self.state = "listening"
        cls = type(self)
        return _Accepted(self._held, lambda sock: cls(sock, "connected"))

    @Overlap
    @errors
    def connect(self, remote_address: Any) -> Coroutine[Any, Any, None]:
        """Connect; a socket that could not is of no use any more."""
        self._require("unbound", "bound")
        self._begin_connect(self.config.network, remote_address)
        return self._connected()

    @drivable
    async def _connected(self) -> None:
        try:
            await wait_any((Readiness(self._held, WRITE),))
        except BaseException:
            self.state = "closed"
            raise
        errors(self._end_connect)()

    # -- the connection ----------------------------------------------------------------------------------------------

    def send(self, data: Any) -> Later:
        """Send what comes from `data`, and shut the sending side down behind it; once. The future is how it went."""
        if self.state != "connected" or self._sending:
            refuse(data)
            refused = Later()
            refused.set(Err("invalid-state"))
            return refused
        self._sending = True
        drain = _Sent(self._held)
        drain.begin(data)
        return drain.result

    def receive(self) -> tuple[Any, Any]:
        """What the peer sends, once; and how that ended."""
        if self.state != "connected" or self._receiving:
            return b"", Err("invalid-state")
        self._receiving = True
        supply = _Received(self._held)
        return supply, supply.result

    # -- addresses and options ---------------------------------------------------------------------------------------

    get_local_address = errors(TcpBase.local_address)
    get_remote_address = errors(TcpBase.remote_address)
    get_is_listening = TcpBase.is_listening
    get_address_family = TcpBase.address_family
    set_listen_backlog_size = errors(TcpBase.set_listen_backlog_size)
    get_keep_alive_enabled = errors(TcpBase.keep_alive_enabled)
    set_keep_alive_enabled = errors(TcpBase.set_keep_alive_enabled)
    get_keep_alive_idle_time = errors(TcpBase.keep_alive_idle_time)
    set_keep_alive_idle_time = errors(TcpBase.set_keep_alive_idle_time)
    get_keep_alive_interval = errors(TcpBase.keep_alive_interval)
    set_keep_alive_interval = errors(TcpBase.set_keep_alive_interval)
    get_keep_alive_count = errors(TcpBase.keep_alive_count)
    set_keep_alive_count = errors(TcpBase.set_keep_alive_count)
    get_hop_limit = errors(TcpBase.hop_limit)
    set_hop_limit = errors(TcpBase.set_hop_limit)
    get_receive_buffer_size = errors(TcpBase.receive_buffer_size)
    set_receive_buffer_size = errors(TcpBase.set_receive_buffer_size)
    get_send_buffer_size = errors(TcpBase.send_buffer_size)
    set_send_buffer_size = errors(TcpBase.set_send_buffer_size)
