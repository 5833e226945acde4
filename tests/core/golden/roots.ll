; pass
define hidden i32 @f0(ptr %0, i32 %1) #0 {
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
%4 = getelementptr i8, ptr %0, i64 104
%5 = load ptr, ptr %4, !invariant.load !0
%6 = getelementptr i8, ptr %0, i64 88
%7 = load ptr, ptr %6, !invariant.load !0
%8 = call i32 %7(ptr %5, i32 %1)

ret i32 0
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; keep
define hidden i32 @f1(ptr %0, i32 %1) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%s.gc_frame = getelementptr i8, ptr %store, i64 24
%gc = alloca [24 x i8], align 16
%gc.previous = load ptr, ptr %s.gc_frame, align 8
%gc.link = getelementptr i8, ptr %gc, i64 0
store ptr %gc.previous, ptr %gc.link, align 8
%gc.count = getelementptr i8, ptr %gc, i64 8
store i64 0, ptr %gc.count, align 8
store ptr %gc, ptr %s.gc_frame, align 8
%2 = load volatile i32, ptr %s.interrupt
%3 = icmp ne i32 %2, 0
br i1 %3, label %i1, label %b2
b2:
%4 = getelementptr i8, ptr %0, i64 104
%5 = load ptr, ptr %4, !invariant.load !0
%6 = getelementptr i8, ptr %0, i64 88
%7 = load ptr, ptr %6, !invariant.load !0
%8 = getelementptr i8, ptr %gc, i64 16
store i32 %1, ptr %8, align 4
%9 = getelementptr i8, ptr %gc, i64 8
store i64 1, ptr %9, align 8
%10 = call i32 %7(ptr %5, i32 %1)
%11 = getelementptr i8, ptr %0, i64 136
%12 = load ptr, ptr %11, !invariant.load !0
%13 = getelementptr i8, ptr %0, i64 120
%14 = load ptr, ptr %13, !invariant.load !0
%15 = getelementptr i8, ptr %gc, i64 16
store i32 %1, ptr %15, align 4
%16 = getelementptr i8, ptr %gc, i64 20
store i32 %10, ptr %16, align 4
%17 = getelementptr i8, ptr %gc, i64 8
store i64 2, ptr %17, align 8
call void %14(ptr %12)
store ptr %gc.previous, ptr %s.gc_frame, align 8
ret i32 %1
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
