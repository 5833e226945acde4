/* Store contexts: what compiled code, the shim and Python know of a store, in one block with its values buffer and its poll page.
 *
 * A store ends in two steps: `vm_store_end` when it is closed, after which nothing of it runs and what it owns is given back, but
 * every address in it is still good; `vm_store_empty` when nobody holds such an address. Then the block is free (`vm_store_free`),
 * or another store's (`vm_store_renew`): a mapping costs more than all the rest. */
#include "shim.h"

#define VALUES_AT ((sizeof(Store) + 63) / 64 * 64)
#define VALRAW_SIZE 16

_Static_assert(VM_VALUES_SIZE == VALUES_CAPACITY * VALRAW_SIZE, "what Python sees of the values");
_Static_assert(VALUES_AT + VALUES_CAPACITY * VALRAW_SIZE <= POLL_OFFSET, "the poll page lies behind the values");

VMStoreContext *vm_store_new(void) {
  void *block = mmap(NULL, POLL_OFFSET + POLL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) return NULL;
  madvise(block, POLL_OFFSET + POLL_SIZE, MADV_NOHUGEPAGE); /* most of the values are never used */
  vm_store_renew(block);
  return block;
}

/* A store in a block that was `vm_store_empty`ed, or is zero. */
void vm_store_renew(VMStoreContext *store) {
  vm_signals_ensure();
  store->magic = STORE_MAGIC;
  store->builtins = vm_builtin_array();
  store->values = (uint8_t *)store + VALUES_AT;
  vm_ticker_add(store);
}

/* Closes the store: no call can be made any more; stacks, memories, tables and the heap are free. STATUS_BUSY while another thread
 * is inside, -1 while this one is. */
int vm_store_end(VMStoreContext *store) {
  int status = vm_fibers_close(store);
  if (status) return status;
  __atomic_store_n(&store->closed, 1, __ATOMIC_RELAXED);
  vm_instances_end((Store *)store);
  vm_heap_close(store);
  return 0;
}

/* Frees all that belongs to the store, parked fibers too. Refused (STATUS_BUSY) while a call is going on. */
int vm_store_empty(VMStoreContext *store) {
  /* Owned until the end: a call that comes too late is refused. */
  uint64_t nobody = 0;
  if (!__atomic_compare_exchange_n(&store->owner, &nobody, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return STATUS_BUSY;
  __atomic_store_n(&store->closed, 1, __ATOMIC_RELAXED);
  vm_ticker_remove(store);
  vm_fibers_drop((Store *)store);
  vm_instances_free((Store *)store);
  vm_heap_close(store);
  if (store->interrupt) mprotect((uint8_t *)store + POLL_OFFSET, POLL_SIZE, PROT_READ | PROT_WRITE);
  memset(store, 0, sizeof(Store));
  return 0;
}

/* Frees an emptied store. */
void vm_store_free(VMStoreContext *store) { munmap(store, POLL_OFFSET + POLL_SIZE); }

void *vm_alloc(size_t size) { return calloc(1, size ? size : 1); }

void vm_free(void *block) { free(block); }
