"""Wasm functions to machine code, through LLVM.

Text is written per function (`core_rt.compile.emitter` and the files named after operator families), compiled by
`core_rt.compile.jit`, loaded by `core_rt.compile.elf` and entered in a module's code table by
`core_rt.compile.module`. The rest of the engine uses two classes:

- `Compiler`: one per engine; target machines, and trampolines between the host and compiled code;
- `CompiledModule`: one per module; its code table, lazy and whole-module compilation, and places for backtraces.
"""

from __future__ import annotations

from core_rt.compile.compiler import Compiler
from core_rt.compile.module import CompiledModule

__all__ = ["CompiledModule", "Compiler"]
