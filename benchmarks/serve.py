"""`python -m benchmarks.serve [--json] [--connections N] [--seconds S] [--guest FILE]`: requests per second of `component-rt serve`.

Beside it stands the same hello world as a plain handler of h11 under trio, with no guest at all: what is left when everything is
taken away that makes it a host of components. Both are processes of their own, loaded in turn by the same client, which keeps a
request under way on each of its connections and does as little else as it can.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

Figures = dict[str, float]

WEB = Path(__file__).resolve().parents[1] / "examples" / "guest" / "web.wasm"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n"
BODY = b"Hello, world!\n"
PLAIN = """
import sys

import h11
import trio

BODY = b"Hello, world!\\n"
HEADERS = [("content-type", "text/plain"), ("content-length", str(len(BODY)))]


async def handle(stream):
    try:
        await serve(stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client has gone


async def serve(stream):
    connection = h11.Connection(h11.SERVER)
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.EndOfMessage):
            sent = connection.send(h11.Response(status_code=200, headers=HEADERS))
            sent += connection.send(h11.Data(data=BODY)) + connection.send(h11.EndOfMessage())
            await stream.send_all(sent)
            connection.start_next_cycle()
        elif isinstance(event, h11.ConnectionClosed):
            return


async def main():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"http://127.0.0.1:{listener.socket.getsockname()[1]}", file=sys.stderr, flush=True)
    await trio.serve_listeners(handle, [listener])


trio.run(main)
"""


@contextlib.contextmanager
def server(*command: str) -> Iterator[int]:
    """A process that tells its address on stderr; gives the port."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise RuntimeError(line + process.stderr.read())
        yield int(found[1])
    finally:
        process.terminate()
        process.communicate()


def load(port: int, connections: int, seconds: float) -> tuple[int, list[float]]:
    """Keep a request under way on each connection; returns how many were answered, and how long each took (seconds)."""
    selector = selectors.DefaultSelector()
    began: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        selector.register(sock, selectors.EVENT_READ)
        received[sock] = b""
    start = time.perf_counter()
    for sock in received:
        began[sock] = time.perf_counter()
        sock.sendall(REQUEST)
    times: list[float] = []
    while time.perf_counter() - start < seconds:
        for key, _ in selector.select(1.0):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            data = sock.recv(65536)
            if not data:
                raise RuntimeError("the server closed a connection")
            received[sock] += data
            if received[sock].endswith(BODY):
                if not received[sock].startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"wrong answer: {received[sock]!r}")
                now = time.perf_counter()
                times.append(now - began[sock])
                received[sock] = b""
                began[sock] = now
                sock.sendall(REQUEST)
    for sock in received:
        sock.close()
    return len(times), times


def measure(commands: dict[str, list[str]], connections: int, seconds: float, rounds: int) -> dict[str, Figures]:
    """The best round of each command, in turns."""
    found: dict[str, Figures] = {}
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(server(*command)) for name, command in commands.items()}
        for port in ports.values():
            load(port, connections, 0.5)
        for _ in range(rounds):
            for name, port in ports.items():
                count, times = load(port, connections, seconds)
                cuts = statistics.quantiles(times, n=100)
                figures = {"per_second": count / seconds, "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}
                if figures["per_second"] > found.get(name, {}).get("per_second", 0.0):
                    found[name] = figures
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--guest", type=Path, default=WEB, help="another component that says hello")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ours = ["-m", "component_rt", "serve", "--addr", "127.0.0.1:0"]
    commands = {
        "plain h11 under trio": ["-c", PLAIN],
        "serve, an instance for each request": [*ours, str(options.guest)],
        "serve --reuse 1000": [*ours, "--reuse", "1000", str(options.guest)],
        "serve --reuse 1000 --workers 2": [*ours, "--reuse", "1000", "--workers", "2", str(options.guest)],
    }
    rows = {n: measure(commands, n, options.seconds, options.rounds) for n in options.connections}
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for connections, row in rows.items():
        for name, figures in row.items():
            values = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            print(f"{connections:4d} connections  {name:36s} {values}")


if __name__ == "__main__":
    main()
