; load
define hidden i64 @f0(ptr %0, i32 %1) #0 {
entry:
%memory1 = getelementptr i8, ptr %0, i64 104
%mem1 = load ptr, ptr %memory1, !invariant.load !0
%2 = zext i32 %1 to i64
%3 = getelementptr [1 x i8], ptr %mem1, i64 %2, i64 4
%4 = load volatile i8, ptr %3, align 1
%5 = sext i8 %4 to i64
ret i64 %5
}

; store
define hidden void @f1(ptr %0, i32 %1, i64 %2) #0 {
entry:
%memory1 = getelementptr i8, ptr %0, i64 104
%mem1 = load ptr, ptr %memory1, !invariant.load !0
%3 = trunc i64 %2 to i16
%4 = zext i32 %1 to i64
%5 = getelementptr i8, ptr %mem1, i64 %4
store volatile i16 %3, ptr %5, align 1
ret void
}

; constant
define hidden i32 @f2(ptr %0) #0 {
entry:
%memory1 = getelementptr i8, ptr %0, i64 104
%mem1 = load ptr, ptr %memory1, !invariant.load !0
%1 = getelementptr i8, ptr %mem1, i64 16
%2 = load volatile i32, ptr %1, align 1
ret i32 %2
}

; checked
define hidden double @f3(ptr %0, i64 %1) #0 {
entry:
%memory2 = getelementptr i8, ptr %0, i64 136
%mem2 = load ptr, ptr %memory2, !invariant.load !0
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = getelementptr i8, ptr %0, i64 136
%3 = getelementptr i8, ptr %2, i64 8
%4 = load i64, ptr %3
%5 = sub i64 %4, 16
%6 = icmp ult i64 %4, 16
%7 = icmp ugt i64 %1, %5
%8 = or i1 %6, %7
br i1 %8, label %t1, label %b2
b2:
%9 = getelementptr i8, ptr %mem2, i64 %1
%10 = getelementptr i8, ptr %9, i64 8
%11 = load volatile double, ptr %10, align 1
ret double %11
t1:
br label %trap
trap:
%trap.what = phi i64 [ 8589934770, %t1 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}

; imported
define hidden i32 @f4(ptr %0, i32 %1) #0 {
entry:
%memory0.p = getelementptr i8, ptr %0, i64 88
%memory0 = load ptr, ptr %memory0.p, !invariant.load !0
%mem0 = load ptr, ptr %memory0, !invariant.load !0
%2 = zext i32 %1 to i64
%3 = getelementptr i8, ptr %mem0, i64 %2
%4 = load volatile i32, ptr %3, align 1
ret i32 %4
}

; size
define hidden i32 @f5(ptr %0) #0 {
entry:
%1 = getelementptr i8, ptr %0, i64 104
%2 = getelementptr i8, ptr %1, i64 8
%3 = load i64, ptr %2
%4 = lshr i64 %3, 16
%5 = trunc i64 %4 to i32
ret i32 %5
}

; grow
define hidden i64 @f6(ptr %0, i64 %1) #0 {
entry:
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = getelementptr i8, ptr %0, i64 136
%3 = getelementptr i8, ptr %builtins, i64 24
%4 = load ptr, ptr %3, !invariant.load !0
%5 = call i64 %4(ptr %0, ptr %2, i64 %1)
ret i64 %5
}

; copy
define hidden void @f7(ptr %0) #0 {
entry:
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%1 = getelementptr i8, ptr %0, i64 104
%2 = getelementptr i8, ptr %0, i64 104
%3 = getelementptr i8, ptr %builtins, i64 32
%4 = load ptr, ptr %3, !invariant.load !0
call void %4(ptr %0, ptr %1, i64 0, ptr %2, i64 8, i64 4)
ret void
}
