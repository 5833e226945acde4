"""Reads the `.wast` scripts of the WebAssembly suites and runs them through the public API.

`reader` text → nested lists, `literals` and `values` → bit patterns and result patterns, `script` → commands,
`core` and `component` run the commands. Modules are encoded by `wasmtime.wat2wasm` (which does not validate); nothing
else comes from another engine.
"""
