"""Checks of encodings as LLVM text, for code that copies strings from guest to guest.

`check_utf8(bytes, count)`: 0 for text, 1 if it is none, 2 if it ends inside a character. `check_utf16(units, count)`: 0 or 1.
"""

from __future__ import annotations

__all__ = ["CHECK_UTF8", "CHECK_UTF16"]


def _next_byte(n: int, wrong: str, ends_below: int) -> str:
    """Byte `n` of a character, which is refused if `wrong`: the last one where the first byte is less than `ends_below`."""
    last = f"""%ends{n} = icmp ult i8 %b, {ends_below}
  br i1 %ends{n}, label %whole{n}, label %byte{n + 1}"""
    return f"""
byte{n}:
  %has{n} = icmp uge i64 %left, {n}
  br i1 %has{n}, label %load{n}, label %short
load{n}:
  %at{n} = getelementptr i8, ptr %at, i64 {n - 1}
  %c{n} = load i8, ptr %at{n}
  {wrong}
  br i1 %wrong{n}, label %bad, label %fine{n}
fine{n}:
  {last if n < 4 else "br label %whole4"}
whole{n}:
  %i{n} = add i64 %i, {n}
  br label %next"""


def _continues_not(n: int) -> str:
    return f"%bits{n} = and i8 %c{n}, 192\n  %wrong{n} = icmp ne i8 %bits{n}, 128"


# There are narrower bounds after four first bytes: no character has two forms, is a surrogate, or lies above U+10FFFF.
_BOUNDS = """%is.e0 = icmp eq i8 %b, 224
  %is.ed = icmp eq i8 %b, 237
  %is.f0 = icmp eq i8 %b, 240
  %is.f4 = icmp eq i8 %b, 244
  %low.1 = select i1 %is.e0, i8 160, i8 128
  %low = select i1 %is.f0, i8 144, i8 %low.1
  %top.1 = select i1 %is.ed, i8 159, i8 191
  %top = select i1 %is.f4, i8 143, i8 %top.1
  %below = icmp ult i8 %c2, %low
  %above = icmp ugt i8 %c2, %top
  %wrong2 = or i1 %below, %above"""
_REST = _next_byte(2, _BOUNDS, 0xE0) + _next_byte(3, _continues_not(3), 0xF0) + _next_byte(4, _continues_not(4), 0xF5)

CHECK_UTF8 = f"""
define internal i32 @check_utf8(ptr %p, i64 %n) #0 {{
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i8, %words ], [ %i1, %ascii ], [ %i2, %whole2 ], [ %i3, %whole3 ], [ %i4, %whole4 ]
  %left = sub i64 %n, %i
  %at = getelementptr i8, ptr %p, i64 %i
  %many = icmp uge i64 %left, 8
  br i1 %many, label %word, label %byte
word:
  %w = load i64, ptr %at, align 1
  %high = and i64 %w, -9187201950435737472
  %plain = icmp eq i64 %high, 0
  br i1 %plain, label %words, label %byte
words:
  %i8 = add i64 %i, 8
  br label %next
byte:
  %end = icmp eq i64 %left, 0
  br i1 %end, label %good, label %some
some:
  %b = load i8, ptr %at
  %isascii = icmp ult i8 %b, 128
  br i1 %isascii, label %ascii, label %lead
ascii:
  %i1 = add i64 %i, 1
  br label %next
lead:
  %b.c2 = icmp ult i8 %b, 194
  %b.f4 = icmp ugt i8 %b, 244
  %b.bad = or i1 %b.c2, %b.f4
  br i1 %b.bad, label %bad, label %byte2{_REST}
good:
  ret i32 0
bad:
  ret i32 1
short:
  ret i32 2
}}
"""

CHECK_UTF16 = """
define internal i32 @check_utf16(ptr %p, i64 %n) #0 {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i1, %one ], [ %i2, %two ]
  %end = icmp uge i64 %i, %n
  br i1 %end, label %good, label %unit
unit:
  %at = getelementptr i16, ptr %p, i64 %i
  %u = load i16, ptr %at, align 1
  %top = and i16 %u, -2048
  %surrogate = icmp eq i16 %top, -10240
  %i1 = add i64 %i, 1
  br i1 %surrogate, label %first, label %one
one:
  br label %next
first:
  %low = icmp uge i16 %u, -9216
  %last = icmp uge i64 %i1, %n
  %wrong = or i1 %low, %last
  br i1 %wrong, label %bad, label %second
second:
  %at1 = getelementptr i16, ptr %p, i64 %i1
  %v = load i16, ptr %at1, align 1
  %vtop = and i16 %v, -1024
  %pair = icmp eq i16 %vtop, -9216
  %i2 = add i64 %i1, 1
  br i1 %pair, label %two, label %bad
two:
  br label %next
good:
  ret i32 0
bad:
  ret i32 1
}
"""
