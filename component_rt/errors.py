"""Errors of the component runtime: those of the core runtime, under one name."""

from core_rt.errors import (
    DecodeError,
    EngineBug,
    ExhaustionError,
    GuestExit,
    InstancePoisoned,
    LinkError,
    StoreError,
    Trap,
    TrapCode,
    ValidationError,
    WasmError,
)

__all__ = [
    "DecodeError",
    "EngineBug",
    "ExhaustionError",
    "GuestExit",
    "InstancePoisoned",
    "LinkError",
    "StoreError",
    "Trap",
    "TrapCode",
    "ValidationError",
    "WasmError",
]
