; sum
define hidden i32 @f0(ptr %0, i32 %1) #0 {
entry:
%context = alloca ptr
%local0 = alloca i32
%local1 = alloca i32
%mark = alloca i64
store ptr %0, ptr %context
store i64 2177342782468422677, ptr %mark
store i32 %1, ptr %local0
store i32 0, ptr %local1
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%poll = getelementptr i8, ptr %store, i64 20480
br label %b1
b1:
%2 = load volatile i8, ptr %poll
%3 = load i32, ptr %local1
%4 = load i32, ptr %local0
%5 = add i32 %3, %4
store i32 %5, ptr %local1
%6 = sub i32 %4, 1
store i32 %6, ptr %local0
%7 = icmp ne i32 %6, 0
br i1 %7, label %b1, label %b2
b2:
%8 = load i32, ptr %local1
ret i32 %8
}

; pick
define hidden i32 @f1(ptr %0, i32 %1, i32 %2) #0 {
entry:
%3 = icmp slt i32 %1, %2
br i1 %3, label %b2t, label %b2e
b2t:
br label %b2
b2e:
br label %b2
b2:
%4 = phi i32 [ %1, %b2t ], [ %2, %b2e ]
ret i32 %4
}

; clear
define hidden i32 @f2(ptr %0, i32 %1, i32 %2) #0 {
entry:
%local1 = alloca i32
%3 = icmp ne i32 %1, 0
store i32 %2, ptr %local1
br i1 %3, label %b1t, label %b1
b1t:
store i32 0, ptr %local1
br label %b1
b1:
%4 = load i32, ptr %local1
ret i32 %4
}

; switch
define hidden i32 @f3(ptr %0, i32 %1) #0 {
entry:
switch i32 %1, label %b2 [ i32 1, label %s3
i32 3, label %s3 ]
s3:
br label %b1
b2:
br label %end
b1:
br label %end
end:
%2 = phi i32 [ 10, %b2 ], [ 20, %b1 ]
ret i32 %2
}
