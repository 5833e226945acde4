/* Interrupting a running guest.
 *
 * Compiled code polls at function entries and loop heads. On x86-64 a poll is a load from the store's *poll page*, one
 * instruction without a branch: `vm_interrupt` makes the page unreadable, the load faults, and the signal handler (trap.c) makes the
 * guest go on in vm_poll_entry. That preserves every register, so to compiled code nothing has happened. A compare and a
 * call cost 5 to 10 % in tight loops: the call clobbers registers, and LLVM does not unroll loops with a second exit.
 * Elsewhere, and where references of the collector are live, code compares the word `interrupt` and calls `interrupted`.
 *
 * The word says why the page is unreadable. Arming sets the word, then protects; disarming unprotects, then clears. If both happen
 * at once, either the guest is about to leave anyway, or the page stays unreadable and the guest leaves once too often. */
#include "shim.h"

static uint8_t *poll_page(VMStoreContext *store) { return (uint8_t *)store + POLL_OFFSET; }

void vm_interrupt(VMStoreContext *store) {
  if (__atomic_exchange_n(&store->interrupt, 1, __ATOMIC_SEQ_CST)) return;
#if defined(__x86_64__)
  mprotect(poll_page(store), POLL_SIZE, PROT_NONE);
#endif
}

/* All stores of an engine. */
void vm_interrupt_engine(uint32_t engine) {
  pthread_mutex_lock(&vm_lock);
  for (VMStoreContext *store = vm_stores; store; store = store->next)
    if (store->engine == engine) vm_interrupt(store);
  pthread_mutex_unlock(&vm_lock);
}

static void leave(VMStoreContext *store) {
#if defined(__x86_64__)
  mprotect(poll_page(store), POLL_SIZE, PROT_READ);
#endif
  __atomic_store_n(&store->interrupt, 0, __ATOMIC_SEQ_CST);
  vm_leave(store->running, STATUS_INTERRUPT);
}

void vm_builtin_interrupted(void *vmctx) { leave(((VMContextHeader *)vmctx)->store); }

bool vm_is_poll(const VMFiber *fiber, uint64_t address) { return address - (uint64_t)poll_page(fiber->store) < POLL_SIZE; }

#if defined(__x86_64__)
#include <cpuid.h>

#define FUNCTION(name) "\n.p2align 4\n.globl " name "\n.hidden " name "\n.type " name ", %function\n" name ":\n"
#define END(name) "\n.size " name ", .-" name "\n"

HIDDEN __attribute__((used)) void vm_polled(void);

/* Still on the thread that faulted, before any switch: the thread's own word says which fiber that is. */
void vm_polled(void) { leave(vm_thread.current->store); }

/* Bytes of the save area: what xsave writes for the components that the system has enabled, or 0 where there is no xsave. */
HIDDEN __attribute__((used)) uint64_t vm_vector_state_size;

__attribute__((constructor)) static void measure_vector_state(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return;
  if (!__get_cpuid_count(0xd, 0, &a, &b, &c, &d)) return;
  vm_vector_state_size = (b + 63) & ~63ull;
}

/* Entered by the signal handler, which has put the address of the poll on the stack below the red zone (128 bytes).
 * 0xe6: SSE, AVX and the three parts of AVX-512. The header of the area (64 bytes at 512) must be zero for xrstor. */
__asm__(
    ".text\n"
    FUNCTION("vm_poll_entry")
    "  pushq %rbp\n  movq %rsp, %rbp\n"
    "  pushfq\n  pushq %rax\n  pushq %rbx\n  pushq %rcx\n  pushq %rdx\n  pushq %rsi\n  pushq %rdi\n"
    "  pushq %r8\n  pushq %r9\n  pushq %r10\n  pushq %r11\n"
    "  cld\n"
    "  movq vm_vector_state_size(%rip), %rbx\n"
    "  testq %rbx, %rbx\n  jz 1f\n"
    "  subq %rbx, %rsp\n  andq $-64, %rsp\n"
    "  xorl %eax, %eax\n"
    "  movq %rax, 512(%rsp)\n  movq %rax, 520(%rsp)\n  movq %rax, 528(%rsp)\n  movq %rax, 536(%rsp)\n"
    "  movq %rax, 544(%rsp)\n  movq %rax, 552(%rsp)\n  movq %rax, 560(%rsp)\n  movq %rax, 568(%rsp)\n"
    "  movl $0xe6, %eax\n  xorl %edx, %edx\n"
    "  xsave (%rsp)\n"
    "  call vm_polled\n"
    "  movl $0xe6, %eax\n  xorl %edx, %edx\n"
    "  xrstor (%rsp)\n"
    "  jmp 2f\n"
    "1:\n"
    "  subq $512, %rsp\n  andq $-64, %rsp\n"
    "  fxsave (%rsp)\n"
    "  call vm_polled\n"
    "  fxrstor (%rsp)\n"
    "2:\n"
    "  leaq -88(%rbp), %rsp\n"
    "  popq %r11\n  popq %r10\n  popq %r9\n  popq %r8\n  popq %rdi\n  popq %rsi\n  popq %rdx\n  popq %rcx\n"
    "  popq %rbx\n  popq %rax\n  popfq\n  popq %rbp\n"
    "  ret $128\n"
    END("vm_poll_entry"));
#endif
