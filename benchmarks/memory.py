"""What instances that do nothing cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from .guests import guest, wat
from .rows import Figures, process_seconds, row

_WAT = """(module (memory 1) (table 10 funcref) (global (mut i32) (i32.const 0))
  (func (export "f") (result i32) (i32.store (i32.const 0) (i32.const 1)) (i32.load (i32.const 0))))"""
_BEGIN = """
import sys
def taken():
    "Memory of the process; what it shares with others (mapped files) counts as its part of it."
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
data = open(sys.argv[1], "rb").read()
kept = []
"""
_END = """
for _ in range(3):
    make()
before = taken()
for _ in range(1000):
    make()
print(taken() - before)
"""
_OURS = """
import core_rt
engine = core_rt.Engine(core_rt.Config(cache=False))
module, linker = core_rt.Module(engine, data), core_rt.Linker(engine)
def make():
    store = core_rt.Store(engine)
    instance = linker.instantiate(store, module)
    instance.exports["f"]()
    kept.append((store, instance))
"""
_THEIRS = """
import wasmtime
engine = wasmtime.Engine()
module = wasmtime.Module(engine, data)
def make():
    store = wasmtime.Store(engine)
    instance = wasmtime.Instance(store, module, [])
    instance.exports(store)["f"](store)
    kept.append((store, instance))
"""
_OUR_GUEST = """
import core_rt, component_rt as rt
engine = rt.Engine(core_rt.Config(cache=False))
component, linker = rt.Component(engine, data), rt.Linker(engine)
linker.define_unknown_imports_as_traps(component)
def make():
    store = rt.Store(engine)
    instance = linker.instantiate(store, component)
    assert instance.exports["guests:kitchen/api"].echo_string("x") == "x"
    kept.append((store, instance))
"""
_THEIR_GUEST = """
import wasmtime, wasmtime.component as C
engine = wasmtime.Engine()
component, linker = C.Component(engine, data), C.Linker(engine)
linker.define_unknown_imports_as_traps(component)
def make():
    store = wasmtime.Store(engine)
    store.set_wasi(wasmtime.WasiConfig())
    instance = linker.instantiate(store, component)
    api = instance.get_export_index(store, "guests:kitchen/api@0.1.0")
    function = instance.get_func(store, instance.get_export_index(store, "echo-string", api))
    assert function(store, "x") == "x"
    kept.append((store, instance))
"""


def _figures(ours: str, theirs: str, path: Path) -> Figures:
    sides = [process_seconds(_BEGIN + side + _END, str(path), times=3) for side in (ours, theirs)]
    return Figures(*sides)


@row("memory", "1000 idle instances, each in a store of its own", unit="bytes")
def _idle() -> Iterator[Figures]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.wasm")
        path.write_bytes(wat(_WAT))
        yield _figures(_OURS, _THEIRS, path)


@row("memory", "1000 instances of a JavaScript guest, each called once", unit="bytes")
def _guests() -> Iterator[Figures]:
    yield _figures(_OUR_GUEST, _THEIR_GUEST, guest("kitchen/kitchen_qjs_stub.wasm"))
