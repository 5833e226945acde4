; chain
define hidden <16 x i8> @f0(ptr %0, <16 x i8> %1, <16 x i8> %2) #0 {
entry:
%3 = bitcast <16 x i8> %2 to <4 x i32>
%4 = bitcast <16 x i8> %1 to <4 x i32>
%5 = add <4 x i32> %4, %3
%6 = bitcast <4 x i32> %5 to <16 x i8>
%7 = bitcast <16 x i8> %1 to <4 x i32>
%8 = mul <4 x i32> %5, %7
%9 = bitcast <4 x i32> %8 to <16 x i8>
ret <16 x i8> %9
}

; shuffle
define hidden <16 x i8> @f1(ptr %0, <16 x i8> %1, <16 x i8> %2) #0 {
entry:
%3 = shufflevector <16 x i8> %1, <16 x i8> %2, <16 x i32> <i32 0, i32 16, i32 1, i32 17, i32 2, i32 18, i32 3, i32 19, i32 4, i32 20, i32 5, i32 21, i32 6, i32 22, i32 7, i32 23>
ret <16 x i8> %3
}

; lane
define hidden i32 @f2(ptr %0, i32 %1, <16 x i8> %2) #0 {
entry:
%memory0 = getelementptr i8, ptr %0, i64 88
%mem0 = load ptr, ptr %memory0, !invariant.load !0
%3 = bitcast <16 x i8> %2 to <8 x i16>
%4 = zext i32 %1 to i64
%5 = getelementptr i8, ptr %mem0, i64 %4
%6 = load volatile i16, ptr %5, align 1
%7 = insertelement <8 x i16> %3, i16 %6, i32 2
%8 = bitcast <8 x i16> %7 to <16 x i8>
%9 = extractelement <8 x i16> %7, i32 3
%10 = sext i16 %9 to i32
ret i32 %10
}

; compare
define hidden i32 @f3(ptr %0, <16 x i8> %1) #0 {
entry:
%2 = bitcast <16 x i8> bitcast (i128 85735205748011485687928662073142149120 to <16 x i8>) to <4 x float>
%3 = bitcast <16 x i8> %1 to <4 x float>
%4 = fcmp olt <4 x float> %3, %2
%5 = sext <4 x i1> %4 to <4 x i32>
%6 = bitcast <4 x i32> %5 to <16 x i8>
%7 = icmp ne <4 x i32> %5, zeroinitializer
%8 = bitcast <4 x i1> %7 to i4
%9 = icmp eq i4 %8, -1
%10 = zext i1 %9 to i32
ret i32 %10
}
