"""The block of memory behind an adapter: what its machine code reads, and the numbers by which it says what is wrong."""

from __future__ import annotations

from typing import Final

from core_rt.vm.structs import Struct, VMFuncRef

__all__ = ["CANNOT_ENTER", "CANNOT_LEAVE", "REASONS", "REASON_OF", "VMAdapter"]

VMAdapter: Final = Struct(
    "VMAdapter",
    "u32 magic,u32 entered,ptr store,ptr callee,ptr data,"
    + ",".join(f"{f.type} ref_{f.name}" for f in VMFuncRef.fields)
    + ",ptr caller_flags,ptr callee_flags,ptr target_call,ptr target_data,ptr realloc_call,ptr realloc_data,"
    "ptr back_call,ptr back_data,ptr post_call,ptr post_data,ptr raise_call,ptr raise_data,ptr builtins,"
    "ptr from_memory,ptr to_memory",
    align=16,
)
"""`realloc` is the callee's (for arguments), `back` the caller's (for results); `from` and `to` memory are named by the
direction of arguments. `entered` flags pointers of the instances that the call enters follow the struct."""

CANNOT_LEAVE, CANNOT_ENTER = 0, 1
REASONS: Final = {
    2: "unaligned pointer",
    3: "pointer out of bounds of memory",
    4: "string content out-of-bounds",
    5: "list content out-of-bounds",
    6: "invalid variant discriminant",
    7: "invalid `char` bit pattern",
    8: "invalid utf-8",
    9: "incomplete utf-8 byte sequence",
    10: "invalid utf-16",
    11: "list or string is too long",
}
REASON_OF: Final = {text: number for number, text in REASONS.items()}
