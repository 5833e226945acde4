"""Texts of traps, which the suites word differently for calls from the host and between guests."""

from __future__ import annotations

from typing import Final

from core_rt.record import record

__all__ = ["GUEST_WORDS", "HOST_WORDS", "Words"]


@record
class Words:
    """The texts for one kind of call."""

    unaligned: str
    string_out_of_bounds: str
    list_out_of_bounds: str
    realloc_unaligned: str
    realloc_out_of_bounds: str


HOST_WORDS: Final = Words(
    "pointer not aligned",
    "string pointer/length out of bounds of memory",
    "list pointer/length out of bounds of memory",
    "realloc return: result not aligned",
    "realloc return: beyond end of memory",
)
GUEST_WORDS: Final = Words(
    "unaligned pointer",
    "string content out-of-bounds",
    "list content out-of-bounds",
    "unaligned pointer",
    "list content out-of-bounds",
)
