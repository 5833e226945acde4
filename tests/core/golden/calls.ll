; direct
define hidden i32 @f0(ptr %0, i32 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%code.p = getelementptr i8, ptr %0, i64 24
%code = load ptr, ptr %code.p, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = getelementptr i8, ptr %0, i64 80
%5 = load ptr, ptr %4, !invariant.load !0
%6 = getelementptr i8, ptr %0, i64 64
%7 = load ptr, ptr %6, !invariant.load !0
%8 = call i32 %7(ptr %5, i32 %1)
%9 = getelementptr i8, ptr %code, i64 0
%10 = load ptr, ptr %9
%11 = call i32 %10(ptr %0, i32 %8)
ret i32 %11
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; two
define hidden void @f1(ptr %0, i32 %1, ptr %ret) #0 {
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
%4 = zext i32 %1 to i64
store i64 %4, ptr %ret, align 8
%5 = getelementptr i8, ptr %ret, i64 16
%6 = bitcast float 0x3FF0000000000000 to i32
%7 = zext i32 %6 to i64
store i64 %7, ptr %5, align 8
ret void
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; results
define hidden void @f2(ptr %0, ptr %ret) #0 {
entry:
%ra = alloca [2 x i128], align 16
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%code.p = getelementptr i8, ptr %0, i64 24
%code = load ptr, ptr %code.p, !invariant.load !0
%1 = load volatile i32, ptr %s.interrupt
%2 = icmp ne i32 %1, 0
br i1 %2, label %i1, label %b2
b2:
%3 = getelementptr i8, ptr %code, i64 8
%4 = load ptr, ptr %3
call void %4(ptr %0, i32 3, ptr %ra)
%5 = load i32, ptr %ra, align 8
%6 = getelementptr i8, ptr %ra, i64 16
%7 = load float, ptr %6, align 8
%8 = bitcast float %7 to i32
%9 = zext i32 %8 to i64
store i64 %9, ptr %ret, align 8
%10 = getelementptr i8, ptr %ret, i64 16
%11 = zext i32 1 to i64
store i64 %11, ptr %10, align 8
ret void
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; indirect
define hidden i32 @f3(ptr %0, i32 %1) #0 {
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
%4 = zext i32 %1 to i64
%5 = getelementptr i8, ptr %0, i64 96
%6 = getelementptr i8, ptr %5, i64 8
%7 = load i64, ptr %6
%8 = icmp ult i64 %4, %7
br i1 %8, label %b4, label %t3
b4:
%9 = load ptr, ptr %5
%10 = getelementptr i64, ptr %9, i64 %4
%11 = load i64, ptr %10, align 8
%12 = and i64 %11, -2
%13 = inttoptr i64 %12 to ptr
%14 = icmp eq i64 %12, 0
br i1 %14, label %l5, label %b6
l5:
%15 = icmp eq i64 %11, 0
br i1 %15, label %b8, label %t7
b8:
%16 = zext i32 %1 to i64
%17 = getelementptr i8, ptr %0, i64 96
%18 = getelementptr i8, ptr %builtins, i64 64
%19 = load ptr, ptr %18, !invariant.load !0
%20 = call ptr %19(ptr %0, ptr %17, i64 %16)
%21 = icmp eq ptr %20, null
br i1 %21, label %t9, label %b10
b10:
br label %b6
b6:
%22 = phi ptr [ %13, %b4 ], [ %20, %b10 ]
%23 = getelementptr i8, ptr %22, i64 40
%24 = load i32, ptr %23
%25 = icmp eq i32 %24, type0
br i1 %25, label %b12, label %t11
b12:
%26 = getelementptr i8, ptr %22, i64 24
%27 = load ptr, ptr %26
%28 = load ptr, ptr %22
%29 = call i32 %28(ptr %27, i32 7)
ret i32 %29
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
br label %trap
t7:
br label %trap
t9:
br label %trap
t11:
br label %trap
trap:
%trap.what = phi i64 [ 73014444231, %t3 ], [ 77309411527, %t7 ], [ 77309411527, %t9 ], [ 25769803975, %t11 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}

; subtype
define hidden void @f4(ptr %0, i32 %1) #0 {
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
%4 = zext i32 %1 to i64
%5 = getelementptr i8, ptr %0, i64 128
%6 = getelementptr i8, ptr %5, i64 8
%7 = load i64, ptr %6
%8 = icmp ult i64 %4, %7
br i1 %8, label %b4, label %t3
b4:
%9 = load ptr, ptr %5
%10 = getelementptr i64, ptr %9, i64 %4
%11 = load i64, ptr %10, align 8
%12 = and i64 %11, -2
%13 = inttoptr i64 %12 to ptr
%14 = icmp eq i64 %12, 0
br i1 %14, label %l5, label %b6
l5:
%15 = icmp eq i64 %11, 0
br i1 %15, label %b8, label %t7
b8:
%16 = zext i32 %1 to i64
%17 = getelementptr i8, ptr %0, i64 128
%18 = getelementptr i8, ptr %builtins, i64 64
%19 = load ptr, ptr %18, !invariant.load !0
%20 = call ptr %19(ptr %0, ptr %17, i64 %16)
%21 = icmp eq ptr %20, null
br i1 %21, label %t9, label %b10
b10:
br label %b6
b6:
%22 = phi ptr [ %13, %b4 ], [ %20, %b10 ]
%23 = getelementptr i8, ptr %22, i64 40
%24 = load i32, ptr %23
%25 = icmp eq i32 %24, type1
br i1 %25, label %b12, label %l11
l11:
%26 = getelementptr i8, ptr %builtins, i64 176
%27 = load ptr, ptr %26, !invariant.load !0
%28 = call i32 %27(ptr %0, i32 %24, i32 type1)
%29 = icmp eq i32 %28, 0
br i1 %29, label %t13, label %b14
b14:
br label %b12
b12:
%30 = getelementptr i8, ptr %22, i64 24
%31 = load ptr, ptr %30
%32 = load ptr, ptr %22
call void %32(ptr %31, i64 7)
ret void
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
br label %trap
t7:
br label %trap
t9:
br label %trap
t13:
br label %trap
trap:
%trap.what = phi i64 [ 73014444241, %t3 ], [ 77309411537, %t7 ], [ 77309411537, %t9 ], [ 25769803985, %t13 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}

; tail
define hidden tailcc i32 @t5(ptr %0, i32 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%code.p = getelementptr i8, ptr %0, i64 24
%code = load ptr, ptr %code.p, !invariant.load !0
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = getelementptr i8, ptr %code, i64 64
%5 = load ptr, ptr %4
%6 = musttail call tailcc i32 %5(ptr %0, i32 %1)
ret i32 %6
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
define hidden i32 @f5(ptr %0, i32 %1) #0 {
entry:
%r = call tailcc i32 @t5(ptr %0, i32 %1)
ret i32 %r
}

; tail_import
define hidden tailcc i32 @t6(ptr %0, i32 %1) #0 {
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
%4 = getelementptr i8, ptr %0, i64 64
%5 = getelementptr i8, ptr %4, i64 16
%6 = load ptr, ptr %5, !invariant.load !0
%7 = getelementptr i8, ptr %4, i64 8
%8 = load ptr, ptr %7
%9 = icmp eq ptr %8, null
br i1 %9, label %b3, label %b4
b3:
%10 = load ptr, ptr %4
%11 = call i32 %10(ptr %6, i32 %1)
ret i32 %11
b4:
%12 = musttail call tailcc i32 %8(ptr %6, i32 %1)
ret i32 %12
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
define hidden i32 @f6(ptr %0, i32 %1) #0 {
entry:
%r = call tailcc i32 @t6(ptr %0, i32 %1)
ret i32 %r
}

; reference
define hidden i32 @f7(ptr %0, ptr %1) #0 {
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
%4 = icmp eq ptr %1, null
br i1 %4, label %t3, label %b4
b4:
%5 = getelementptr i8, ptr %1, i64 24
%6 = load ptr, ptr %5
%7 = load ptr, ptr %1
%8 = call i32 %7(ptr %6, i32 1)
ret i32 %8
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
t3:
br label %trap
trap:
%trap.what = phi i64 [ 81604378857, %t3 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}
