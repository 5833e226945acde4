"""The body of a request on its way to a transport, in a store without a loop: moved as the guest writes it.

In trio stores `http_body.move` does that in a task.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from component_rt.tasks.later import Later
from component_rt.tasks.supplies import Drain
from component_rt.tasks.waits import drivable
from component_rt.wasi._values import Case, Err, Ok, variant
from component_rt.wasi.http_fields import HttpError, content_length, internal_error
from component_rt.wasi.http_types import OutgoingBody
from component_rt.wasi.p3.http_types import Contents, Request
from component_rt.wasi.pollable import wait_any

__all__ = ["Upload"]


class Upload(Drain):
    """Moves the contents and the trailers of `message` into the pipe of `body`; `outcome` is what became of them, once that is known."""

    __slots__ = ("_expected", "_message", "_trailers", "_written", "body", "outcome")

    def __init__(self, message: Request, body: OutgoingBody) -> None:
        super().__init__()
        self._message = message
        self._expected = content_length(message.fields)
        self._written = 0
        self.body = body
        self.outcome: Ok[Any] | Err | None = None

    async def run(self) -> None:
        """Begin. Contents of the host are moved here, those of a guest when it writes them."""
        trailers = self._message.trailers
        self._trailers = trailers if isinstance(trailers, Later) else Later()
        if isinstance(trailers, Ok | Err):
            self._trailers.set(trailers)
        elif trailers is not self._trailers:
            # A guest may want its trailers taken before it ends the contents.
            self._trailers.follow(trailers)
        contents = self._message.contents
        if not isinstance(contents, Contents):
            self.begin(contents)
            return
        while data := await contents.receive_some():
            more = self.put(data)
            if not (more if isinstance(more, bool) else await more):
                break
        self._complete()

    def put(self, chunk: bytes) -> bool | Coroutine[Any, Any, bool]:
        self._written += len(chunk)
        if self._expected is not None and self._written > self._expected:
            return False
        return self._pass(chunk) if self.body.pipe.writable.ready() else self._pass_later(chunk)

    def _pass(self, chunk: bytes) -> bool:
        self.body.pipe.put(chunk)
        return not self.body.pipe.abandoned

    @drivable
    async def _pass_later(self, chunk: bytes) -> bool:
        await wait_any((self.body.pipe.writable,))
        return self._pass(chunk)

    def over(self) -> None:
        if self._reader.shared.failure is not None:
            self._settle(Err(internal_error("the guest that wrote the body was ended")))
        else:
            self._complete()

    def _complete(self) -> None:
        """All contents are in the pipe, or no more are wanted."""
        if self.body.pipe.abandoned:
            return
        if self._expected is not None and self._written != self._expected:
            self._settle(Err(variant(f"HTTP-{self._message.KIND}-body-size", self._written)))
        else:
            self._trailers.then(self._settle)

    def _settle(self, trailers: Ok[Any] | Err) -> None:
        if isinstance(trailers, Ok):
            self.body.complete(trailers.value)
            self.outcome = Ok(None)
        else:
            self.outcome = Err(Case(trailers.value.label, trailers.value.value))
            self.body.pipe.finish(HttpError(self.outcome.value))
