/* The ticker: one thread that sets `interrupt` in every store that somebody is inside, once per period.
 *
 * It starts when it is first needed and sleeps when nobody has been inside any store for a while; who enters a store then
 * wakes it (`vm_ticker_asleep`, read in `own`). The flag and the owner words are sequentially consistent: going to sleep writes the
 * flag, then reads the owners; entering writes the owner, then reads the flag; one of the two sees the other. */
#include "shim.h"
#include <limits.h>
#include <signal.h>
#include <time.h>

#define QUIET_TICKS 20

int vm_ticker_asleep; /* 0 while there is no period: nobody has to be woken */

static uint64_t period; /* microseconds */
static bool started;
static pthread_cond_t changed;
VMStoreContext *vm_stores;

static void make_condition(void) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&changed, &attributes);
  pthread_condattr_destroy(&attributes);
}

/* A fork must not copy a lock that another thread holds, and the child has no ticker thread. */
static void before_fork(void) { pthread_mutex_lock(&vm_lock); }
static void after_fork_parent(void) { pthread_mutex_unlock(&vm_lock); }
static void after_fork_child(void) {
  pthread_mutex_init(&vm_lock, NULL);
  make_condition();
  started = false;
  __atomic_store_n(&vm_ticker_asleep, period != 0, __ATOMIC_SEQ_CST);
}

__attribute__((constructor)) static void set_up(void) {
  make_condition();
  pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static bool inside(VMStoreContext *store) { return __atomic_load_n(&store->owner, __ATOMIC_SEQ_CST) != 0; }

static bool anybody_inside(void) {
  for (VMStoreContext *store = vm_stores; store; store = store->next)
    if (inside(store)) return true;
  return false;
}

static bool tick(void) {
  bool active = false;
  for (VMStoreContext *store = vm_stores; store; store = store->next) {
    if (!inside(store)) continue;
    active = true;
    vm_interrupt(store);
    __atomic_store_n(&store->ticks, store->ticks + 1, __ATOMIC_RELAXED);
  }
  if (active) vm_counts.ticks++;
  return active;
}

/* Waits a period, longer if nothing is to be done. */
static void wait_period(struct timespec *next) {
  struct timespec now;
  uint64_t nanoseconds = (uint64_t)next->tv_nsec + period % 1000000 * 1000;
  clock_gettime(CLOCK_MONOTONIC, &now);
  next->tv_sec += (time_t)(period / 1000000 + nanoseconds / 1000000000);
  next->tv_nsec = (long)(nanoseconds % 1000000000);
  /* Ticks that were missed (machine suspended, system loaded) are not made up for. */
  if (next->tv_sec < now.tv_sec || (next->tv_sec == now.tv_sec && next->tv_nsec < now.tv_nsec)) *next = now;
  uint64_t wanted = period;
  while (period == wanted && pthread_cond_timedwait(&changed, &vm_lock, next) != ETIMEDOUT) continue;
}

static void *run(void *unused) {
  int quiet = 0;
  struct timespec next;
  (void)unused;
  pthread_mutex_lock(&vm_lock);
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (;;) {
    if (period) {
      wait_period(&next);
      if (!period) continue; /* stopped while we waited */
      quiet = tick() ? 0 : quiet + 1;
      if (quiet < QUIET_TICKS && period) continue;
    }
    __atomic_store_n(&vm_ticker_asleep, period != 0, __ATOMIC_SEQ_CST);
    if (period && anybody_inside()) __atomic_store_n(&vm_ticker_asleep, 0, __ATOMIC_SEQ_CST);
    while (!period || __atomic_load_n(&vm_ticker_asleep, __ATOMIC_RELAXED)) pthread_cond_wait(&changed, &vm_lock);
    quiet = 0;
    clock_gettime(CLOCK_MONOTONIC, &next);
  }
  return NULL;
}

/* Makes sure that the ticker runs. Called with vm_lock held. */
static void wake(void) {
  if (!period) return;
  if (!started) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 128u << 10);
    /* Signals are for Python's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started = pthread_create(&thread, &attributes, run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!started) return; /* whoever enters next tries again */
  }
  __atomic_store_n(&vm_ticker_asleep, 0, __ATOMIC_SEQ_CST);
  pthread_cond_signal(&changed);
}

void vm_ticker_wake(void) {
  int error = errno;
  pthread_mutex_lock(&vm_lock);
  if (__atomic_load_n(&vm_ticker_asleep, __ATOMIC_RELAXED)) wake();
  pthread_mutex_unlock(&vm_lock);
  errno = error;
}

void vm_ticker_period(uint64_t microseconds) {
  pthread_mutex_lock(&vm_lock);
  period = microseconds;
  __atomic_store_n(&vm_ticker_asleep, period != 0, __ATOMIC_SEQ_CST);
  /* A guest may be running already. */
  if (started || anybody_inside()) wake();
  pthread_mutex_unlock(&vm_lock);
}

uint64_t vm_ticker_get_period(void) { return period; }

void vm_ticker_add(VMStoreContext *store) {
  pthread_mutex_lock(&vm_lock);
  store->next = vm_stores;
  if (vm_stores) vm_stores->previous = store;
  vm_stores = store;
  vm_counts.stores++;
  pthread_mutex_unlock(&vm_lock);
}

void vm_ticker_remove(VMStoreContext *store) {
  pthread_mutex_lock(&vm_lock);
  VMStoreContext *next = store->next, *previous = store->previous;
  if (previous) previous->next = next;
  else vm_stores = next;
  if (next) next->previous = previous;
  vm_counts.stores--;
  pthread_mutex_unlock(&vm_lock);
}
