"""`wasi:http/types` 0.3: requests, responses, and what their bodies are made of.

One resource serves both directions. The body of a message is its `contents`, something to read bytes from, and its `trailers`,
a future. A guest made them, or they are the faces of an `IncomingBody`, which a transport fills. Whoever takes the body of a guest's
message (`http_body`, or a guest that consumes what another one made) owes it an outcome: `done`, the second thing that `new` answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from component_rt.tasks.later import Later
from component_rt.tasks.supplies import refuse
from component_rt.wasi import http_types as older
from component_rt.wasi._values import Err, Ok, fail, variant
from component_rt.wasi.http_fields import Fields, HttpError, internal_error
from component_rt.wasi.http_types import IncomingBody, IncomingRequest, IncomingResponse, RequestHead
from component_rt.wasi.p3.streams import PolledSupply

__all__ = ["Contents", "Request", "RequestOptions", "Response", "Types"]

_CHUNK = 1 << 16


class Contents(PolledSupply):
    """The bytes of a message that a transport receives; `trailers` are known when it is over. Taken by a guest or by `receive_some`."""

    __slots__ = ("_body", "_outcome", "trailers")

    def __init__(self, body: IncomingBody) -> None:
        super().__init__(body.pipe.readable)
        self._body = body
        self._outcome: Ok[Any] | Err = Ok(None)
        self.trailers = Later()

    def want(self) -> None:
        """Somebody will read: a peer that waits to be asked for the body is asked."""
        self._body.wanted.set()

    def _take(self) -> bytes | None:
        self.want()
        try:
            data = self._body.pipe.take(_CHUNK)
        except HttpError as error:
            self._outcome = Err(error.code)
            return None
        if data is None:
            self._outcome = Ok(self._body.trailers)
        return data

    def over(self) -> None:
        self._body.pipe.abandon()
        self.trailers.set(self._outcome)

    async def receive_some(self) -> bytes:
        """As of a trio stream."""
        data = self._take()
        if data == b"":
            data = await self._wait()
        if data is None:
            self.over()
        return data or b""

    async def aclose(self) -> None:
        """Nobody reads any more."""
        self.over()


class _Message:
    """What requests and responses share."""

    __slots__ = ("__weakref__", "contents", "done", "fields", "trailers")
    KIND: ClassVar[str] = ""

    def __init__(self, fields: Fields, contents: Any, trailers: Any) -> None:
        self.fields = fields.freeze()
        self.contents = contents
        """None, the guest's stream, or `Contents`."""
        self.trailers = trailers
        """`Ok(fields or None)`, `Err(error-code)`, or what will be one of them: a `Later`, a guest's future."""
        self.done = Later()
        """How it went to send the message: for whom made it."""

    def _receive(self, body: IncomingBody) -> None:
        """Take the body from a transport."""
        if body.pipe.drained:
            self.contents, self.trailers = None, Ok(body.trailers)
            return
        self.contents = Contents(body)
        self.trailers = self.contents.trailers

    def get_headers(self) -> Fields:
        """The headers, immutable."""
        return self.fields.view()

    @staticmethod
    def consume_body(this: _Message, res: Any) -> tuple[Any, Any]:
        """The contents and the trailers; `res` is what becomes of the message, for whom made it."""
        this.done.follow(res)
        if isinstance(this.contents, Contents):
            this.contents.want()
        return b"" if this.contents is None else this.contents, this.trailers

    def let_go(self) -> None:
        """Take no more of the body: a guest that still writes it, or its trailers, learns so at once."""
        for part in (self.contents, self.trailers):
            if isinstance(part, Contents):
                part.over()
            elif hasattr(part, "_reader"):
                refuse(part)
        self.contents = self.trailers = None

    def close(self) -> None:
        """The guest dropped its handle: nobody will have the message."""
        self.let_go()
        self.done.set(Err(internal_error(f"the {self.KIND} was dropped before it was sent")))


class Request(_Message, RequestHead):
    """The resource `request`."""

    __slots__ = ("_authority", "_method", "_path", "_scheme", "options")
    KIND: ClassVar[str] = "request"

    def __init__(self, fields: Fields, contents: Any, trailers: Any, options: RequestOptions | None = None) -> None:
        super().__init__(fields, contents, trailers)
        self._begin()
        self.options = None if options is None else options.view()

    @staticmethod
    def new(headers: Fields, contents: Any, trailers: Any, options: RequestOptions | None) -> tuple[Request, Later]:
        """A request to get `/`, and how it went to send it."""
        request = Request(headers, contents, trailers, options)
        return request, request.done

    @classmethod
    def received(cls, incoming: IncomingRequest) -> Request:
        """A request that came over the network."""
        self = cls(incoming._fields, None, Ok(None))
        self._receive(incoming._body)
        self._method, self._path = incoming._method, incoming._path
        self._scheme, self._authority = incoming._scheme, incoming._authority
        return self

    get_method = RequestHead.method
    get_path_with_query = RequestHead.path_with_query
    get_scheme = RequestHead.scheme
    get_authority = RequestHead.authority

    def get_options(self) -> RequestOptions | None:
        """The options, immutable."""
        return self.options


class Response(_Message):
    """The resource `response`."""

    __slots__ = ("_status",)
    KIND: ClassVar[str] = "response"

    def __init__(self, fields: Fields, contents: Any, trailers: Any) -> None:
        super().__init__(fields, contents, trailers)
        self._status = 200

    @staticmethod
    def new(headers: Fields, contents: Any, trailers: Any) -> tuple[Response, Later]:
        """A response with status 200, and how it went to send it."""
        response = Response(headers, contents, trailers)
        return response, response.done

    @classmethod
    def received(cls, incoming: IncomingResponse) -> Response:
        """A response that came over the network."""
        self = cls(incoming._fields, None, Ok(None))
        self._receive(incoming._body)
        self._status = incoming.status()
        return self

    def get_status_code(self) -> int:
        """The status code."""
        return self._status

    def set_status_code(self, status_code: int) -> None:
        """Set the status code: 100 to 999."""
        if not 100 <= status_code <= 999:
            fail()
        self._status = status_code


class RequestOptions(older.RequestOptions):
    """The resource `request-options`: timeouts in nanoseconds."""

    __slots__ = ("_mutable",)

    def __init__(self) -> None:
        super().__init__()
        self._mutable = True

    def view(self) -> RequestOptions:
        """An immutable copy."""
        copy = self.clone()
        copy._mutable = False
        return copy

    def _change(self, change: Callable[[Any, int | None], None], duration: int | None) -> None:
        if not self._mutable:
            fail(variant("immutable"))
        change(self, duration)

    get_connect_timeout = older.RequestOptions.connect_timeout
    get_first_byte_timeout = older.RequestOptions.first_byte_timeout
    get_between_bytes_timeout = older.RequestOptions.between_bytes_timeout

    def set_connect_timeout(self, duration: int | None) -> None:
        """For connecting. Raises `Err(request-options-error)`, as do the others."""
        self._change(older.RequestOptions.set_connect_timeout, duration)

    def set_first_byte_timeout(self, duration: int | None) -> None:
        """For the first byte of the response."""
        self._change(older.RequestOptions.set_first_byte_timeout, duration)

    def set_between_bytes_timeout(self, duration: int | None) -> None:
        """For each further piece of the body."""
        self._change(older.RequestOptions.set_between_bytes_timeout, duration)

    def clone(self) -> RequestOptions:
        """A mutable copy."""
        other = RequestOptions()
        other._connect, other._first, other._between = self._connect, self._first, self._between
        return other


class Types:
    """`wasi:http/types`."""

    Fields: ClassVar = Fields
    Request: ClassVar = Request
    RequestOptions: ClassVar = RequestOptions
    Response: ClassVar = Response
