"""Imports every operator family, so that `handlers.HANDLERS` is complete."""

from core_rt.compile import atomic, call, control, convert, exception, gc, memory, numeric, reference, simd, variable

__all__ = [
    "atomic",
    "call",
    "control",
    "convert",
    "exception",
    "gc",
    "memory",
    "numeric",
    "reference",
    "simd",
    "variable",
]
