/* Fibers: making them, entering and leaving guests, parking. See the picture in shim.h.
 *
 * States of a fiber, and who moves it:
 *
 *     IDLE --vm_call--> INSIDE --guest leaves--> LEFT --vm_resume--> INSIDE
 *       ^                  |                      |  ^
 *       +--returns, traps--+                      |  +--vm_resume-- PARKED
 *       +----------------vm_abandon---------------+----vm_park--------^  |
 *       +----------------vm_abandon--------------------------------------+
 *
 * LEFT fibers are attached: they form the list store.running -> outer -> outer ..., `depth` long. Only its head may be
 * resumed, parked or abandoned. PARKED ones are on their own. When a store is closed all become GONE: no stack any more, but
 * whoever still holds one may ask about it until the store is freed. */
#include "shim.h"

__thread Thread vm_thread;

typedef void (*ArrayCall)(void *funcref, void *values);

void vm_fiber_main(VMFiber *fiber) {
  for (;;) {
    ((ArrayCall)fiber->entry)(fiber->entry_funcref, fiber->entry_values);
    vm_leave(fiber, STATUS_RETURNED);
  }
}

static inline uint64_t token(void) { return (uint64_t)&vm_thread; }

uint64_t vm_thread_token(void) { return token(); }

/* ------------------------------------------------------------------------------------------------ owning a store */

/* Makes the calling thread the owner. False when another thread is. */
static inline bool own(VMStoreContext *store) {
  uint64_t me = token(), owner = 0;
  if (__atomic_load_n(&store->owner, __ATOMIC_RELAXED) == me) return true;
  /* Sequentially consistent against the ticker: either it sees our owner word or we see that it sleeps. */
  if (!__atomic_compare_exchange_n(&store->owner, &owner, me, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return false;
  if (UNLIKELY(__atomic_load_n(&vm_ticker_asleep, __ATOMIC_SEQ_CST))) vm_ticker_wake();
  return true;
}

static inline void disown(VMStoreContext *store) {
  if (store->depth == 0) __atomic_store_n(&store->owner, 0, __ATOMIC_RELEASE);
}

static inline bool owned(const VMStoreContext *store) { return __atomic_load_n(&store->owner, __ATOMIC_RELAXED) == token(); }

static inline void push_idle(VMStoreContext *store, VMFiber *fiber) {
  fiber->next = store->idle;
  store->idle = fiber;
}

/* Hands an idle fiber to the store from a thread that does not own it. */
static void give_back(Store *store, VMFiber *fiber) {
  VMFiber *head = __atomic_load_n(&store->returned, __ATOMIC_RELAXED);
  do fiber->next = head;
  while (!__atomic_compare_exchange_n(&store->returned, &head, fiber, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

/* Moves what was given back to the idle list; the caller owns the store. */
static void take_returned(VMStoreContext *store) {
  VMFiber *fiber = __atomic_exchange_n(&((Store *)store)->returned, NULL, __ATOMIC_ACQUIRE);
  while (fiber) {
    VMFiber *next = fiber->next;
    push_idle(store, fiber);
    fiber = next;
  }
}

static inline void attach(VMStoreContext *store, VMFiber *fiber) {
  fiber->outer = store->running;
  store->running = fiber;
  store->depth++;
}

static inline void detach(VMStoreContext *store, VMFiber *fiber) {
  store->running = fiber->outer;
  fiber->outer = NULL;
  store->depth--;
  disown(store);
}

static void reset(VMFiber *fiber) {
  if (UNLIKELY(((Fiber *)fiber)->waiter)) vm_wait_cancel((Fiber *)fiber);
  fiber->sp = vm_first_sp(fiber, fiber->stack_high);
  fiber->gc_frame = NULL;
  ((Fiber *)fiber)->state = FIBER_IDLE;
}

/* ------------------------------------------------------------------------------------------------ entering */

/* Runs the attached fiber until its guest leaves. `store.gc_frame` holds the inside fiber's frames while it is inside; the fiber
 * keeps them meanwhile. */
static inline int enter(VMStoreContext *store, VMFiber *fiber) {
  ((Fiber *)fiber)->state = FIBER_INSIDE;
  store->gc_frame = fiber->gc_frame;
  vm_thread.current = fiber;
  vm_switch(&fiber->host_sp, fiber->sp);
  vm_thread.current = NULL;
  fiber->gc_frame = store->gc_frame;
  store->gc_frame = NULL;
  uint32_t status = fiber->status;
  if (LIKELY(status == STATUS_RETURNED)) {
    vm_thread.result = ((uint64_t *)fiber->entry_values)[0]; /* while nobody else can write there */
    vm_thread.outcome = ((uint64_t *)fiber->entry_values)[1];
    ((Fiber *)fiber)->state = FIBER_IDLE;
  } else if (LIKELY(status != STATUS_TRAP)) {
    ((Fiber *)fiber)->state = FIBER_LEFT;
    return (int)status;
  } else {
    vm_trap_frames((Fiber *)fiber);
    reset(fiber);
    store->trapped = fiber;
  }
  push_idle(store, fiber);
  detach(store, fiber);
  return (int)status;
}

VMFiber *vm_claim(VMStoreContext *store, uint32_t *why) {
  if (UNLIKELY(!vm_thread.ready)) vm_thread_init();
  if (UNLIKELY(!own(store))) {
    *why = STATUS_BUSY;
    return NULL;
  }
  if (UNLIKELY(__atomic_load_n(&store->closed, __ATOMIC_RELAXED))) {
    disown(store);
    *why = STATUS_CLOSED;
    return NULL;
  }
  VMFiber *fiber = store->idle;
  if (UNLIKELY(!fiber)) {
    take_returned(store);
    fiber = store->idle;
    if (!fiber) {
      disown(store);
      *why = STATUS_NO_FIBER;
      return NULL;
    }
  }
  store->idle = fiber->next;
  return fiber;
}

void vm_unclaim(VMStoreContext *store, VMFiber *fiber) {
  push_idle(store, fiber);
  disown(store);
}

int vm_run(VMStoreContext *store, VMFiber *fiber, void *entry, void *funcref, void *values) {
  fiber->entry = entry;
  fiber->entry_funcref = funcref;
  fiber->entry_values = values;
  fiber->gc_frame = NULL;
  attach(store, fiber);
  return enter(store, fiber);
}

int vm_call(VMCallSite *site) {
  VMStoreContext *store = site->store;
  uint32_t why;
  VMFiber *fiber = vm_claim(store, &why);
  if (UNLIKELY(!fiber)) return (int)why;
  return vm_run(store, fiber, site->array_call, site->funcref, store->values);
}

int vm_resume(VMFiber *fiber) {
  VMStoreContext *store = fiber->store;
  uint32_t state = ((Fiber *)fiber)->state;
  if (LIKELY(state == FIBER_LEFT)) {
    if (UNLIKELY(!owned(store))) return STATUS_BUSY;
    if (UNLIKELY(store->running != fiber)) return -1;
    return enter(store, fiber);
  }
  if (state == FIBER_GONE) return STATUS_CLOSED;
  if (state != FIBER_PARKED) return -1;
  if (UNLIKELY(!vm_thread.ready)) vm_thread_init();
  if (UNLIKELY(!own(store))) return STATUS_BUSY;
  if (UNLIKELY(__atomic_load_n(&store->closed, __ATOMIC_RELAXED))) {
    disown(store);
    return STATUS_CLOSED;
  }
  /* Another thread may be resuming or abandoning it too: one wins. */
  if (UNLIKELY(!__atomic_compare_exchange_n(&((Fiber *)fiber)->state, &state, FIBER_LEFT, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED))) {
    disown(store);
    return -1;
  }
  attach(store, fiber);
  return enter(store, fiber);
}

int vm_resume_running(VMStoreContext *store) {
  VMFiber *fiber = store->running;
  if (UNLIKELY(!owned(store))) return STATUS_BUSY;
  if (UNLIKELY(!fiber)) return -1;
  return enter(store, fiber);
}

int vm_park(VMFiber *fiber) {
  VMStoreContext *store = fiber->store;
  if (((Fiber *)fiber)->state != FIBER_LEFT) return -1;
  if (!owned(store)) return STATUS_BUSY;
  if (store->running != fiber) return -1;
  ((Fiber *)fiber)->state = FIBER_PARKED;
  detach(store, fiber);
  return 0;
}

int vm_abandon(VMFiber *fiber) {
  VMStoreContext *store = fiber->store;
  Fiber *self = (Fiber *)fiber;
  if (self->state == FIBER_LEFT) {
    if (!owned(store)) return STATUS_BUSY;
    if (store->running != fiber) return -1;
    reset(fiber);
    push_idle(store, fiber);
    detach(store, fiber);
    return 0;
  }
  if (self->state == FIBER_GONE) return 0;
  /* Parked: nobody needs to own the store for that, it may be busy with something else. */
  uint32_t parked = FIBER_PARKED;
  if (!__atomic_compare_exchange_n(&self->state, &parked, FIBER_IDLE, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return -1;
  reset(fiber);
  give_back((Store *)store, fiber);
  return 0;
}

VMFiber *vm_running(VMStoreContext *store) { return store->running; }

int vm_is_parked(VMFiber *fiber) { return ((Fiber *)fiber)->state == FIBER_PARKED; }

/* Compiled code calls this for a function of the host. */
void vm_host_call(VMHostFuncContext *context, void *values) {
  VMStoreContext *store = context->store;
  VMFiber *fiber = store->running;
  if (UNLIKELY(context->magic != HOST_MAGIC)) TRAP_HERE(fiber, TRAP_ENGINE_FAULT, NO_OFFSET);
  store->host_index = context->index;
  fiber->callee = context;
  fiber->values = values;
  vm_leave(fiber, STATUS_HOST_CALL);
  if (UNLIKELY(store->exception)) vm_throw_again(store);
}

void vm_stub_leave(VMContextHeader *vmctx, uint64_t index) {
  VMFiber *fiber = vm_fiber_of(vmctx);
  fiber->vmctx = vmctx;
  fiber->function = index;
  vm_leave(fiber, STATUS_COMPILE);
}

/* ------------------------------------------------------------------------------------------------ stacks */

/* Mappings of freed fibers, by size. Those beyond `pool_resident` have given their pages back, those beyond `pool_limit` are
 * unmapped. The link stands in the mapping's last word. */
typedef struct Pool {
  uint64_t size; /* of the mapping, guard included */
  uint64_t count;
  uint8_t *first;
} Pool;
static Pool pools[8];
static uint64_t pool_limit = 4096, pool_resident = 64;

#define LINK(mapping, size) (*(uint8_t **)((mapping) + (size) - 16))

void vm_fiber_pool_limit(uint64_t mappings, uint64_t resident) {
  pthread_mutex_lock(&vm_lock);
  pool_limit = mappings;
  pool_resident = resident;
  for (Pool *pool = pools; pool < pools + 8; pool++) {
    while (pool->count > pool_limit) {
      uint8_t *mapping = pool->first;
      pool->first = LINK(mapping, pool->size);
      pool->count--;
      vm_counts.fiber_mappings_pooled--;
      munmap(mapping, pool->size);
    }
  }
  pthread_mutex_unlock(&vm_lock);
}

static uint8_t *new_mapping(uint64_t size) {
  uint8_t *mapping = NULL;
  pthread_mutex_lock(&vm_lock);
  for (Pool *pool = pools; pool < pools + 8 && !mapping; pool++) {
    if (pool->size != size || !pool->count) continue;
    mapping = pool->first;
    pool->first = LINK(mapping, size);
    pool->count--;
    vm_counts.fiber_mappings_pooled--;
  }
  pthread_mutex_unlock(&vm_lock);
  if (mapping) return mapping;
  mapping = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) return NULL;
  /* A huge page under each stack would cost 2 MiB per fiber. */
  if (size >= 2u << 20) madvise(mapping, size, MADV_NOHUGEPAGE);
  if (mprotect(mapping + GUARD_SIZE, size - GUARD_SIZE, PROT_READ | PROT_WRITE)) {
    int error = errno;
    munmap(mapping, size);
    errno = error;
    return NULL;
  }
  return mapping;
}

static void free_mapping(uint8_t *mapping, uint64_t size) {
  pthread_mutex_lock(&vm_lock);
  Pool *place = NULL;
  for (Pool *pool = pools; pool < pools + 8; pool++) {
    if (pool->size == size) {
      place = pool;
      break;
    }
    if (!place && !pool->count) place = pool;
  }
  if (!place || place->count >= pool_limit) {
    pthread_mutex_unlock(&vm_lock);
    munmap(mapping, size);
    return;
  }
  if (place->count >= pool_resident) madvise(mapping + GUARD_SIZE, size - GUARD_SIZE - 4096, MADV_DONTNEED);
  place->size = size;
  LINK(mapping, size) = place->first;
  place->first = mapping;
  place->count++;
  vm_counts.fiber_mappings_pooled++;
  pthread_mutex_unlock(&vm_lock);
}

VMFiber *vm_fiber_new(VMStoreContext *store, uint64_t stack_size) {
  uint64_t size = vm_round_to_page(stack_size);
  if (size < 16u << 10 || size > (uint64_t)1 << 40) {
    errno = EINVAL;
    return NULL;
  }
  size += GUARD_SIZE;
  Fiber *self = calloc(1, sizeof *self);
  uint8_t *mapping = self ? new_mapping(size) : NULL;
  if (!mapping) {
    free(self);
    return NULL;
  }
  VMFiber *fiber = &self->face;
  fiber->mapping = mapping;
  fiber->mapping_size = size;
  fiber->stack_low = mapping + GUARD_SIZE;
  fiber->stack_high = mapping + size;
  fiber->store = store;
  reset(fiber);
  pthread_mutex_lock(&vm_lock);
  self->sibling = ((Store *)store)->fibers;
  ((Store *)store)->fibers = self;
  vm_counts.fibers++;
  pthread_mutex_unlock(&vm_lock);
  give_back((Store *)store, fiber);
  return fiber;
}

static void destroy(Fiber *fiber) {
  vm_wait_cancel(fiber);
  if (fiber->face.mapping) free_mapping(fiber->face.mapping, fiber->face.mapping_size);
  free(fiber);
}

int vm_fibers_close(VMStoreContext *store) {
  if (!own(store)) return STATUS_BUSY;
  if (store->depth) return -1;
  uint64_t closed = 0;
  pthread_mutex_lock(&vm_lock);
  Fiber *fibers = ((Store *)store)->fibers;
  pthread_mutex_unlock(&vm_lock);
  __atomic_store_n(&((Store *)store)->returned, NULL, __ATOMIC_RELAXED);
  store->idle = NULL;
  store->trapped = NULL;
  for (Fiber *fiber = fibers; fiber; fiber = fiber->sibling) {
    uint8_t *mapping = fiber->face.mapping;
    fiber->state = FIBER_GONE;
    fiber->face.mapping = NULL;
    if (!mapping) continue;
    free_mapping(mapping, fiber->face.mapping_size);
    closed++;
  }
  pthread_mutex_lock(&vm_lock);
  vm_counts.fibers -= closed;
  pthread_mutex_unlock(&vm_lock);
  disown(store);
  return 0;
}

int vm_fiber_free(VMFiber *fiber) {
  VMStoreContext *store = fiber->store;
  Fiber *self = (Fiber *)fiber;
  if (!own(store)) return STATUS_BUSY;
  if (self->state != FIBER_IDLE && self->state != FIBER_PARKED) {
    disown(store);
    return -1;
  }
  if (self->state == FIBER_IDLE) {
    take_returned(store);
    VMFiber *before = NULL;
    for (VMFiber *at = store->idle; at != fiber; at = at->next) {
      if (!at) {
        disown(store);
        return -1;
      }
      before = at;
    }
    if (before) before->next = fiber->next;
    else store->idle = fiber->next;
  }
  if (store->trapped == fiber) store->trapped = NULL;
  disown(store);
  pthread_mutex_lock(&vm_lock);
  Fiber **link = &((Store *)store)->fibers;
  while (*link != self) link = &(*link)->sibling;
  *link = self->sibling;
  vm_counts.fibers--;
  pthread_mutex_unlock(&vm_lock);
  destroy(self);
  return 0;
}

/* Frees all fibers of a store that nobody is in any more. */
void vm_fibers_drop(Store *store) {
  pthread_mutex_lock(&vm_lock);
  Fiber *fiber = store->fibers;
  store->fibers = NULL;
  for (Fiber *f = fiber; f; f = f->sibling) vm_counts.fibers -= f->face.mapping != NULL;
  pthread_mutex_unlock(&vm_lock);
  while (fiber) {
    Fiber *next = fiber->sibling;
    destroy(fiber);
    fiber = next;
  }
}
