/* Calls between the host's array of values and the native convention, for any signature, without compiled code.
 *
 * A signature says where each parameter travels: `moves` of VMSignature, written by core_rt/native/bridge.py after the rules of
 * the platform's C convention. Compiled trampolines (core_rt/compile/thunks.py) do the same for one signature, a few nanoseconds
 * faster; these need no compiler, so the first call of a program does not wait for one.
 *
 *     vm_array_bridge(funcref, values)   host -> guest: values to registers and stack, call, result to values[0]
 *     vm_host_bridge                     guest -> host: what a guest calls for a function of the host (first argument: its
 *                                        VMHostFuncContext); registers and stack to store.values, leave, result back
 *     vm_interpret_entry                 compiled code -> interpreter: registers and stack to words
 *     vm_call_native, vm_call_loop       interpreter -> any code: words to registers and stack
 *
 * A result is in the first integer or vector register; several results are an array of ValRaw whose address is the last parameter. The kinds
 * of results stand behind the moves of parameters. */
#include "shim.h"

#define FUNCTION(name) "\n.p2align 4\n.globl " name "\n.hidden " name "\n.type " name ", %function\n" name ":\n"
#define END(name) "\n.size " name ", .-" name "\n"

#if defined(__x86_64__)
#define INTEGERS 6
#else
#define INTEGERS 8
#endif
typedef struct Registers {
  uint64_t integers[INTEGERS];
  uint8_t vectors[8][16];
} __attribute__((aligned(16))) Registers;

HIDDEN void vm_invoke(void *function, Registers *registers, const void *stack, uint64_t stack_bytes);
HIDDEN void vm_host_bridge(void);
HIDDEN __attribute__((used)) void vm_host_bridge_main(Registers *registers, const uint8_t *stack);
HIDDEN __attribute__((used)) void vm_interpret_entry_main(Registers *registers, const uint8_t *stack, VMInterpreted *function);

#if defined(__x86_64__)
/* Entry `name` saves the registers of arguments, calls `main(registers, stack)` and loads those of results from there. */
#define INBOUND(name, main, third) \
  FUNCTION(name) \
  "  pushq %rbp\n  movq %rsp, %rbp\n  subq $176, %rsp\n" \
  "  movq %rdi, 0(%rsp)\n  movq %rsi, 8(%rsp)\n  movq %rdx, 16(%rsp)\n  movq %rcx, 24(%rsp)\n" \
  "  movq %r8, 32(%rsp)\n  movq %r9, 40(%rsp)\n" \
  "  movaps %xmm0, 48(%rsp)\n  movaps %xmm1, 64(%rsp)\n  movaps %xmm2, 80(%rsp)\n  movaps %xmm3, 96(%rsp)\n" \
  "  movaps %xmm4, 112(%rsp)\n  movaps %xmm5, 128(%rsp)\n  movaps %xmm6, 144(%rsp)\n  movaps %xmm7, 160(%rsp)\n" \
  third \
  "  movq %rsp, %rdi\n  leaq 16(%rbp), %rsi\n" \
  "  call " main "\n" \
  "  movq 0(%rsp), %rax\n  movaps 48(%rsp), %xmm0\n" \
  "  leave\n  ret\n" \
  END(name)

__asm__(
    ".text\n"
    FUNCTION("vm_invoke") /* rdi: function, rsi: registers, rdx: stack arguments, rcx: their size, a multiple of 16 */
    "  pushq %rbp\n  movq %rsp, %rbp\n  pushq %rbx\n  pushq %r12\n"
    "  movq %rsi, %rbx\n  movq %rdi, %r11\n"
    "  subq %rcx, %rsp\n"
    "  testq %rcx, %rcx\n  jz 2f\n"
    "1: subq $8, %rcx\n  movq (%rdx,%rcx), %rax\n  movq %rax, (%rsp,%rcx)\n  jnz 1b\n"
    "2:\n"
    "  movaps 48(%rbx), %xmm0\n  movaps 64(%rbx), %xmm1\n  movaps 80(%rbx), %xmm2\n  movaps 96(%rbx), %xmm3\n"
    "  movaps 112(%rbx), %xmm4\n  movaps 128(%rbx), %xmm5\n  movaps 144(%rbx), %xmm6\n  movaps 160(%rbx), %xmm7\n"
    "  movq 0(%rbx), %rdi\n  movq 8(%rbx), %rsi\n  movq 16(%rbx), %rdx\n  movq 24(%rbx), %rcx\n"
    "  movq 32(%rbx), %r8\n  movq 40(%rbx), %r9\n"
    "  call *%r11\n"
    "  movq %rax, 0(%rbx)\n  movaps %xmm0, 48(%rbx)\n"
    "  leaq -16(%rbp), %rsp\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    END("vm_invoke")

    INBOUND("vm_host_bridge", "vm_host_bridge_main", "")
    INBOUND("vm_interpret_entry", "vm_interpret_entry_main", "  movq %r11, %rdx\n"));
#else
#define INBOUND(name, main, third) \
  FUNCTION(name) \
  "  stp x29, x30, [sp, #-16]!\n  mov x29, sp\n  sub sp, sp, #192\n" \
  "  stp x0, x1, [sp, #0]\n  stp x2, x3, [sp, #16]\n  stp x4, x5, [sp, #32]\n  stp x6, x7, [sp, #48]\n" \
  "  stp q0, q1, [sp, #64]\n  stp q2, q3, [sp, #96]\n  stp q4, q5, [sp, #128]\n  stp q6, q7, [sp, #160]\n" \
  third \
  "  mov x0, sp\n  add x1, x29, #16\n" \
  "  bl " main "\n" \
  "  ldr x0, [sp, #0]\n  ldr q0, [sp, #64]\n" \
  "  mov sp, x29\n  ldp x29, x30, [sp], #16\n  ret\n" \
  END(name)

__asm__(
    ".text\n"
    FUNCTION("vm_invoke") /* x0: function, x1: registers, x2: stack arguments, x3: their size, a multiple of 16 */
    "  stp x29, x30, [sp, #-32]!\n  mov x29, sp\n  str x19, [sp, #16]\n"
    "  mov x19, x1\n  mov x16, x0\n"
    "  sub sp, sp, x3\n"
    "  cbz x3, 2f\n"
    "1: sub x3, x3, #8\n  ldr x9, [x2, x3]\n  str x9, [sp, x3]\n  cbnz x3, 1b\n"
    "2:\n"
    "  ldp q0, q1, [x19, #64]\n  ldp q2, q3, [x19, #96]\n  ldp q4, q5, [x19, #128]\n  ldp q6, q7, [x19, #160]\n"
    "  ldp x0, x1, [x19, #0]\n  ldp x2, x3, [x19, #16]\n  ldp x4, x5, [x19, #32]\n  ldp x6, x7, [x19, #48]\n"
    "  blr x16\n"
    "  str x0, [x19, #0]\n  str q0, [x19, #64]\n"
    "  mov sp, x29\n  ldr x19, [sp, #16]\n  ldp x29, x30, [sp], #32\n  ret\n"
    END("vm_invoke")

    INBOUND("vm_host_bridge", "vm_host_bridge_main", "")
    INBOUND("vm_interpret_entry", "vm_interpret_entry_main", "  mov x2, x16\n"));
#endif

/* A move: the low byte says what and where, the rest is the register's number or the offset in the stack arguments. */
enum { INTEGER32, INTEGER64, FLOAT32, FLOAT64, VECTOR, STACK4, STACK8, STACK16 };

static inline const uint32_t *moves_of(const VMSignature *signature) { return (const uint32_t *)(signature + 1); }

void vm_array_bridge(VMFuncRef *funcref, void *values) {
  const VMSignature *signature = funcref->signature;
  const uint32_t *moves = moves_of(signature);
  uint8_t *slot = values;
  Registers registers;
  uint8_t stack[signature->stack_bytes + 16] __attribute__((aligned(16)));
  registers.integers[0] = (uint64_t)funcref->vmctx;
  for (uint32_t i = 0; i < signature->params; i++, slot += 16) {
    uint32_t at = moves[i] >> 8;
    switch (moves[i] & 0xff) {
      case INTEGER32: registers.integers[at] = *(uint32_t *)slot; break;
      case INTEGER64: registers.integers[at] = *(uint64_t *)slot; break;
      case FLOAT32:
      case FLOAT64:
      case VECTOR: memcpy(registers.vectors[at], slot, 16); break;
      case STACK4: *(uint64_t *)(stack + at) = *(uint32_t *)slot; break;
      case STACK8: memcpy(stack + at, slot, 8); break;
      default: memcpy(stack + at, slot, 16); break;
    }
  }
  if (signature->multiple) {
    uint32_t move = moves[signature->params], at = move >> 8;
    if ((move & 0xff) == INTEGER64) registers.integers[at] = (uint64_t)values;
    else *(uint64_t *)(stack + at) = (uint64_t)values;
  }
  vm_invoke(funcref->native_call, &registers, stack, signature->stack_bytes);
  if (signature->results != 1) return;
  switch (moves[signature->params] & 0xff) {
    case INTEGER32: *(uint64_t *)values = (uint32_t)registers.integers[0]; break;
    case INTEGER64: *(uint64_t *)values = registers.integers[0]; break;
    case FLOAT32: *(uint64_t *)values = *(uint32_t *)registers.vectors[0]; break;
    case FLOAT64: memcpy(values, registers.vectors[0], 8); break;
    default: memcpy(values, registers.vectors[0], 16); break;
  }
}

void vm_host_bridge_main(Registers *registers, const uint8_t *stack) {
  VMHostFuncContext *context = (VMHostFuncContext *)registers->integers[0];
  const VMSignature *signature = context->signature;
  const uint32_t *moves = moves_of(signature);
  uint8_t *values = ((VMStoreContext *)context->store)->values, *slot = values;
  for (uint32_t i = 0; i < signature->params; i++, slot += 16) {
    uint32_t at = moves[i] >> 8;
    switch (moves[i] & 0xff) {
      case INTEGER32: *(uint64_t *)slot = (uint32_t)registers->integers[at]; break;
      case INTEGER64: *(uint64_t *)slot = registers->integers[at]; break;
      case FLOAT32: *(uint64_t *)slot = *(uint32_t *)registers->vectors[at]; break;
      case FLOAT64: memcpy(slot, registers->vectors[at], 8); break;
      case VECTOR: memcpy(slot, registers->vectors[at], 16); break;
      case STACK4: *(uint64_t *)slot = *(const uint32_t *)(stack + at); break;
      case STACK8: memcpy(slot, stack + at, 8); break;
      default: memcpy(slot, stack + at, 16); break;
    }
  }
  void *several = NULL;
  if (signature->multiple) {
    uint32_t move = moves[signature->params], at = move >> 8;
    several = (void *)((move & 0xff) == INTEGER64 ? registers->integers[at] : *(const uint64_t *)(stack + at));
  }
  vm_host_call(context, values);
  if (several) {
    memcpy(several, values, 16 * (size_t)signature->results);
  } else if (signature->results) {
    switch (moves[signature->params] & 0xff) {
      case INTEGER32: registers->integers[0] = *(uint32_t *)values; break;
      case INTEGER64: registers->integers[0] = *(uint64_t *)values; break;
      default: memcpy(registers->vectors[0], values, 16); break;
    }
  }
}

/* ------------------------------------------------------------------------------------------------ the interpreter */

/* The one result of a call, by its move. */
static inline uint64_t result_of(uint32_t move, const Registers *registers) {
  uint64_t word;
  switch (move & 0xff) {
    case INTEGER32: return (uint32_t)registers->integers[0];
    case INTEGER64: return registers->integers[0];
    case FLOAT32: return *(const uint32_t *)registers->vectors[0];
    default: memcpy(&word, registers->vectors[0], 8); return word;
  }
}

void vm_call_native(const VMSignature *signature, void *vmctx, void *code, const uint64_t *arguments, uint64_t *results) {
  const uint32_t *moves = moves_of(signature);
  Registers registers;
  uint8_t stack[signature->stack_bytes + 16] __attribute__((aligned(16)));
  uint64_t several[signature->multiple ? 2 * signature->results : 1];
  registers.integers[0] = (uint64_t)vmctx;
  for (uint32_t i = 0; i < signature->params; i++) {
    uint32_t at = moves[i] >> 8;
    switch (moves[i] & 0xff) {
      case INTEGER32:
      case INTEGER64: registers.integers[at] = arguments[i]; break;
      case FLOAT32:
      case FLOAT64: memcpy(registers.vectors[at], &arguments[i], 8); break;
      default: memcpy(stack + at, &arguments[i], 8); break;
    }
  }
  if (signature->multiple) {
    uint32_t move = moves[signature->params], at = move >> 8;
    if ((move & 0xff) == INTEGER64) registers.integers[at] = (uint64_t)several;
    else *(uint64_t *)(stack + at) = (uint64_t)several;
  }
  vm_invoke(code, &registers, stack, signature->stack_bytes);
  if (signature->multiple) {
    const uint32_t *kinds = moves + signature->params + 1;
    for (uint32_t i = 0; i < signature->results; i++) /* the host writes no more than a value has */
      results[i] = kinds[i] == INTEGER32 || kinds[i] == FLOAT32 ? (uint32_t)several[2 * i] : several[2 * i];
  } else if (signature->results) results[0] = result_of(moves[signature->params], &registers);
}

void vm_call_loop(const VMSignature *signature, void *vmctx, void *code, uint64_t *slots, uint64_t *results) {
  Registers registers;
  registers.integers[0] = (uint64_t)vmctx;
  registers.integers[1] = (uint64_t)slots;
  vm_invoke(code, &registers, NULL, 0);
  if (signature->results) results[0] = result_of(moves_of(signature)[signature->params], &registers);
}

void vm_interpret_entry_main(Registers *registers, const uint8_t *stack, VMInterpreted *function) {
  const VMSignature *signature = function->signature;
  const uint32_t *moves = moves_of(signature);
  uint32_t count = signature->params > signature->results ? signature->params : signature->results;
  uint64_t words[count + 1];
  for (uint32_t i = 0; i < signature->params; i++) {
    uint32_t at = moves[i] >> 8;
    switch (moves[i] & 0xff) {
      case INTEGER32: words[i] = (uint32_t)registers->integers[at]; break;
      case INTEGER64: words[i] = registers->integers[at]; break;
      case FLOAT32: words[i] = *(uint32_t *)registers->vectors[at]; break;
      case FLOAT64: memcpy(&words[i], registers->vectors[at], 8); break;
      case STACK4: words[i] = *(const uint32_t *)(stack + at); break;
      default: memcpy(&words[i], stack + at, 8); break;
    }
  }
  uint64_t *several = NULL;
  if (signature->multiple) {
    uint32_t move = moves[signature->params], at = move >> 8;
    several = (void *)((move & 0xff) == INTEGER64 ? registers->integers[at] : *(const uint64_t *)(stack + at));
  }
  vm_interpret((VMContextHeader *)registers->integers[0], function, words, words);
  if (several) {
    for (uint32_t i = 0; i < signature->results; i++) several[2 * i] = words[i];
  } else if (signature->results) {
    if ((moves[signature->params] & 0xff) <= INTEGER64) registers->integers[0] = words[0];
    else memcpy(registers->vectors[0], &words[0], 8);
  }
}

void *vm_array_bridge_address(void) { return (void *)&vm_array_bridge; }

void *vm_host_bridge_address(void) { return (void *)&vm_host_bridge; }
