"""Bodies on their way to a transport, and guests that answer requests of one.

The transports are those of WASI 0.2, which know pipes: what a guest's stream brings is moved into one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from component_rt.tasks.later import Later
from component_rt.wasi._values import Case, Err, Ok, variant
from component_rt.wasi.http_fields import HttpError, content_length, internal_error
from component_rt.wasi.http_types import IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam
from component_rt.wasi.p3.http_types import Request, Response
from component_rt.wasi.pollable import unwrapping
from core_rt.errors import WasmError

__all__ = ["CUT_OFF", "Outcome", "answer", "move", "trailers_of"]

Outcome = Ok[Any] | Err
"""`result<_, error-code>`: what became of a message, for whom made it."""
CUT_OFF = variant("connection-terminated")

_NO_BODY = (204, 304)


async def trailers_of(message: Request | Response) -> Outcome:
    """`Ok(fields or None)`, or `Err(error-code)`. Raises what ended the guest that should have told."""
    return await _known(_taken(message))


def _taken(message: Request | Response) -> Any:
    """The trailers, or what they will be in. A guest that gives them has them taken at once."""
    value = message.trailers
    if not hasattr(value, "_reader"):
        return value
    later = Later()

    def lost(error: BaseException | None) -> None:
        later.set(error if isinstance(error, WasmError) else WasmError("the future was dropped without a value"))

    later.follow(value, lost)
    return later


async def _known(value: Any) -> Outcome:
    found = value
    if isinstance(value, Later):
        event = trio.Event()
        value.then(lambda known: event.set())
        await event.wait()
        found = value.known
    elif isinstance(value, Awaitable):
        found = await value
    if isinstance(found, WasmError):
        raise found
    return found if isinstance(found, Ok) else Err(Case(found.value.label, found.value.value))


async def move(message: Request | Response, body: OutgoingBody, counted: bool = True) -> Outcome | None:
    """Move a message's contents and trailers into the pipe of `body`, and end it. None: the transport takes no more.

    `counted`: the contents must be as long as Content-Length says. Raises what ended the guest that should have written them.
    """
    try:
        outcome = await _move(message, body, content_length(message.fields) if counted else None)
    except WasmError:
        body.pipe.finish(HttpError(internal_error("the guest that wrote the body was ended")))
        raise
    if isinstance(outcome, Err):
        body.pipe.finish(HttpError(outcome.value))
    return outcome


async def _move(message: Request | Response, body: OutgoingBody, expected: int | None) -> Outcome | None:
    # Trailers are taken while the contents come: a guest may want that before it ends these.
    taken = _taken(message)
    if not isinstance(taken, Awaitable):
        return await _parts(message, body, expected, taken)
    given = taken  # by Python code
    taken = Later()

    async def take() -> None:
        try:
            taken.set(await _known(given))
        except WasmError as error:
            taken.set(error)

    with unwrapping():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            outcome = await _parts(message, body, expected, taken)
            nursery.cancel_scope.cancel()
    return outcome


async def _parts(
    message: Request | Response, body: OutgoingBody, expected: int | None, trailers: Any
) -> Outcome | None:
    outcome = await _contents(message, body, expected)
    if not isinstance(outcome, Ok):
        return outcome
    found = await _known(trailers)
    if isinstance(found, Err):
        return found
    body.complete(found.value)
    return Ok(None)


async def _contents(message: Request | Response, body: OutgoingBody, expected: int | None) -> Outcome | None:
    """Move the contents: `Ok` when all of them are in the pipe, None if that is not wanted any more."""
    contents, written = message.contents, 0
    while contents is not None:
        try:
            data = await contents.receive_some()
        except trio.BrokenResourceError as error:
            raise _cause(error) from None
        if not data:
            break
        written += len(data)
        if expected is not None and written > expected:
            break
        if not await body.pipe.put_async(data):
            await contents.aclose()
            return None
    if expected is not None and written != expected:
        return Err(variant(f"HTTP-{message.KIND}-body-size", written))
    return Ok(None)


def _cause(error: trio.BrokenResourceError) -> WasmError:
    """What ended the guest at the other end."""
    cause = error.__cause__
    return cause if isinstance(cause, WasmError) else WasmError(str(error))


async def answer(
    handle: Callable[[Request], Awaitable[Response]], incoming: IncomingRequest, outparam: ResponseOutparam
) -> None:
    """Let a guest of WASI 0.3 answer a request as one of 0.2 would; ends when its response has gone out.

    Raises what `handle` raises, and what ended the guest behind its answer.
    """
    try:
        response = await handle(Request.received(incoming))
    except Err as error:
        outparam.set(outparam, Err(Case(error.value.label, error.value.value)))
        return
    outcome: Outcome | None = None
    try:
        outcome = await _respond(response, incoming._method, outparam)
    finally:
        response.let_go()
        response.done.set(outcome or Err(CUT_OFF))


async def _respond(response: Response, method: str, outparam: ResponseOutparam) -> Outcome | None:
    outgoing = OutgoingResponse(response.fields)
    outgoing.set_status_code(response.get_status_code())
    sent = trio.Event()
    problem: Case | None = None

    def on_sent(code: Case | None) -> None:
        nonlocal problem
        if not sent.is_set():
            problem = code
            sent.set()

    outgoing.on_sent = on_sent
    outcome: Outcome | None = Ok(None)
    if response.contents is None:
        outcome = await trailers_of(response)
        if isinstance(outcome, Err):
            outparam.set(outparam, outcome)
            return outcome
        if outcome.value is not None:
            outgoing.body().complete(outcome.value)
        outparam.set(outparam, Ok(outgoing))
    else:
        body = outgoing.body()
        outparam.set(outparam, Ok(outgoing))
        silent = method == "HEAD" or response.get_status_code() in _NO_BODY
        outcome = await move(response, body, not silent)
    await sent.wait()
    if isinstance(outcome, Err):
        return outcome
    return Ok(None) if problem is None else Err(problem)
