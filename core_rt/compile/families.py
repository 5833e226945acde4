"""Imports every operator family, so that `handlers.HANDLERS` is complete."""

from core_rt.compile import call, control, convert, memory, numeric, reference, simd, variable

__all__ = ["call", "control", "convert", "memory", "numeric", "reference", "simd", "variable"]
