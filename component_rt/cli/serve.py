"""`component-rt serve`: HTTP with a component that exports `wasi:http/incoming-handler`."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from component_rt.cli.files import is_component, make_engine, make_limits, read_wasm
from component_rt.namespace import find_interface
from core_rt.errors import LinkError, Trap, TrapCode, WasmError

if TYPE_CHECKING:
    from component_rt.cli.commands import Grants
    from component_rt.wasi.http_types import IncomingRequest, ResponseOutparam

__all__ = ["serve_file"]

_HANDLER = "wasi:http/incoming-handler"


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise WasmError(f"--addr {text}: wanted HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


def serve_file(path: Path, addr: str, grants: Grants, max_requests: int) -> None:
    """Serve until interrupted. Raises the runtime's errors for a component that cannot serve."""
    try:
        import h11  # noqa: F401
        import trio
    except ModuleNotFoundError as error:
        raise WasmError(f"serving needs {error.name}: pip install 'component-rt[http]'") from None
    import component_rt as rt
    from component_rt.wasi import http_server
    from component_rt.wasi.pollable import check_interrupt, interruptible

    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    host, port = _address(addr)
    data = read_wasm(path)
    if not is_component(data):
        raise LinkError(f"{path} is a core module: only a component can export {_HANDLER}")
    engine = make_engine(grants)
    component = rt.Component(engine, data)
    if find_interface(_HANDLER, component.exports) is None:
        raise LinkError(f"the component exports no {_HANDLER}")
    linker = rt.Linker(engine)
    linker.define_wasi(grants.wasi([path.name], stdout="inherit", stderr="inherit"))
    linker.instantiate_pre(component)

    def guest(request: IncomingRequest, outparam: ResponseOutparam) -> None:
        with rt.Store(engine, limits=make_limits(grants)) as store:
            if grants.fuel is not None:
                store.fuel = grants.fuel
            check = _Deadline(grants.timeout) if grants.timeout is not None else _never
            with interruptible(check):
                # The same checks while it computes as while it waits.
                store.core.on_interrupt = check_interrupt
                linker.instantiate(store, component).exports[_HANDLER].handle(request, outparam)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                lambda task_status: http_server.serve(
                    guest, host, port, max_requests=max_requests, task_status=task_status
                )
            )
            for listener in listeners:
                name = listener.socket.getsockname()
                where = f"[{name[0]}]" if ":" in name[0] else name[0]
                print(f"serving {path.name} on http://{where}:{name[1]}", file=sys.stderr, flush=True)

    try:
        trio.run(main)
    except* KeyboardInterrupt:
        raise KeyboardInterrupt from None


def _never() -> None:
    return None


class _Deadline:
    """Called while a guest runs or waits: stops it once its time is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds

    def __call__(self) -> None:
        if time.monotonic() >= self._end:
            raise Trap(TrapCode.INTERRUPT, f"the guest was stopped after {self._seconds:g} s")
