/* memory.atomic.wait and memory.atomic.notify: threads that wait at an address of a shared memory.
 *
 * Waiters stand in lists by address, first come first woken. One that waits is on its fiber, with the GIL given away long before. Every few
 * milliseconds it looks at the store's interrupt word, and if that is set leaves for the host as a polling guest does (signals, deadlines,
 * other tasks); it stays in its list meanwhile, so that no notification is lost. The host may then drop the fiber: so waiters are
 * allocated, hang on their fiber, and `vm_wait_cancel` takes them away when the fiber is reset. */
#include "shim.h"
#include <time.h>

#define SLICE_NS 10000000u

typedef struct Waiter {
  struct Waiter *next;
  uint64_t address;
  bool woken;
  pthread_cond_t wake;
} Waiter;

static struct Bucket {
  pthread_mutex_t lock;
  Waiter *first;
} buckets[64] = {[0 ... 63] = {PTHREAD_MUTEX_INITIALIZER, NULL}};

enum { WOKEN, NOT_EQUAL, TIMED_OUT };

static struct Bucket *bucket_of(uint64_t address) { return &buckets[(address >> 2 ^ address >> 12) % 64]; }

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void append(struct Bucket *bucket, Waiter *waiter) {
  Waiter **link = &bucket->first;
  while (*link) link = &(*link)->next;
  *link = waiter;
}

/* Out of the list, if it is still there. Under the bucket's lock. */
static void take_out(struct Bucket *bucket, Waiter *waiter) {
  for (Waiter **link = &bucket->first; *link; link = &(*link)->next) {
    if (*link != waiter) continue;
    *link = waiter->next;
    return;
  }
}

static void dispose(Fiber *fiber, Waiter *waiter) {
  fiber->waiter = NULL;
  pthread_cond_destroy(&waiter->wake);
  free(waiter);
}

void vm_wait_cancel(Fiber *fiber) {
  Waiter *waiter = fiber->waiter;
  if (!waiter) return;
  struct Bucket *bucket = bucket_of(waiter->address);
  pthread_mutex_lock(&bucket->lock);
  take_out(bucket, waiter);
  pthread_mutex_unlock(&bucket->lock);
  dispose(fiber, waiter);
}

static Waiter *new_waiter(uint64_t address) {
  Waiter *waiter = calloc(1, sizeof *waiter);
  pthread_condattr_t clock;
  if (!waiter) return NULL;
  waiter->address = address;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_cond_init(&waiter->wake, &clock);
  pthread_condattr_destroy(&clock);
  return waiter;
}

static uint32_t wait_at(void *vmctx, uint64_t address, bool wide, uint64_t expected, int64_t timeout) {
  VMStoreContext *store = ((VMContextHeader *)vmctx)->store;
  Fiber *fiber = (Fiber *)store->running;
  struct Bucket *bucket = bucket_of(address);
  uint64_t deadline = timeout < 0 ? UINT64_MAX : now() + (uint64_t)timeout;
  Waiter *waiter = new_waiter(address);
  if (!waiter) TRAP_HERE(&fiber->face, TRAP_ENGINE_FAULT, NO_OFFSET);
  pthread_mutex_lock(&bucket->lock);
  uint64_t value = wide ? __atomic_load_n((uint64_t *)address, __ATOMIC_SEQ_CST) : __atomic_load_n((uint32_t *)address, __ATOMIC_SEQ_CST);
  if (value != expected) {
    pthread_mutex_unlock(&bucket->lock);
    dispose(fiber, waiter);
    return NOT_EQUAL;
  }
  append(bucket, waiter);
  fiber->waiter = waiter;
  while (!waiter->woken) {
    uint64_t time = now();
    if (time >= deadline) {
      take_out(bucket, waiter);
      break;
    }
    uint64_t until = deadline - time > SLICE_NS ? time + SLICE_NS : deadline;
    struct timespec spec = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    pthread_cond_timedwait(&waiter->wake, &bucket->lock, &spec);
    if (!waiter->woken && __atomic_load_n(&store->interrupt, __ATOMIC_RELAXED)) {
      pthread_mutex_unlock(&bucket->lock);
      vm_builtin_interrupted(vmctx); /* comes back on whatever thread resumes the fiber, or never */
      pthread_mutex_lock(&bucket->lock);
    }
  }
  bool woken = waiter->woken;
  pthread_mutex_unlock(&bucket->lock);
  dispose(fiber, waiter);
  return woken ? WOKEN : TIMED_OUT;
}

static uint64_t place(void *definition, uint64_t at) { return (uint64_t)((VMMemoryDefinition *)definition)->base + at; }

uint32_t vm_builtin_atomic_wait32(void *vmctx, void *definition, uint64_t at, uint32_t expected, uint64_t timeout) {
  return wait_at(vmctx, place(definition, at), false, expected, (int64_t)timeout);
}

uint32_t vm_builtin_atomic_wait64(void *vmctx, void *definition, uint64_t at, uint64_t expected, uint64_t timeout) {
  return wait_at(vmctx, place(definition, at), true, expected, (int64_t)timeout);
}

uint32_t vm_builtin_atomic_notify(void *vmctx, void *definition, uint64_t at, uint32_t count) {
  (void)vmctx;
  uint64_t address = place(definition, at);
  struct Bucket *bucket = bucket_of(address);
  uint32_t woken = 0;
  pthread_mutex_lock(&bucket->lock);
  for (Waiter **link = &bucket->first; *link && woken < count;) {
    Waiter *waiter = *link;
    if (waiter->address != address) {
      link = &waiter->next;
      continue;
    }
    *link = waiter->next;
    waiter->woken = true;
    pthread_cond_signal(&waiter->wake);
    woken++;
  }
  pthread_mutex_unlock(&bucket->lock);
  return woken;
}
