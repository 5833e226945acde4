"""`component-rt serve` as a process: a guest per request, signals, wrong files."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.wasi.p3.http_guest import HANDLER

pytest.importorskip("h11")

# Answers 204 to everything.
SERVER = """
(component
  (import "wasi:http/types@0.2.4" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $request (sub resource)))
    (export "response-outparam" (type $outparam (sub resource)))
    (export "outgoing-response" (type $response (sub resource)))
    (type $code (variant (case "internal-error" (option string))))
    (export "error-code" (type $error (eq $code)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-response" (func (param "headers" (own $fields)) (result (own $response))))
    (export "[method]outgoing-response.set-status-code"
      (func (param "self" (borrow $response)) (param "status-code" u16) (result (result))))
    (export "[static]response-outparam.set"
      (func (param "param" (own $outparam)) (param "response" (result (own $response) (error $error)))))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core module $libc (memory (export "memory") 1))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (core func $fields (canon lower (func $types "[constructor]fields")))
  (core func $response (canon lower (func $types "[constructor]outgoing-response")))
  (core func $status (canon lower (func $types "[method]outgoing-response.set-status-code")))
  (core func $set (canon lower (func $types "[static]response-outparam.set") (memory (core memory $memory))))
  (core module $main
    (import "h" "fields" (func $fields (result i32)))
    (import "h" "response" (func $response (param i32) (result i32)))
    (import "h" "status" (func $status (param i32 i32) (result i32)))
    (import "h" "set" (func $set (param i32 i32 i32 i32 i32 i32)))
    (global $calls (mut i32) (i32.const 0))
    (func (export "handle") (param $request i32) (param $out i32)
      (local $response i32)
      ;; An instance serves one request: were it used twice, this would trap.
      (if (global.get $calls) (then unreachable))
      (global.set $calls (i32.const 1))
      (local.set $response (call $response (call $fields)))
      (drop (call $status (local.get $response) (i32.const 204)))
      (call $set (local.get $out) (i32.const 0) (local.get $response) (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $main (instantiate $main (with "h" (instance
    (export "fields" (func $fields)) (export "response" (func $response))
    (export "status" (func $status)) (export "set" (func $set))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $main "handle")))
  (instance $api (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.4" (instance $api)))
"""


STOPPING = "stopping when the requests under way are answered; again to stop at once\n"
WEB = Path(__file__).parents[2] / "examples" / "guest" / "web.wasm"


class Server:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def request(self, target: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def get(self) -> int:
        return self.request("/")[0]

    def talk(self, *messages: bytes) -> bytes:
        """Send raw bytes; everything that comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as sock:
            got = b""
            try:
                for message in messages:
                    sock.sendall(message)
                while data := sock.recv(65536):
                    got += data
            except ConnectionError:
                pass  # it has said what it had to say
            return got

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; exit code and what was written to stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


def start(path: Path, *options: str) -> Server:
    command = [sys.executable, "-m", "component_rt", "serve", "--addr", "127.0.0.1:0", *options, str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    assert found, line + process.stderr.read()
    return Server(process, int(found[1]))


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def keep(path: Path, *options: str) -> Server:
        started.append(start(path, *options))
        return started[-1]

    yield keep
    for server in started:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def web() -> Iterator[Server]:
    """The example, with an instance for each request."""
    server = start(WEB, "--http", "*", "--max-body", "1MiB", "--max-headers", "8KiB")
    yield server
    server.process.kill()
    server.process.communicate()


def test_each_request_gets_an_instance(serve: Any, wasm: Any) -> None:
    server = serve(wasm(SERVER))
    assert [server.get() for _ in range(3)] == [204] * 3
    code, err = server.stop(signal.SIGINT)
    assert code == 130 and err.startswith(STOPPING)


def test_a_handler_of_wasi_0_3(serve: Any, wasm: Any) -> None:
    server = serve(wasm(HANDLER), "--http", "127.0.0.1")
    assert server.request("/hello") == (200, b"hello\n")
    assert server.request("/echo", "POST", b"abc" * 100_000) == (200, b"abc" * 100_000)
    assert server.request(f"/forward/127.0.0.1:{server.port}", "POST", b"abc") == (200, b"abc")
    assert server.request("/get/127.0.0.2:1") == (403, b"HTTP-request-denied\n")
    assert server.request("/trap")[0] == 500
    assert server.request("/hello") == (200, b"hello\n")
    assert server.request("/ok")[1] == b"\0\0", "an instance for each request"
    assert server.stop()[0] == 0


def test_an_instance_may_be_reused(serve: Any) -> None:
    """An answer may arrive before its guest has ended: then the next request finds another instance."""
    server = serve(WEB, "--reuse", "3")
    counts = [int(server.request("/count")[1]) for _ in range(21)]
    assert set(counts) == {1, 2, 3} and counts.count(3) >= 5
    assert server.request("/trap")[0] == 500
    assert server.request("/count")[0] == 200, "one that has failed is not used again"
    assert server.stop()[0] == 0


def test_hundreds_of_requests_at_once(serve: Any) -> None:
    """A hundred of them wait in their guests at the same time, the others for their turn; each gets its answer."""
    server = serve(WEB, "--reuse", "1000")
    answered: list[bytes] = []

    async def one() -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            await stream.send_all(b"GET /wait?100 HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n")
            answered.append(b"".join([piece async for piece in stream]))

    async def main() -> None:
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for _ in range(400):
                    nursery.start_soon(one)

    trio.run(main)
    assert len(answered) == 400 and server.stop() == (0, STOPPING)
    assert all(text.startswith(b"HTTP/1.1 200") and text.endswith(b"\r\n\r\nwaited\n") for text in answered)


def test_guests_that_fail_are_answered_for(web: Server) -> None:
    assert web.request("/silent") == (500, b"internal-error\n")
    assert web.request("/trap")[0] == 500
    assert web.request("/denied")[0] == 403
    assert web.request("/nowhere")[0] == 404
    with pytest.raises(http.client.IncompleteRead):
        web.request("/half")
    assert web.get() == 200


def test_guests_that_never_answer_cost_only_their_own_request(serve: Any) -> None:
    server = serve(WEB, "--timeout", "1s", "--reuse", "100")
    got: dict[str, list[int]] = {"/spin": [], "/wait?60000": []}
    threads = [
        threading.Thread(target=lambda path=path: got[path].append(server.request(path)[0])) for path in [*got, *got]
    ]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    assert [server.get() for _ in range(20)] == [200] * 20
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 20
    assert got == {"/spin": [504, 504], "/wait?60000": [504, 504]}
    assert server.get() == 200


def test_a_guest_must_begin_its_answer_in_time(serve: Any) -> None:
    server = serve(WEB, "--answer-timeout", "300ms", "--max-requests", "1")
    assert server.request("/spin")[0] == 504
    assert server.get() == 200
    assert server.request("/linger?2000")[0] == 200, "what comes after the answer has time"
    assert server.get() == 503, "it never had its turn"


def test_fuel_and_memory_are_limited(serve: Any) -> None:
    server = serve(WEB, "--fuel", "1000000", "--reuse", "10")
    assert server.request("/spin")[0] == 500
    assert [server.get() for _ in range(3)] == [200] * 3


def test_bodies_stream(web: Server) -> None:
    data = bytes(range(256)) * 4000
    assert web.request("/echo", "POST", data) == (200, data)
    assert web.request("/size", "POST", data) == (200, b"1024000")
    status, got = web.request("/zeros?5000000")
    assert status == 200 and got == bytes(5_000_000)


def test_a_slow_reader_holds_back_the_guest(web: Server) -> None:
    """A body of 1 GiB begins at once and costs no memory, whether it is read or not."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as sock:
        sock.sendall(b"GET /zeros?1073741824 HTTP/1.1\r\nhost: me\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        before = _resident(web.process.pid)
        time.sleep(0.3)
        assert _resident(web.process.pid) - before < 16 << 20
    assert web.get() == 200


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_what_has_no_body_keeps_the_connection(web: Server) -> None:
    got = web.talk(
        b"HEAD / HTTP/1.1\r\nhost: me\r\n\r\n"
        b"GET /status?204 HTTP/1.1\r\nhost: me\r\n\r\n"
        b"GET /status?418 HTTP/1.1\r\nhost: me\r\n\r\n"
        b"HEAD /zeros?1000000 HTTP/1.1\r\nhost: me\r\n\r\n"
        b"GET / HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n"
    )
    heads = got.split(b"HTTP/1.1 ")[1:]
    assert [head[:3] for head in heads] == [b"200", b"204", b"418", b"200", b"200"]
    assert b"content-length: 14\r\n" in heads[0] and heads[0].endswith(b"\r\n\r\n")
    assert b"content-length" not in heads[1] and b"content-length: 0" in heads[2]
    assert heads[4].endswith(b"Hello, world!\n")
    assert all(b"\r\ndate: " in head for head in heads)


def test_requests_in_a_row_and_in_pieces(web: Server) -> None:
    close = b"connection: close\r\n"
    chunked = b"transfer-encoding: chunked\r\n"
    got = web.talk(
        b"POST /echo HTTP/1.1\r\nhost: me\r\n" + chunked + b"\r\n3\r\nabc\r\n",
        b"2\r\nde\r\n0\r\n\r\nGET /count HTTP/1.1\r\nhost: me\r\n\r\n",
        b"POST /size HTTP/1.1\r\nhost: me\r\ncontent-length: 4\r\n" + close + b"\r\nab",
        b"cd",
    )
    assert got.count(b"HTTP/1.1 200") == 3
    assert b"3\r\nabc\r\n" in got and b"2\r\nde\r\n0\r\n\r\n" in got and got.endswith(b"\r\n\r\n4")
    old = web.talk(b"GET /trailers HTTP/1.0\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200") and old.endswith(b"\r\n\r\nbody")
    assert web.talk(b"GET /trailers HTTP/1.1\r\nhost: me\r\n" + close + b"\r\n").endswith(b"0\r\nx-sum: 42\r\n\r\n")


def test_a_body_is_asked_for_when_the_guest_wants_it(web: Server) -> None:
    def ask(path: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", web.port), timeout=30) as sock:
            sock.sendall(
                b"POST " + path + b" HTTP/1.1\r\nhost: me\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
            )
            got = sock.recv(1000)
            sock.sendall(b"abc")
            return got

    assert ask(b"/size").startswith(b"HTTP/1.1 100")
    assert ask(b"/").startswith(b"HTTP/1.1 200")


def test_bad_requests_are_refused(web: Server) -> None:
    for message, status in (
        (b"\x16\x03\x01 nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: me\r\nbad header: 1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: me\r\nx: " + b"y" * 20_000, b"431"),
        (b"POST / HTTP/1.1\r\nhost: me\r\ncontent-length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nhost: me\r\ntransfer-encoding: gzip\r\n\r\n", b"501"),
        (b"CONNECT me:1 HTTP/1.1\r\nhost: me\r\n\r\n", b"501"),
        (b"POST /size HTTP/1.1\r\nhost: me\r\ncontent-length: 2000000\r\n\r\n", b"413"),
        (b"POST /size HTTP/1.1\r\nhost: me\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ):
        assert web.talk(message)[9:12] == status, message[:60]
    large = b"".join(b"10000\r\n" + bytes(0x10000) + b"\r\n" for _ in range(20))
    assert (
        web.talk(b"POST /echo HTTP/1.1\r\nhost: me\r\ntransfer-encoding: chunked\r\n\r\n" + large).count(b"0\r\n\r\n")
        == 0
    )


def test_headers_of_the_transport_are_not_the_guests(web: Server) -> None:
    got = web.talk(b"GET /headers HTTP/1.1\r\nHost: me\r\nX-Mine: 1\r\nx-mine: 2\r\nConnection: close\r\n\r\n")
    assert b"X-Mine: 1\n" in got.replace(b"\r\n", b"") or b"X-Mine" in got
    assert b"Connection" not in got.partition(b"\r\n\r\n")[2] and b"Host" not in got.partition(b"\r\n\r\n")[2]


def test_guests_ask_other_servers(web: Server) -> None:
    here = f"127.0.0.1:{web.port}"
    data = bytes(range(256)) * 4000
    assert web.request(f"/fetch?{here}/wait?5") == (200, b"waited\n")
    assert web.request(f"/fetch?{here}/echo", "POST", data) == (200, data)
    assert web.request(f"/fetch?{here}/zeros?3000000") == (200, bytes(3_000_000))
    assert web.request(f"/fetch?{here}/fetch?{here}/denied")[0] == 403
    assert web.request(f"/hurry?{here}/wait?3000")[0] == 504
    assert web.request("/fetch?127.0.0.1:1/")[0] == 502
    with pytest.raises(http.client.IncompleteRead):
        web.request(f"/fetch?{here}/half")


def test_requests_need_permission(serve: Any) -> None:
    server = serve(WEB)
    assert server.request(f"/fetch?127.0.0.1:{server.port}/") == (403, b"HTTP-request-denied\n")


def test_a_peer_that_leaves_ends_its_guest(serve: Any) -> None:
    """With room for one guest only, the next request is answered when the one whose peer has gone was given up."""
    server = serve(WEB, "--max-requests", "1", "--access-log")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(b"GET /spin HTTP/1.1\r\nhost: me\r\n\r\n")
        time.sleep(0.3)
    assert server.get() == 200
    code, err = server.stop()
    assert code == 0 and re.search(r"^GET /: 200, [0-9.]+ ms$", err, re.MULTILINE), err


def test_stopping_lets_requests_end(serve: Any) -> None:
    server = serve(WEB)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as idle:
        got: list[tuple[int, bytes]] = []
        thread = threading.Thread(target=lambda: got.append(server.request("/wait?1500")))
        thread.start()
        time.sleep(0.7)
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b"", "a connection without a request is closed"
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
        thread.join()
    assert got == [(200, b"waited\n")]
    assert server.process.wait(20) == 0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_several_processes(serve: Any) -> None:
    server = serve(WEB, "--workers", "3", "--reuse", "100")
    workers = _children(server.process.pid)
    assert len(workers) == 3
    assert [server.get() for _ in range(20)] == [200] * 20
    time.sleep(2.0)  # younger ones are not replaced
    os.kill(workers[0], signal.SIGKILL)
    assert server.process.stderr.readline() == "a worker was killed by SIGKILL: replaced\n"
    assert [server.get() for _ in range(20)] == [200] * 20
    now = _children(server.process.pid)
    assert len(now) == 3 and workers[0] not in now
    got: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: got.append(server.request("/wait?1000")))
    thread.start()
    time.sleep(0.5)
    code, err = server.stop()
    thread.join()
    assert got == [(200, b"waited\n")]
    assert (code, err) == (0, STOPPING)
    assert not any(Path(f"/proc/{pid}").exists() for pid in now)


def test_processes_end_with_their_parent(serve: Any) -> None:
    server = serve(WEB, "--workers", "2")
    workers = _children(server.process.pid)
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 10
    while any(_lives(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in workers)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_that_cannot_serve_says_so_once(wasm: Any) -> None:
    # In a process of its own: workers are forked, and this one has threads.
    arguments = ["serve", "--addr", "127.0.0.1:0", "--workers", "3", str(wasm("(component)"))]
    command = [sys.executable, "-m", "component_rt", *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 1 and outcome.stderr.count("exports no wasi:http/incoming-handler") == 1


@pytest.mark.parametrize("options", [("--grace", "200ms"), ()])
def test_stopping_does_not_wait_for_ever(serve: Any, options: tuple[str, ...]) -> None:
    server = serve(WEB, *options)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(b"GET /spin HTTP/1.1\r\nhost: me\r\n\r\n")
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        if not options:
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == (0 if options else 128 + signal.SIGTERM)


def test_what_cannot_serve_is_refused(component_rt: Any, wasm: Any) -> None:
    outcome = component_rt("serve", wasm("(component)"))
    assert outcome.code == 1 and "exports no wasi:http/incoming-handler" in outcome.err
    assert "only a component" in component_rt("serve", wasm("(module)")).err
    assert "wanted HOST:PORT" in component_rt("serve", "--addr", "nowhere", wasm(SERVER)).err
