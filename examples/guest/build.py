"""Builds the example guests from their C sources: `pip install ziglang wasmtime`, then `python examples/guest/build.py`.

The results are kept in the repository, so that the examples run without a compiler for WebAssembly.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import wasmtime

HERE = Path(__file__).resolve().parent
_EMPTY_MODULE = b"\1\x08\0asm\1\0\0\0"
_FLAGS = ("-Oz", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-debug", "-Wl,--export-memory", "-Wl,-z,stack-size=16384")


def compile_c(source: Path, target: Path) -> None:
    """One core module from one file of C."""
    zig = [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-freestanding"]
    subprocess.run([*zig, *_FLAGS, str(source), "-o", str(target)], check=True)


def componentize(module: bytes, text: str) -> bytes:
    """The component of a text with `module` in the place of its empty core module, as the text cannot hold bytes."""
    before, section, after = bytes(wasmtime.wat2wasm(text)).partition(_EMPTY_MODULE)
    assert section, "no empty core module in the text"
    return before + b"\1" + _leb(len(module)) + module + after


def _leb(value: int) -> bytes:
    """Unsigned LEB128."""
    return bytes([value & 0x7F | 0x80]) + _leb(value >> 7) if value > 0x7F else bytes([value])


def main() -> None:
    compile_c(HERE / "primes.c", HERE / "primes.wasm")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "greeter.wasm")
        compile_c(HERE / "greeter.c", module)
        wasm = componentize(module.read_bytes(), (HERE / "greeter.wat").read_text())
    (HERE / "greeter.wasm").write_bytes(wasm)
    for name in ("jobs", "upper"):  # these have no C in them
        (HERE / f"{name}.wasm").write_bytes(bytes(wasmtime.wat2wasm((HERE / f"{name}.wat").read_text())))


if __name__ == "__main__":
    main()
