"""A compile worker: reads a module and a list of chunks from standard input, writes their optimised code to standard output.

Input: a line of JSON, `{"config": fields of Config, "chunks": [[first, stop], ...], "length": bytes of the module}`, then the module.
Output: `core_rt.compile.stored.pack` of one unit per chunk, in order. Exit code 0, or 1 with a traceback on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from core_rt.binary.decode import decode_module
from core_rt.compile import CompiledModule, Compiler
from core_rt.compile.stored import pack
from core_rt.config import Config
from core_rt.vm.layout import ModuleLayout

__all__ = ["main"]


def main() -> None:
    """Serve one request."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up in the answer
    head = json.loads(requests.readline())
    if head.get("background"):
        with contextlib.suppress(OSError):
            os.nice(10)
    config = Config(**head["config"])
    module = decode_module(requests.read(head["length"]), config.features)
    compiled = CompiledModule(Compiler(config), module, ModuleLayout.of(module))
    units = [compiled.optimise(range(first, stop)) for first, stop in head["chunks"]]
    with answers:
        answers.write(pack(units))


if __name__ == "__main__":
    main()
