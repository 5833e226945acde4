"""The core WebAssembly engine: bytes to modules, modules to machine code, instances with a contiguous `VMContext`.

Names are imported when first used, so that `import core_rt` costs nothing but this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "core_rt.config": ("Config", "Features"),
    "core_rt.engine": ("Engine",),
    "core_rt.errors": (
        "DecodeError",
        "EngineBug",
        "ExhaustionError",
        "Frame",
        "GuestException",
        "GuestExit",
        "InstancePoisoned",
        "LinkError",
        "StoreError",
        "Trap",
        "TrapCode",
        "ValidationError",
        "WasmError",
    ),
    "core_rt.func": ("Func",),
    "core_rt.globals": ("Global",),
    "core_rt.instance": ("Instance", "instantiate"),
    "core_rt.limits": ("Limits",),
    "core_rt.linker": ("Linker",),
    "core_rt.memory": ("Memory",),
    "core_rt.module": ("Module",),
    "core_rt.store": ("PARK", "Store"),
    "core_rt.table": ("Table",),
    "core_rt.tag": ("Tag",),
    "core_rt.types": (
        "ANYREF",
        "ARRAYREF",
        "EQREF",
        "EXNREF",
        "EXTERNREF",
        "F32",
        "F64",
        "FUNCREF",
        "I31REF",
        "I32",
        "I64",
        "NULLEXNREF",
        "NULLEXTERNREF",
        "NULLFUNCREF",
        "NULLREF",
        "STRUCTREF",
        "V128",
        "AbsHeap",
        "ArrayType",
        "DefType",
        "FieldType",
        "FuncType",
        "GlobalType",
        "MemoryType",
        "RefType",
        "StructType",
        "TableType",
        "TagType",
        "ValType",
    ),
}
# The submodule `core_rt.globals`, once imported, hides the builtin of that name here.
_NAMESPACE = globals()
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605

if TYPE_CHECKING:
    from core_rt.config import Config as Config, Features as Features
    from core_rt.engine import Engine as Engine
    from core_rt.errors import (
        DecodeError as DecodeError,
        EngineBug as EngineBug,
        ExhaustionError as ExhaustionError,
        Frame as Frame,
        GuestException as GuestException,
        GuestExit as GuestExit,
        InstancePoisoned as InstancePoisoned,
        LinkError as LinkError,
        StoreError as StoreError,
        Trap as Trap,
        TrapCode as TrapCode,
        ValidationError as ValidationError,
        WasmError as WasmError,
    )
    from core_rt.func import Func as Func
    from core_rt.globals import Global as Global
    from core_rt.instance import Instance as Instance, instantiate as instantiate
    from core_rt.limits import Limits as Limits
    from core_rt.linker import Linker as Linker
    from core_rt.memory import Memory as Memory
    from core_rt.module import Module as Module
    from core_rt.store import PARK as PARK, Store as Store
    from core_rt.table import Table as Table
    from core_rt.tag import Tag as Tag
    from core_rt.types import (
        ANYREF as ANYREF,
        ARRAYREF as ARRAYREF,
        EQREF as EQREF,
        EXNREF as EXNREF,
        EXTERNREF as EXTERNREF,
        F32 as F32,
        F64 as F64,
        FUNCREF as FUNCREF,
        I31REF as I31REF,
        I32 as I32,
        I64 as I64,
        NULLEXNREF as NULLEXNREF,
        NULLEXTERNREF as NULLEXTERNREF,
        NULLFUNCREF as NULLFUNCREF,
        NULLREF as NULLREF,
        STRUCTREF as STRUCTREF,
        V128 as V128,
        AbsHeap as AbsHeap,
        ArrayType as ArrayType,
        DefType as DefType,
        FieldType as FieldType,
        FuncType as FuncType,
        GlobalType as GlobalType,
        MemoryType as MemoryType,
        RefType as RefType,
        StructType as StructType,
        TableType as TableType,
        TagType as TagType,
        ValType as ValType,
    )


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    import sys

    value = getattr(importlib.import_module(module), name)
    vars(sys.modules[__name__])[name] = value  # not globals(): the submodule core_rt.globals hides the builtin here
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULE_OF})
