"""`component-rt serve`: HTTP with a component that exports WASI's handler, of version 0.3 or 0.2."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from component_rt.cli.files import explaining_imports, is_component, make_engine, make_limits, read_wasm
from component_rt.cli.report import STOPPING, reporting
from component_rt.cli.workers import bind, shown_address, work_in_processes
from component_rt.namespace import find_interface
from core_rt.errors import LinkError, WasmError

if TYPE_CHECKING:
    import trio

    import component_rt as rt
    from component_rt.cli.commands import Grants

__all__ = ["Service", "serve_file"]

_HANDLER = "wasi:http/incoming-handler or wasi:http/handler@0.3.0"


@attrs.frozen
class Service:
    """The options of `serve`, besides what is granted: sizes in bytes, times in seconds."""

    addr: str = "127.0.0.1:8080"
    workers: int = 1
    max_requests: int = 100
    reuse: int = 1
    concurrent: int = 1
    max_body: float | None = None
    max_headers: float = 65536.0
    answer_timeout: float = 60.0
    idle_timeout: float = 60.0
    grace: float = 30.0
    access_log: bool = False


def _address(text: str) -> tuple[str | None, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise WasmError(f"--addr {text}: wanted HOST:PORT, for example 127.0.0.1:8080, [::1]:8080 or :8080")
    return host.strip("[]") or None, int(port)


def serve_file(path: Path, grants: Grants, service: Service) -> None:
    """Serve until told to stop. Raises the runtime's errors for a component that cannot serve; `KeyboardInterrupt`."""
    try:
        import h11  # noqa: F401
        import trio  # noqa: F401
    except ModuleNotFoundError as error:
        raise WasmError(f"serving needs {error.name}: pip install 'component-rt[http]'") from None
    if grants.fuel is not None and service.concurrent > 1:
        raise WasmError("--fuel is counted for one request at a time: leave out --concurrent")
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    if service.access_log:
        logging.getLogger("component_rt.serve").setLevel(logging.INFO)
    address = _address(service.addr)
    data = read_wasm(path)
    if not is_component(data):
        raise LinkError(f"{path} is a core module: only a component can export {_HANDLER}")
    _allow_many_connections()
    sockets: list[socket.socket] = []

    def ready() -> None:
        for sock in sockets:
            print(f"serving {path.name} on {shown_address(sock)}", file=sys.stderr, flush=True)

    if service.workers == 1:
        served = _load(data, path.name, grants)
        sockets += _bound(service.addr, address)
        _run(served, grants, service, sockets, ready, alone=True)
        return

    def work(sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
        with reporting():
            _run(_load(data, path.name, grants), grants, service, sockets, ready, alone=False)

    sockets += _bound(service.addr, address)
    work_in_processes(service.workers, sockets, work, ready)


def _bound(addr: str, address: tuple[str | None, int]) -> list[socket.socket]:
    try:
        return bind(*address)
    except OSError as error:
        raise WasmError(f"--addr {addr}: {error.strerror or error}") from None


def _load(data: bytes, name: str, grants: Grants) -> tuple[rt.Linker, rt.Component]:
    """The component, and all that it imports. Raises `LinkError` if it does not serve."""
    import component_rt as rt
    from component_rt.wasi.http_guests import HANDLERS

    engine = make_engine(grants)
    component = rt.Component(engine, data)
    if not any(find_interface(name, component.exports) for name in HANDLERS):
        hint = ": try `component-rt run`" if find_interface("wasi:cli/run", component.exports) is not None else ""
        raise LinkError(f"the component exports no {_HANDLER}{hint}")
    linker = rt.Linker(engine)
    linker.define_wasi(grants.wasi([name], stdout="inherit", stderr="inherit"))
    if grants.unknown_imports_trap:
        linker.define_unknown_imports_as_traps(component)
    with explaining_imports():
        linker.instantiate_pre(component)
    return linker, component


def _run(
    served: tuple[rt.Linker, rt.Component],
    grants: Grants,
    service: Service,
    sockets: Sequence[socket.socket],
    ready: Callable[[], None],
    alone: bool,
) -> None:
    """Serve in this process until told to stop; `alone` if it is the only one, which tells what it does."""
    import trio

    with _as_itself():
        trio.run(_serve, served, grants, service, sockets, ready, alone)


async def _serve(
    served: tuple[rt.Linker, rt.Component],
    grants: Grants,
    service: Service,
    sockets: Sequence[socket.socket],
    ready: Callable[[], None],
    alone: bool,
) -> None:
    import trio

    from component_rt.wasi import http_guests, http_server

    limits = http_server.Limits(
        requests=service.max_requests,
        header_bytes=int(service.max_headers),
        body_bytes=math.inf if service.max_body is None else int(service.max_body),
        idle_seconds=service.idle_timeout,
        answer_seconds=service.answer_timeout,
        grace_seconds=service.grace,
    )
    stop = trio.Event()
    instances = http_guests.instances(
        *served,
        reuse=service.reuse,
        concurrent=service.concurrent,
        limits=make_limits(grants),
        fuel=grants.fuel,
        seconds=grants.timeout,
    )
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
    async with instances as guest, trio.open_nursery() as nursery:
        await guest.warm_up()
        _collect_less_often()
        signals = await nursery.start(_signals, stop, alone)

        async def work(task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
            await http_server.serve_listeners(guest, listeners, limits=limits, stop=stop, task_status=task_status)
            nursery.cancel_scope.cancel()

        await nursery.start(work)
        ready()
    if signal.SIGINT in signals:
        raise KeyboardInterrupt


async def _signals(stop: trio.Event, alone: bool, task_status: trio.TaskStatus[list[int]]) -> None:
    """The first signal lets requests under way end, the second does not."""
    import trio

    seen: list[int] = []
    # A shell starts what runs in the background with SIGINT ignored, and means it.
    wanted = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*wanted) as received:
        task_status.started(seen)
        async for number in received:
            seen.append(number)
            if stop.is_set():
                raise KeyboardInterrupt if signal.SIGINT in seen else SystemExit(128 + number)
            stop.set()
            if alone:
                print(STOPPING, file=sys.stderr, flush=True)


def _collect_less_often() -> None:
    """Many idle instances are many objects: Python's collector would spend a quarter of the time on looking at them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _allow_many_connections() -> None:
    """Each connection is a descriptor, and the usual soft limit of 1024 has no meaning for a server."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _as_itself() -> Iterator[None]:
    """Let a lone exception leave the nurseries without the groups around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
