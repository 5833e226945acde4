"""`wasi:cli` 0.3: what a command gets, with streams of the component model for its standard streams."""

from __future__ import annotations

import errno
from typing import Any

from component_rt.tasks.later import Later
from component_rt.wasi import cli as older
from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.p3 import Host
from component_rt.wasi.p3.streams import InputSupply, OutputDrain

__all__ = ["Environment", "Stdin", "Stdout"]


def _code(error: BaseException) -> str:
    """The `error-code` for what went wrong with a standard stream."""
    if isinstance(error, BrokenPipeError):
        return "pipe"
    if isinstance(error, UnicodeError) or (isinstance(error, OSError) and error.errno == errno.EILSEQ):
        return "illegal-byte-sequence"
    return "io"


class Environment(older.Environment):
    """`wasi:cli/environment`."""

    get_initial_cwd = older.Environment.initial_cwd


class Stdin:
    """`wasi:cli/stdin`. All streams read the same input: each byte goes to one of them."""

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream

    def read_via_stream(self) -> tuple[InputSupply, Later]:
        """The program's input, and how reading it ended. Nothing is read before the guest reads."""
        supply = InputSupply(self._stream, _code)
        return supply, supply.result


class Stdout:
    """`wasi:cli/stdout` and `wasi:cli/stderr`."""

    def __init__(self, stream: OutputStream) -> None:
        self._stream = stream

    def write_via_stream(self, data: Any) -> Later:
        """Write what comes from `data` as it comes; the future is resolved when all of it is written."""
        drain = OutputDrain(self._stream, _code)
        drain.begin(data)
        return drain.result


class _Types:
    """`wasi:cli/types`, which has no functions."""


def interfaces(host: Host) -> dict[str, object]:
    """The interfaces of this package by name."""
    shared = ("exit", "terminal-input", "terminal-output", "terminal-stdin", "terminal-stdout", "terminal-stderr")
    return {
        **{name: host.older[f"wasi:cli/{name}"] for name in shared},
        "environment": Environment(host.config),
        "stdin": Stdin(host.older["wasi:cli/stdin"].stream),
        "stdout": Stdout(host.older["wasi:cli/stdout"].stream),
        "stderr": Stdout(host.older["wasi:cli/stderr"].stream),
        "types": _Types(),
    }
