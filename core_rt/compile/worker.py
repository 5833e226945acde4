"""A compile worker: reads a module and a list of chunks from standard input, writes their optimised code to standard output.

Input: a line of JSON, `{"config": fields of Config, "chunks": [...], "limits": [seconds, bytes] or null, "length": bytes of the module}`,
then the module. A chunk is `[first, stop]`, or `[[functions], bytes]` for those functions with what they call. With limits the process has low priority, and ends when it needs more processor time or memory.
Output: `core_rt.compile.stored.pack` of one unit per chunk, in order, each as soon as it is made. Exit code 0, or 1 with a traceback
on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys

from core_rt.binary.decode import decode_module
from core_rt.compile import CompiledModule, Compiler
from core_rt.compile.stored import StoredUnit, write_units
from core_rt.config import Config
from core_rt.vm.layout import ModuleLayout

__all__ = ["main"]


def main() -> None:
    """Serve one request."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up in the answer
    head = json.loads(requests.readline())
    if head["limits"] is not None:
        _limit(*head["limits"])
    config = Config(**head["config"])
    module = decode_module(requests.read(head["length"]), config.features)
    compiled = CompiledModule(Compiler(config), module, ModuleLayout.of(module))
    with answers:
        chunks = head["chunks"]
        write_units(answers, len(chunks), (_optimise(compiled, *chunk) for chunk in chunks))


def _optimise(compiled: CompiledModule, first: int | list[int], stop: int) -> StoredUnit:
    if isinstance(first, int):
        return compiled.optimise(range(first, stop))
    return compiled.optimise_family(first, stop)


def _limit(seconds: int, size: int) -> None:
    with contextlib.suppress(OSError):
        os.nice(10)
    for kind, wanted in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_DATA, size)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


if __name__ == "__main__":
    main()
