/* Exceptions: from who throws to the innermost open `try_table` of the fiber.
 *
 * A function with `try_table`s has a VMGcFrame with GC_FRAME_CATCHES in its count, and in the word before it the VMHandler of the one that
 * is open, if any (core_rt/compile/exception.py). Throwing walks the chain of frames, which is that of the fiber alone: what is thrown
 * through the host is thrown again by it, in the fiber that called the host (`vm_host_call`). Nothing is unwound on the way.
 *
 * Calls between components link a frame with GC_FRAME_STOPS, which is where the search ends: no exception leaves a component. */
#include "shim.h"

#define CATCHES ((uint64_t)1 << 32)
#define STOPS ((uint64_t)1 << 33)

static VMHandler *handler_of(const VMGcFrame *frame) {
  return frame->count & CATCHES ? ((VMHandler *const *)frame)[-1] : NULL;
}

/* The handler where an exception continues, ready for it, its frame being the first of the chain; null if there is none. */
static VMHandler *prepare(VMStoreContext *store, uint32_t exception) {
  for (VMGcFrame *frame = store->gc_frame; frame; frame = frame->previous) {
    VMHandler *handler = handler_of(frame);
    if (UNLIKELY(frame->count & STOPS)) TRAP_HERE(store->running, TRAP_UNCAUGHT_EXCEPTION, NO_OFFSET);
    if (!handler) continue;
    handler->exception = exception;
    store->gc_frame = frame;
    return handler;
  }
  return NULL;
}

void *vm_builtin_throw_ref(void *vmctx, uint32_t exception) {
  VMStoreContext *store = ((VMContextHeader *)vmctx)->store;
  VMHandler *handler = prepare(store, exception);
  if (UNLIKELY(!handler)) vm_builtin_throw_uncaught(vmctx, exception);
  return handler;
}

/* Whether an exception that comes out of the host function which the fiber waits for would be caught in it. */
int vm_catches(VMFiber *fiber) {
  for (VMGcFrame *frame = fiber->gc_frame; frame && !(frame->count & STOPS); frame = frame->previous)
    if (handler_of(frame)) return 1;
  return 0;
}

/* On the fiber, after the host put `store.exception` there and resumed it (`vm_catches` was true). */
void vm_throw_again(VMStoreContext *store) {
  uint32_t exception = store->exception;
  store->exception = 0;
  VMHandler *handler = prepare(store, exception);
  if (!handler) TRAP_HERE(store->running, TRAP_ENGINE_FAULT, NO_OFFSET);
  vm_land(handler, handler->landing, handler->sp, handler->fp);
}
