; chain
define hidden <16 x i8> @f0(ptr %0, <16 x i8> %1, <16 x i8> %2) #0 {
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
%5 = bitcast <16 x i8> %2 to <4 x i32>
%6 = bitcast <16 x i8> %1 to <4 x i32>
%7 = add <4 x i32> %6, %5
%8 = bitcast <4 x i32> %7 to <16 x i8>
%9 = bitcast <16 x i8> %1 to <4 x i32>
%10 = mul <4 x i32> %7, %9
%11 = bitcast <4 x i32> %10 to <16 x i8>
ret <16 x i8> %11
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; shuffle
define hidden <16 x i8> @f1(ptr %0, <16 x i8> %1, <16 x i8> %2) #0 {
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
%5 = shufflevector <16 x i8> %1, <16 x i8> %2, <16 x i32> <i32 0, i32 16, i32 1, i32 17, i32 2, i32 18, i32 3, i32 19, i32 4, i32 20, i32 5, i32 21, i32 6, i32 22, i32 7, i32 23>
ret <16 x i8> %5
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; lane
define hidden i32 @f2(ptr %0, i32 %1, <16 x i8> %2) #0 {
entry:
%store.p = getelementptr i8, ptr %0, i64 8
%store = load ptr, ptr %store.p, !invariant.load !0
%s.interrupt = getelementptr i8, ptr %store, i64 4
%builtins.p = getelementptr i8, ptr %0, i64 16
%builtins = load ptr, ptr %builtins.p, !invariant.load !0
%memory0 = getelementptr i8, ptr %0, i64 64
%mem0 = load ptr, ptr %memory0, !invariant.load !0
%3 = load volatile i32, ptr %s.interrupt
%4 = icmp ne i32 %3, 0
br i1 %4, label %i1, label %b2
b2:
%5 = bitcast <16 x i8> %2 to <8 x i16>
%6 = zext i32 %1 to i64
%7 = getelementptr i8, ptr %mem0, i64 %6
%8 = load volatile i16, ptr %7, align 1
%9 = insertelement <8 x i16> %5, i16 %8, i32 2
%10 = bitcast <8 x i16> %9 to <16 x i8>
%11 = extractelement <8 x i16> %9, i32 3
%12 = sext i16 %11 to i32
ret i32 %12
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}

; compare
define hidden i32 @f3(ptr %0, <16 x i8> %1) #0 {
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
%4 = bitcast <16 x i8> bitcast (i128 85735205748011485687928662073142149120 to <16 x i8>) to <4 x float>
%5 = bitcast <16 x i8> %1 to <4 x float>
%6 = fcmp olt <4 x float> %5, %4
%7 = sext <4 x i1> %6 to <4 x i32>
%8 = bitcast <4 x i32> %7 to <16 x i8>
%9 = icmp ne <4 x i32> %7, zeroinitializer
%10 = bitcast <4 x i1> %9 to i4
%11 = icmp eq i4 %10, -1
%12 = zext i1 %11 to i32
ret i32 %12
i1:
%i1.p = getelementptr i8, ptr %builtins, i64 8
%i1.f = load ptr, ptr %i1.p, !invariant.load !0
call void %i1.f(ptr %0)
br label %b2
}
