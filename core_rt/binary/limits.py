"""Implementation limits (core spec, "Appendix", "Implementation Limitations"), mostly those of the JS embedding.

A module beyond one is refused with a `DecodeError` that names the limit.
"""

from __future__ import annotations

from typing import Final

from core_rt.errors import DecodeError

__all__ = [
    "MAX_ARRAY_NEW_FIXED",
    "MAX_BLOCK_DEPTH",
    "MAX_BODY_SIZE",
    "MAX_BR_TABLE",
    "MAX_CATCHES",
    "MAX_DATA_SEGMENTS",
    "MAX_ELEMENT_LENGTH",
    "MAX_ELEMENT_SEGMENTS",
    "MAX_EXPORTS",
    "MAX_FUNCS",
    "MAX_GLOBALS",
    "MAX_IMPORTS",
    "MAX_LOCALS",
    "MAX_MEMORIES",
    "MAX_MODULE_SIZE",
    "MAX_PARAMS",
    "MAX_RESULTS",
    "MAX_STRUCT_FIELDS",
    "MAX_TABLES",
    "MAX_TAGS",
    "MAX_TYPES",
    "MAX_WAITING",
    "check_limit",
]

MAX_MODULE_SIZE: Final = 1 << 30
MAX_TYPES: Final = 1_000_000
MAX_FUNCS: Final = 1_000_000
MAX_IMPORTS: Final = 1_000_000
MAX_EXPORTS: Final = 1_000_000
MAX_GLOBALS: Final = 1_000_000
MAX_TAGS: Final = 1_000_000
MAX_DATA_SEGMENTS: Final = 100_000
MAX_ELEMENT_SEGMENTS: Final = 10_000_000
MAX_ELEMENT_LENGTH: Final = 10_000_000
MAX_TABLES: Final = 100_000
MAX_MEMORIES: Final = 100
MAX_PARAMS: Final = 1000
MAX_RESULTS: Final = 1000
MAX_LOCALS: Final = 50_000
"""Of a function, parameters included."""
MAX_STRUCT_FIELDS: Final = 10_000
MAX_BODY_SIZE: Final = 7_654_321
"""Bytes of a function body."""
MAX_BLOCK_DEPTH: Final = 50_000
"""Structured instructions in one another."""
MAX_BR_TABLE: Final = 65_520
MAX_CATCHES: Final = 10_000
"""Clauses of a `try_table`."""
MAX_WAITING: Final = 100_000
"""Operands that lie below the `try_table`s of a function, those below several counted as often."""
MAX_ARRAY_NEW_FIXED: Final = 10_000


def check_limit(what: str, count: int, limit: int, offset: int) -> None:
    """Raise `DecodeError` ("too many `what` ...") if there are more than the implementation takes."""
    if count > limit:
        raise DecodeError(f"too many {what}: {count} exceed the implementation limit of {limit}", offset)
