"""WASI 0.1 (`wasi_snapshot_preview1`) for core modules, over the same files, streams and clocks as WASI 0.2.

    wasi = Preview1(WasiConfig(args=["tool"], stdout="inherit"))
    wasi.define(linker)                          # core_rt.Linker
    instance = linker.instantiate(store, module)
    code = wasi.run(instance)                    # _start; returns the exit code

The functions read and write the memory that the module exports as `memory`, which `attach` (or `run`) finds. Every
pointer is checked: what lies outside the memory is the error `fault`, never an exception. One `Preview1` serves one
instance: it holds the table of file descriptors. Blocking calls block the thread.
"""

from __future__ import annotations

from component_rt.wasi.preview1.host import MODULE, Preview1

__all__ = ["MODULE", "Preview1"]
