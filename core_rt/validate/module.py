"""Validation of all bodies of a module at once."""

from __future__ import annotations

from core_rt.binary.model import DecodedModule
from core_rt.validate.function import validate_body

__all__ = ["validate_module_bodies"]


def validate_module_bodies(module: DecodedModule) -> None:
    """Decode and validate every function body.

    Raises `DecodeError` or `ValidationError`, with the offset, for the first that is not valid.
    """
    for index in range(len(module.bodies)):
        validate_body(module, index)
