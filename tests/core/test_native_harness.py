"""The C shim without Python, compiled here: with the sanitizer for undefined behaviour, and for aarch64 under an emulator."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "core_rt" / "native"
FRAMES = ("-fno-omit-frame-pointer", "-fno-optimize-sibling-calls")
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def run(compiler: str, folder: Path, level: str, flags: tuple[str, ...], runner: tuple[str, ...]) -> None:
    if not (NATIVE / "vm_layout.h").exists():
        pytest.skip("the shim was not built here")
    for name in (compiler, *runner):
        if shutil.which(name) is None:
            pytest.skip(f"no {name}")
    common = [compiler, "-std=gnu11", *FRAMES, *WARNINGS, *flags, f"-I{NATIVE}"]
    harness, program = str(folder / "harness.o"), str(folder / "program")
    subprocess.run([*common, "-O0", "-c", str(HERE / "native_harness.c"), "-o", harness], check=True)
    sources = [str(path) for path in sorted(NATIVE.glob("*.c")) if not path.name.startswith("_")]
    subprocess.run([*common, level, harness, *sources, "-o", program, "-pthread", "-lm"], check=True)
    done = subprocess.run([*runner, program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("good\n", "", 0)


def test_here_with_sanitizer(tmp_path: Path) -> None:
    # Not optimised: gcc takes ten seconds to optimise what the sanitizer adds to the interpreter, and finds no more.
    run("gcc", tmp_path, "-O0", ("-fsanitize=undefined", "-fno-sanitize-recover"), ())


@pytest.mark.skipif(platform.machine() == "aarch64", reason="it is this machine")
def test_aarch64_under_emulation(tmp_path: Path) -> None:
    run("aarch64-linux-gnu-gcc", tmp_path, "-O2", ("-static", "-mno-omit-leaf-frame-pointer"), ("qemu-aarch64",))
