"""Outgoing HTTP requests: one thread for each, over httpx2.

A thread serves both kinds of store alike: the guest sees a future and pipes, all of which threads and trio tasks can
wait for. Nothing is followed, decoded or added on the guest's behalf: no redirects, no cookies, no proxies from the
environment, the body as it comes over the wire.

Connections are pooled below all that, in a transport. To make one takes long, for the certificates that it trusts; so there
is one for all requests of a configuration.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from component_rt.wasi._values import Case, Err, Ok, fail, variant
from component_rt.wasi.config import Budget, HttpPolicy
from component_rt.wasi.http_fields import Fields, HttpError, internal_error
from component_rt.wasi.http_types import (
    FutureIncomingResponse,
    IncomingBody,
    IncomingResponse,
    OutgoingBody,
    OutgoingRequest,
    RequestHead,
    RequestOptions,
)
from component_rt.wasi.pipe import Pipe

__all__ = ["OutgoingHandler"]


def _seconds(guest: int | None, default: float) -> float:
    return default if guest is None else min(guest / 1e9, default)


class OutgoingHandler:
    """`wasi:http/outgoing-handler`."""

    def __init__(self, policy: HttpPolicy, budget: Budget) -> None:
        self._policy = policy
        self._budget = budget
        self._lock = threading.Lock()
        self._transport: Any = None

    def __del__(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _send(self, request: Any) -> Any:
        """Send a request of httpx2; the response, with its body still to come. Raises what httpx2 raises."""
        if self._policy.client is not None:
            return self._policy.client.send(request, stream=True, follow_redirects=False)
        with self._lock:
            if self._transport is None:
                import httpx2

                limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=5.0)
                self._transport = httpx2.HTTPTransport(trust_env=False, limits=limits)
        return self._transport.handle_request(request)

    def handle(self, request: OutgoingRequest, options: RequestOptions | None) -> FutureIncomingResponse:
        """Begin a request. Raises `Err(error-code)` if it is not allowed or makes no sense."""
        target = self.permitted(request)
        return self.begin(target, request.fields, request.outgoing_body, options)

    def permitted(self, request: RequestHead) -> tuple[str, str, str, str]:
        """Method, scheme, authority and path. Raises `Err(error-code)` if they make no sense or are not allowed."""
        target = request.target
        if not self._policy.allow(*target):
            fail(variant("HTTP-request-denied"))
        return target

    def begin(
        self,
        target: tuple[str, str, str, str],
        fields: Fields,
        body: OutgoingBody | None,
        options: RequestOptions | None,
    ) -> FutureIncomingResponse:
        """Begin a request that is permitted. Raises `Err(error-code)`."""
        try:
            import httpx2  # noqa: F401
        except ImportError:
            fail(internal_error("this host has no HTTP client: pip install 'component-rt[http]'"))
        future = FutureIncomingResponse()
        exchange = _Exchange(self._policy, self._send, target, fields, body, options or RequestOptions(), future)
        try:
            self._budget.take()
        except OSError:
            fail(variant("connection-limit-reached"))
        threading.Thread(target=self._run, args=(exchange,), name="wasi-http", daemon=True).start()
        return future

    def _run(self, exchange: _Exchange) -> None:
        try:
            exchange.run()
        finally:
            self._budget.give()


class _Exchange:
    """One request and its response, in a thread of its own."""

    def __init__(
        self,
        policy: HttpPolicy,
        send: Callable[[Any], Any],
        target: tuple[str, str, str, str],
        fields: Fields,
        body: OutgoingBody | None,
        options: RequestOptions,
        future: FutureIncomingResponse,
    ) -> None:
        self.send = send
        self.target = target
        self.fields = fields
        self.body = body
        self.future = future
        self.connect = _seconds(options.connect_timeout(), policy.connect_timeout)
        self.first_byte = _seconds(options.first_byte_timeout(), policy.first_byte_timeout)
        self.between_bytes = _seconds(options.between_bytes_timeout(), policy.between_bytes_timeout)

    def run(self) -> None:
        """Do it all; every failure becomes an error code for the guest."""
        try:
            self._exchange()
        except Exception as error:
            self.future.resolve(Err(_error_code(error)))
        finally:
            if self.body is not None:
                self.body.pipe.abandon()

    def _exchange(self) -> None:
        import httpx2

        method, scheme, authority, path = self.target
        read = self.first_byte
        timeout = {"connect": self.connect, "read": read, "write": self.between_bytes, "pool": self.connect}
        request = httpx2.Request(
            method,
            f"{scheme}://{authority}{path}",
            headers=[(name.encode(), value) for name, value in self.fields.pairs],
            content=None if self.body is None else _content(self.body),
            extensions={"timeout": timeout},
        )
        response = self.send(request)
        try:
            body = IncomingBody(Pipe())
            pairs = [(name.decode("latin-1"), value) for name, value in response.headers.raw]
            self.future.resolve(Ok(IncomingResponse(response.status_code, Fields.received(pairs), body)))
            # From here on a read is for another piece of the body.
            timeout["read"] = self.between_bytes
            self._receive(response, body)
        finally:
            response.close()

    @staticmethod
    def _receive(response: Any, body: IncomingBody) -> None:
        try:
            for piece in response.iter_raw():
                if not body.pipe.put_sync(piece):
                    break
        except Exception as error:
            code = _error_code(error)
            incomplete = code.label == "HTTP-protocol-error"
            body.end(error=HttpError(variant("HTTP-response-incomplete") if incomplete else code))
        else:
            body.end()


def _content(body: OutgoingBody) -> bytes | Iterator[bytes]:
    """The request's body: at once if it is complete already, piece by piece otherwise."""
    pipe = body.pipe
    if pipe.ended and pipe.error is None:
        return b"".join(iter(pipe.take_sync, None))

    def pieces() -> Iterator[bytes]:
        while (data := pipe.take_sync()) is not None:
            yield data

    return pieces()


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _error_code(error: Exception) -> Case:
    """The error code for what a client raised."""
    import httpx2

    for cause in _causes(error):
        if isinstance(cause, HttpError):
            return cause.code
    if isinstance(error, httpx2.ConnectError):
        return _connect_error(error)
    for kind, label in (
        (httpx2.ConnectTimeout, "connection-timeout"),
        (httpx2.PoolTimeout, "connection-limit-reached"),
        (httpx2.ReadTimeout, "connection-read-timeout"),
        (httpx2.WriteTimeout, "connection-write-timeout"),
        (httpx2.NetworkError, "connection-terminated"),
        (httpx2.ProtocolError, "HTTP-protocol-error"),
        (httpx2.UnsupportedProtocol, "HTTP-request-URI-invalid"),
        (httpx2.InvalidURL, "HTTP-request-URI-invalid"),
    ):
        if isinstance(error, kind):
            return variant(label)
    return internal_error(str(error) or type(error).__name__)


def _connect_error(error: Exception) -> Case:
    import ssl  # takes longer to load than all the rest of WASI

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return variant("TLS-certificate-error")
        if isinstance(cause, ssl.SSLError):
            return variant("TLS-protocol-error")
        if isinstance(cause, socket.gaierror):
            return variant("DNS-error", {"rcode": cause.strerror or "name not resolved", "info_code": None})
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return variant("connection-refused")
        if isinstance(cause, OSError) and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return variant("destination-IP-unroutable")
    return variant("destination-unavailable")
