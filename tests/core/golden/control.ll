; sum
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
br label %b3
b3:
%4 = phi i32 [ %1, %b2 ], [ %9, %b5 ]
%5 = phi i32 [ 0, %b2 ], [ %8, %b5 ]
%6 = load volatile i32, ptr %s.interrupt
%7 = icmp ne i32 %6, 0
br i1 %7, label %i4, label %b5
b5:
%8 = add i32 %5, %4
%9 = sub i32 %4, 1
%10 = icmp ne i32 %9, 0
br i1 %10, label %b3, label %b6
b6:
ret i32 %8
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
i4:
%i4.p = getelementptr i8, ptr %builtins, i64 8
%i4.f = load ptr, ptr %i4.p, !invariant.load !0
call void %i4.f(ptr %0)
br label %b5
}

; pick
define hidden i32 @f1(ptr %0, i32 %1, i32 %2) #0 {
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
%5 = icmp slt i32 %1, %2
br i1 %5, label %b4t, label %b4e
b4t:
br label %b4
b4e:
br label %b4
b4:
%6 = phi i32 [ %1, %b4t ], [ %2, %b4e ]
ret i32 %6
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; clear
define hidden i32 @f2(ptr %0, i32 %1, i32 %2) #0 {
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
%5 = icmp ne i32 %1, 0
br i1 %5, label %b3t, label %b3
b3t:
br label %b3
b3:
%6 = phi i32 [ %2, %b2 ], [ 0, %b3t ]
ret i32 %6
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; switch
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
switch i32 %1, label %b4 [ i32 1, label %s5
i32 3, label %s5 ]
s5:
br label %b3
b4:
br label %end
b3:
br label %end
end:
%4 = phi i32 [ 10, %b4 ], [ 20, %b3 ]
ret i32 %4
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
