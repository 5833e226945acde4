"""Serving HTTP/1.1 with guests that handle requests: h11 over trio.

A connection is a task; its requests come one after the other. The guest that handles a request runs in a task of the
server's own, so that it may go on when the response is complete. The two meet in the request's and the response's pipes
and in the `response-outparam`; where a request has a body, a third task moves it from the connection into its pipe.

What goes wrong before the response's head is answered for; afterwards the connection is cut: a reader must not take half
a body for a whole one.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable

import attrs
import h11
import trio

from component_rt.wasi._values import Case, Err, Ok, variant
from component_rt.wasi.http_fields import Fields, HttpError, content_length
from component_rt.wasi.http_types import IncomingBody, IncomingRequest, OutgoingResponse, ResponseOutparam
from component_rt.wasi.http_wire import GONE, READ, Wire, pairs_of
from component_rt.wasi.pipe import Pipe
from component_rt.wasi.pollable import wait_any
from core_rt.errors import GuestExit, WasmError

__all__ = ["Guest", "Limits", "serve", "serve_listeners"]

Guest = Callable[[IncomingRequest, ResponseOutparam], Awaitable[None]]
"""Handles one request. May raise the runtime's errors, and may be cancelled. `http_guests` makes them of components."""

_log = logging.getLogger("component_rt.serve")
_WATCH_AFTER = 0.1
"""Seconds before the server looks whether the peer is still there; most guests answer sooner."""
_TURNS = 3
"""Of the loop, until what there is of a response goes out: a guest that is at it often has the next piece by then."""
_LAST_SECONDS = 5.0
"""For a guest whose peer has gone: to notice and to tidy up."""

_STATUS = {
    "HTTP-request-denied": 403,
    "HTTP-request-length-required": 411,
    "HTTP-request-body-size": 413,
    "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431,
    "HTTP-request-header-size": 431,
    "connection-timeout": 504,
    "connection-read-timeout": 504,
    "HTTP-response-timeout": 504,
    "DNS-timeout": 504,
    "DNS-error": 502,
    "destination-not-found": 502,
    "destination-unavailable": 502,
    "connection-refused": 502,
    "connection-terminated": 502,
    "loop-detected": 508,
}
"""Statuses for errors that a guest answers with; 500 otherwise."""
_NO_BODY = (204, 304)


@attrs.frozen
class Limits:
    """What clients and guests may take of a server."""

    requests: int = 100
    """Handled at once; others wait."""
    header_bytes: int = 1 << 16
    body_bytes: float = math.inf
    """Of one request."""
    idle_seconds: float = 60.0
    """Until a request has come with all its headers."""
    stall_seconds: float = 60.0
    """For the next piece to come or go."""
    answer_seconds: float = 60.0
    """For a guest to begin its response."""
    grace_seconds: float = 30.0
    """For requests under way when the server is told to stop."""


async def serve(
    guest: Guest,
    host: str | None,
    port: int,
    *,
    limits: Limits | None = None,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set and what is under way has ended (or until cancelled).

    `nursery.start` gives the listeners. Raises `OSError`.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    await serve_listeners(guest, listeners, limits=limits, stop=stop, task_status=task_status)


async def serve_listeners(
    guest: Guest,
    listeners: list[trio.SocketListener],
    *,
    limits: Limits | None = None,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`serve` on listeners that are open already; closes them."""
    stop = trio.Event() if stop is None else stop
    async with trio.open_nursery() as guests:
        server = _Server(guest, Limits() if limits is None else limits, guests)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    functools.partial(trio.serve_listeners, server.connection, listeners, handler_nursery=connections)
                )
                task_status.started(listeners)
                await stop.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                await listener.aclose()
            guests.cancel_scope.deadline = trio.current_time() + server.limits.grace_seconds
            server.drain()


@attrs.define(eq=False)
class _Call:
    """A guest at work on one request."""

    request: IncomingRequest
    body: IncomingBody
    outparam: ResponseOutparam = attrs.field(factory=ResponseOutparam)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    started: bool = False
    too_large: bool = False

    def give_up(self, seconds: float) -> None:
        """The peer has gone: wake the guest where it waits for it, and leave it some time."""
        self.body.end(error=HttpError(variant("connection-terminated")))
        if self.response is not None:
            if self.response.outgoing_body is not None:
                self.response.outgoing_body.pipe.abandon()
            self.response.on_sent(variant("connection-terminated"))
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + seconds)

    @property
    def response(self) -> OutgoingResponse | None:
        result = self.outparam.result
        return result.value if isinstance(result, Ok) else None


class _Server:
    def __init__(self, guest: Guest, limits: Limits, nursery: trio.Nursery) -> None:
        self.limits = limits
        self._guest = guest
        self._nursery = nursery
        self._slots = trio.Semaphore(limits.requests)
        self._idle: set[trio.CancelScope] = set()
        self._stopping = False

    def drain(self) -> None:
        """Let no further request begin."""
        self._stopping = True
        for scope in self._idle:
            scope.cancel()

    async def connection(self, stream: trio.SocketStream) -> None:
        """Serve the requests of one connection; closes it."""
        wire = Wire(stream, self.limits.header_bytes, self.limits.stall_seconds)
        async with stream:
            try:
                while await self._serve_one(wire):
                    wire.connection.start_next_cycle()
                await wire.close()
            except (*GONE, h11.LocalProtocolError):
                return
            except Exception:
                _log.exception("the host failed on a connection")

    async def _head(self, wire: Wire) -> h11.Request | None:
        """The next request; None if there is none, with an answer if it was a bad one."""
        if self._stopping:
            return None
        scope = trio.CancelScope(deadline=trio.current_time() + self.limits.idle_seconds)
        self._idle.add(scope)
        try:
            with scope:
                event = await wire.receive()
        except h11.RemoteProtocolError as error:
            await wire.plain(error.error_status_hint, f"bad request: {error}")
            return None
        finally:
            self._idle.discard(scope)
        if scope.cancelled_caught or not isinstance(event, h11.Request):
            return None
        if event.method == b"CONNECT":
            await wire.plain(501, "no tunnels here")
            return None
        return event

    async def _serve_one(self, wire: Wire) -> bool:
        """One request and its response; False if the connection is at its end."""
        head = await self._head(wire)
        if head is None:
            return False
        call = _incoming(head)
        size = content_length(call.request.headers())
        if size is not None and size > self.limits.body_bytes:
            await wire.plain(413, f"a body may have {self.limits.body_bytes} bytes")
            return False
        began = time.perf_counter()
        whole = size == 0 or (size is None and not _is_chunked(head))
        if whole:
            await wire.receive()  # the end of the message is there already
            call.body.end()
        self._nursery.start_soon(self._run_guest, call)
        try:
            if whole:
                await self._respond(wire, head, call)
            else:
                await self._respond_while_receiving(wire, head, call)
                await wire.drain()
        except h11.RemoteProtocolError:
            return False  # behind the response: nothing is left to say
        except BaseException:
            # The peer has gone, or a response cannot be completed (closing says so), or the server stops.
            call.give_up(_LAST_SECONDS)
            raise
        finally:
            if _log.isEnabledFor(logging.INFO):
                _log_request(head, call, time.perf_counter() - began)
        return (wire.connection.our_state, wire.connection.their_state) == (h11.DONE, h11.DONE)

    # -- the guest ---------------------------------------------------------------------------------------------------

    async def _run_guest(self, call: _Call) -> None:
        try:
            with call.scope:
                try:
                    self._slots.acquire_nowait()
                except trio.WouldBlock:
                    await self._slots.acquire()
                try:
                    call.started = True
                    await self._guest(call.request, call.outparam)
                finally:
                    self._slots.release()
        except GuestExit:
            pass
        except WasmError as error:
            _log.error("the guest failed: %s", error)
        except Exception:
            _log.exception("the host failed while a guest handled a request")
        finally:
            call.outparam.close()
            if call.response is not None and call.response.outgoing_body is not None:
                # Nobody finishes it any more if it is not finished yet.
                call.response.outgoing_body.close()
            call.done.set()

    async def _receive_body(self, wire: Wire, call: _Call) -> None:
        """Move the request's body from the connection into its pipe, as fast as the guest takes it."""
        body = call.body
        try:
            if wire.connection.they_are_waiting_for_100_continue:
                await wait_any((body.wanted,))
                if wire.connection.our_state is h11.SEND_RESPONSE:
                    await wire.send(h11.InformationalResponse(status_code=100, headers=[]))
            size = 0
            while not body.pipe.abandoned:
                event = await wire.receive_soon()
                if isinstance(event, h11.Data):
                    size += len(event.data)
                    if size > self.limits.body_bytes:
                        call.too_large = True
                        body.end(error=HttpError(variant("HTTP-request-body-size", size)))
                        return
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
        except trio.TooSlowError:
            body.end(error=HttpError(variant("connection-read-timeout")))
        except GONE:
            body.end(error=HttpError(variant("connection-terminated")))

    # -- the response ------------------------------------------------------------------------------------------------

    async def _respond_while_receiving(self, wire: Wire, head: h11.Request, call: _Call) -> None:
        problem: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive_body, wire, call)
            try:
                await self._respond(wire, head, call)
                # A guest may go on after its response, and read more of the request.
                await call.done.wait()
            except (*GONE, h11.LocalProtocolError) as error:
                problem = error  # a nursery would wrap it
            nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem

    async def _respond(self, wire: Wire, head: h11.Request, call: _Call) -> None:
        """Send what the guest answers."""
        try:
            with trio.fail_after(self.limits.answer_seconds):
                await _answer(wire, call)
        except trio.TooSlowError:
            if call.outparam.result is None:
                call.give_up(0.0)
                await wire.plain(
                    504 if call.started else 503, "no answer in time" if call.started else "too many requests"
                )
                return
        while call.outparam.informational:
            status, fields = call.outparam.informational.pop(0)
            await wire.send(h11.InformationalResponse(status_code=status, headers=pairs_of(fields)))
        if call.response is None:
            await _refuse(wire, call)
        elif await self._begin(wire, head, call.response):
            await _finish(wire, head, call.response)
            call.response.on_sent(None)

    async def _begin(self, wire: Wire, head: h11.Request, response: OutgoingResponse) -> bool:
        """The response's head; False if it makes no sense, which has been answered for then."""
        status = response.status_code()
        headers = pairs_of(response.fields)
        if status in _NO_BODY:
            headers = [pair for pair in headers if status != 204 or pair[0].lower() != b"content-length"]
        elif response.outgoing_body is None and content_length(response.fields) is None and head.method != b"HEAD":
            headers.append((b"content-length", b"0"))
        if self._stopping:
            headers.append((b"connection", b"close"))
        try:
            wire.head(status, headers)
        except h11.LocalProtocolError as error:
            _log.error("the guest's response cannot be sent: %s", error)
            if response.outgoing_body is not None:
                response.outgoing_body.pipe.abandon()
            response.on_sent(variant("HTTP-protocol-error"))
            await wire.plain(500, "the response cannot be sent")
            return False
        return True


def _incoming(event: h11.Request) -> _Call:
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
    body = IncomingBody(Pipe())
    method = event.method.decode("ascii")
    fields = Fields.received(pairs)
    return _Call(IncomingRequest(method, target or "/", scheme.lower(), authority, fields, body), body)


def _is_chunked(event: h11.Request) -> bool:
    return any(name == b"transfer-encoding" for name, _ in event.headers)


def _log_request(head: h11.Request, call: _Call, seconds: float) -> None:
    said: object = "no response"
    if call.response is not None:
        said = call.response.status_code()
    elif isinstance(call.outparam.result, Err):
        said = getattr(call.outparam.result.value, "label", "no response")
    target = head.target.decode("latin-1")
    _log.info("%s %s: %s, %.1f ms", head.method.decode("ascii"), target, said, seconds * 1e3)


async def _answer(wire: Wire, call: _Call) -> None:
    """Wait until the guest has answered; tell it when nobody waits for the answer any more."""
    notice = call.outparam.notice
    with trio.move_on_after(_WATCH_AFTER):
        await wait_any((notice,))
        return
    if wire.connection.their_state is not h11.DONE:
        await wait_any((notice,))
        return

    async def watch() -> None:
        if await wire.peer_left():
            # It may have ended its side only, and still read: leave the guest some time to answer.
            call.scope.deadline = min(call.scope.deadline, trio.current_time() + _LAST_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_any((notice,))
        nursery.cancel_scope.cancel()


async def _refuse(wire: Wire, call: _Call) -> None:
    """The guest gave an error in place of a response, or nothing at all."""
    result = call.outparam.result
    code = result.value if isinstance(result, Err) else None
    label = code.label if isinstance(code, Case) else getattr(code, "label", "internal-error")
    if call.too_large:
        label = "HTTP-request-body-size"
    await wire.plain(_STATUS.get(label, 500), label)


async def _finish(wire: Wire, head: h11.Request, response: OutgoingResponse) -> None:
    """The response's body, and its end."""
    body = response.outgoing_body
    if body is None:
        await wire.send(h11.EndOfMessage())
        return
    silent = head.method == b"HEAD" or response.status_code() in _NO_BODY
    pipe = body.pipe
    turns = 0
    try:
        while (data := pipe.take(READ)) is not None:
            if not data and turns < _TURNS:
                turns += 1
                await trio.lowlevel.checkpoint()
                continue
            turns = 0
            if not data:
                await wire.flush()
                await wait_any((pipe.readable,))
            elif not silent and wire.collect(h11.Data(data=data)):
                await wire.flush()
        chunked = not silent and content_length(response.fields) is None and head.http_version == b"1.1"
        trailers = pairs_of(body.trailers) if chunked and body.trailers is not None else []
        wire.collect(h11.EndOfMessage(headers=trailers))
    except HttpError as error:
        # h11 would refuse to go on as well: the connection is cut behind what was sent.
        await wire.flush()
        raise h11.LocalProtocolError(f"the guest broke off its response: {error}") from None
    finally:
        pipe.abandon()
    await wire.flush()
