"""Code for aarch64, generated on any machine: every instruction is selected and assembled, and the loader knows its relocations.

`native_harness.c` runs the shim for aarch64 under an emulator; this is about what LLVM is given.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import core_rt
from core_rt.binary.decode import decode_module
from core_rt.compile import Compiler, exception
from core_rt.compile.elf import ElfObject
from core_rt.compile.jit import Jit
from core_rt.compile.writer import Writer
from core_rt.vm.layout import ModuleLayout
from tests.core.support import wasm
from tests.robustness.differential import EXTRAS
from tests.robustness.generate import generate

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.wat"))
FAR = 0x7F12_3456_7000


@pytest.fixture(scope="module")
def compiler():
    compiler = Compiler(core_rt.Config(cache=False))
    compiler._jit = Jit(machine="aarch64", verify=True)
    compiler.float_register = "w"
    yield compiler
    compiler.close()


def units(compiler: Compiler, data: bytes) -> Iterator[tuple[str, dict[str, bool]]]:
    """Texts, and how they are compiled: functions quick one by one, then optimised together."""
    module = decode_module(data, compiler.config.features)
    writer = Writer(compiler, module, ModuleLayout.of(module))
    for defined in range(len(module.bodies)):
        unit = writer.quick(defined)
        yield unit.text(), {"registers": unit.registers}
    yield writer.optimised(range(len(module.bodies))).text(), {"optimise": True}


def loads(data: bytes) -> None:
    elf = ElfObject.parse(data)
    assert len(elf.load(FAR)) == elf.size and elf.functions


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_family(compiler, path):
    for text, how in units(compiler, wasm(path.read_text())):
        loads(compiler.jit.compile(text, **how))


def test_random_modules(compiler):
    extras = [extra for extra in EXTRAS if extra != "exceptions"]  # see below
    for index in range(4):
        for text, how in units(compiler, generate(f"aarch64/{index}", **dict.fromkeys(extras, True)).wasm):
            loads(compiler.jit.compile(text, **how))


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-as") is None, reason="no aarch64-linux-gnu-as")
@pytest.mark.parametrize("code", [exception.ENTER["w"], exception.JUMP["w"]], ids=["enter", "jump"])
def test_assembly_of_exceptions(code, tmp_path):
    """LLVM has no assembler for another machine here; the GNU assembler takes what it would be given."""
    text = code.split('"')[1].replace("\\0A", "\n").replace("${1:l}", "landing")
    (tmp_path / "unit.s").write_text(f".type f0, %function\nf0:\n{text}\nlanding:\nret\n.size f0, . - f0\n")
    subprocess.run(["aarch64-linux-gnu-as", "-o", str(tmp_path / "unit.o"), str(tmp_path / "unit.s")], check=True)
    loads((tmp_path / "unit.o").read_bytes())
