; direct
define hidden i32 @f0(ptr %0, i32 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%poll = getelementptr i8, ptr %store, i64 20480
%code.p = getelementptr i8, ptr %0, i64 24
%code = load ptr, ptr %code.p, !invariant.load !0
%2 = load volatile i8, ptr %poll
%3 = getelementptr i8, ptr %0, i64 104
%4 = load ptr, ptr %3, !invariant.load !0
%5 = getelementptr i8, ptr %0, i64 88
%6 = load ptr, ptr %5, !invariant.load !0
%7 = call i32 %6(ptr %4, i32 %1)
%8 = getelementptr i8, ptr %code, i64 0
%9 = load ptr, ptr %8
%10 = call i32 %9(ptr %0, i32 %7)
ret i32 %10
}

; two
define hidden void @f1(ptr %0, i32 %1, ptr %ret) #0 {
entry:
%2 = zext i32 %1 to i64
store i64 %2, ptr %ret, align 8
%3 = getelementptr i8, ptr %ret, i64 16
%4 = bitcast float 0x3FF0000000000000 to i32
%5 = zext i32 %4 to i64
store i64 %5, ptr %3, align 8
ret void
}

; results
define hidden void @f2(ptr %0, ptr %ret) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%poll = getelementptr i8, ptr %store, i64 20480
%code.p = getelementptr i8, ptr %0, i64 24
%code = load ptr, ptr %code.p, !invariant.load !0
%ra = alloca [2 x i128], align 16
%1 = load volatile i8, ptr %poll
%2 = getelementptr i8, ptr %code, i64 8
%3 = load ptr, ptr %2
call void %3(ptr %0, i32 3, ptr %ra)
%4 = load i32, ptr %ra, align 8
%5 = getelementptr i8, ptr %ra, i64 16
%6 = load float, ptr %5, align 8
%7 = bitcast float %6 to i32
%8 = zext i32 %7 to i64
store i64 %8, ptr %ret, align 8
%9 = getelementptr i8, ptr %ret, i64 16
%10 = zext i32 1 to i64
store i64 %10, ptr %9, align 8
ret void
}

; indirect
define hidden i32 @f3(ptr %0, i32 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%poll = getelementptr i8, ptr %store, i64 20480
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = load volatile i8, ptr %poll
%3 = zext i32 %1 to i64
%4 = getelementptr i8, ptr %0, i64 120
%5 = getelementptr i8, ptr %4, i64 8
%6 = load i64, ptr %5
%7 = icmp ult i64 %3, %6
br i1 %7, label %b2, label %t1
b2:
%8 = load ptr, ptr %4
%9 = getelementptr i64, ptr %8, i64 %3
%10 = load i64, ptr %9, align 8
%11 = and i64 %10, -2
%12 = inttoptr i64 %11 to ptr
%13 = icmp eq i64 %11, 0
br i1 %13, label %l3, label %b4
l3:
%14 = icmp eq i64 %10, 0
br i1 %14, label %b6, label %t5
b6:
%15 = zext i32 %1 to i64
%16 = getelementptr i8, ptr %0, i64 120
%17 = getelementptr i8, ptr %builtins, i64 64
%18 = load ptr, ptr %17, !invariant.load !0
%19 = call ptr %18(ptr %0, ptr %16, i64 %15)
%20 = icmp eq ptr %19, null
br i1 %20, label %t7, label %b8
b8:
br label %b4
b4:
%21 = phi ptr [ %12, %b2 ], [ %19, %b8 ]
%22 = getelementptr i8, ptr %21, i64 40
%23 = load i32, ptr %22
%24 = icmp eq i32 %23, type0
br i1 %24, label %b10, label %t9
b10:
%25 = getelementptr i8, ptr %21, i64 24
%26 = load ptr, ptr %25
%27 = load ptr, ptr %21
%28 = call i32 %27(ptr %26, i32 7)
ret i32 %28
t1:
br label %trap
t5:
br label %trap
t7:
br label %trap
t9:
br label %trap
trap:
%trap.what = phi i64 [ 73014444231, %t1 ], [ 77309411527, %t5 ], [ 77309411527, %t7 ], [ 25769803975, %t9 ]
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
%poll = getelementptr i8, ptr %store, i64 20480
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = load volatile i8, ptr %poll
%3 = zext i32 %1 to i64
%4 = getelementptr i8, ptr %0, i64 152
%5 = getelementptr i8, ptr %4, i64 8
%6 = load i64, ptr %5
%7 = icmp ult i64 %3, %6
br i1 %7, label %b2, label %t1
b2:
%8 = load ptr, ptr %4
%9 = getelementptr i64, ptr %8, i64 %3
%10 = load i64, ptr %9, align 8
%11 = and i64 %10, -2
%12 = inttoptr i64 %11 to ptr
%13 = icmp eq i64 %11, 0
br i1 %13, label %l3, label %b4
l3:
%14 = icmp eq i64 %10, 0
br i1 %14, label %b6, label %t5
b6:
%15 = zext i32 %1 to i64
%16 = getelementptr i8, ptr %0, i64 152
%17 = getelementptr i8, ptr %builtins, i64 64
%18 = load ptr, ptr %17, !invariant.load !0
%19 = call ptr %18(ptr %0, ptr %16, i64 %15)
%20 = icmp eq ptr %19, null
br i1 %20, label %t7, label %b8
b8:
br label %b4
b4:
%21 = phi ptr [ %12, %b2 ], [ %19, %b8 ]
%22 = getelementptr i8, ptr %21, i64 40
%23 = load i32, ptr %22
%24 = icmp eq i32 %23, type1
br i1 %24, label %b10, label %l9
l9:
%25 = getelementptr i8, ptr %builtins, i64 192
%26 = load ptr, ptr %25, !invariant.load !0
%27 = call i32 %26(ptr %0, i32 %23, i32 type1)
%28 = icmp eq i32 %27, 0
br i1 %28, label %t11, label %b12
b12:
br label %b10
b10:
%29 = getelementptr i8, ptr %21, i64 24
%30 = load ptr, ptr %29
%31 = load ptr, ptr %21
call void %31(ptr %30, i64 7)
ret void
t1:
br label %trap
t5:
br label %trap
t7:
br label %trap
t11:
br label %trap
trap:
%trap.what = phi i64 [ 73014444241, %t1 ], [ 77309411537, %t5 ], [ 77309411537, %t7 ], [ 25769803985, %t11 ]
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
%poll = getelementptr i8, ptr %store, i64 20480
%code.p = getelementptr i8, ptr %0, i64 24
%code = load ptr, ptr %code.p, !invariant.load !0
%2 = load volatile i8, ptr %poll
%3 = getelementptr i8, ptr %code, i64 64
%4 = load ptr, ptr %3
%5 = musttail call tailcc i32 %4(ptr %0, i32 %1)
ret i32 %5
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
%poll = getelementptr i8, ptr %store, i64 20480
%2 = load volatile i8, ptr %poll
%3 = getelementptr i8, ptr %0, i64 88
%4 = getelementptr i8, ptr %3, i64 16
%5 = load ptr, ptr %4, !invariant.load !0
%6 = getelementptr i8, ptr %3, i64 8
%7 = load ptr, ptr %6
%8 = icmp eq ptr %7, null
br i1 %8, label %b1, label %b2
b1:
%9 = load ptr, ptr %3
%10 = call i32 %9(ptr %5, i32 %1)
ret i32 %10
b2:
%11 = musttail call tailcc i32 %7(ptr %5, i32 %1)
ret i32 %11
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
%poll = getelementptr i8, ptr %store, i64 20480
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%2 = load volatile i8, ptr %poll
%3 = icmp eq ptr %1, null
br i1 %3, label %t1, label %b2
b2:
%4 = getelementptr i8, ptr %1, i64 24
%5 = load ptr, ptr %4
%6 = load ptr, ptr %1
%7 = call i32 %6(ptr %5, i32 1)
ret i32 %7
t1:
br label %trap
trap:
%trap.what = phi i64 [ 81604378857, %t1 ]
%trap.offset = trunc i64 %trap.what to i32
%trap.high = lshr i64 %trap.what, 32
%trap.code = trunc i64 %trap.high to i32
%trap.p = getelementptr i8, ptr %builtins, i64 0
%trap.f = load ptr, ptr %trap.p, !invariant.load !0
call void %trap.f(ptr %0, i32 %trap.code, i32 %trap.offset)
unreachable
}
