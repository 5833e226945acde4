"""Serving HTTP with components that export `wasi:http/incoming-handler`: h11 over trio, a guest per request.

A connection is a trio task; its requests come one after the other. Each request gets an instance of its own, in a
synchronous store on a worker thread: the guest may spin or wait as it likes and holds up nobody. Task and guest meet in
the request's and the response's pipes and in the `response-outparam`.

What goes wrong before the response's head is an answer of 500, afterwards the connection is cut: a reader must not take
half a body for a whole one.
"""

from __future__ import annotations

import contextlib
import http
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

import attrs
import h11
import trio

from component_rt.wasi._values import Case, Err, Ok, variant
from component_rt.wasi.http_fields import Fields, HttpError, content_length
from component_rt.wasi.http_types import IncomingBody, IncomingRequest, OutgoingResponse, ResponseOutparam
from component_rt.wasi.pipe import Pipe
from component_rt.wasi.pollable import interruptible, wait_any
from core_rt.errors import GuestExit, WasmError

__all__ = ["Guest", "serve", "serve_connection"]

Guest = Callable[[IncomingRequest, ResponseOutparam], None]
"""Handles one request in a worker thread: instantiates, calls `handle`, closes. May raise the runtime's errors."""

_log = logging.getLogger("component_rt.serve")
_READ = 1 << 16
_IDLE_SECONDS = 60.0
"""How long a connection may wait for a request."""
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

_STATUS = {
    "HTTP-request-denied": 403,
    "HTTP-request-body-size": 413,
    "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431,
    "connection-timeout": 504,
    "connection-read-timeout": 504,
    "HTTP-response-timeout": 504,
    "destination-unavailable": 502,
    "connection-refused": 502,
}
"""Statuses for errors that a guest answers with; 500 otherwise."""
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


async def serve(
    guest: Guest,
    host: str,
    port: int,
    *,
    max_requests: int = 100,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, `max_requests` at once; `nursery.start` gives the listeners. Raises `OSError`."""
    limiter = trio.CapacityLimiter(max_requests)

    async def connection(stream: trio.SocketStream) -> None:
        await serve_connection(stream, guest, limiter)

    await trio.serve_tcp(connection, port, host=host, task_status=task_status)


async def serve_connection(stream: trio.abc.Stream, guest: Guest, limiter: trio.CapacityLimiter) -> None:
    """Serve the requests of one connection; closes it. What guests do wrong is logged and ends their request only."""
    async with stream:
        wire = _Wire(stream)
        try:
            while await _serve_one(wire, guest, limiter):
                wire.connection.start_next_cycle()
        except (*_GONE, h11.LocalProtocolError):
            return


@attrs.define(eq=False)
class _Wire:
    """An h11 connection and the stream beneath it."""

    stream: trio.abc.Stream
    connection: h11.Connection = attrs.field(factory=lambda: h11.Connection(h11.SERVER))
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    """Two tasks send: the one that responds, and the one that receives where the peer waits for "100 Continue"."""

    async def receive(self) -> Any:
        """The next event. Raises `h11.RemoteProtocolError` for what is no HTTP."""
        while (event := self.connection.next_event()) is h11.NEED_DATA:
            waiting = self.connection.they_are_waiting_for_100_continue
            if waiting and self.connection.our_state is h11.SEND_RESPONSE:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.connection.receive_data(bytes(await self.stream.receive_some(_READ)))
        return event

    async def send(self, event: Any) -> None:
        async with self.lock:
            data = self.connection.send(event)
            if data:
                await self.stream.send_all(data)

    async def plain(self, status: int, reason: str) -> None:
        """A whole response of our own, if none was begun."""
        if self.connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise h11.LocalProtocolError("too late for another response")
        text = f"{reason}\n".encode()
        headers = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(text)))]
        if self.connection.their_state is h11.ERROR:
            headers.append(("connection", "close"))
        await self.send(h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, "")))
        await self.send(h11.Data(data=text))
        await self.send(h11.EndOfMessage())


async def _serve_one(wire: _Wire, guest: Guest, limiter: trio.CapacityLimiter) -> bool:
    """One request and its response; False if the connection is at its end."""
    try:
        with trio.fail_after(_IDLE_SECONDS):
            event = await wire.receive()
    except trio.TooSlowError:
        return False
    except h11.RemoteProtocolError as error:
        await wire.plain(error.error_status_hint, "bad request")
        return False
    if not isinstance(event, h11.Request):
        return False
    body = IncomingBody(Pipe())
    request = _incoming(event, body)
    outparam = ResponseOutparam()
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_receive_body, wire, body)
        nursery.start_soon(_run_guest, guest, request, outparam, limiter, done)
        try:
            await _respond(wire, outparam)
            # A guest may go on after its response, and read more of the request.
            await done.wait()
        except (*_GONE, h11.LocalProtocolError):
            # The peer has gone, or a response was begun that cannot be completed: closing says so.
            pass
        finally:
            _give_up(body, outparam)
            # What is left of a request that the guest did not read is not worth receiving.
            nursery.cancel_scope.cancel()
    return (wire.connection.our_state, wire.connection.their_state) == (h11.DONE, h11.DONE)


def _give_up(body: IncomingBody, outparam: ResponseOutparam) -> None:
    """Wake a guest that still waits for one of the pipes: nobody is at the other end any more."""
    body.end(error=HttpError(variant("connection-terminated")))
    if isinstance(outparam.result, Ok) and outparam.result.value.outgoing_body is not None:
        outparam.result.value.outgoing_body.pipe.abandon()


def _incoming(event: h11.Request, body: IncomingBody) -> IncomingRequest:
    pairs = [(name.decode("latin-1"), value) for name, value in event.headers.raw_items()]
    hosts = [value for name, value in pairs if name.lower() == "host"]
    authority = hosts[0].decode("latin-1") if hosts else None
    target = event.target.decode("latin-1")
    scheme, separator, rest = target.partition("://")
    if separator and not target.startswith("/"):
        # A proxy's form: the target names the authority itself.
        authority, slash, path = rest.partition("/")
        target = f"{slash}{path}"
    else:
        scheme = "http"
    fields = Fields.received(pairs)
    return IncomingRequest(event.method.decode("ascii"), target or "/", scheme.lower(), authority, fields, body)


async def _receive_body(wire: _Wire, body: IncomingBody) -> None:
    """Move the request's body from the connection into its pipe, as fast as the guest takes it."""
    try:
        while True:
            event = await wire.receive()
            if isinstance(event, h11.Data):
                await body.pipe.put_async(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                trailers = [(name.decode("latin-1"), value) for name, value in event.headers]
                body.end(Fields.received(trailers) if trailers else None)
                return
            else:
                body.end(error=HttpError(variant("connection-terminated")))
                return
    except h11.RemoteProtocolError:
        body.end(error=HttpError(variant("HTTP-protocol-error")))
    except _GONE:
        body.end(error=HttpError(variant("connection-terminated")))


async def _run_guest(
    guest: Guest,
    request: IncomingRequest,
    outparam: ResponseOutparam,
    limiter: trio.CapacityLimiter,
    done: trio.Event,
) -> None:
    def work() -> None:
        # A guest that nobody waits for any more ends at its next wait (or, if the host checks there, its next tick).
        with interruptible(trio.from_thread.check_cancelled):
            guest(request, outparam)

    try:
        await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
    except GuestExit:
        pass
    except WasmError as error:
        _log.error("the guest failed: %s", error)
    except Exception:
        _log.exception("the host failed while a guest handled a request")
    finally:
        outparam.close()
        done.set()


async def _informational(wire: _Wire, outparam: ResponseOutparam) -> None:
    while outparam.informational:
        status, fields = outparam.informational.pop(0)
        await wire.send(h11.InformationalResponse(status_code=status, headers=_headers(fields)))


def _headers(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.strip(b" \t")) for name, value in fields.pairs]


async def _respond(wire: _Wire, outparam: ResponseOutparam) -> None:
    """Send what the guest answers."""
    await wait_any((outparam.notice,))
    await _informational(wire, outparam)
    result = outparam.result
    if isinstance(result, Ok):
        await _send(wire, result.value)
        return
    code = result.value if isinstance(result, Err) else None
    label = code.label if isinstance(code, Case) else getattr(code, "label", "internal-error")
    await wire.plain(_STATUS.get(label, 500), label)


async def _send(wire: _Wire, response: OutgoingResponse) -> None:
    headers = _headers(response.fields)
    body = response.outgoing_body
    if body is None and content_length(response.fields) is None and response.status_code() not in (204, 304):
        headers.append((b"content-length", b"0"))
    status = response.status_code()
    await wire.send(h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, "")))
    if body is None:
        await wire.send(h11.EndOfMessage())
        return
    # An error here is a body that the guest did not finish: h11 refuses to go on, and the connection is cut.
    async with contextlib.aclosing(_pieces(body.pipe)) as pieces:
        async for piece in pieces:
            await wire.send(h11.Data(data=piece))
    trailers = [] if body.trailers is None else _headers(body.trailers)
    await wire.send(h11.EndOfMessage(headers=trailers))


async def _pieces(pipe: Pipe) -> AsyncGenerator[bytes, None]:
    try:
        while (data := await pipe.take_async(_READ)) is not None:
            yield data
    except HttpError as error:
        raise h11.LocalProtocolError(f"the guest broke off its response: {error}") from None
    finally:
        pipe.abandon()
