"""From bytes to the first result, in fresh processes: with nothing cached, and with a warm disk cache here.

The clock runs from the bytes in memory to the first result, on both sides: neither the interpreter's start nor the import of the package is
in it, but what a package imports later is. Rows about imports and whole processes say what is left out. Bytecode is compiled
beforehand, as in an installed package. The peer is used without its cache, which is about the compiler's output only.
"""

from __future__ import annotations

import os
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
_WASI_OURS = """
import sys, time
import component_rt as rt, core_rt
data = open(sys.argv[1], "rb").read()
begun = time.perf_counter()
engine = rt.Engine(core_rt.Config(cache=sys.argv[2] if len(sys.argv) > 2 else False))
component = rt.Component(engine, data)
linker = rt.Linker(engine)
linker.define_wasi()
linker.define_unknown_imports_as_traps(component)
with rt.Store(engine) as store:
    linker.instantiate(store, component).exports["guests:kitchen/api"].echo_string("x")
    print(time.perf_counter() - begun)
"""
_WASI_THEIRS = """
import sys, time
import wasmtime, wasmtime.component as component
data = open(sys.argv[1], "rb").read()
nothing = lambda *_: None
begun = time.perf_counter()
engine = wasmtime.Engine()
guest = component.Component(engine, data)
linker, store = component.Linker(engine), wasmtime.Store(engine)
store.set_wasi(wasmtime.WasiConfig())
linker.add_wasip2()
# Traps for what is unknown would hide WASI: its version is another than the linker's.
with linker.root() as root, root.add_instance("guests:kitchen/host-log@0.1.0") as log:
    log.add_resource("sink", component.ResourceType.host(1), nothing)
    for name in ("tick", "[constructor]sink", "[method]sink.write", "[method]sink.lines", "[static]sink.merge"):
        log.add_func(name, nothing)
instance = linker.instantiate(store, guest)
api = instance.get_export_index(store, "guests:kitchen/api@0.1.0")
instance.get_func(store, instance.get_export_index(store, "echo-string", api))(store, "x")
print(time.perf_counter() - begun)
"""
_PRECOMPILE = """
import sys
import component_rt as rt, core_rt
engine = rt.Engine(core_rt.Config(cache=sys.argv[2]))
data = open(sys.argv[1], "rb").read()
engine.precompile(data)
rt.Component(engine, data).plan
print(0)
"""


def _precompiled(path: str) -> str:
    """The folder of a cache that has the code of a component. It stays for the next run: the larger takes minutes to compile."""
    folder = Path(tempfile.gettempdir(), f"component-rt-benchmarks-{os.getuid()}")
    process_seconds(_PRECOMPILE, path, str(folder), times=1, warm_up=False)
    return str(folder)


@row("cold start", "small module: bytes to first result", target=1.0)
def _small() -> Iterator[Figures]:
    path = str(guest("c/k_fib.wasm"))
    yield Figures(process_seconds(_OURS, path), process_seconds(_THEIRS, path))


@row("cold start", "import of the package", limit=0.1)
def _import() -> Iterator[Figures]:
    ours = "import component_rt as rt; rt.Engine, rt.Component, rt.Store, rt.Linker"
    yield Figures(process_seconds(_IMPORT.format(ours)), process_seconds(_IMPORT.format("import wasmtime.component")))


@row("cold start", "module with 5.9 MB of code, ready to be called (lazy here, compiled there)", limit=1.0)
def _large() -> Iterator[Figures]:
    module = biggest_code(guest("kitchen/kitchen_py.wasm").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.wasm")
        path.write_bytes(module)
        yield Figures(
            process_seconds(_OURS_LOAD, str(path), times=3), process_seconds(_THEIRS_LOAD, str(path), times=1)
        )


@row("cold start", "component of 1.7 MB: bytes to first result", target=1.5)
def _component() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_qjs_stub.wasm"))
    yield Figures(process_seconds(_COMPONENT_OURS, path), process_seconds(_COMPONENT_THEIRS, path))


@row("cold start", "the same with a warm disk cache here", target=10)
def _warm_component() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_qjs_stub.wasm"))
    folder = _precompiled(path)
    yield Figures(process_seconds(_COMPONENT_OURS, path, folder), process_seconds(_COMPONENT_THEIRS, path))


@row("cold start", "the same, whole processes: from the interpreter's start to its end")
def _warm_process() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_qjs_stub.wasm"))
    folder = _precompiled(path)
    yield Figures(
        process_seconds(_COMPONENT_OURS, path, folder, whole=True), process_seconds(_COMPONENT_THEIRS, path, whole=True)
    )


@row("cold start", "component of 18 MB (CPython) with WASI: bytes to first result", target=2)
def _python() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_py.wasm"))
    yield Figures(
        process_seconds(_WASI_OURS, path, times=3), process_seconds(_WASI_THEIRS, path, times=1, warm_up=False)
    )


@row("cold start", "the same with a warm disk cache here (CPython)", target=10)
def _warm_python() -> Iterator[Figures]:
    path = str(guest("kitchen/kitchen_py.wasm"))
    folder = _precompiled(path)
    yield Figures(
        process_seconds(_WASI_OURS, path, folder), process_seconds(_WASI_THEIRS, path, times=1, warm_up=False)
    )
