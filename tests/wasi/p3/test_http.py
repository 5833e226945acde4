"""wasi:http 0.3: a guest that serves and that asks, over the loopback interface; and what its resources refuse."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
import wasmtime

import component_rt as rt
from component_rt.values import Case, Err, Ok
from component_rt.wasi import WasiConfig, interfaces
from component_rt.wasi.config import HttpPolicy
from component_rt.wasi.http_fields import Fields
from component_rt.wasi.http_types import OutgoingBody
from component_rt.wasi.p3.http_body import move
from component_rt.wasi.p3.http_types import Request, RequestOptions, Response
from tests.wasi.p3.http_guest import HANDLER, MIDDLEWARE

pytest.importorskip("h11")

from component_rt.wasi import http_guests, http_server


def error(call: Callable[..., Any], *args: Any) -> Any:
    with pytest.raises(Err) as caught:
        call(*args)
    return caught.value.value


# ---- resources -------------------------------------------------------------------------------------------------------


def test_fields_have_the_functions_of_both_versions() -> None:
    fields = Fields.from_list([("A", b"1"), ("b", b"2"), ("a", b"3")])
    assert fields.get_and_delete("a") == [b"1", b"3"]
    assert fields.copy_all() == fields.entries() == [("b", b"2")]
    assert fields.get_and_delete("a") == []
    assert error(fields.freeze().get_and_delete, "b") == Case("immutable")


def test_requests() -> None:
    options = RequestOptions()
    options.set_connect_timeout(5)
    request, done = Request.new(Fields.from_list([("x", b"y")]), None, Ok(None), options)
    assert request.get_method() == Case("get") and request.get_scheme() is None
    assert request.get_authority() is None and request.get_path_with_query() is None
    request.set_method(Case("other", "FROB"))
    request.set_authority("example.org")
    assert request.get_method() == Case("other", "FROB") and request.get_authority() == "example.org"
    for setter, bad in (
        (request.set_method, Case("other", "a b")),
        (request.set_authority, "a/b"),
        (request.set_path_with_query, "x"),
        (request.set_scheme, Case("other", "1")),
    ):
        assert error(setter, bad) is None
    assert error(request.get_headers().append, "a", b"") == Case("immutable")
    kept = request.get_options()
    assert kept is not None and kept.get_connect_timeout() == 5
    options.set_connect_timeout(6)  # the guest gave it away; whatever it is now changes nothing
    assert kept.get_connect_timeout() == 5 and kept.get_between_bytes_timeout() is None
    for change in (kept.set_connect_timeout, kept.set_first_byte_timeout, kept.set_between_bytes_timeout):
        assert error(change, 1) == Case("immutable")
    copy = kept.clone()
    copy.set_first_byte_timeout(None)
    copy.set_between_bytes_timeout(3)
    assert (copy.get_connect_timeout(), copy.get_first_byte_timeout(), copy.get_between_bytes_timeout()) == (5, None, 3)
    assert done.known is None
    request.close()
    assert done.known.value.label == "internal-error"


def test_responses() -> None:
    response, _ = Response.new(Fields(), None, Ok(None))
    assert response.get_status_code() == 200
    assert error(response.set_status_code, 99) is None and error(response.set_status_code, 1000) is None
    response.set_status_code(999)
    assert response.get_status_code() == 999
    assert error(response.get_headers().delete, "a") == Case("immutable")


# ---- a guest ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> rt.Engine:
    return rt.Engine()


@pytest.fixture(scope="module")
def handler(engine: rt.Engine) -> rt.Component:
    return rt.Component(engine, bytes(wasmtime.wat2wasm(HANDLER)))


class Server:
    """Instances of the guest behind a server."""

    def __init__(self, guest: http_guests.Instances) -> None:
        self._guest = guest
        self.port = 0
        self.running = 0
        """How many requests are being handled."""
        self.kept = 0
        """How many of them a test has left under way."""

    async def __call__(self, *request: Any) -> None:
        self.running += 1
        try:
            await self._guest(*request)
        finally:
            self.running -= 1

    async def settled(self) -> None:
        """Wait until guests have done what they do behind their responses."""
        while self.running > self.kept:
            await trio.sleep(0.001)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def talk(self, message: bytes) -> bytes:
        """Everything that comes until the server closes."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, message)
                return b"".join([piece async for piece in stream])

    async def ask(self, path: str, method: str = "GET", body: bytes | None = None, trailers: bytes = b"") -> Any:
        """Status, body, and trailers if there are any; the guest is free again then."""
        text = f"{method} {path} HTTP/1.1\r\nhost: me\r\nconnection: close\r\n".encode()
        if body is None:
            text += b"\r\n"
        elif trailers:
            text += b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(body), body, trailers)
        else:
            text += b"content-length: %d\r\n\r\n%b" % (len(body), body)
        head, _, rest = (await self.talk(text)).partition(b"\r\n\r\n")
        await self.settled()
        status, found, late = int(head.split()[1]), rest, b""
        if b"transfer-encoding: chunked" in head.lower() and method != "HEAD":
            found, late = chunks(rest)
        return (status, found, late) if late else (status, found)

    async def outcomes(self) -> tuple[int, int]:
        """How many messages the guest has sent well, and how many not; the answer to this question is one of them."""
        _, body, _ = await self.ask("/ok")
        return body[0], body[1]


def chunks(text: bytes) -> tuple[bytes, bytes]:
    """The body and the trailers of a chunked message."""
    found = b""
    while True:
        size, _, text = text.partition(b"\r\n")
        if not int(size, 16):
            return found, text.removesuffix(b"\r\n")
        found, text = found + text[: int(size, 16)], text[int(size, 16) + 2 :]


def run(
    handler: rt.Component, use: Callable[[Server], Any], config: WasiConfig | None = None, concurrent: int = 1
) -> None:
    linker = rt.Linker(handler.engine)
    linker.define_wasi(WasiConfig(http=True) if config is None else config)

    async def main() -> None:
        with trio.fail_after(60):
            instances = http_guests.instances(linker, handler, reuse=1000, concurrent=concurrent)
            async with instances as guest, trio.open_nursery() as nursery:
                server = Server(guest)
                listeners = await nursery.start(http_server.serve, server, "127.0.0.1", 0)
                server.port = listeners[0].socket.getsockname()[1]
                await use(server)
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_guest_answers(handler: rt.Component) -> None:
    async def use(server: Server) -> None:
        assert await server.ask("/hello") == (200, b"hello\n", b"x-end: 1\r\n")
        assert await server.ask("/hello", "HEAD") == (200, b"")
        assert await server.ask("/nothing") == (204, b"")
        assert await server.ask("/denied") == (403, b"HTTP-request-denied\n")
        assert await server.outcomes() == (2, 0)

    run(handler, use)


def test_bodies_and_trailers_go_through(handler: rt.Component) -> None:
    big = bytes(range(256)) * 4096

    async def use(server: Server) -> None:
        assert await server.ask("/echo", "POST", b"abc", b"x-late: 2\r\n") == (200, b"abc", b"x-late: 2\r\n")
        assert await server.ask("/echo") == (200, b"")
        assert await server.ask("/echo", "POST", big) == (200, big)
        assert await server.outcomes() == (3, 0)

    run(handler, use)


def test_the_body_is_asked_for_when_the_guest_reads(handler: rt.Component) -> None:
    async def use(server: Server) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(
                b"POST /echo HTTP/1.1\r\nhost: me\r\nconnection: close\r\n"
                b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n"
            )
            heard = await stream.receive_some()
            assert heard.startswith(b"HTTP/1.1 100")
            await stream.send_all(b"abc")
            heard += b"".join([piece async for piece in stream])
            assert b"HTTP/1.1 200" in heard and b"\r\nabc\r\n" in heard

    run(handler, use)


def test_what_cannot_be_sent_is_told_to_both_sides(handler: rt.Component) -> None:
    async def use(server: Server) -> None:
        answer = await server.talk(b"GET /size HTTP/1.1\r\nhost: me\r\n\r\n")
        assert b"content-length: 10\r\n" in answer and answer.endswith(b"\r\n\r\nhello")
        assert await server.outcomes() == (0, 1)
        # One that leaves in the middle of its request: nothing of the response reaches it.
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(b"POST /echo HTTP/1.1\r\nhost: me\r\ncontent-length: 1000\r\n\r\nabc")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await server.settled()
        assert (await server.outcomes())[1] == 2

    run(handler, use)


def test_guests_that_fail(handler: rt.Component, caplog: pytest.LogCaptureFixture) -> None:
    async def use(server: Server) -> None:
        assert (await server.ask("/trap"))[0] == 500
        assert await server.outcomes() == (0, 0), "a new instance"
        assert await server.ask("/after") == (200, b"")
        assert await server.outcomes() == (0, 0), "a new instance"
        answer = await server.talk(b"GET /broken HTTP/1.1\r\nhost: me\r\n\r\n")
        assert answer.endswith(b"\r\nhello\r\n"), "a body that is cut short is not completed"
        await server.settled()
        assert await server.outcomes() == (0, 0), "a new instance"

    with caplog.at_level(logging.ERROR):
        run(handler, use)
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == ["the guest failed: unreachable"] * 3


@pytest.mark.parametrize("concurrent", [1, 2, 3])
def test_requests_at_the_same_time(handler: rt.Component, concurrent: int) -> None:
    async def use(server: Server) -> None:
        async def begin() -> trio.SocketStream:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            await stream.send_all(b"POST /echo HTTP/1.1\r\nhost: me\r\ncontent-length: 1\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            server.kept += 1
            return stream

        async def end(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(b"x")
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    answer += await stream.receive_some()

        first, second = await begin(), await begin()
        good, _ = await server.outcomes()
        assert good == 0
        await end(first)
        await end(second)
        server.kept = 0
        await server.settled()
        # Of what the instance knows that is asked last: that question, and both, or one, or none of the others.
        assert (await server.outcomes())[0] == {1: 1, 2: 2, 3: 3}[concurrent]

    run(handler, use, concurrent=concurrent)


def test_an_instance_that_fails_gets_no_more_requests(handler: rt.Component, caplog: pytest.LogCaptureFixture) -> None:
    async def use(server: Server) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(b"POST /echo HTTP/1.1\r\nhost: me\r\nconnection: close\r\ncontent-length: 1\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            server.kept = 1
            answer = await server.talk(b"GET /trap HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 500")
            assert (await server.ask("/hello"))[0] == 200
            assert await server.outcomes() == (1, 0), "a new instance"
            # The host moves that body: it does not need the guest any more.
            await stream.send_all(b"x")
            assert b"".join([piece async for piece in stream]) == b"1\r\nx\r\n0\r\n\r\n"

    with caplog.at_level(logging.CRITICAL):
        run(handler, use, concurrent=2)


def test_a_guest_asks(handler: rt.Component) -> None:
    pytest.importorskip("httpx2")

    async def use(server: Server) -> None:
        assert await server.ask(f"/get/{server.authority}") == (200, b"")
        assert await server.ask(f"/forward/{server.authority}", "POST", b"abc") == (200, b"abc")
        assert await server.ask("/get/127.0.0.1:1") == (502, b"connection-refused\n")
        assert (await server.ask("/get/"))[0] == 500

    run(handler, use)


def test_requests_that_are_not_allowed(handler: rt.Component) -> None:
    asked: list[tuple[str, ...]] = []

    def allow(*target: str) -> bool:
        asked.append(target)
        return False

    async def use(server: Server) -> None:
        assert await server.ask("/get/example.org") == (403, b"HTTP-request-denied\n")
        assert await server.ask("/forward/example.org:1", "POST", b"x") == (403, b"HTTP-request-denied\n")

    run(handler, use, WasiConfig(http=HttpPolicy(allow)))
    assert asked == [("GET", "http", "example.org", "/echo?"), ("POST", "http", "example.org:1", "/echo?")]


def test_a_request_that_nobody_waits_for_any_more() -> None:
    pytest.importorskip("httpx2")
    client: Any = interfaces(WasiConfig(http=True))["wasi:http/client@0.3.0"].make()  # type: ignore[attr-defined]
    sent: list[bytes] = []

    async def main(server: socket.socket) -> None:
        send, receive = trio.testing.memory_stream_pair()
        request, done = Request.new(Fields(), receive, Ok(None), None)
        request.set_scheme("HTTP")
        request.set_authority(f"127.0.0.1:{server.getsockname()[1]}")
        with trio.move_on_after(30) as scope:

            async def leave() -> None:
                await send.send_all(b"abc")
                peer, _ = await trio.to_thread.run_sync(server.accept)
                with peer:
                    while not b"".join(sent).endswith(b"abc\r\n"):
                        sent.append(await trio.to_thread.run_sync(peer.recv, 1000))
                    scope.cancel()
                    with trio.CancelScope(shield=True):
                        while piece := await trio.to_thread.run_sync(peer.recv, 1000):
                            sent.append(piece)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave)
                await client.send.awaited(request)
        assert scope.cancelled_caught and done.known == Err(Case("connection-terminated"))

    with socket.create_server(("127.0.0.1", 0)) as server:
        trio.run(main, server)
    assert not b"".join(sent).endswith(b"0\r\n\r\n"), "a body that is cut short is not completed"


# ---- without a server ------------------------------------------------------------------------------------------------

EXPORT = "wasi:http/handler@0.3.0"


def request_of(path: str, contents: Any = None, trailers: Any = None) -> Request:
    request, _ = Request.new(Fields(), contents, trailers or Ok(None), None)
    request.set_path_with_query(path)
    return request


def test_a_middleware_and_what_is_behind_it(engine: rt.Engine, handler: rt.Component) -> None:
    linker = rt.Linker(engine)
    linker.define_wasi()
    middleware = rt.Component(engine, bytes(wasmtime.wat2wasm(MIDDLEWARE)))

    async def main() -> None:
        with trio.fail_after(30):
            async with rt.open_store(engine) as store:
                behind = await linker.instantiate_async(store, handler)
                linker.define(EXPORT, behind.exports[EXPORT])
                handle = (await linker.instantiate_async(store, middleware)).exports[EXPORT].handle
                response = await handle(request_of("/hello"))
                assert response.get_status_code() == 200
                assert [piece async for piece in response.contents] == [b"hello\n"]
                trailers = await response.trailers
                assert trailers.value.copy_all() == [("x-end", b"1")]
                response.done.set(Ok(None))
                with pytest.raises(Err) as caught:
                    await handle(request_of("/denied"))
                assert caught.value.value.label == "HTTP-request-denied"
                # What the host gives comes back from the guest as it is.
                given = request_of("/echo", [b"abc", b"def"])
                response = await handle(given)
                assert b"".join([piece async for piece in response.contents]) == b"abcdef"
                assert await response.trailers == Ok(None) and given.done.known is None
                response.done.set(Ok(None))
                await store.guests_ended()
                assert given.done.known == Ok(None)
                assert store.statistics()["threads"] == 0

    trio.run(main)


def test_a_synchronous_store(engine: rt.Engine, handler: rt.Component) -> None:
    pytest.importorskip("httpx2")
    linker = rt.Linker(engine)
    linker.define_wasi(WasiConfig(http=True))
    handle: Any = linker.instantiate(rt.Store(engine), handler).exports[EXPORT].handle
    heard: list[bytes] = []

    def answer(server: socket.socket, end: bytes) -> None:
        peer, _ = server.accept()
        with peer:
            while not b"".join(heard).endswith(end):
                heard.append(peer.recv(65536))
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc")

    def ask(path: str, end: bytes, *body: Any) -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer, args=(server, end))
            thread.start()
            request = request_of(f"/{path}/127.0.0.1:{server.getsockname()[1]}", *body)
            request.set_method("put")
            response = handle(request)
            thread.join()
            assert response.get_status_code() == 200
            assert b"".join(iter(response.contents._body.pipe.take_sync, None)) == b"abc"
        whole = b"".join(heard)
        heard.clear()
        return whole

    assert ask("get", b"\r\n\r\n").startswith(b"GET /echo? HTTP/1.1\r\n")
    big = bytes(200_000)
    whole = ask("forward", b"0\r\n\r\n", [big, b"end"])
    assert whole.startswith(b"PUT /echo? HTTP/1.1\r\n") and whole.count(b"\0") == len(big) and b"end\r\n" in whole
    assert list(handle(request_of("/hello")).contents) == [b"hello\n"]
    with pytest.raises(Err) as caught:
        handle(request_of("/forward/127.0.0.1:1", [big]))
    assert caught.value.value.label == "connection-refused"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_who_writes_a_request_that_fails_learns_so(asynchronous: bool) -> None:
    """Contents and trailers are let go of: a guest may wait for both before it looks at the error."""

    class End:
        closed = False

        def __init__(self) -> None:
            self._reader = self

        def close(self) -> None:
            self.closed = True

    contents, trailers = End(), End()
    request, done = Request.new(Fields(), contents, trailers, None)
    request.set_scheme(Case("other", "WS"))
    request.set_authority("localhost")
    client: Any = interfaces(WasiConfig(http=True))["wasi:http/client@0.3.0"]
    send = client.make().send
    with pytest.raises(Err) as caught:
        if asynchronous:
            trio.run(send.awaited, request)
        else:
            send(request)
    assert contents.closed and trailers.closed
    assert done.known == Err(caught.value.value)


def test_trailers_may_come_before_the_end_of_the_contents() -> None:
    """A guest that waits until its trailers are taken, and ends the contents then."""
    taken = trio.Event()

    class Contents:
        pieces = [b"long ", b"enough"]

        async def receive_some(self) -> bytes:
            if self.pieces:
                return self.pieces.pop(0)
            await taken.wait()
            return b""

    async def trailers() -> Any:
        taken.set()
        return Ok(None)

    async def main() -> None:
        request, _ = Request.new(Fields.from_list([("content-length", b"11")]), Contents(), trailers(), None)
        body = OutgoingBody("request", None)
        with trio.fail_after(5):
            assert await move(request, body) == Ok(None)
        assert body.pipe.take(5) + body.pipe.take(100) == b"long enough"
        assert body.pipe.take(1) is None

    trio.run(main)
