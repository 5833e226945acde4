"""wasi:http: fields, outgoing requests to a real server on the loopback interface, and serving with a guest in Python."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from component_rt.values import Case, Err, Ok
from component_rt.wasi import WasiConfig
from component_rt.wasi.config import HttpPolicy
from component_rt.wasi.http import interfaces
from component_rt.wasi.http_fields import Fields
from component_rt.wasi.http_types import (
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    RequestOptions,
    ResponseOutparam,
)
from component_rt.wasi.pipe import Pipe, PipeInput, PipeOutput
from core_rt.errors import Trap, TrapCode

pytest.importorskip("h11")


def error(call: Callable[..., Any], *args: Any) -> Any:
    with pytest.raises(Err) as caught:
        call(*args)
    return caught.value.value


# ---- fields and setters ----------------------------------------------------------------------------------------------


def test_fields() -> None:
    fields = Fields.from_list([("Accept", b"a"), ("x-one", b"1"), ("ACCEPT", b"b")])
    assert fields.get("accept") == [b"a", b"b"] and fields.has("aCCept") and not fields.has("none")
    assert fields.entries()[0] == ("Accept", b"a")
    fields.append("x-one", b"2")
    fields.set("accept", [b"c"])
    fields.delete("X-ONE")
    assert fields.entries() == [("accept", b"c")]
    copy = fields.clone()
    frozen = fields.freeze().view()
    for call, args in ((frozen.set, ("a", [])), (frozen.append, ("a", b"")), (frozen.delete, ("a",))):
        assert error(call, *args) == Case("immutable")
    copy.append("a", b"")
    for name in ("", "a b", "a\n", "é"):
        assert error(copy.append, name, b"") == Case("invalid-syntax")
    for value in (b"a\nb", b"\0", b"a\r"):
        assert error(copy.append, "a", value) == Case("invalid-syntax")
    assert error(copy.append, "Host", b"x") == Case("forbidden")
    assert error(Fields.from_list, [("transfer-encoding", b"x")]) == Case("forbidden")


def test_requests_refuse_what_is_no_request() -> None:
    request = OutgoingRequest(Fields())
    assert request.method() == Case("get")
    request.set_method(Case("other", "FROB"))
    assert request.method() == Case("other", "FROB")
    request.set_scheme(Case("HTTP"))
    assert request.scheme() == Case("HTTP")
    request.set_authority("user@[::1]:80")
    request.set_path_with_query("/a?b=c")
    assert request.target == ("FROB", "http", "user@[::1]:80", "/a?b=c")
    for bad in ("a b", "a/b", "a:b:c", "", "a\r\nHost: b", "a#b", "a:123456", "a:65536", "ex%61mple.org"):
        assert error(request.set_authority, bad) is None
    for bad in ("a b", "/a#b", "/a\r\n", "x"):
        assert error(request.set_path_with_query, bad) is None
    assert error(request.set_method, Case("other", "a b")) is None
    assert error(request.set_scheme, Case("other", "1x")) is None
    response = OutgoingResponse(Fields())
    assert error(response.set_status_code, 99) is None
    response.set_status_code(404)
    assert response.status_code() == 404
    response.body()
    assert error(response.body) is None


def test_bodies_must_be_as_long_as_they_said() -> None:
    request = OutgoingRequest(Fields.from_list([("content-length", b"3")]))
    body = request.body()
    stream = body.write()
    assert error(body.write) is None
    stream.blocking_write_and_flush(b"ab")
    with pytest.raises(Trap, match="still in use"):
        OutgoingBody.finish(body, None)
    stream.close()
    assert error(OutgoingBody.finish, body, None) == Case("HTTP-request-body-size", 2)
    other = OutgoingRequest(Fields.from_list([("content-length", b"1")])).body().write()
    assert error(other.blocking_write_and_flush, b"ab").label == "last-operation-failed"


# ---- outgoing requests -----------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.gate.wait(5)  # type: ignore[attr-defined]
        if self.path == "/short":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            self.close_connection = True
            return
        if self.path == "/junk":
            self.wfile.write(b"no http at all\r\n\r\n")
            self.close_connection = True
            return
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("location", "/")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        text = "\n".join(f"{k.lower()}: {v}" for k, v in self.headers.items()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.send_header("content-encoding", "gzip")
        self.send_header("x-path", self.path)
        self.send_header("x-port", str(self.client_address[1]))
        self.send_header("set-cookie", "a=b")
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        data = b""
        if "content-length" in self.headers:
            data = self.rfile.read(int(self.headers["content-length"]))
        else:
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.send_response(201)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for start in range(0, len(data), 50_000):
            piece = data[start : start + 50_000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.gate = threading.Event()
    server.handle_error = lambda request, where: None  # guests break requests off on purpose
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Client:
    def __init__(self, server: Any, http: Any = True) -> None:
        pytest.importorskip("httpx2")
        self.handler: Any = interfaces(WasiConfig(http=http))["wasi:http/outgoing-handler"]
        self.authority = f"127.0.0.1:{server.server_address[1]}"

    def request(self, path: str, method: str = "get", headers: Any = ()) -> OutgoingRequest:
        request = OutgoingRequest(Fields.from_list(headers))
        request.set_method(Case(method))
        request.set_scheme(Case("HTTP"))
        request.set_authority(self.authority)
        request.set_path_with_query(path)
        return request

    def fetch(self, request: OutgoingRequest, options: RequestOptions | None = None) -> Any:
        future = self.handler.handle(request, options)
        future.subscribe().block()
        outcome = future.get()
        assert future.get() == Err()
        assert isinstance(outcome, Ok)
        return outcome.value

    def get(self, path: str, **rest: Any) -> Any:
        return self.fetch(self.request(path, **rest))


def read_all(stream: Any) -> bytes:
    data = b""
    while True:
        try:
            data += stream.blocking_read(1 << 20)
        except Err as end:
            if end.value == Case("closed"):
                return data
            raise


def test_a_get(server: Any) -> None:
    response = Client(server).get("/x?y=1", headers=[("x-mine", b"1")]).value
    assert response.status() == 200
    assert response.headers().get("x-path") == [b"/x?y=1"]
    body = response.consume()
    assert error(response.consume) is None
    stream = body.stream()
    text = read_all(stream).decode()
    # Exactly what the guest set, and what HTTP needs: no cookies, no user agent, nothing decoded.
    assert dict(line.split(": ") for line in text.splitlines()).keys() == {"host", "x-mine"}
    stream.close()
    trailers = type(body).finish(body)
    trailers.subscribe().block()
    assert trailers.get() == Ok(Ok(None))
    assert trailers.get() == Err()


def test_connections_are_kept_and_nothing_else(server: Any) -> None:
    client = Client(server)
    ports = []
    for _ in range(3):
        response = client.get("/").value
        ports += response.headers().get("x-port")
        assert b"cookie" not in read_all(response.consume().stream())
        time.sleep(0.05)  # until the transport has seen the end
    assert len(set(ports)) == 1
    left = client.get("/").value
    left.consume().close()  # a body that nobody reads takes its connection with it, or is read to its end
    assert client.get("/").value.status() == 200


def test_redirects_are_the_guests_business(server: Any) -> None:
    assert Client(server).get("/redirect").value.status() == 302


def test_bodies_stream_both_ways(server: Any) -> None:
    client = Client(server)
    request = client.request("/", "post")
    body = request.body()
    stream = body.write()
    future = client.handler.handle(request, None)
    sent = b"".join(bytes([n]) * 30_000 for n in range(10))
    for start in range(0, len(sent), 4096):
        stream.blocking_write_and_flush(sent[start : start + 4096])
    stream.close()
    OutgoingBody.finish(body, None)
    future.subscribe().block()
    response = future.get().value.value
    assert response.status() == 201
    assert read_all(response.consume().stream()) == sent


def test_a_body_that_is_dropped_breaks_the_request(server: Any) -> None:
    client = Client(server)
    request = client.request("/", "post")
    body = request.body()
    future = client.handler.handle(request, None)
    body.close()
    future.subscribe().block()
    assert future.get() == Ok(Err(Case("HTTP-protocol-error")))


def test_failures_have_codes(server: Any) -> None:
    client = Client(server)
    assert client.get("/junk") == Err(Case("HTTP-protocol-error"))
    response = client.get("/short").value
    stream = response.consume().stream()
    failed = error(read_all, stream)
    assert failed.label == "last-operation-failed"
    types: Any = interfaces(WasiConfig())["wasi:http/types"]
    assert types.http_error_code(failed.value) == Case("HTTP-response-incomplete")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        client.authority = f"127.0.0.1:{probe.getsockname()[1]}"
    assert client.get("/") == Err(Case("connection-refused"))
    client.authority = "no-such-host.invalid"
    assert client.get("/").value.label == "DNS-error"


def test_transports_end_when_nobody_listens(server: Any) -> None:
    def transports() -> int:
        return sum(thread.name == "wasi-http" for thread in threading.enumerate())

    client = Client(server)
    big = b"x" * 300_000
    for drop_late in (False, True):
        request = client.request("/", "post")
        body = request.body()
        stream = body.write()
        future = client.handler.handle(request, None)
        for start in range(0, len(big), 4096):
            stream.blocking_write_and_flush(big[start : start + 4096])
        stream.close()
        OutgoingBody.finish(body, None)
        if drop_late:
            future.subscribe().block()
            response = future.get().value.value
            incoming = response.consume()
            reader = incoming.stream()
            assert reader.blocking_read(10)
            # The wrong way round, but nothing may hang for it.
            incoming.close()
            reader.close()
        else:
            future.close()
    deadline = time.monotonic() + 5
    while transports() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert transports() == 0


def test_timeouts(server: Any) -> None:
    client = Client(server)
    options = RequestOptions()
    options.set_first_byte_timeout(50_000_000)
    assert options.first_byte_timeout() == 50_000_000
    assert client.fetch(client.request("/slow"), options) == Err(Case("connection-read-timeout"))


def test_nothing_is_allowed_by_default(server: Any) -> None:
    for policy in (None, ["example.org"], HttpPolicy()):
        client = Client(server, policy)
        assert error(client.handler.handle, client.request("/"), None) == Case("HTTP-request-denied")
    assert Client(server, ["127.0.0.1"]).get("/").value.status() == 200
    request = OutgoingRequest(Fields())
    assert error(Client(server).handler.handle, request, None) == Case("HTTP-request-URI-invalid")


# ---- pipes -----------------------------------------------------------------------------------------------------------


def test_pipes_keep_order_bounds_and_ends() -> None:
    pipe = Pipe(10)
    out, into = PipeOutput(pipe), PipeInput(pipe)
    assert into.read(5) == b"" and not into.subscribe().ready()
    assert out.check_write() == 10
    out.write(b"0123456789")
    assert out.check_write() == 0 and not out.subscribe().ready()
    assert into.read(4) == b"0123" and out.check_write() == 4
    pipe.finish()
    assert into.read(100) == b"456789"
    assert error(into.read, 1) == Case("closed")
    pipe = Pipe(10)
    out = PipeOutput(pipe)
    pipe.abandon()
    assert error(out.check_write) == Case("closed")


def test_pipes_between_a_thread_and_trio() -> None:
    pipe = Pipe(100)
    sent = bytes(range(256)) * 40

    def producer() -> None:
        for start in range(0, len(sent), 77):
            assert pipe.put_sync(sent[start : start + 77])
        pipe.finish()

    async def main() -> bytes:
        got = b""
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, producer)
                while (data := await pipe.take_async()) is not None:
                    got += data
        return got

    assert trio.run(main) == sent


# ---- serving ---------------------------------------------------------------------------------------------------------


def echo_guest(request: Any, outparam: ResponseOutparam) -> None:
    """What a guest's `handle` does, in Python: answers by path."""
    path = request.path_with_query()
    if path == "/trap":
        raise Trap(TrapCode.UNREACHABLE)
    if path == "/none":
        outparam.close()
        return
    if path == "/refuse":
        ResponseOutparam.set(outparam, Err(Case("HTTP-request-denied")))
        return
    response = OutgoingResponse(Fields.from_list([("x-method", request.method().label.encode())]))
    body = response.body()
    if path == "/early":
        outparam.send_informational(103, Fields.from_list([("link", b"<x>")]))
    ResponseOutparam.set(outparam, Ok(response))
    out = body.write()
    if path == "/cut":
        out.blocking_write_and_flush(b"half")
        out.close()
        body.close()
        return
    stream = request.consume().stream()
    while True:
        try:
            data = stream.blocking_read(1000)
        except Err:
            break
        out.blocking_write_and_flush(data)
    out.blocking_write_and_flush(f"[{request.authority()} {path}]".encode())
    out.close()
    OutgoingBody.finish(body, Fields.from_list([("x-trailer", b"end")]) if path == "/trailers" else None)


def talk(*messages: bytes) -> bytes:
    """Send raw bytes to a server with the echo guest; everything it answers until it closes."""
    from component_rt.wasi.http_guests import in_thread
    from component_rt.wasi.http_server import serve

    async def main() -> bytes:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(
                    lambda task_status: serve(in_thread(echo_guest), "127.0.0.1", 0, task_status=task_status)
                )
                port = listeners[0].socket.getsockname()[1]
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                got = b""
                async with stream:
                    for message in messages:
                        await stream.send_all(message)
                    try:
                        async for piece in stream:
                            got += piece
                    except trio.BrokenResourceError:
                        got += b"<broken>"
                nursery.cancel_scope.cancel()
        return got

    return trio.run(main)


CLOSE = b"connection: close\r\n\r\n"


def test_serving_several_requests_on_a_connection() -> None:
    got = talk(
        b"POST /a HTTP/1.1\r\nhost: me\r\ncontent-length: 5\r\n\r\nhello",
        b"GET /b HTTP/1.1\r\nhost: me\r\n" + CLOSE,
    )
    assert got.count(b"HTTP/1.1 200") == 2
    assert b"x-method: post" in got and b"hello" in got and b"[me /a]" in got and b"[me /b]" in got
    assert b"transfer-encoding: chunked" in got.lower()


def test_trailers_and_informational_responses() -> None:
    assert b"0\r\nx-trailer: end\r\n" in talk(b"GET /trailers HTTP/1.1\r\nhost: me\r\n" + CLOSE)
    got = talk(b"GET /early HTTP/1.1\r\nhost: me\r\n" + CLOSE)
    assert got.startswith(b"HTTP/1.1 103") and b"link: <x>" in got and b"HTTP/1.1 200" in got
    got = talk(b"POST / HTTP/1.1\r\nhost: me\r\nexpect: 100-continue\r\ncontent-length: 2\r\n" + CLOSE + b"hi")
    assert b"hi" in got


@pytest.mark.parametrize(("path", "status"), [("trap", 500), ("none", 500), ("refuse", 403)])
def test_guests_that_fail_are_answered_for(path: str, status: int) -> None:
    got = talk(f"GET /{path} HTTP/1.1\r\nhost: me\r\n".encode() + CLOSE)
    assert got.startswith(f"HTTP/1.1 {status}".encode())


def test_half_a_response_is_never_completed() -> None:
    got = talk(b"GET /cut HTTP/1.1\r\nhost: me\r\n\r\n")
    assert b"half" in got and b"0\r\n\r\n" not in got


def test_what_is_no_http_is_refused() -> None:
    assert talk(b"\x16\x03\x01 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert talk(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_an_unread_body_does_not_block_the_answer() -> None:
    head = b"POST /refuse HTTP/1.1\r\nhost: me\r\ncontent-length: 1000000\r\n\r\n"
    got = talk(head + b"x" * 100_000)
    assert got.startswith(b"HTTP/1.1 403")
