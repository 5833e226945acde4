"""The modules and components of the conformance suites, encoded, in one file for the workers to read."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.wast.reader import List
from tests.wast.script import AssertModule, AssertOutcome, Define, Instantiate, ModuleSource, load_script
from tests.wast.suites import scripts

__all__ = ["collect", "read_corpus", "write_corpus"]


def _no_value(_: List) -> object:
    return None


def collect(suite: str, largest: int = 20_000) -> list[bytes]:
    """Every distinct binary of a suite up to `largest` bytes, in the order of the scripts."""
    found: dict[bytes, None] = {}
    for path in scripts(suite):
        for command in load_script(path, _no_value):
            match command:
                case Define(source=source) | Instantiate(source=source):
                    pass
                case AssertModule(module=source) | AssertOutcome(subject=source):
                    pass
                case _:
                    continue
            if isinstance(source, ModuleSource) and source.wasm and len(source.wasm) <= largest:
                found[source.wasm] = None
    return list(found)


def write_corpus(path: Path, binaries: list[bytes]) -> None:
    path.write_bytes(b"".join(struct.pack("<I", len(data)) + data for data in binaries))


def read_corpus(path: Path) -> list[bytes]:
    raw, position, binaries = path.read_bytes(), 0, []
    while position < len(raw):
        (size,) = struct.unpack_from("<I", raw, position)
        binaries.append(raw[position + 4 : position + 4 + size])
        position += 4 + size
    return binaries
