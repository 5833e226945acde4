; div
define hidden i32 @f0(ptr %0, i32 %1, i32 %2) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = icmp eq i32 %2, 0
br i1 %5, label %t3, label %b4
b4:
%6 = icmp eq i32 %1, -2147483648
%7 = icmp eq i32 %2, -1
%8 = and i1 %6, %7
br i1 %8, label %t5, label %b6
b6:
%9 = sdiv i32 %1, %2
ret i32 %9
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
br label %trap
t5:
br label %trap
trap:
%trap.what = phi i64 [ 34359738492, %t3 ], [ 30064771196, %t5 ]
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
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = sdiv i32 %1, 10
ret i32 %4
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; rem
define hidden i64 @f2(ptr %0, i64 %1, i64 %2) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = icmp eq i64 %2, 0
br i1 %5, label %t3, label %b4
b4:
%6 = icmp eq i64 %2, -1
%7 = select i1 %6, i64 1, i64 %2
%8 = srem i64 %1, %7
ret i64 %8
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
br label %trap
trap:
%trap.what = phi i64 [ 34359738508, %t3 ]
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
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = and i32 %2, 31
%6 = lshr i32 %1, %5
%7 = shl i32 %6, 1
ret i32 %7
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; trunc
define hidden i32 @f4(ptr %0, double %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = fcmp ogt double %1, 0xC1E0000000200000
%5 = fcmp olt double %1, 0x41E0000000000000
%6 = and i1 %4, %5
br i1 %6, label %b4, label %t3
b4:
%7 = fptosi double %1 to i32
ret i32 %7
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
%t3.n = fcmp uno double %1, %1
%t3.c = select i1 %t3.n, i64 38654705821, i64 30064771229
br label %trap
trap:
%trap.what = phi i64 [ %t3.c, %t3 ]
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
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = fcmp uno float %1, %2
%6 = fadd float %1, %2
%7 = call nnan float @llvm.minimum.f32(float %1, float %2)
%8 = select i1 %5, float %6, float %7
ret float %8
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; nan
define hidden float @f6(ptr %0) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%1 = load volatile i32, ptr %s.interrupt
%2 = icmp ne i32 %1, 0
br i1 %2, label %i1, label %b2
b2:
ret float bitcast (i32 2139099700 to float)
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; compare
define hidden i32 @f7(ptr %0, i32 %1, i32 %2) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = icmp ult i32 %1, %2
%6 = select i1 %5, i32 5, i32 6
%7 = icmp sge i32 %1, %2
%8 = xor i1 %7, true
%9 = zext i1 %8 to i32
%10 = add i32 %6, %9
ret i32 %10
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
