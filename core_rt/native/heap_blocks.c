/* The reservation of a store's heap, and its blocks. */
#include "heap.h"

static void *map(uint64_t size) {
  void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return place == MAP_FAILED ? NULL : place;
}

/* Reserves address space for at most `bytes` of objects. Does nothing when that was done. */
int vm_heap_reserve(VMStoreContext *store, uint64_t bytes) {
  Heap *heap = &((Store *)store)->heap;
  if (heap->base) return 0;
  uint64_t most = ((uint64_t)1 << 32) - HEAP_BLOCK;
  uint64_t blocks = ((bytes > most ? most : bytes) + HEAP_BLOCK - 1) / HEAP_BLOCK + 2; /* types have the first */
  if (blocks * HEAP_BLOCK > most) blocks = most / HEAP_BLOCK;
  uint8_t *kinds = calloc(blocks, 1);
  HeapBlock *table = calloc(blocks, sizeof *table);
  uint64_t *marks = kinds && table ? map(blocks * WORDS_PER_BLOCK * 8) : NULL;
  /* Every object is pushed once at most, when its mark is set. */
  uint64_t *stack = marks ? map(blocks * STACK_PER_BLOCK) : NULL;
  uint8_t *base = stack ? map(blocks * HEAP_BLOCK) : NULL;
  if (!base) {
    int error = errno;
    if (stack) munmap(stack, blocks * STACK_PER_BLOCK);
    if (marks) munmap(marks, blocks * WORDS_PER_BLOCK * 8);
    free(kinds);
    free(table);
    errno = error;
    return -1;
  }
  heap->blocks = (uint32_t)blocks;
  heap->free_blocks = (uint32_t)blocks - 1;
  heap->limit = bytes;
  heap->kinds = kinds;
  heap->table = table;
  heap->marks = marks;
  heap->stack = stack;
  heap->base = base;
  heap->threshold = vm_heap_threshold(heap);
  kinds[0] = BLOCK_TYPES;
  heap->types_at = 64; /* 0 is null */
  heap->types_end = HEAP_BLOCK;
  heap->top = 1;
  store->gc_heap = base;
  store->gc_heap_size = blocks * HEAP_BLOCK;
  return 0;
}

uint32_t vm_heap_take_blocks(Heap *heap, uint32_t count) {
  if (count > heap->free_blocks) return 0;
  for (int round = 0; round < 2; round++) {
    uint32_t index = round ? 1 : heap->hint, run = 0;
    if (!index) index = 1;
    for (; index < heap->blocks; index++) {
      run = heap->kinds[index] == BLOCK_FREE ? run + 1 : 0;
      if (run < count) continue;
      uint32_t first = index + 1 - count;
      heap->hint = index + 1;
      heap->free_blocks -= count;
      if (heap->top <= index) heap->top = index + 1;
      return first;
    }
  }
  return 0;
}

void vm_heap_clear_blocks(Heap *heap, uint32_t first, uint32_t count) {
  if (count >= 8) {
    bool dirty = false;
    for (uint32_t i = first; i < first + count; i++) dirty |= heap->table[i].dirty;
    if (dirty) madvise(heap->base + (uint64_t)first * HEAP_BLOCK, (uint64_t)count * HEAP_BLOCK, MADV_DONTNEED);
  } else {
    for (uint32_t i = first; i < first + count; i++)
      if (heap->table[i].dirty) memset(heap->base + (uint64_t)i * HEAP_BLOCK, 0, HEAP_BLOCK);
  }
  for (uint32_t i = first; i < first + count; i++) heap->table[i].dirty = 1;
}

void vm_heap_free_blocks(Heap *heap, uint32_t first, uint32_t count) {
  memset(heap->kinds + first, BLOCK_FREE, count);
  heap->free_blocks += count;
}

static inline bool is_spare(const Heap *heap, uint32_t block) {
  return heap->kinds[block] == BLOCK_FREE && heap->table[block].dirty;
}

uint32_t vm_heap_count_spare(const Heap *heap) {
  uint32_t dirty = 0, used = 0;
  for (uint32_t i = 1; i < heap->top; i++) {
    used += heap->kinds[i] != BLOCK_FREE;
    dirty += is_spare(heap, i);
  }
  return dirty > used + FIRST_THRESHOLD * 2 / HEAP_BLOCK ? dirty - used : 0;
}

void vm_heap_trim_some(Heap *heap) {
  uint32_t end = heap->trim_at, looked = 0;
  while (end > 1 && looked < 4096 && !is_spare(heap, end - 1)) end--, looked++;
  uint32_t first = end;
  while (first > 1 && end - first < 32 && is_spare(heap, first - 1)) heap->table[--first].dirty = 0;
  if (first < end) madvise(at(heap, first * HEAP_BLOCK), (uint64_t)(end - first) * HEAP_BLOCK, MADV_DONTNEED);
  heap->spare = first > 1 && heap->spare > end - first ? heap->spare - (end - first) : 0;
  heap->trim_at = first;
}

/* Frees everything; nothing may be allocated afterwards. */
void vm_heap_close(VMStoreContext *store) {
  Heap *heap = &((Store *)store)->heap;
  if (heap->base) {
    uint64_t blocks = heap->blocks;
    munmap(heap->base, blocks * HEAP_BLOCK);
    munmap(heap->marks, blocks * WORDS_PER_BLOCK * 8);
    munmap(heap->stack, blocks * STACK_PER_BLOCK);
    free(heap->kinds);
    free(heap->table);
    heap->base = NULL;
    store->gc_heap = NULL;
  }
  store->gc_marking = 0;
  memset(store->gc_runs, 0, sizeof store->gc_runs);
  heap->handle_count = heap->slot_count = 0;
  free(heap->roots);
  heap->roots = NULL;
  heap->root_count = heap->root_capacity = 0;
}
