"""`wasi:http/client` 0.3, and `wasi:http/handler` where nobody else stands behind a middleware: requests over the network.

Policy, connections and errors are those of WASI 0.2's outgoing handler, whose thread does each request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import attrs
import trio

from component_rt.tasks.waits import drivable
from component_rt.wasi._values import Err, Ok, fail
from component_rt.wasi.dual import Overlap
from component_rt.wasi.http_client import OutgoingHandler
from component_rt.wasi.http_fields import HttpError
from component_rt.wasi.http_types import FutureIncomingResponse, OutgoingBody
from component_rt.wasi.p3.http_body import CUT_OFF, Outcome, move, trailers_of
from component_rt.wasi.p3.http_types import Request, Response
from component_rt.wasi.p3.http_upload import Upload
from component_rt.wasi.pollable import unwrapping, wait_any

__all__ = ["Client"]


class Client:
    """`wasi:http/client` and `wasi:http/handler`."""

    def __init__(self, handler: OutgoingHandler) -> None:
        self._handler = handler

    async def _send_async(self, request: Request) -> Response:
        body = None
        with _telling(request) as told:
            target = self._handler.permitted(request)
            if request.contents is not None:
                body = OutgoingBody(request.KIND, None)
            elif isinstance(trailers := await trailers_of(request), Err):
                fail(trailers.value)
            future = self._handler.begin(target, request.fields, body, request.options)
            told.outcome = await _exchange(request, body, future)
            return _response(future)

    @drivable
    async def _send_sync(self, request: Request) -> Response:
        """Send a request; answers when the head of the response is there. Raises `Err(error-code)`.

        Trailers are waited for where contents are, but do not go out: the transport has no place for them.
        """
        upload = None
        with _telling(request) as told:
            target = self._handler.permitted(request)
            if request.contents is not None:
                upload = Upload(request, OutgoingBody(request.KIND, None))
            body = None if upload is None else upload.body
            future = self._handler.begin(target, request.fields, body, request.options)
            try:
                if upload is not None:
                    await upload.run()
                await wait_any((future.subscribe().source,))
            except BaseException:
                future.close()
                raise
            finally:
                if body is not None:
                    body.pipe.finish(HttpError(CUT_OFF))  # unless it has come to its end
            told.outcome = Ok(None) if upload is None else upload.outcome or Err(CUT_OFF)
            return _response(future)

    send = handle = Overlap(_send_sync, _send_async)


@attrs.define
class _Told:
    """What whoever made a request is told about its transmission."""

    outcome: Outcome = attrs.field(factory=lambda: Err(CUT_OFF))


@contextlib.contextmanager
def _telling(request: Request) -> Iterator[_Told]:
    told = _Told()
    try:
        yield told
    except Err as error:
        told.outcome = Err(error.value)
        raise
    finally:
        request.let_go()
        request.done.set(told.outcome)


def _response(future: FutureIncomingResponse) -> Response:
    """The outcome that is there. Raises `Err(error-code)` if it is an error."""
    result = future.get().value
    if isinstance(result, Err):
        fail(result.value)
    return Response.received(result.value)


async def _exchange(request: Request, body: OutgoingBody | None, future: FutureIncomingResponse) -> Outcome:
    """Wait for the response while the request's body goes out; what became of the latter.

    A server may answer before it has seen all of it: then the rest stays where it is.
    """
    outcome: Outcome | None = None if body else Ok(None)

    async def upload(body: OutgoingBody) -> None:
        nonlocal outcome
        outcome = await move(request, body)

    answered = False
    try:
        with unwrapping():
            async with trio.open_nursery() as nursery:
                if body is not None:
                    nursery.start_soon(upload, body)
                await wait_any((future.subscribe().source,))
                nursery.cancel_scope.cancel()
        answered = True
    finally:
        if not answered:
            future.close()
        if body is not None:
            body.pipe.finish(HttpError(CUT_OFF))  # unless it has come to its end
    return outcome or Err(CUT_OFF)
