"""Builds the C shim, `core_rt.native._shim`, with cffi.

Two ways in: setuptools (`cffi_modules = ["core_rt/native/build.py:ffibuilder"]`), which builds for the wheel, and
`python core_rt/native/build.py`, which builds in place for work on a checkout.

The structs come from `core_rt/vm/structs.py`, loaded by path: the shim that `core_rt`
needs is not there yet. What C needs of them is written beside the sources as `vm_layout.h` and `vm_generated.h`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES = (
    "body",
    "bridge",
    "builtins",
    "calls",
    "code",
    "exception",
    "fiber",
    "heap",
    "heap_arrays",
    "heap_blocks",
    "heap_mark",
    "heap_roots",
    "heap_types",
    "instance",
    "interpret",
    "memory",
    "poll",
    "ranges",
    "scan",
    "store",
    "stubs",
    "switch",
    "ticker",
    "trap",
    "wait",
)


def load_by_path(name: str) -> ModuleType:
    """The module `core_rt.vm.<name>`, without its package."""
    spec = importlib.util.spec_from_file_location(f"_vm_{name}", ROOT / "core_rt" / "vm" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def generated_header(structs: ModuleType) -> str:
    """`vm_generated.h`: the builtins that the host answers, their order, the interpreter's operations, and offsets for assembly."""
    lines = ["/* Written by core_rt/native/build.py. */", "#pragma once"]
    lines.append(f"#define OFFSET_CONTEXT_CODE_TABLE {structs.VMContextHeader['code_table']}")
    lines.append(f"#define OFFSET_CONTEXT_INTERPRETED {structs.VMContextHeader['interpreted']}")
    lines.append(load_by_path("words").macro())
    lines.append("#define BUILTIN_NAMES(ROW) " + " ".join(f"ROW({b.name})" for b in structs.BUILTINS))
    functions = [host_builtin(structs, builtin) for builtin in structs.BUILTINS if builtin.home == "host"]
    lines.append("#define HOST_BUILTINS \\\n" + " \\\n".join(functions))
    return "\n".join(lines) + "\n"


def host_builtin(structs: ModuleType, builtin: object) -> str:
    """The C function for a builtin of home "host": pack the arguments, leave, return the answer."""
    name, result, parameters = builtin.name, builtin.result, builtin.parameters  # type: ignore[attr-defined]
    casts = ["(uint64_t)(uintptr_t)" if kind == "ptr" else "(uint64_t)" for kind in parameters]
    packed = ", ".join(f"{cast}a{i}" for i, cast in enumerate(casts)) or "0"
    capacity = int(next(f.type for f in structs.VMFiber.fields if f.name == "arguments").split("[")[1].rstrip("]"))
    assert len(parameters) <= capacity, name
    leave = f"leave_for_libcall(vmctx, BUILTIN_{name.upper()}, {len(parameters)}, arguments)"
    answers = {
        "void": f"{leave};",
        "i32": f"return (uint32_t){leave}->answer[0];",
        "i64": f"return {leave}->answer[0];",
        "ptr": f"return (void *)(uintptr_t){leave}->answer[0];",
    }
    prototype = structs.builtin_prototype(builtin)
    return f"{prototype} {{ const uint64_t arguments[] = {{{packed}}}; {answers[result]} }}"


def write_if_changed(path: Path, text: str) -> None:
    """Write a file, at once as a whole: several builds may run in one checkout."""
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def make_builder(base: Path | None) -> FFI:
    """The cffi builder for the shim; writes the generated headers. Paths are relative to `base`, if there is one."""

    def place(path: Path) -> str:
        return os.path.relpath(path, base) if base else str(path)

    structs = load_by_path("structs")
    write_if_changed(HERE / "vm_layout.h", structs.header())
    write_if_changed(HERE / "vm_generated.h", generated_header(structs))
    builder = FFI()
    builder.cdef(structs.cdef() + (HERE / "api.h").read_text())
    # -z now: else the first call of a libc function through the PLT runs the dynamic linker on a guest's stack.
    # Backtraces go through the shim: whoever leaves a fiber must have a frame of its own.
    frames = ["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    flags = [
        "-O2",
        "-std=gnu11",
        *frames,
        "-fno-lto",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
    ]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-fcf-protection=none")  # switching stacks is not what a shadow stack expects
    builder.set_source(
        "core_rt.native._shim",
        '#include "shim.h"\n',
        sources=[place(HERE / f"{name}.c") for name in SOURCES],
        depends=[place(path) for path in sorted(HERE.glob("*.h"))],
        include_dirs=[place(HERE)],
        extra_compile_args=flags,
        extra_link_args=["-Wl,-z,now", "-pthread", "-lm"],
    )
    return builder


def build_in_place(builder: FFI) -> Path:
    """Compile in a temporary folder and move the finished module here, so that running processes keep their old one."""
    with tempfile.TemporaryDirectory(prefix="shim-") as folder:
        built = Path(builder.compile(tmpdir=folder, verbose=bool(os.environ.get("VERBOSE"))))
        target = HERE / built.name
        temporary = HERE / f"{built.name}.{os.getpid()}.tmp"
        shutil.copy2(built, temporary)
        temporary.replace(target)
    return target


if __name__ == "__main__":
    print(build_in_place(make_builder(None)))
else:
    ffibuilder = make_builder(Path.cwd())  # setuptools wants paths below the project, and runs there
