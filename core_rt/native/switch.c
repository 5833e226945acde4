/* Changing stacks, in assembly: the switch, a fiber's first frame, and what all stubs of functions without machine code jump to.
 *
 * Only registers that a callee must preserve are saved: vm_switch is called as a function. Guests change neither the direction
 * flag nor the rounding modes, so flags, mxcsr, the x87 control word and fpcr stay as they are.
 *
 * Top-level asm rather than a .S file: setuptools does not hand .S files to the compiler. */
#include "shim.h"

#define TEXT(x) #x
#define STRING(x) TEXT(x)
#define CODE_TABLE STRING(OFFSET_CONTEXT_CODE_TABLE)
#define INTERPRETED STRING(OFFSET_CONTEXT_INTERPRETED)

#define FUNCTION(name) "\n.p2align 4\n.globl " name "\n.hidden " name "\n.type " name ", %function\n" name ":\n"
#define END(name) "\n.size " name ", .-" name "\n"

#if defined(__x86_64__)
/*  saved frame, from the stack pointer up: r15 r14 r13 r12 rbx rbp return-address */
#define SAVED_FP 5
#define SAVED_WORDS 7

__asm__(
    ".text\n"
    FUNCTION("vm_switch") /* rdi: where to save the stack pointer, rsi: the one to load */
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rdi\n"
    FUNCTION("vm_jump") /* rdi: the stack pointer to load */
    "  movq %rdi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    END("vm_jump")
    END("vm_switch")

    FUNCTION("vm_land") /* rdi: the handler, rsi: where, rdx: stack pointer, rcx: frame pointer */
    "  movq %rdi, %rax\n"
    "  movq %rdx, %rsp\n"
    "  movq %rcx, %rbp\n"
    "  jmp *%rsi\n"
    END("vm_land")

    FUNCTION("vm_fiber_start") /* rbx: the fiber */
    "  .cfi_startproc\n"
    "  .cfi_undefined rip\n"
    "  xorl %ebp, %ebp\n"
    "  movq %rbx, %rdi\n"
    "  call vm_fiber_main\n"
    "  ud2\n"
    "  .cfi_endproc\n"
    END("vm_fiber_start")

    /* r11: index, r10: the block of stubs. rax, r10, r11 are the scratch registers of both calling conventions. */
    FUNCTION("vm_stub_common")
    "  movq " CODE_TABLE "(%rdi), %rax\n"
    "  movq (%rax,%r11,8), %rax\n"
    "  subq %r10, %rax\n"
    "  cmpq 8(%r10), %rax\n"
    "  jb 1f\n"
    "  addq %r10, %rax\n"
    "  jmp *%rax\n"
    "1:\n"
    "  movq " INTERPRETED "(%rdi), %rax\n"
    "  testq %rax, %rax\n"
    "  jz 2f\n"
    "  movq (%rax,%r11,8), %rax\n"
    "  testq %rax, %rax\n"
    "  jz 2f\n"
    "  movq %rax, %r11\n"
    "  jmp vm_interpret_entry\n"
    "2:\n"
    "  pushq %rbp\n"
    "  movq %rsp, %rbp\n"
    "  pushq %rdi\n  pushq %rsi\n  pushq %rdx\n  pushq %rcx\n  pushq %r8\n  pushq %r9\n  pushq %r10\n  pushq %r11\n"
    "  subq $128, %rsp\n"
    "  andq $-16, %rsp\n"
    "  movaps %xmm0, 0(%rsp)\n  movaps %xmm1, 16(%rsp)\n  movaps %xmm2, 32(%rsp)\n  movaps %xmm3, 48(%rsp)\n"
    "  movaps %xmm4, 64(%rsp)\n  movaps %xmm5, 80(%rsp)\n  movaps %xmm6, 96(%rsp)\n  movaps %xmm7, 112(%rsp)\n"
    "  movq %r11, %rsi\n"
    "  call vm_stub_leave\n"
    "  movaps 0(%rsp), %xmm0\n  movaps 16(%rsp), %xmm1\n  movaps 32(%rsp), %xmm2\n  movaps 48(%rsp), %xmm3\n"
    "  movaps 64(%rsp), %xmm4\n  movaps 80(%rsp), %xmm5\n  movaps 96(%rsp), %xmm6\n  movaps 112(%rsp), %xmm7\n"
    "  movq -8(%rbp), %rdi\n  movq -16(%rbp), %rsi\n  movq -24(%rbp), %rdx\n  movq -32(%rbp), %rcx\n"
    "  movq -40(%rbp), %r8\n  movq -48(%rbp), %r9\n  movq -56(%rbp), %r10\n  movq -64(%rbp), %r11\n"
    "  movq %rbp, %rsp\n"
    "  popq %rbp\n"
    "  jmp vm_stub_common\n"
    END("vm_stub_common"));

void *vm_first_sp(VMFiber *fiber, void *stack_high) {
  /* After the ret into vm_fiber_start the stack pointer is 16-aligned, as it must be before a call. */
  uint64_t *sp = (uint64_t *)stack_high - 2 - SAVED_WORDS;
  memset(sp, 0, (2 + SAVED_WORDS) * sizeof *sp);
  sp[4] = (uint64_t)fiber;
  sp[6] = (uint64_t)&vm_fiber_start;
  return sp;
}

#else
/*  saved frame, from the stack pointer up: x19..x28, x29, x30, d8..d15 */
#define SAVED_FP 10
#define SAVED_WORDS 20

__asm__(
    ".text\n"
    FUNCTION("vm_switch")
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
    "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n"
    "  str x9, [x0]\n"
    "  mov x0, x1\n"
    FUNCTION("vm_jump")
    "  mov sp, x0\n"
    "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
    "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n"
    END("vm_jump")
    END("vm_switch")

    FUNCTION("vm_land") /* x0: the handler, x1: where, x2: stack pointer, x3: frame pointer */
    "  mov sp, x2\n"
    "  mov x29, x3\n"
    "  br x1\n"
    END("vm_land")

    FUNCTION("vm_fiber_start") /* x19: the fiber */
    "  .cfi_startproc\n"
    "  .cfi_undefined x30\n"
    "  mov x29, xzr\n"
    "  mov x30, xzr\n"
    "  mov x0, x19\n"
    "  bl vm_fiber_main\n"
    "  brk #1\n"
    "  .cfi_endproc\n"
    END("vm_fiber_start")

    /* x16: index, x17: the block of stubs; x9..x15 are free: no argument is passed in them. */
    FUNCTION("vm_stub_common")
    "  ldr x9, [x0, #" CODE_TABLE "]\n"
    "  ldr x9, [x9, x16, lsl #3]\n"
    "  ldr x10, [x17, #8]\n"
    "  sub x11, x9, x17\n"
    "  cmp x11, x10\n"
    "  b.lo 1f\n"
    "  br x9\n"
    "1:\n"
    "  ldr x9, [x0, #" INTERPRETED "]\n"
    "  cbz x9, 2f\n"
    "  ldr x9, [x9, x16, lsl #3]\n"
    "  cbz x9, 2f\n"
    "  mov x16, x9\n"
    "  b vm_interpret_entry\n"
    "2:\n"
    "  stp x29, x30, [sp, #-16]!\n"
    "  mov x29, sp\n"
    "  sub sp, sp, #224\n"
    "  stp x0, x1, [sp, #0]\n  stp x2, x3, [sp, #16]\n  stp x4, x5, [sp, #32]\n  stp x6, x7, [sp, #48]\n"
    "  stp x8, x16, [sp, #64]\n  str x17, [sp, #80]\n"
    "  stp q0, q1, [sp, #96]\n  stp q2, q3, [sp, #128]\n  stp q4, q5, [sp, #160]\n  stp q6, q7, [sp, #192]\n"
    "  mov x1, x16\n"
    "  bl vm_stub_leave\n"
    "  ldp x0, x1, [sp, #0]\n  ldp x2, x3, [sp, #16]\n  ldp x4, x5, [sp, #32]\n  ldp x6, x7, [sp, #48]\n"
    "  ldp x8, x16, [sp, #64]\n  ldr x17, [sp, #80]\n"
    "  ldp q0, q1, [sp, #96]\n  ldp q2, q3, [sp, #128]\n  ldp q4, q5, [sp, #160]\n  ldp q6, q7, [sp, #192]\n"
    "  add sp, sp, #224\n"
    "  ldp x29, x30, [sp], #16\n"
    "  b vm_stub_common\n"
    END("vm_stub_common"));

void *vm_first_sp(VMFiber *fiber, void *stack_high) {
  uint64_t *sp = (uint64_t *)stack_high - SAVED_WORDS;
  memset(sp, 0, SAVED_WORDS * sizeof *sp);
  sp[0] = (uint64_t)fiber;
  sp[11] = (uint64_t)&vm_fiber_start;
  return sp;
}
#endif

uint64_t vm_saved_fp(const VMFiber *fiber) { return ((const uint64_t *)fiber->sp)[SAVED_FP]; }
