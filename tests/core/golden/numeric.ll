; div
define hidden i32 @f0(ptr %0, i32 %1, i32 %2) #0 {
entry:
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = icmp eq i32 %2, 0
br i1 %3, label %t1, label %b2
b2:
%4 = icmp eq i32 %1, -2147483648
%5 = icmp eq i32 %2, -1
%6 = and i1 %4, %5
br i1 %6, label %t3, label %b4
b4:
%7 = sdiv i32 %1, %2
ret i32 %7
t1:
br label %trap
t3:
br label %trap
trap:
%trap.what = phi i64 [ 34359738492, %t1 ], [ 30064771196, %t3 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}

; tenth
define hidden i32 @f1(ptr %0, i32 %1) #0 {
entry:
%2 = sdiv i32 %1, 10
ret i32 %2
}

; rem
define hidden i64 @f2(ptr %0, i64 %1, i64 %2) #0 {
entry:
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = icmp eq i64 %2, 0
br i1 %3, label %t1, label %b2
b2:
%4 = icmp eq i64 %2, -1
%5 = select i1 %4, i64 1, i64 %2
%6 = srem i64 %1, %5
ret i64 %6
t1:
br label %trap
trap:
%trap.what = phi i64 [ 34359738508, %t1 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}

; shift
define hidden i32 @f3(ptr %0, i32 %1, i32 %2) #0 {
entry:
%3 = and i32 %2, 31
%4 = lshr i32 %1, %3
%5 = shl i32 %4, 1
ret i32 %5
}

; trunc
define hidden i32 @f4(ptr %0, double %1) #0 {
entry:
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = fcmp ogt double %1, 0xC1E0000000200000
%3 = fcmp olt double %1, 0x41E0000000000000
%4 = and i1 %2, %3
br i1 %4, label %b2, label %t1
b2:
%5 = fptosi double %1 to i32
ret i32 %5
t1:
%t1.n = fcmp uno double %1, %1
%t1.c = select i1 %t1.n, i64 38654705821, i64 30064771229
br label %trap
trap:
%trap.what = phi i64 [ %t1.c, %t1 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}

; min
define hidden float @f5(ptr %0, float %1, float %2) #0 {
entry:
%3 = fcmp uno float %1, %2
%4 = fadd float %1, %2
%5 = call nnan float @llvm.minimum.f32(float %1, float %2)
%6 = select i1 %3, float %4, float %5
ret float %6
}

; nan
define hidden float @f6(ptr %0) #0 {
entry:
ret float bitcast (i32 2139099700 to float)
}

; compare
define hidden i32 @f7(ptr %0, i32 %1, i32 %2) #0 {
entry:
%3 = icmp ult i32 %1, %2
%4 = select i1 %3, i32 5, i32 6
%5 = icmp sge i32 %1, %2
%6 = xor i1 %5, true
%7 = zext i1 %6 to i32
%8 = add i32 %4, %7
ret i32 %8
}
