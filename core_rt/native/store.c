/* Store contexts: what compiled code, the shim and Python know of a store, in one block with its values buffer. */
#include "shim.h"

#define VALUES_AT ((sizeof(Store) + 63) / 64 * 64)
#define VALRAW_SIZE 16

VMStoreContext *vm_store_new(void) {
  size_t size = VALUES_AT + VALUES_CAPACITY * VALRAW_SIZE;
  Store *self = NULL;
  int error = posix_memalign((void **)&self, 64, (size + 63) / 64 * 64);
  if (error) {
    errno = error;
    return NULL;
  }
  memset(self, 0, size);
  vm_signals_ensure();
  VMStoreContext *store = &self->face;
  store->magic = STORE_MAGIC;
  store->builtins = vm_builtin_array();
  store->values = (uint8_t *)self + VALUES_AT;
  vm_ticker_add(store);
  return store;
}

/* Frees the store and all its fibers, parked ones too. Refused (STATUS_BUSY) while a call is going on. */
int vm_store_free(VMStoreContext *store) {
  /* Owned for good from here on: a call that comes too late is refused as long as the memory lasts. */
  uint64_t nobody = 0;
  if (!__atomic_compare_exchange_n(&store->owner, &nobody, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return STATUS_BUSY;
  __atomic_store_n(&store->closed, 1, __ATOMIC_RELAXED);
  vm_ticker_remove(store);
  vm_fibers_drop((Store *)store);
  store->magic = 0;
  free(store);
  return 0;
}

void vm_interrupt(VMStoreContext *store) { __atomic_store_n(&store->interrupt, 1, __ATOMIC_RELAXED); }

void *vm_alloc(size_t size) { return calloc(1, size ? size : 1); }

void vm_free(void *block) { free(block); }
