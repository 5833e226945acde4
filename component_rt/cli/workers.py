"""`component-rt serve --workers N`: several processes that serve from one port.

The parent binds, forks, and from then on only watches: it passes signals on, replaces a worker that the system killed, and
gives up when one ends by itself, for then the next one would as well. Nothing of the engine may exist before the fork,
since threads and their locks do not survive it. Workers are in process groups of their own, so that a terminal's Ctrl-C
reaches the parent alone, and end with the parent, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import attrs

from component_rt.cli.report import STOPPING, fail

__all__ = ["bind", "shown_address", "work_in_processes"]

_PR_SET_PDEATHSIG = 1
_YOUNG_SECONDS = 2.0
"""A worker that is killed before that is not replaced: so would be the next one."""

Work = Callable[[Sequence[socket.socket], Callable[[], None]], None]
"""Serves from sockets until SIGTERM; calls the second argument when it is ready."""


def bind(host: str | None, port: int) -> list[socket.socket]:
    """Listening sockets for an address; for all addresses of the machine if `host` is None. Raises `OSError`."""
    made: list[socket.socket] = []
    flags = socket.AI_PASSIVE
    for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError:
            continue  # a family that this machine does not speak
        made.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(where)
            sock.listen(socket.SOMAXCONN)
        except OSError:
            for one in made:
                one.close()
            raise
        port = port or sock.getsockname()[1]
    return made


def shown_address(sock: socket.socket) -> str:
    """A listening socket's address as a URL."""
    host, port, *_ = sock.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@attrs.define
class _Workers:
    work: Work
    sockets: Sequence[socket.socket]
    began: dict[int, float] = attrs.field(factory=dict)
    """When each process was started."""
    signals: list[int] = attrs.field(factory=list)

    def start(self) -> int:
        """Start one; the end of a pipe from which a byte comes when it is ready, and none if it fails."""
        inlet, outlet = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.close(outlet)
            self.began[pid] = time.monotonic()
            return inlet
        code = 1
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                raise SystemExit(1)  # it ended before that
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)

            def ready() -> None:
                os.write(outlet, b".")
                os.close(outlet)

            self.work(self.sockets, ready)
            code = 0
        except SystemExit as exited:
            code = exited.code if isinstance(exited.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def send(self, number: int) -> None:
        for pid in self.began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self) -> int:
        """Until the last has ended: the first exit code that is not 0, or 0."""
        worst = 0
        while self.began:
            pid, status = os.wait()
            if pid not in self.began:
                continue
            age = time.monotonic() - self.began.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if self.signals:
                # One that had not come as far as to handle it dies of the signal itself, which is as well.
                worst = worst or (0 if code == -signal.SIGTERM else code)
            elif code < 0 and age > _YOUNG_SECONDS:
                print(f"a worker was killed by {signal.Signals(-code).name}: replaced", file=sys.stderr, flush=True)
                os.close(self.start())
            else:
                worst = worst or (code if code > 0 else 1)
                self.signals.append(0)
                self.send(signal.SIGTERM)
        return worst


def _is_ready(inlet: int) -> bool:
    with open(inlet, "rb", buffering=0) as pipe:
        return bool(pipe.read(1))


@contextlib.contextmanager
def _passing_on(workers: _Workers) -> Iterator[None]:
    """The first signal lets requests under way end, the second does not; workers know SIGTERM only."""

    def received(number: int, frame: FrameType | None) -> None:
        if not workers.signals:
            print(STOPPING, file=sys.stderr, flush=True)
        workers.signals.append(number)
        workers.send(signal.SIGTERM)

    wanted = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, received) for one in wanted}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def work_in_processes(count: int, sockets: Sequence[socket.socket], work: Work, ready: Callable[[], None]) -> None:
    """Do `work` in `count` processes until a signal ends it; `ready` is called when all of them are.

    Raises `SystemExit` with the code of a worker that failed; `KeyboardInterrupt` after SIGINT.
    """
    workers = _Workers(work, sockets)
    with _passing_on(workers):
        # The first one alone: it says once what may be wrong, and leaves its compiled code to the others.
        if _is_ready(workers.start()):
            others = [workers.start() for _ in range(count - 1)]
            started = [_is_ready(inlet) for inlet in others]  # all of them: each has a pipe to be closed
            if all(started):
                ready()
        code = workers.wait()
    if signal.SIGINT in workers.signals:
        raise KeyboardInterrupt
    if code < 0:
        raise fail("error", f"a worker was killed by {signal.Signals(-code).name}", 1)
    if code:
        raise SystemExit(code)
