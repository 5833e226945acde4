"""`wasi:http/types`: requests, responses and their bodies.

A body is a `Pipe`. For what the guest sends, the transport takes from it: an `OutgoingBody` that is dropped without
`finish` ends its pipe with an error, so that the transport cuts the message short instead of completing it. For what the
guest receives, the transport puts into it and calls `end` with the trailers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from component_rt.wasi._values import Case, Err, Ok, fail, split_case, variant
from component_rt.wasi.http_fields import Fields, HttpError, content_length, internal_error, is_token
from component_rt.wasi.io import IoError
from component_rt.wasi.pipe import Pipe, PipeInput, PipeOutput
from component_rt.wasi.pollable import Notice, Pollable
from core_rt.errors import Trap, TrapCode

__all__ = [
    "FutureIncomingResponse",
    "FutureTrailers",
    "IncomingBody",
    "IncomingRequest",
    "IncomingResponse",
    "OutgoingBody",
    "OutgoingRequest",
    "OutgoingResponse",
    "RequestHead",
    "RequestOptions",
    "ResponseOutparam",
    "Types",
    "method_name",
    "method_value",
    "scheme_name",
    "scheme_value",
]

_METHODS = frozenset({"get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"})
_SCHEMES = {"http": "HTTP", "https": "HTTPS"}
_is_path = re.compile(r"[/?*][!-~\x80-\U0010ffff]*|").fullmatch
_is_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch
# No percent in a host: it could name one host to a policy and another to the transport.
_is_authority = re.compile(
    r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:%]*@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=]+)"
    r"(?::(?:[0-9]{0,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
).fullmatch


def method_name(value: Any) -> str:
    """`GET` for the variant's value; other methods as they are. Raises `Err` for one that is no method."""
    case, other = split_case(value)
    if case != "other":
        return case.upper()
    if not is_token(other):
        fail()
    return str(other)


def method_value(name: str) -> Case:
    """The variant's value for a method."""
    return variant(name.lower()) if name.isupper() and name.lower() in _METHODS else variant("other", name)


def scheme_name(value: Any) -> str:
    """`http`, `https` or another scheme for the variant's value. Raises `Err` for one that is no scheme."""
    case, other = split_case(value)
    if case != "other":
        return case
    if not _is_scheme(other):
        fail()
    return str(other).lower()


def scheme_value(name: str) -> Case:
    """The variant's value for a scheme."""
    return variant(_SCHEMES[name]) if name in _SCHEMES else variant("other", name)


# ---- what the guest receives -----------------------------------------------------------------------------------------


class FutureTrailers:
    """The resource `future-trailers`."""

    __slots__ = ("__weakref__", "_body", "_taken")

    def __init__(self, body: IncomingBody) -> None:
        self._body = body
        self._taken = False

    def subscribe(self) -> Pollable:
        """A pollable that is ready once the body has come to its end."""
        return Pollable(self._body.ended)

    def get(self) -> Any:
        """None before the end; then, once, the trailers (or None) or the error."""
        if not self._body.ended.ready():
            return None
        if self._taken:
            return Err()
        self._taken = True
        error = self._body.pipe.error
        if error is not None:
            return Ok(Err(_code(error)))
        return Ok(Ok(self._body.trailers))


def _code(error: BaseException) -> Case:
    return error.code if isinstance(error, HttpError) else internal_error(str(error))


class IncomingBody:
    """The resource `incoming-body`."""

    __slots__ = ("__weakref__", "_stream", "_taken", "ended", "pipe", "trailers", "wanted")

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.ended = Notice()
        self.wanted = Notice()
        """Up once the guest asks for the bytes."""
        self.trailers: Fields | None = None
        self._stream: PipeInput | None = None
        self._taken = False

    def end(self, trailers: Fields | None = None, error: HttpError | None = None) -> None:
        """For the transport: the body is complete, or has failed."""
        self.trailers = trailers
        self.pipe.finish(error)
        self.ended.set()

    def stream(self) -> PipeInput:
        """The bytes; once."""
        if self._taken:
            fail()
        self._taken = True
        self._stream = PipeInput(self.pipe)
        self.wanted.set()
        return self._stream

    @staticmethod
    def finish(this: IncomingBody) -> FutureTrailers:
        """Read no more; wait for the trailers."""
        if this._stream is not None and not this._stream._ended:
            raise Trap(TrapCode.HOST, "incoming-body.finish: the body's stream is still in use")
        # The transport goes on until the end, but what it brings is dropped.
        this.pipe.abandon()
        return FutureTrailers(this)

    def close(self) -> None:
        """The guest dropped its handle: once the stream is dropped too, nobody will read any more."""
        if self._stream is None or self._stream._ended:
            self.pipe.abandon()
        else:
            self._stream.last = True


class _Incoming:
    """What incoming requests and responses share."""

    __slots__ = ("__weakref__", "_body", "_consumed", "_fields")

    def __init__(self, fields: Fields, body: IncomingBody) -> None:
        self._fields = fields
        self._body = body
        self._consumed = False

    def headers(self) -> Fields:
        """The headers, immutable."""
        return self._fields.view()

    def consume(self) -> IncomingBody:
        """The body; once."""
        if self._consumed:
            fail()
        self._consumed = True
        return self._body

    def close(self) -> None:
        """The guest dropped its handle: a body it did not ask for is dropped as well."""
        if not self._consumed:
            self._body.pipe.abandon()


class IncomingRequest(_Incoming):
    """The resource `incoming-request`."""

    __slots__ = ("_authority", "_method", "_path", "_scheme")

    def __init__(
        self,
        method: str,
        path: str | None,
        scheme: str | None,
        authority: str | None,
        fields: Fields,
        body: IncomingBody,
    ) -> None:
        super().__init__(fields, body)
        self._method = method
        self._path = path
        self._scheme = scheme
        self._authority = authority

    def method(self) -> Case:
        """The method."""
        return method_value(self._method)

    def path_with_query(self) -> str | None:
        """Path and query."""
        return self._path

    def scheme(self) -> Case | None:
        """The scheme."""
        return None if self._scheme is None else scheme_value(self._scheme)

    def authority(self) -> str | None:
        """Host and port."""
        return self._authority


class IncomingResponse(_Incoming):
    """The resource `incoming-response`."""

    __slots__ = ("_status",)

    def __init__(self, status: int, fields: Fields, body: IncomingBody) -> None:
        super().__init__(fields, body)
        self._status = status

    def status(self) -> int:
        """The status code."""
        return self._status


class FutureIncomingResponse:
    """The resource `future-incoming-response`: a response or an error that a transport will `resolve`."""

    __slots__ = ("__weakref__", "_dropped", "_notice", "_result", "_taken")

    def __init__(self) -> None:
        self._notice = Notice()
        self._result: Ok[IncomingResponse] | Err | None = None
        self._taken = False
        self._dropped = False

    def resolve(self, result: Ok[IncomingResponse] | Err) -> None:
        """For the transport: the outcome."""
        self._result = result
        self._notice.set()
        # Two threads: whichever comes second of this and `close` sees what the other did.
        if self._dropped:
            self.close()

    def subscribe(self) -> Pollable:
        """A pollable that is ready once the outcome is there."""
        return Pollable(self._notice)

    def get(self) -> Any:
        """None before the outcome; then, once, the response or the error."""
        if self._result is None:
            return None
        if self._taken:
            return Err()
        self._taken = True
        return Ok(self._result)

    def close(self) -> None:
        """The guest dropped its handle: a response it did not take is dropped as well."""
        self._dropped = True
        if not self._taken and isinstance(self._result, Ok):
            self._result.value.close()


# ---- what the guest sends --------------------------------------------------------------------------------------------


class OutgoingBody:
    """The resource `outgoing-body`."""

    __slots__ = ("__weakref__", "_expected", "_finished", "_kind", "_stream", "pipe", "trailers")

    def __init__(self, kind: str, expected: int | None) -> None:
        self.pipe = Pipe()
        self.trailers: Fields | None = None
        self._kind = kind
        self._expected = expected
        self._stream: PipeOutput | None = None
        self._finished = False

    def write(self) -> PipeOutput:
        """The stream to write to; once."""
        if self._stream is not None:
            fail()
        self._stream = PipeOutput(self.pipe, self._expected)
        return self._stream

    @staticmethod
    def finish(this: OutgoingBody, trailers: Fields | None) -> None:
        """The body is complete. Raises `Err(error-code)` if it is not as long as its Content-Length said."""
        if this._stream is not None and not this._stream._ended:
            raise Trap(TrapCode.HOST, "outgoing-body.finish: the body's stream is still in use")
        this._finished = True
        written = 0 if this._stream is None else this._stream.written
        if this._expected is not None and written != this._expected:
            code = variant(f"HTTP-{this._kind}-body-size", written)
            this.pipe.finish(HttpError(code))
            fail(code)
        this.complete(trailers)

    def complete(self, trailers: Fields | None) -> None:
        """All bytes are in the pipe."""
        self._finished = True
        self.trailers = None if trailers is None else trailers.freeze()
        self.pipe.finish()

    def close(self) -> None:
        """The guest dropped its handle; without `finish` the message is incomplete."""
        if not self._finished:
            self.pipe.finish(HttpError(variant("HTTP-protocol-error")))


class _Outgoing:
    """What outgoing requests and responses share."""

    __slots__ = ("__weakref__", "fields", "outgoing_body")
    KIND: ClassVar[str] = ""

    def __init__(self, headers: Fields) -> None:
        self.fields = headers.freeze()
        self.outgoing_body: OutgoingBody | None = None

    def headers(self) -> Fields:
        """The headers, immutable."""
        return self.fields.view()

    def body(self) -> OutgoingBody:
        """The body to send; once."""
        if self.outgoing_body is not None:
            fail()
        self.outgoing_body = OutgoingBody(self.KIND, content_length(self.fields))
        return self.outgoing_body


class RequestHead:
    """Method, scheme, authority and path of a request that a guest makes; mixed into resources, which hold them."""

    _method: str
    _path: str | None
    _scheme: str | None
    _authority: str | None

    def _begin(self) -> None:
        self._method = "GET"
        self._path = self._scheme = self._authority = None

    def method(self) -> Case:
        """The method."""
        return method_value(self._method)

    def set_method(self, method: Any) -> None:
        """Set the method."""
        self._method = method_name(method)

    def path_with_query(self) -> str | None:
        """Path and query."""
        return self._path

    def set_path_with_query(self, path_with_query: str | None) -> None:
        """Set path and query."""
        if path_with_query is not None and (not _is_path(path_with_query) or "#" in path_with_query):
            fail()
        self._path = path_with_query

    def scheme(self) -> Case | None:
        """The scheme."""
        return None if self._scheme is None else scheme_value(self._scheme)

    def set_scheme(self, scheme: Any) -> None:
        """Set the scheme."""
        self._scheme = None if scheme is None else scheme_name(scheme)

    def authority(self) -> str | None:
        """Host and port."""
        return self._authority

    def set_authority(self, authority: str | None) -> None:
        """Set host and port."""
        if authority is not None and not _is_authority(authority):
            fail()
        self._authority = authority

    @property
    def target(self) -> tuple[str, str, str, str]:
        """Method, scheme, authority and path. Raises `Err(error-code)` if they make no request."""
        scheme = self._scheme or "https"
        if scheme not in _SCHEMES:
            fail(variant("HTTP-protocol-error"))
        if not self._authority:
            fail(variant("HTTP-request-URI-invalid"))
        path = self._path or "/"
        return self._method, scheme, self._authority, path if path.startswith(("/", "*")) else f"/{path}"


class OutgoingRequest(_Outgoing, RequestHead):
    """The resource `outgoing-request`."""

    __slots__ = ("_authority", "_method", "_path", "_scheme")
    KIND: ClassVar[str] = "request"

    def __init__(self, headers: Fields) -> None:
        super().__init__(headers)
        self._begin()


class RequestOptions:
    """The resource `request-options`: timeouts in nanoseconds."""

    __slots__ = ("__weakref__", "_between", "_connect", "_first")

    def __init__(self) -> None:
        self._connect: int | None = None
        self._first: int | None = None
        self._between: int | None = None

    def connect_timeout(self) -> int | None:
        """For connecting."""
        return self._connect

    def set_connect_timeout(self, duration: int | None) -> None:
        """For connecting."""
        self._connect = duration

    def first_byte_timeout(self) -> int | None:
        """For the first byte of the response."""
        return self._first

    def set_first_byte_timeout(self, duration: int | None) -> None:
        """For the first byte of the response."""
        self._first = duration

    def between_bytes_timeout(self) -> int | None:
        """For each further piece of the body."""
        return self._between

    def set_between_bytes_timeout(self, duration: int | None) -> None:
        """For each further piece of the body."""
        self._between = duration


def _nothing(code: Case | None) -> None:
    return None


class OutgoingResponse(_Outgoing):
    """The resource `outgoing-response`."""

    __slots__ = ("_status", "on_sent")
    KIND: ClassVar[str] = "response"

    def __init__(self, headers: Fields) -> None:
        super().__init__(headers)
        self._status = 200
        self.on_sent: Callable[[Case | None], object] = _nothing
        """For the transport: the response has gone out, or has not, for which there is an error code."""

    def status_code(self) -> int:
        """The status code."""
        return self._status

    def set_status_code(self, status_code: int) -> None:
        """Set the status code: 100 to 999."""
        if not 100 <= status_code <= 999:
            fail()
        self._status = status_code


class ResponseOutparam:
    """The resource `response-outparam`: where the guest puts its response, or the error in place of one."""

    __slots__ = ("__weakref__", "informational", "notice", "result")

    def __init__(self) -> None:
        self.notice = Notice()
        self.result: Ok[OutgoingResponse] | Err | None = None
        self.informational: list[tuple[int, Fields]] = []

    def send_informational(self, status: int, headers: Fields) -> None:
        """Send a 1xx response before the real one. Raises `Err(error-code)`."""
        if not 100 <= status <= 199 or status == 101:
            fail(variant("HTTP-protocol-error"))
        self.informational.append((status, headers.freeze()))

    @staticmethod
    def set(param: ResponseOutparam, response: Any) -> None:
        """Answer the request."""
        param.result = response
        param.notice.set()

    def close(self) -> None:
        """The guest dropped its handle without an answer."""
        if self.result is None:
            self.result = Err(internal_error("the guest gave no response"))
            self.notice.set()


class Types:
    """`wasi:http/types`."""

    Fields: ClassVar = Fields
    FutureIncomingResponse: ClassVar = FutureIncomingResponse
    FutureTrailers: ClassVar = FutureTrailers
    IncomingBody: ClassVar = IncomingBody
    IncomingRequest: ClassVar = IncomingRequest
    IncomingResponse: ClassVar = IncomingResponse
    OutgoingBody: ClassVar = OutgoingBody
    OutgoingRequest: ClassVar = OutgoingRequest
    OutgoingResponse: ClassVar = OutgoingResponse
    RequestOptions: ClassVar = RequestOptions
    ResponseOutparam: ClassVar = ResponseOutparam

    def http_error_code(self, err: IoError) -> Case | None:
        """The error code behind a stream's error, if a transport was the cause."""
        return err.exception.code if isinstance(err.exception, HttpError) else None
