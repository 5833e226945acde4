"""Loading the compiler before the first function needs it."""

from __future__ import annotations

from typing import Final

from core_rt.binary import decode
from core_rt.compile import writer
from core_rt.compile.jit import Jit
from core_rt.interpret import translate
from core_rt.validate.plain import instructions

__all__ = ["preload"]

assert decode and writer and translate  # and with that all that writes words and LLVM text

# A little of all that ordinary functions consist of.
_PRELOAD: Final = """
define i32 @preload(ptr %vmctx, i32 %a, double %b) nounwind "frame-pointer"="all" "probe-stack"="inline-asm" {
  %store = load ptr, ptr %vmctx, align 8
  %word = load volatile i32, ptr %store, align 4
  %set = icmp ne i32 %word, 0
  br i1 %set, label %cold, label %warm
cold:
  call void %store(ptr %vmctx)
  br label %warm
warm:
  %i = phi i32 [ %a, %0 ], [ 1, %cold ]
  %wide = zext i32 %i to i64
  %at = getelementptr i8, ptr %store, i64 %wide
  store volatile i32 %i, ptr %at, align 1
  %sum = fadd double %b, 1.5
  %less = fcmp olt double %sum, %b
  %c = zext i1 %less to i32
  %d = mul i32 %c, %i
  %e = call i32 %store(ptr %vmctx, i32 %d, double %sum)
  ret i32 %e
}
"""


def preload() -> None:
    """Do what LLVM does once in a process (4 ms, most of it page faults), so that the first module does not wait for it.

    In a thread beside the decoder it took longer than it saved.
    """
    instructions()
    Jit(0).compile(_PRELOAD)
