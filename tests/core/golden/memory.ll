; load
define hidden i64 @f0(ptr %0, i32 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%memory1 = getelementptr i8, ptr %0, i64 80
%mem1 = load ptr, ptr %memory1, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = zext i32 %1 to i64
%5 = getelementptr i8, ptr %mem1, i64 %4
%6 = getelementptr i8, ptr %5, i64 4
%7 = load volatile i8, ptr %6, align 1
%8 = sext i8 %7 to i64
ret i64 %8
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; store
define hidden void @f1(ptr %0, i32 %1, i64 %2) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%memory1 = getelementptr i8, ptr %0, i64 80
%mem1 = load ptr, ptr %memory1, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = trunc i64 %2 to i16
%6 = zext i32 %1 to i64
%7 = getelementptr i8, ptr %mem1, i64 %6
store volatile i16 %5, ptr %7, align 1
ret void
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; constant
define hidden i32 @f2(ptr %0) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%memory1 = getelementptr i8, ptr %0, i64 80
%mem1 = load ptr, ptr %memory1, !invariant.load !0
%1 = load volatile i32, ptr %s.interrupt
%2 = icmp ne i32 %1, 0
br i1 %2, label %i1, label %b2
b2:
%3 = getelementptr i8, ptr %mem1, i64 16
%4 = load volatile i32, ptr %3, align 1
ret i32 %4
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; checked
define hidden double @f3(ptr %0, i64 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%memory2 = getelementptr i8, ptr %0, i64 112
%mem2 = load ptr, ptr %memory2, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = getelementptr i8, ptr %0, i64 112
%5 = getelementptr i8, ptr %4, i64 8
%6 = load i64, ptr %5
%7 = sub i64 %6, 16
%8 = icmp ult i64 %6, 16
%9 = icmp ugt i64 %1, %7
%10 = or i1 %8, %9
br i1 %10, label %t3, label %b4
b4:
%11 = getelementptr i8, ptr %mem2, i64 %1
%12 = getelementptr i8, ptr %11, i64 8
%13 = load volatile double, ptr %12, align 1
ret double %13
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
br label %trap
trap:
%trap.what = phi i64 [ 8589934770, %t3 ]
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
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%memory0.p = getelementptr i8, ptr %0, i64 64
%memory0 = load ptr, ptr %memory0.p, !invariant.load !0
%mem0 = load ptr, ptr %memory0, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = zext i32 %1 to i64
%5 = getelementptr i8, ptr %mem0, i64 %4
%6 = load volatile i32, ptr %5, align 1
ret i32 %6
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; size
define hidden i32 @f5(ptr %0) #0 {
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
%3 = getelementptr i8, ptr %0, i64 80
%4 = getelementptr i8, ptr %3, i64 8
%5 = load i64, ptr %4
%6 = lshr i64 %5, 16
%7 = trunc i64 %6 to i32
ret i32 %7
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; grow
define hidden i64 @f6(ptr %0, i64 %1) #0 {
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
%4 = getelementptr i8, ptr %0, i64 112
%5 = getelementptr i8, ptr %builtins, i64 24
%6 = load ptr, ptr %5, !invariant.load !0
%7 = call i64 %6(ptr %0, ptr %4, i64 %1)
ret i64 %7
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; copy
define hidden void @f7(ptr %0) #0 {
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
%3 = getelementptr i8, ptr %0, i64 80
%4 = getelementptr i8, ptr %0, i64 80
%5 = getelementptr i8, ptr %builtins, i64 32
%6 = load ptr, ptr %5, !invariant.load !0
call void %6(ptr %0, ptr %3, i64 0, ptr %4, i64 8, i64 4)
ret void
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
