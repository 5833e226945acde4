/* What the files of the shim share.
 *
 * Theory of operation. A guest runs on a fiber: a stack of its own. `vm_call` switches to it and comes back when the guest
 * *leaves*: because it returned, trapped or needs the host (fiber.status says which). Nothing of the host is ever on a fiber's
 * stack, so a fiber that was left may be continued by any thread, or dropped by resetting its stack pointer.
 *
 *     thread's stack                     fiber's mapping
 *     +----------------+                 +----------------------+ stack_high
 *     | Python         |                 | vm_fiber_start       |  return address of vm_fiber_main, end of the fp chain
 *     | vm_call        |   vm_switch     | vm_fiber_main        |  loop: one entry per call
 *     | vm_switch save | <-------------> | array_call, guest .. |
 *     +----------------+ fiber.host_sp   | vm_leave, vm_switch  |
 *                                        +----------------------+ fiber.sp
 *                                        | free                 |
 *                                        +----------------------+ stack_low
 *                                        | guard, 64 KiB, NONE  |
 *                                        +----------------------+ mapping
 *
 * Guest code is machine code, or words that vm_interpret (interpret.c) runs in frames of its own on the same stack.
 *
 * Rules:
 * - Code that runs on a fiber (builtins, vm_leave, stubs, the interpreter) never reads a thread-local: the fiber may wake on another thread. It
 *   finds its fiber through the store: `store.running` is the fiber inside.
 * - Whoever is inside a store owns it: `owner` is the address of the thread's `vm_thread`. Only the owner touches running,
 *   idle, depth. `returned` takes idle fibers from anybody, with atomic operations.
 * - `vm_lock` guards everything that is not on the way of a call: pools, ranges, the list of stores. Signal handlers take no
 *   lock; they read the range tables, which are made for that.
 */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vm_layout.h"
#include "vm_generated.h"
#include "api.h"

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__)) || !defined(__LP64__)
#error "the shim knows Linux on x86-64 and aarch64"
#endif

#define HIDDEN __attribute__((visibility("hidden")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Codes of core_rt.errors.TrapCode that the shim raises itself, and one of its own: a fault that no rule of wasm explains. */
enum {
  TRAP_STACK_OVERFLOW = 1,
  TRAP_MEMORY_OUT_OF_BOUNDS = 2,
  TRAP_INTEGER_DIVISION_BY_ZERO = 8,
  TRAP_UNREACHABLE = 10,
  TRAP_ARRAY_OUT_OF_BOUNDS = 15,
  TRAP_ALLOCATION_TOO_LARGE = 22,
  TRAP_UNCAUGHT_EXCEPTION = 24,
  TRAP_ENGINE_FAULT = 255,
};
#define NO_OFFSET 0xffffffffu
#define GUARD_SIZE (64u << 10)
#define FRAMES_MOST (sizeof((VMFiber){0}.frames) / sizeof(uint64_t))

/* ------------------------------------------------------------------------------------------------ threads */
typedef struct Thread {
  VMFiber *volatile current; /* the fiber whose stack the thread is on; null while it runs the host */
  int ready;                 /* has an alternate signal stack */
  volatile int chaining;     /* how many signal handlers of others are being run for a fault */
  volatile int chained;      /* such a handler was run: a raise() that follows is its way to end the process */
  uint32_t left;             /* status of the typed call that answered NaN last */
  uint64_t result;           /* the first words of the values of the call that returned last */
  uint64_t outcome;
} Thread;

/* initial-exec: the signal handler must not be the one who allocates a lazy TLS block. */
extern __thread Thread vm_thread HIDDEN __attribute__((tls_model("initial-exec")));
HIDDEN void vm_thread_init(void);

extern pthread_mutex_t vm_lock HIDDEN;
extern VMStatistics vm_counts HIDDEN; /* under vm_lock, except traps (atomic) */
HIDDEN uint64_t vm_round_to_page(uint64_t size); /* 0 when it overflows */

/* ------------------------------------------------------------------------------------------------ private tails */
enum { FIBER_IDLE, FIBER_INSIDE, FIBER_LEFT, FIBER_PARKED, FIBER_GONE };

typedef struct Fiber {
  VMFiber face; /* first: a VMFiber * of ours is a Fiber * */
  uint32_t state;
  uint32_t reserved;
  uint64_t trap_fp;       /* frame pointer to walk from; 0 for none */
  uint64_t trap_return;   /* return address that the chain does not show (fault in a prologue), or 0 */
  struct Fiber *sibling;  /* all fibers of a store, under vm_lock */
  struct Waiter *waiter;  /* memory.atomic.wait that the guest is in, or null */
} Fiber;

/* The heap of a store, see heap.h. */
typedef struct HeapBlock {
  uint32_t next; /* of its size class */
  uint32_t span; /* blocks of a large object */
  uint8_t class;
  uint8_t dirty; /* was in use: not known to be zero */
  uint8_t fresh; /* taken since the last marking had reached all */
} HeapBlock;

typedef struct HeapRoot {
  int kind;
  void *place;
} HeapRoot;

typedef struct HeapAnswer {
  uint32_t actual, wanted, yes;
} HeapAnswer;
#define VM_ANSWERS 61

typedef struct Heap {
  uint8_t *base;
  uint8_t *kinds;   /* BLOCK_* of each block */
  HeapBlock *table; /* of each block */
  uint64_t *marks;  /* a bit per granule */
  uint64_t *stack;  /* objects that are marked and not looked at: offset, and first element still to do << 32 */
  uint64_t depth;
  uint32_t blocks, free_blocks, top /* first that was never used */, hint /* where to look for free ones */;
  uint32_t first[HEAP_CLASS_COUNT]; /* blocks of each class */
  uint32_t sweep[HEAP_CLASS_COUNT]; /* the one where free cells are looked for, from `scan` bytes on */
  uint32_t scan[HEAP_CLASS_COUNT];
  uint64_t types_at, types_end;
  uint64_t limit, allocated /* since the last marking ended */, threshold, debt, live, allocated_ever;
  uint64_t reached; /* `live` to be */
  uint32_t ending;  /* all is marked, and blocks from here on were looked at; 0 before that */
  uint32_t spare, trim_at; /* free blocks whose memory goes back to the system, looked for below */
  bool stress; /* collect at every allocation: finds references that are no roots */
  uint64_t pauses, pause_total, pause_longest; /* nanoseconds */
  uint32_t pause_counts[4 * 40]; /* by length: four for each power of two */
  HeapRoot *roots;
  uint32_t root_count, root_capacity;
  uint32_t *handles;
  uint64_t handle_count;
  uint8_t *slots;
  uint64_t slot_count;
  HeapAnswer answers[VM_ANSWERS];
} Heap;

typedef struct Store {
  VMStoreContext face;
  VMFiber *returned; /* idle fibers that somebody other than the owner made or freed; linked by next */
  Fiber *fibers;
  InstanceHeader *instances;
  struct Chunk *chunks; /* see instance.c */
  struct Placed *placed; /* what segments have put into tables of functions, the newest first */
  Heap heap;
} Store;

/* ------------------------------------------------------------------------------------------------ fiber.c, switch.c */
HIDDEN void vm_switch(void **save_sp, void *load_sp);
HIDDEN __attribute__((noreturn)) void vm_jump(void *load_sp);
HIDDEN void vm_fiber_start(void);
/* Continues a frame of this fiber at `landing`, which expects the handler in rax or x0 and nothing in the other registers. */
HIDDEN __attribute__((noreturn)) void vm_land(VMHandler *handler, void *landing, void *sp, void *fp);
HIDDEN __attribute__((noreturn)) void vm_fiber_main(VMFiber *fiber);
HIDDEN void vm_stub_common(void);
HIDDEN void vm_stub_leave(VMContextHeader *vmctx, uint64_t index);
HIDDEN void *vm_first_sp(VMFiber *fiber, void *stack_high);
HIDDEN uint64_t vm_saved_fp(const VMFiber *fiber);
HIDDEN void vm_fibers_drop(Store *store);
/* Makes the thread the owner of the store and takes an idle fiber for `vm_run`, or `vm_unclaim`; null for the STATUS_* in `why`. */
HIDDEN VMFiber *vm_claim(VMStoreContext *store, uint32_t *why);
HIDDEN void vm_unclaim(VMStoreContext *store, VMFiber *fiber);
/* Calls `entry(funcref, values)` on the fiber; `values` must last until the call is over. */
HIDDEN int vm_run(VMStoreContext *store, VMFiber *fiber, void *entry, void *funcref, void *values);

/* Leaves the guest's stack; comes back when somebody resumes the fiber. */
static inline void vm_leave(VMFiber *fiber, uint32_t status) {
  fiber->status = status;
  vm_switch(&fiber->sp, fiber->host_sp);
}

static inline VMFiber *vm_fiber_of(void *context) {
  /* VMContextHeader and VMHostFuncContext have their store at the same place */
  return ((VMStoreContext *)((VMContextHeader *)context)->store)->running;
}

/* ------------------------------------------------------------------------------------------------ interpret.c, bridge.c */
/* Runs a function; results replace what is at `results`. */
HIDDEN void vm_interpret(VMContextHeader *vmctx, VMInterpreted *function, const uint64_t *arguments, uint64_t *results);
extern const char vm_interpret_return[] HIDDEN;
#if defined(__x86_64__)
#define PC_AT (-8)
#else
#define PC_AT 16
#endif
/* What stubs jump to for a function that is interpreted: takes the arguments from where the native convention has them. */
HIDDEN void vm_interpret_entry(void);
/* Calls native code with arguments from an array of words; results go to another. No v128. */
HIDDEN void vm_call_native(
    const VMSignature *signature, void *vmctx, void *code, const uint64_t *arguments, uint64_t *results);
/* Calls what goes on in a loop: `code(vmctx, slots)`, which returns what a function of the signature does. */
HIDDEN void vm_call_loop(const VMSignature *signature, void *vmctx, void *code, uint64_t *slots, uint64_t *results);

/* ------------------------------------------------------------------------------------------------ instance.c */
HIDDEN void vm_instances_end(Store *store);
HIDDEN void vm_instances_free(Store *store);

/* ------------------------------------------------------------------------------------------------ wait.c */
HIDDEN void vm_wait_cancel(Fiber *fiber);

/* ------------------------------------------------------------------------------------------------ exception.c */
HIDDEN __attribute__((noreturn)) void vm_throw_again(VMStoreContext *store);

/* ------------------------------------------------------------------------------------------------ trap.c */
/* Ends the guest's call from a builtin: `fp` and `return_address` are those of the builtin that compiled code called. */
HIDDEN __attribute__((noreturn)) void vm_trap(VMFiber *fiber, uint32_t code, uint32_t offset, void *fp, void *return_address);
#define TRAP_HERE(fiber, code, offset) \
  vm_trap((fiber), (code), (offset), __builtin_frame_address(0), __builtin_return_address(0))
HIDDEN void vm_trap_frames(Fiber *fiber);

/* ------------------------------------------------------------------------------------------------ poll.c */
HIDDEN bool vm_is_poll(const VMFiber *fiber, uint64_t address); /* the address is in the poll page of the fiber's store */
HIDDEN void vm_poll_entry(void);

/* ------------------------------------------------------------------------------------------------ ranges.c */
/* Address ranges that a signal handler can look up. */
typedef struct Ranges Ranges;
extern Ranges vm_code_ranges HIDDEN;
extern Ranges vm_memory_ranges HIDDEN;
HIDDEN int64_t vm_ranges_add(Ranges *ranges, const void *base, uint64_t size); /* -1: no memory */
HIDDEN void vm_ranges_remove(Ranges *ranges, uint64_t index);
/* The range that holds `address`, in low and high; false if there is none. */
HIDDEN bool vm_ranges_find(Ranges *ranges, uint64_t address, uint64_t *low, uint64_t *high);

/* ------------------------------------------------------------------------------------------------ ticker.c */
extern int vm_ticker_asleep HIDDEN; /* atomic; nonzero: whoever enters a store must wake the ticker */
extern VMStoreContext *vm_stores HIDDEN; /* all of them, under vm_lock */
HIDDEN void vm_ticker_wake(void);
HIDDEN void vm_ticker_add(VMStoreContext *store);
HIDDEN void vm_ticker_remove(VMStoreContext *store);
HIDDEN void vm_ticker_forked(void); /* in the child, vm_lock held */

extern void *const vm_builtins[BUILTIN_COUNT] HIDDEN;
HIDDEN void vm_host_call(VMHostFuncContext *context, void *values);
