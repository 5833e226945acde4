"""LLVM text of small modules, reviewed once: `golden/*.wat` gives `golden/*.ll`. `BLESS=1` writes the latter."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import core_rt
from core_rt.binary.decode import decode_module
from core_rt.compile import CompiledModule, Compiler
from core_rt.vm.layout import ModuleLayout
from tests.core.support import wasm

FOLDER = Path(__file__).with_name("golden")
FILES = sorted(FOLDER.glob("*.wat"))


@pytest.fixture(scope="module")
def compiler():
    compiler = Compiler(core_rt.Config(cache=False), verify=True)
    yield compiler
    compiler.close()


def text_of(compiler: Compiler, data: bytes) -> str:
    module = decode_module(data, compiler.config.features)
    compiled = CompiledModule(compiler, module, ModuleLayout.of(module))
    texts = []
    for defined in range(compiled.count):
        name = module.func_name(module.num_imported_funcs + defined)
        text = compiled.function_code(defined).partition("attributes #0")[0]
        for index, type_ in enumerate(module.types):  # ids of types differ from process to process
            text = re.sub(rf"(icmp eq i32 %\d+, |ptr %0, i32 %\d+, i32 ){type_.id}\b", rf"\g<1>type{index}", text)
        texts.append(f"; {name}\n{text}")
        compiled.compile(defined)  # what is reviewed is also what LLVM takes
    compiled.close()
    return "\n".join(texts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_text_is_as_reviewed(path, compiler):
    golden = path.with_suffix(".ll")
    text = text_of(compiler, wasm(path.read_text()))
    if os.environ.get("BLESS"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_there_are_files():
    assert len(FILES) >= 6
