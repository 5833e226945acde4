/* Traps: hardware faults of guests, traps that compiled code asks for, and the backtraces of both.
 *
 * The signal handler runs on the thread's alternate stack. When the thread is inside a guest and the fault is one that a rule
 * of wasm explains, it writes down why and where in the fiber and rewrites the interrupted context so that returning from
 * the signal continues in vm_jump with the host's stack pointer: the thread is then in `enter` (fiber.c), as if the guest had
 * left. The kernel restores the signal mask on the way. Everything else (walking frames, resetting the fiber) happens there,
 * outside the handler.
 *
 * All other faults go to the handler that was there before (Python's faulthandler, another runtime). */
#include "shim.h"
#include <signal.h>
#include <sys/auxv.h>
#include <ucontext.h>

#if defined(__aarch64__)
/* llvm.trap is `brk` there, which is a SIGTRAP */
#define SIGNALS {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}
#else
#define SIGNALS {SIGSEGV, SIGBUS, SIGFPE, SIGILL}
#endif
static const int signals[] = SIGNALS;
#define SIGNAL_COUNT (sizeof signals / sizeof *signals)

/* What was installed when we first came, and what we found when we last came (`vm_signals_ensure`). */
static struct sigaction original[SIGNAL_COUNT], previous[SIGNAL_COUNT];
static bool installed[SIGNAL_COUNT];

/* ------------------------------------------------------------------------------------------------ the machine's registers */

typedef struct Machine {
  uint64_t pc, sp, fp, link;
} Machine;

static Machine read_machine(const ucontext_t *context) {
#if defined(__x86_64__)
  const greg_t *r = context->uc_mcontext.gregs;
  return (Machine){(uint64_t)r[REG_RIP], (uint64_t)r[REG_RSP], (uint64_t)r[REG_RBP], 0};
#else
  const mcontext_t *m = &context->uc_mcontext;
  return (Machine){m->pc, m->sp, m->regs[29], m->regs[30]};
#endif
}

/* Continue in vm_jump(host_sp). The stack pointer is the host's at once: the guest's may have no room for another signal. */
static void redirect(ucontext_t *context, void *host_sp) {
#if defined(__x86_64__)
  greg_t *r = context->uc_mcontext.gregs;
  r[REG_RIP] = (greg_t)&vm_jump;
  r[REG_RDI] = (greg_t)host_sp;
  r[REG_RSP] = (greg_t)host_sp;
  r[REG_EFL] &= ~(greg_t)0x400; /* direction flag: libc's copies set it for a moment */
#else
  mcontext_t *m = &context->uc_mcontext;
  m->pc = (uint64_t)&vm_jump;
  m->regs[0] = (uint64_t)host_sp;
  m->sp = (uint64_t)host_sp;
#endif
}

#if defined(__x86_64__)
#define RED_ZONE 128
/* Continue in vm_poll_entry as if the poll had called it. False where the stack has no room for that. */
static bool enter_poll(const VMFiber *fiber, ucontext_t *context) {
  greg_t *r = context->uc_mcontext.gregs;
  uint64_t *sp = (uint64_t *)(r[REG_RSP] - RED_ZONE - 8);
  if ((uint64_t)sp < (uint64_t)fiber->stack_low || (uint64_t)sp >= (uint64_t)fiber->stack_high) return false;
  *sp = (uint64_t)r[REG_RIP];
  r[REG_RSP] = (greg_t)sp;
  r[REG_RIP] = (greg_t)&vm_poll_entry;
  return true;
}
#endif

static bool on_stack(const VMFiber *fiber, uint64_t address, uint64_t size) {
  return address % 8 == 0 && address >= (uint64_t)fiber->stack_low && address <= (uint64_t)fiber->stack_high - size;
}

static bool is_code(uint64_t pc) {
  uint64_t low, high;
  return vm_ranges_find(&vm_code_ranges, pc, &low, &high);
}

/* A fault in the first instruction of a prologue: the caller's return address is not in the chain of frame pointers yet. */
static uint64_t hidden_return(const VMFiber *fiber, const Machine *m) {
#if defined(__x86_64__)
  if (*(const uint8_t *)m->pc != 0x55 || !on_stack(fiber, m->sp, 8)) return 0; /* push rbp */
  return *(const uint64_t *)m->sp;
#else
  uint32_t instruction = *(const uint32_t *)m->pc; /* stp x29, x30, [sp, #n] with or without pre-index */
  (void)fiber;
  return (instruction & 0xfe407fff) == 0xa8007bfd ? m->link : 0;
#endif
}

/* ------------------------------------------------------------------------------------------------ the handler */

/* The trap code for a fault, 0 if the guest has nothing to do with it. */
static uint32_t classify(const VMFiber *fiber, int signal, uint64_t pc, uint64_t address) {
  uint64_t low, high;
  bool memory = signal == SIGSEGV || signal == SIGBUS;
  /* In the guard region whoever runs on the fiber's stack is out of stack, the shim and libc's memmove included. */
  if (memory && address - (uint64_t)fiber->mapping < (uint64_t)fiber->stack_low - (uint64_t)fiber->mapping)
    return TRAP_STACK_OVERFLOW;
  if (!is_code(pc)) return 0;
  if (memory) return vm_ranges_find(&vm_memory_ranges, address, &low, &high) ? TRAP_MEMORY_OUT_OF_BOUNDS : TRAP_ENGINE_FAULT;
  return signal == SIGFPE ? TRAP_INTEGER_DIVISION_BY_ZERO : TRAP_UNREACHABLE;
}

static void set_default(int signal) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, NULL);
}

/* Hands a signal to whoever had it before us.
 *
 * A handler that we found later than our first installation may itself end in ours (it was installed between): the second
 * time round goes to the original one. A handler that gives up (faulthandler: print, restore, raise) comes back as a signal sent
 * by raise(); after a fault that means the end. */
static void chain(int signal, siginfo_t *info, void *context) {
  size_t i = 0;
  while (signals[i] != signal) i++;
  Thread *thread = &vm_thread;
  const struct sigaction *action = thread->chaining == 0 ? &previous[i] : &original[i];
  bool sent = info->si_code <= 0;
  bool end = thread->chaining > 1 || (sent && thread->chained) ||
             (!(action->sa_flags & SA_SIGINFO) && (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN));
  if (end) {
    if (sent && !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_IGN) return;
    /* The faulting instruction runs again when we return, now without a handler; a signal that was sent is sent again. */
    set_default(signal);
    if (sent) raise(signal);
    return;
  }
  if (!sent) thread->chained = 1;
  thread->chaining++;
  if (action->sa_flags & SA_SIGINFO) action->sa_sigaction(signal, info, context);
  else action->sa_handler(signal);
  thread->chaining--;
}

static void on_signal(int signal, siginfo_t *info, void *raw) {
  int error = errno;
  ucontext_t *context = raw;
  Fiber *self = (Fiber *)vm_thread.current;
  if (self && info->si_code > 0) {
    VMFiber *fiber = &self->face;
    Machine m = read_machine(context);
    bool memory = signal == SIGSEGV || signal == SIGBUS;
    uint64_t address = memory ? (uint64_t)info->si_addr : 0;
#if defined(__x86_64__)
    bool poll = signal == SIGSEGV && vm_is_poll(fiber, address) && is_code(m.pc);
    if (poll && enter_poll(fiber, context)) {
      errno = error;
      return;
    }
    uint32_t code = poll ? TRAP_STACK_OVERFLOW : classify(fiber, signal, m.pc, address);
#else
    uint32_t code = classify(fiber, signal, m.pc, address);
#endif
    if (code) {
      fiber->trap_code = code;
      fiber->trap_offset = NO_OFFSET;
      fiber->trap_pc = m.pc;
      fiber->trap_address = address;
      fiber->status = STATUS_TRAP;
      self->trap_fp = m.fp;
      self->trap_return = is_code(m.pc) ? hidden_return(fiber, &m) : 0;
      redirect(context, fiber->host_sp);
      errno = error;
      return;
    }
  }
  chain(signal, info, raw);
  errno = error;
}

/* Installs our handlers where they are not on top. Called for each new store, since others (faulthandler, another runtime)
 * may have come since. */
void vm_signals_ensure(void) {
  pthread_mutex_lock(&vm_lock);
  for (size_t i = 0; i < SIGNAL_COUNT; i++) {
    struct sigaction found;
    if (sigaction(signals[i], NULL, &found)) continue;
    if ((found.sa_flags & SA_SIGINFO) && found.sa_sigaction == on_signal) continue;
    previous[i] = found;
    if (!installed[i]) original[i] = found;
    installed[i] = true;
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_signal;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    sigaction(signals[i], &ours, NULL);
  }
  pthread_mutex_unlock(&vm_lock);
}

/* ------------------------------------------------------------------------------------------------ alternate stacks */

#define ALTERNATE_SIZE (64u << 10)

static pthread_key_t alternate_key;
static pthread_once_t alternate_once = PTHREAD_ONCE_INIT;

static void drop_alternate(void *stack) {
  stack_t now, off;
  memset(&off, 0, sizeof off);
  off.ss_flags = SS_DISABLE;
  /* Somebody may have put theirs over ours; then ours is not in use. */
  if (sigaltstack(NULL, &now) == 0 && now.ss_sp == stack) sigaltstack(&off, NULL);
  munmap(stack, ALTERNATE_SIZE);
  vm_thread.ready = 0;
}

static void make_alternate_key(void) { pthread_key_create(&alternate_key, drop_alternate); }

/* Gives the thread an alternate signal stack, unless it has one that is large enough. */
void vm_thread_init(void) {
  int error = errno;
  stack_t now;
  size_t least = 8192 + getauxval(AT_MINSIGSTKSZ);
  pthread_once(&alternate_once, make_alternate_key);
  if (sigaltstack(NULL, &now) == 0 && ((now.ss_flags & SS_DISABLE) || now.ss_size < least)) {
    void *stack = mmap(NULL, ALTERNATE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack != MAP_FAILED) {
      stack_t ours;
      memset(&ours, 0, sizeof ours);
      ours.ss_sp = stack;
      ours.ss_size = ALTERNATE_SIZE;
      if (sigaltstack(&ours, NULL) == 0) pthread_setspecific(alternate_key, stack);
      else munmap(stack, ALTERNATE_SIZE);
    }
  }
  vm_thread.ready = 1;
  errno = error;
}

/* ------------------------------------------------------------------------------------------------ traps and backtraces */

void vm_trap(VMFiber *fiber, uint32_t code, uint32_t offset, void *fp, void *return_address) {
  fiber->trap_code = code;
  fiber->trap_offset = offset;
  fiber->trap_pc = (uint64_t)return_address - 1;
  fiber->trap_address = 0;
  fiber->status = STATUS_TRAP;
  ((Fiber *)fiber)->trap_fp = *(uint64_t *)fp; /* of the code that called the builtin */
  ((Fiber *)fiber)->trap_return = 0;
  vm_jump(fiber->host_sp);
}

typedef struct Walk {
  VMFiber *fiber;
  uint64_t low, high; /* the range of code that the last frame was in */
} Walk;

static void note(Walk *walk, uint64_t pc) {
  VMFiber *fiber = walk->fiber;
  if (pc - walk->low >= walk->high - walk->low && !vm_ranges_find(&vm_code_ranges, pc, &walk->low, &walk->high)) return;
  if (fiber->frames_count < FRAMES_MOST) fiber->frames[fiber->frames_count++] = pc;
  else fiber->frames_more++;
}

/* The frame of an interpreted function: an address in its words, from the frame of `vm_interpret` below it. */
static void note_word(VMFiber *fiber, uint64_t fp) {
  if (!on_stack(fiber, fp - 16, 32)) return;
  uint64_t word = *(const uint64_t *)(fp + PC_AT);
  if (!word) return;
  if (fiber->frames_count < FRAMES_MOST) fiber->frames[fiber->frames_count++] = word - 1;
  else fiber->frames_more++;
}

/* Every frame is an address inside the instruction that is being executed: of a call that is its return address less 1, which
 * stays in the caller even when the call is its last instruction. */
static void walk_frames(VMFiber *fiber, uint64_t pc, uint64_t hidden, uint64_t fp) {
  Walk walk = {fiber, 0, 0};
  fiber->frames_count = fiber->frames_more = 0;
  if (pc) note(&walk, pc);
  if (hidden) note(&walk, hidden - 1);
  for (int frames = 0; frames < 1 << 20 && on_stack(fiber, fp, 16); frames++) {
    const uint64_t *record = (const uint64_t *)fp;
    if (record[1] == (uint64_t)vm_interpret_return) note_word(fiber, record[0]);
    else if (record[1]) note(&walk, record[1] - 1);
    if (record[0] <= fp) break; /* 0 at the base */
    fp = record[0];
  }
}

void vm_trap_frames(Fiber *fiber) {
  __atomic_fetch_add(&vm_counts.traps, 1, __ATOMIC_RELAXED);
  walk_frames(&fiber->face, fiber->face.trap_pc, fiber->trap_return, fiber->trap_fp);
}

/* Has a guest that was left at the poll at `pc` go on at `to`, which runs in the same frame. Only if `mark` stands `mark_at` bytes below
 * the frame's pointer. */
int vm_divert(VMFiber *fiber, uint64_t pc, uint64_t to, uint64_t mark_at, uint64_t mark) {
  if (((Fiber *)fiber)->state != FIBER_LEFT || !is_code(to)) return 0;
  uint64_t fp = vm_saved_fp(fiber);
  for (int frames = 0; frames < 4 && on_stack(fiber, fp, 16); frames++) { /* vm_leave, leave, vm_polled, vm_poll_entry */
    uint64_t *record = (uint64_t *)fp;
    if (record[1] == pc) {
      if (!on_stack(fiber, record[0], 16) || !on_stack(fiber, record[0] - mark_at, 8)) return 0;
      if (*(uint64_t *)(record[0] - mark_at) != mark) return 0;
      record[1] = to;
      return 1;
    }
    if (record[0] <= fp) return 0;
    fp = record[0];
  }
  return 0;
}

void vm_backtrace(VMFiber *fiber) {
  uint32_t state = ((Fiber *)fiber)->state;
  fiber->frames_count = fiber->frames_more = 0;
  if (state == FIBER_LEFT || state == FIBER_PARKED) walk_frames(fiber, 0, 0, vm_saved_fp(fiber));
}
