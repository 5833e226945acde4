/* Store contexts: what compiled code, the shim and Python know of a store, in one block with its values buffer and its poll page.
 *
 * Blocks of freed stores are kept for new ones: a mapping costs more than all the rest of a store. */
#include "shim.h"

#define VALUES_AT ((sizeof(Store) + 63) / 64 * 64)
#define VALRAW_SIZE 16

_Static_assert(VALUES_AT + VALUES_CAPACITY * VALRAW_SIZE <= POLL_OFFSET, "the poll page lies behind the values");

#define BLOCKS_KEPT 64
static void *blocks[BLOCKS_KEPT]; /* under vm_lock */
static size_t block_count;

static void *take_block(void) {
  void *block = NULL;
  pthread_mutex_lock(&vm_lock);
  if (block_count) block = blocks[--block_count];
  pthread_mutex_unlock(&vm_lock);
  if (block) {
    memset(block, 0, sizeof(Store));
    return block;
  }
  block = mmap(NULL, POLL_OFFSET + POLL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return block == MAP_FAILED ? NULL : block;
}

static void free_block(VMStoreContext *store) {
  bool kept = false;
  if (store->interrupt) mprotect((uint8_t *)store + POLL_OFFSET, POLL_SIZE, PROT_READ);
  pthread_mutex_lock(&vm_lock);
  kept = block_count < BLOCKS_KEPT;
  if (kept) blocks[block_count++] = store;
  pthread_mutex_unlock(&vm_lock);
  if (!kept) munmap(store, POLL_OFFSET + POLL_SIZE);
}

VMStoreContext *vm_store_new(void) {
  Store *self = take_block();
  if (!self) return NULL;
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
  vm_heap_close(store);
  store->magic = 0;
  free_block(store);
  return 0;
}

void *vm_alloc(size_t size) { return calloc(1, size ? size : 1); }

void vm_free(void *block) { free(block); }
