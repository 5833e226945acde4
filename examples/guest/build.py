"""Builds the example guests from their C sources: `pip install ziglang wasmtime`, then `python examples/guest/build.py`.

The web application is made a component by jco, so it is left out where node does not find that (`npm install
@bytecodealliance/jco`).

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


_JCO = """
import { componentEmbed, componentNew } from "@bytecodealliance/jco";
import { readFile, writeFile } from "node:fs/promises";
const [module, wit, target] = process.argv.slice(-3);
const options = { binary: await readFile(module), witSource: await readFile(wit, "utf8"), stringEncoding: "utf8" };
await writeFile(target, await componentNew(await componentEmbed(options), []));
"""


def componentize_wit(module: Path, wit: Path, target: Path) -> bool:
    """The component of a module and the WIT of the world that it is made for; False where there is no jco."""
    command = ["node", "--input-type=module", "-e", _JCO, "--", str(module), str(wit), str(target)]
    return subprocess.run(command, check=False).returncode == 0


def _leb(value: int) -> bytes:
    """Unsigned LEB128."""
    return bytes([value & 0x7F | 0x80]) + _leb(value >> 7) if value > 0x7F else bytes([value])


def main() -> None:
    compile_c(HERE / "primes.c", HERE / "primes.wasm")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "greeter.wasm")
        compile_c(HERE / "greeter.c", module)
        web = Path(folder, "web.wasm")
        compile_c(HERE / "web.c", web)
        if not componentize_wit(web, HERE / "web.wit", HERE / "web.wasm"):
            print("web.wasm was not built: no jco", file=sys.stderr)
        wasm = componentize(module.read_bytes(), (HERE / "greeter.wat").read_text())
    (HERE / "greeter.wasm").write_bytes(wasm)
    for name in ("jobs", "upper"):  # these have no C in them
        (HERE / f"{name}.wasm").write_bytes(bytes(wasmtime.wat2wasm((HERE / f"{name}.wat").read_text())))


if __name__ == "__main__":
    main()
