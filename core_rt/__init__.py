"""The core WebAssembly engine: bytes to modules, modules to machine code, instances with a contiguous `VMContext`.

Importing it loads the engine, compiler and LLVM's binding included, so that nothing is left to load when the first module comes.
`component_rt` and the command line load those two when something is first compiled: they mostly start with code from the cache.
"""

from __future__ import annotations

import sys as _sys

from core_rt.config import Config, Features
from core_rt.engine import Engine
from core_rt.errors import (
    DecodeError,
    EngineBug,
    ExhaustionError,
    Frame,
    GuestException,
    GuestExit,
    InstancePoisoned,
    LinkError,
    StoreError,
    Trap,
    TrapCode,
    ValidationError,
    WasmError,
)
from core_rt.func import Func
from core_rt.globals import Global
from core_rt.instance import Instance, instantiate
from core_rt.limits import Limits
from core_rt.linker import Linker
from core_rt.memory import Memory
from core_rt.module import Module
from core_rt.objects import ArrayRef, ExceptionRef, StructRef
from core_rt.store import PARK, Store
from core_rt.table import Table
from core_rt.tag import Tag
from core_rt.types import (
    ANYREF,
    ARRAYREF,
    EQREF,
    EXNREF,
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    I31REF,
    I32,
    I64,
    NULLEXNREF,
    NULLEXTERNREF,
    NULLFUNCREF,
    NULLREF,
    STRUCTREF,
    V128,
    AbsHeap,
    ArrayType,
    DefType,
    FieldType,
    FuncType,
    GlobalType,
    MemoryType,
    RefType,
    StructType,
    TableType,
    TagType,
    ValType,
)

__all__ = [
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
    "PARK",
    "STRUCTREF",
    "V128",
    "AbsHeap",
    "ArrayRef",
    "ArrayType",
    "Config",
    "DecodeError",
    "DefType",
    "Engine",
    "EngineBug",
    "ExceptionRef",
    "ExhaustionError",
    "Features",
    "FieldType",
    "Frame",
    "Func",
    "FuncType",
    "Global",
    "GlobalType",
    "GuestException",
    "GuestExit",
    "Instance",
    "InstancePoisoned",
    "Limits",
    "LinkError",
    "Linker",
    "Memory",
    "MemoryType",
    "Module",
    "RefType",
    "Store",
    "StoreError",
    "StructRef",
    "StructType",
    "Table",
    "TableType",
    "Tag",
    "TagType",
    "Trap",
    "TrapCode",
    "ValType",
    "ValidationError",
    "WasmError",
    "instantiate",
]

if "component_rt" not in _sys.modules:
    from core_rt.compile.preload import preload as _preload

    _preload()
