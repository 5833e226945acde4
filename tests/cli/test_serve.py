"""`component-rt serve` as a process: a guest per request, signals, wrong files."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


class Server:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def get(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def serve(wasm: Callable[[str], Path]) -> Iterator[Callable[..., Server]]:
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *options: str) -> Server:
        command = [
            sys.executable,
            "-m",
            "component_rt.cli",
            "serve",
            "--addr",
            "127.0.0.1:0",
            *options,
            str(wasm(text)),
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + process.stderr.read()
        return Server(process, int(found[1]))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_request_gets_an_instance(serve: Any) -> None:
    server = serve(SERVER)
    assert [server.get() for _ in range(3)] == [204] * 3
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 130


def test_guests_that_trap_or_spin_are_answered_for(serve: Any) -> None:
    trapping = serve(SERVER.replace("(local $response i32)", "(local $response i32) unreachable"))
    assert trapping.get() == 500
    assert trapping.get() == 500
    spinning = serve(SERVER.replace("(local $response i32)", "(local $response i32) (loop br 0)"), "--timeout", "200ms")
    start = time.monotonic()
    assert spinning.get() == 500
    assert time.monotonic() - start < 15


def test_what_cannot_serve_is_refused(component_rt: Any, wasm: Any) -> None:
    outcome = component_rt("serve", wasm("(component)"))
    assert outcome.code == 1 and "exports no wasi:http/incoming-handler" in outcome.err
    assert "only a component" in component_rt("serve", wasm("(module)")).err
    assert "wanted HOST:PORT" in component_rt("serve", "--addr", "nowhere", wasm(SERVER)).err
