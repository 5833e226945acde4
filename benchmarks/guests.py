"""Where the guests come from, and how to get core modules out of components."""

from __future__ import annotations

import os
from pathlib import Path

import wasmtime

from .rows import Missing

__all__ = ["biggest_code", "guest", "wat"]

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "guests"


def guest(name: str) -> Path:
    """A file below $WASM_GUESTS, or beside the project. Raises `Missing`."""
    path = Path(os.environ.get("WASM_GUESTS") or _BESIDE) / name
    if not path.is_file():
        raise Missing(f"no guest {name}: set WASM_GUESTS")
    return path


def wat(text: str) -> bytes:
    """Encodes text."""
    return bytes(wasmtime.wat2wasm(text))


def _leb(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _sections(data: bytes) -> list[tuple[int, int, int]]:
    found, position = [], 8
    while position < len(data):
        size, start = _leb(data, position + 1)
        found.append((data[position], start, start + size))
        position = start + size
    return found


def biggest_code(component: bytes) -> bytes:
    """The core module of a component whose code section is the largest."""

    def code_size(module: bytes) -> int:
        return sum(end - start for kind, start, end in _sections(module) if kind == 10)

    modules = [component[start:end] for kind, start, end in _sections(component) if kind == 1]
    return max(modules, key=code_size)
