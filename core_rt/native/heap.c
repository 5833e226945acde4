/* Allocation on a store's heap. The rules are in heap.h. */
#include "heap.h"

static inline uint32_t class_of(uint64_t size) {
  if (size <= 16) return 0;
  if (size <= 64) return (uint32_t)((size + 7) / 8 - 2);
  if (size <= 256) return (uint32_t)((size + 15) / 16 + 2);
  uint32_t c = 19;
  while (class_sizes[c] < size) c++;
  return c;
}

static bool found_run(Store *store, uint32_t class) {
  Heap *heap = &store->heap;
  uint32_t size = class_sizes[class];
  while (heap->sweep[class]) {
    uint32_t base = heap->sweep[class] * HEAP_BLOCK, end = base + HEAP_BLOCK / size * size, cell = base + heap->scan[class];
    while (cell < end && is_marked(heap, cell)) cell += size;
    if (cell < end) {
      uint32_t from = cell;
      while (cell < end && !is_marked(heap, cell)) cell += size;
      heap->scan[class] = cell - base;
      memset(at(heap, from), 0, cell - from);
      store->face.gc_runs[2 * class] = from;
      store->face.gc_runs[2 * class + 1] = cell;
      return true;
    }
    heap->sweep[class] = heap->table[heap->sweep[class]].next;
    heap->scan[class] = 0;
  }
  return false;
}

static bool take_run(Store *store, uint32_t class) {
  Heap *heap = &store->heap;
  uint32_t *run = &store->face.gc_runs[2 * class];
  if (!store->face.gc_marking && found_run(store, class)) {
    if (UNLIKELY(heap->stress)) run[1] = run[0] + class_sizes[class]; /* the rest is found after the next collection */
    return true;
  }
  uint32_t block = vm_heap_take_blocks(heap, 1);
  if (!block) return false;
  vm_heap_clear_blocks(heap, block, 1);
  uint32_t size = class_sizes[class], from = block * HEAP_BLOCK, to = from + HEAP_BLOCK / size * size;
  heap->kinds[block] = BLOCK_CELLS;
  heap->table[block].class = (uint8_t)class;
  heap->table[block].fresh = 1;
  heap->table[block].next = heap->first[class];
  heap->first[class] = block;
  if (UNLIKELY(heap->stress)) to = from + size;
  if (store->face.gc_marking) vm_heap_mark_run(heap, from, to, size);
  run[0] = from;
  run[1] = to;
  return true;
}

static uint32_t take_large(Store *store, uint64_t size) {
  Heap *heap = &store->heap;
  uint32_t count = (uint32_t)((size + HEAP_BLOCK - 1) / HEAP_BLOCK), first = vm_heap_take_blocks(heap, count);
  if (!first) return 0;
  vm_heap_clear_blocks(heap, first, count);
  heap->kinds[first] = BLOCK_LARGE;
  memset(heap->kinds + first + 1, BLOCK_REST, count - 1);
  heap->table[first].span = count;
  uint64_t *marks = heap->marks + (uint64_t)first * WORDS_PER_BLOCK;
  memset(marks, 0, (uint64_t)count * WORDS_PER_BLOCK * 8);
  if (store->face.gc_marking) marks[0] = 1;
  return first * HEAP_BLOCK;
}

/* A zeroed cell, without collecting; 0 if there is none. */
static uint32_t take(Store *store, uint64_t size) {
  if (UNLIKELY(size > LARGEST_CELL)) return take_large(store, size);
  uint32_t class = class_of(size), *run = &store->face.gc_runs[2 * class];
  if (UNLIKELY(run[0] == run[1]) && !take_run(store, class)) return 0;
  uint32_t object = run[0];
  run[0] += class_sizes[class];
  return object;
}

static inline uint64_t size_of(const VMHeapType *type, uint64_t length) {
  return type->kind == HEAP_ARRAY ? HEAP_HEADER + length * type->size : type->size;
}

static inline uint32_t give(Heap *heap, uint32_t object, uint32_t type, uint64_t length) {
  *(Header *)at(heap, object) = (Header){type, (uint32_t)length};
  return object;
}

/* Nothing is left: ends the marking that goes on, then does a whole one. Nonzero when there is a run or a large object then. */
static uint32_t make_room(Store *store, uint32_t class, uint64_t size) {
  for (int round = 0; round < 2; round++) {
    if (round) vm_heap_collect(&store->face);
    else if (store->face.gc_marking) vm_heap_complete(store);
    else continue;
    uint32_t found = class < HEAP_CLASS_COUNT ? take_run(store, class) : take_large(store, size);
    if (found) return found;
  }
  return 0;
}

/* For compiled code, whose references are all in its frames. */
uint32_t vm_builtin_gc_allocate(void *vmctx, uint32_t type, uint64_t length) {
  Store *store = ((VMContextHeader *)vmctx)->store;
  Heap *heap = &store->heap;
  uint64_t size = size_of((const VMHeapType *)at(heap, type), length);
  if (UNLIKELY(size > heap->limit)) TRAP_HERE(vm_fiber_of(vmctx), TRAP_ALLOCATION_TOO_LARGE, NO_OFFSET);
  if (LIKELY(size <= LARGEST_CELL)) {
    uint32_t class = class_of(size), *run = &store->face.gc_runs[2 * class];
    if (UNLIKELY(run[0] == run[1])) {
      if (!take_run(store, class) && !make_room(store, class, size)) vm_builtin_gc_exhausted(vmctx, size);
      vm_heap_pay(store, run[1] - run[0]); /* whatever that does, the run is marked or will be swept around */
    }
    uint32_t object = run[0];
    run[0] += class_sizes[class];
    return give(heap, object, type, length);
  }
  vm_heap_pay(store, size);
  uint32_t object = take_large(store, size);
  if (!object) object = make_room(store, HEAP_CLASS_COUNT, size);
  if (!object) vm_builtin_gc_exhausted(vmctx, size);
  return give(heap, object, type, length);
}

/* For the host: never collects; 0 if there is no room. */
uint32_t vm_heap_allocate(VMStoreContext *context, uint32_t type, uint64_t length) {
  Store *store = (Store *)context;
  uint64_t size = size_of((const VMHeapType *)at(&store->heap, type), length);
  if (size > store->heap.limit) return 0;
  uint32_t object = take(store, size);
  if (object) store->heap.allocated += size;
  return object ? give(&store->heap, object, type, length) : 0;
}

void vm_heap_stress(VMStoreContext *context, int on) {
  Heap *heap = &((Store *)context)->heap;
  heap->stress = on;
  if (on) memset(context->gc_runs, 0, sizeof context->gc_runs); /* what was left of the runs is found again */
}
