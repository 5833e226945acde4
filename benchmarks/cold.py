"""From bytes to the first result, in fresh processes, with nothing cached."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from .guests import biggest_code, guest
from .rows import Figures, process_seconds, row

_OURS = """
import sys, time
import core_rt
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
engine = core_rt.Engine(core_rt.Config(cache=False))
module = core_rt.Module(engine, data)
store = core_rt.Store(engine)
core_rt.Linker(engine).instantiate(store, module).exports["fib"](10)
print(time.perf_counter() - begun)
"""
_THEIRS = """
import sys, time
import wasmtime
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
engine = wasmtime.Engine()
module = wasmtime.Module(engine, data)
store = wasmtime.Store(engine)
wasmtime.Instance(store, module, []).exports(store)["fib"](store, 10)
print(time.perf_counter() - begun)
"""
_OURS_LOAD = """
import sys, time
import core_rt
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
engine = core_rt.Engine(core_rt.Config(cache=False))
module = core_rt.Module(engine, data)
print(time.perf_counter() - begun)
"""
_THEIRS_LOAD = """
import sys, time
import wasmtime
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
wasmtime.Module(wasmtime.Engine(), data)
print(time.perf_counter() - begun)
"""
_IMPORT = """
import time
begun = time.perf_counter()
{}
print(time.perf_counter() - begun)
"""
_COMPONENT_OURS = """
import sys, time
import component_rt as rt, core_rt
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
engine = rt.Engine(core_rt.Config(cache=sys.argv[2] if len(sys.argv) > 2 else False))
component = rt.Component(engine, data)
linker = rt.Linker(engine)
linker.define_unknown_imports_as_traps(component)
with rt.Store(engine) as store:
    linker.instantiate(store, component).exports["guests:kitchen/api"].echo_string("x")
    print(time.perf_counter() - begun)
"""
_COMPONENT_THEIRS = """
import sys, time
import wasmtime, wasmtime.component as component
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
engine = wasmtime.Engine()
guest = component.Component(engine, data)
linker, store = component.Linker(engine), wasmtime.Store(engine)
store.set_wasi(wasmtime.WasiConfig())
linker.define_unknown_imports_as_traps(guest)
instance = linker.instantiate(store, guest)
api = instance.get_export_index(store, "guests:kitchen/api@0.1.0")
instance.get_func(store, instance.get_export_index(store, "echo-string", api))(store, "x")
print(time.perf_counter() - begun)
"""
_PRECOMPILE = """
import sys
import component_rt as rt, core_rt
rt.Engine(core_rt.Config(cache=sys.argv[2])).precompile(open(sys.argv[1], "rb").read())
print(0)
"""


@row("cold start", "small module: bytes to first result", target=0.5)
def _small() -> Iterator[Figures]:
    path = str(guest("c/k_fib.wasm"))
    yield Figures(process_seconds(_OURS, path), process_seconds(_THEIRS, path))


@row("cold start", "import of the package")
def _import() -> Iterator[Figures]:
    ours = "import core_rt; core_rt.Engine, core_rt.Module, core_rt.Store, core_rt.Linker"
    yield Figures(process_seconds(_IMPORT.format(ours)), process_seconds(_IMPORT.format("import wasmtime")))


@row("cold start", "module with 5.9 MB of code, ready to be called (lazy here, compiled there)", limit=1.0)
def _large() -> Iterator[Figures]:
    module = biggest_code(guest("kitchen/kitchen_py.wasm").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.wasm")
        path.write_bytes(module)
        yield Figures(
            process_seconds(_OURS_LOAD, str(path), times=3), process_seconds(_THEIRS_LOAD, str(path), times=1)
        )


@row("cold start", "component of 1.7 MB: bytes to first result", target=1.0)
def _component() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_qjs_stub.wasm"))
    yield Figures(process_seconds(_COMPONENT_OURS, path), process_seconds(_COMPONENT_THEIRS, path))


@row("cold start", "the same with a warm disk cache here", target=10)
def _warm_component() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_qjs_stub.wasm"))
    with tempfile.TemporaryDirectory() as folder:
        process_seconds(_PRECOMPILE, path, folder, times=1)
        yield Figures(process_seconds(_COMPONENT_OURS, path, folder), process_seconds(_COMPONENT_THEIRS, path))
