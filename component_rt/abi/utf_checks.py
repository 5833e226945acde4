"""Checks of encodings as LLVM text, for code that copies strings from guest to guest.

`check_utf8(bytes, count)`: 0 for text, 1 if it is none, 2 if it ends inside a character. `check_utf16(units, count)`: 0 or 1.
"""

from __future__ import annotations

__all__ = ["CHECK_UTF8", "CHECK_UTF16"]

CHECK_UTF8 = """
define internal i32 @check_utf8(ptr %p, i64 %n) #0 {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i8, %words ], [ %i1, %ascii ], [ %i2, %two ], [ %i3, %three ], [ %i4, %four ]
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
  br i1 %b.bad, label %bad, label %first
first:
  %has2 = icmp uge i64 %left, 2
  br i1 %has2, label %second, label %short
second:
  %is.e0 = icmp eq i8 %b, 224
  %is.ed = icmp eq i8 %b, 237
  %is.f0 = icmp eq i8 %b, 240
  %is.f4 = icmp eq i8 %b, 244
  %lo.1 = select i1 %is.e0, i8 160, i8 128
  %lo = select i1 %is.f0, i8 144, i8 %lo.1
  %hi.1 = select i1 %is.ed, i8 159, i8 191
  %hi = select i1 %is.f4, i8 143, i8 %hi.1
  %at1 = getelementptr i8, ptr %at, i64 1
  %c1 = load i8, ptr %at1
  %c1.lo = icmp ult i8 %c1, %lo
  %c1.hi = icmp ugt i8 %c1, %hi
  %c1.bad = or i1 %c1.lo, %c1.hi
  br i1 %c1.bad, label %bad, label %ok2
ok2:
  %is2 = icmp ult i8 %b, 224
  br i1 %is2, label %two, label %more
two:
  %i2 = add i64 %i, 2
  br label %next
more:
  %has3 = icmp uge i64 %left, 3
  br i1 %has3, label %third, label %short
third:
  %at2 = getelementptr i8, ptr %at, i64 2
  %c2 = load i8, ptr %at2
  %c2.top = and i8 %c2, 192
  %c2.ok = icmp eq i8 %c2.top, 128
  br i1 %c2.ok, label %ok3, label %bad
ok3:
  %is3 = icmp ult i8 %b, 240
  br i1 %is3, label %three, label %evenmore
three:
  %i3 = add i64 %i, 3
  br label %next
evenmore:
  %has4 = icmp uge i64 %left, 4
  br i1 %has4, label %fourth, label %short
fourth:
  %at3 = getelementptr i8, ptr %at, i64 3
  %c3 = load i8, ptr %at3
  %c3.top = and i8 %c3, 192
  %c3.ok = icmp eq i8 %c3.top, 128
  br i1 %c3.ok, label %four, label %bad
four:
  %i4 = add i64 %i, 4
  br label %next
good:
  ret i32 0
bad:
  ret i32 1
short:
  ret i32 2
}
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
