"""What instances that do nothing cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from .guests import wat
from .rows import Figures, process_seconds, row

_WAT = """(module (memory 1) (table 10 funcref) (global (mut i32) (i32.const 0))
  (func (export "f") (result i32) (i32.store (i32.const 0) (i32.const 1)) (i32.load (i32.const 0))))"""
_RESIDENT = """
import resource, sys
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
data = open(sys.argv[1], "rb").read()
kept = []
"""
_OURS = (
    _RESIDENT
    + """
import core_rt
engine = core_rt.Engine(core_rt.Config(cache=False))
module, linker = core_rt.Module(engine, data), core_rt.Linker(engine)
def make():
    store = core_rt.Store(engine)
    instance = linker.instantiate(store, module)
    instance.exports["f"]()
    kept.append((store, instance))
make()
before = resident()
for _ in range(1000):
    make()
print(resident() - before)
"""
)
_THEIRS = (
    _RESIDENT
    + """
import wasmtime
engine = wasmtime.Engine()
module = wasmtime.Module(engine, data)
def make():
    store = wasmtime.Store(engine)
    instance = wasmtime.Instance(store, module, [])
    instance.exports(store)["f"](store)
    kept.append((store, instance))
make()
before = resident()
for _ in range(1000):
    make()
print(resident() - before)
"""
)


@row("memory", "1000 idle instances, each in a store of its own", unit="bytes")
def _idle() -> Iterator[Figures]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.wasm")
        path.write_bytes(wat(_WAT))
        yield Figures(process_seconds(_OURS, str(path), times=3), process_seconds(_THEIRS, str(path), times=3))
