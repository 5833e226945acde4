/* The store's heap of structs, arrays and exceptions, and its collector.
 *
 * Theory of operation. The heap is one reservation of address space; a reference is an object's offset in it (a multiple of 8, so
 * that its low bits are free for the other kinds of references). It is cut into blocks of 32 KiB. A block holds cells of one size
 * class, or belongs to one large object, or to the types (VMHeapType) that objects have in their headers. Objects never move.
 *
 * Who marks is who sweeps: one bit per 8 bytes says what the last marking reached, and free memory is simply cells without it.
 * An allocator of a size class looks for the next *run* of such cells, clears it, and hands it out from the front: that is what
 * compiled code does itself (`gc_runs` of the store context), two loads, an addition and a comparison per object. So sweeping is part
 * of allocating and there are no free lists; blocks in which nothing was reached go back to the pool at the end of a marking.
 *
 * Marking is incremental, from a snapshot: when it starts, all roots are read at once (tables, globals, frames of all fibers, what the
 * host holds). From then on
 *   - whatever could be reached at that moment is marked: who overwrites a reference in the heap shows the old one to `gc_keep` first;
 *   - what is allocated meanwhile is marked from birth: `take_run` sets the bits of a whole run, and only fresh blocks are used, as
 *     the bits of the others are not known yet.
 * So no root has to be read again. Each run that is taken pays for some marking; how much bounds the pauses.
 *
 * References to Python objects (low bits 10) are marked in a byte per slot, which Python sweeps (core_rt/vm/refs.py).
 *
 * Everything here runs on the thread that owns the store: on a fiber, called by compiled code whose references are in its VMGcFrames, or
 * on the host's stack while all fibers are left. */
#include "shim.h"
#include <time.h>

enum { BLOCK_FREE, BLOCK_CELLS, BLOCK_LARGE, BLOCK_REST, BLOCK_TYPES };

#define GRANULE 8u
#define BITS_PER_BLOCK (HEAP_BLOCK / GRANULE)
#define STACK_PER_BLOCK (HEAP_BLOCK / class_sizes[0] * 8) /* every object once */
#define WORDS_PER_BLOCK (BITS_PER_BLOCK / 64)
#define LARGEST_CELL 16384u
#define FIRST_THRESHOLD ((uint64_t)8 << 20) /* bytes to allocate before the first marking */
#define SLICE 1024u                         /* elements of an array that are looked at in one go */

static const uint32_t class_sizes[HEAP_CLASS_COUNT] = HEAP_CLASS_SIZES;

typedef struct Header {
  uint32_t type;
  uint32_t length;
} Header;

static inline uint8_t *at(const Heap *heap, uint32_t reference) { return heap->base + reference; }
static inline const VMHeapType *type_of(const Heap *heap, uint32_t object) {
  return (const VMHeapType *)at(heap, ((Header *)at(heap, object))->type);
}

static inline uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Bytes to allocate until the next marking starts: as much as is alive, but less where that would reach the limit, so that it ends
 * in time. Not where little room is left: a marking takes fresh blocks, and a whole one in time of need leaves them together. */
static uint64_t threshold(const Heap *heap) {
  uint64_t wanted = heap->live > FIRST_THRESHOLD ? heap->live : FIRST_THRESHOLD;
  uint64_t room = heap->limit > heap->live ? (heap->limit - heap->live) / 2 : 0;
  return wanted > room && room > FIRST_THRESHOLD ? room : wanted;
}

/* ------------------------------------------------------------------------------------------------ the reservation */

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
  heap->threshold = threshold(heap);
  kinds[0] = BLOCK_TYPES;
  heap->types_at = 64; /* 0 is null */
  heap->types_end = HEAP_BLOCK;
  heap->top = 1;
  store->gc_heap = base;
  store->gc_heap_size = blocks * HEAP_BLOCK;
  return 0;
}

/* Takes `count` neighbouring blocks; 0 if there are none. */
static uint32_t take_blocks(Heap *heap, uint32_t count) {
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

static void clear_blocks(Heap *heap, uint32_t first, uint32_t count) {
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

/* Copies a VMHeapType with its arrays into the heap; 0 if there is no room. */
uint32_t vm_heap_describe(VMStoreContext *store, const uint32_t *words, uint64_t count) {
  Heap *heap = &((Store *)store)->heap;
  uint64_t size = (count * 4 + 15) & ~15ull;
  if (size > heap->types_end - heap->types_at) {
    uint32_t blocks = (uint32_t)((size + HEAP_BLOCK - 1) / HEAP_BLOCK), first = take_blocks(heap, blocks);
    if (!first) return 0;
    clear_blocks(heap, first, blocks);
    memset(heap->kinds + first, BLOCK_TYPES, blocks);
    heap->types_at = (uint64_t)first * HEAP_BLOCK;
    heap->types_end = heap->types_at + (uint64_t)blocks * HEAP_BLOCK;
  }
  uint32_t offset = (uint32_t)heap->types_at;
  memcpy(heap->base + offset, words, count * 4);
  heap->types_at += size;
  return offset;
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

/* ------------------------------------------------------------------------------------------------ marking */

static inline bool is_marked(const Heap *heap, uint64_t offset) {
  uint64_t bit = offset / GRANULE;
  return heap->marks[bit / 64] >> (bit % 64) & 1;
}

static inline void set_mark(Heap *heap, uint64_t offset) {
  uint64_t bit = offset / GRANULE;
  heap->marks[bit / 64] |= (uint64_t)1 << (bit % 64);
}

static inline void reach(Heap *heap, uint32_t reference) {
  if (reference & 3) {
    if ((reference & 3) == 2 && reference >> 2 < heap->slot_count) heap->slots[reference >> 2] = 1;
    return;
  }
  if (!reference) return;
  uint64_t bit = reference / GRANULE, mask = (uint64_t)1 << (bit % 64), *word = &heap->marks[bit / 64];
  if (*word & mask) return;
  *word |= mask;
  __builtin_prefetch(at(heap, reference));
  heap->stack[heap->depth++] = reference;
}

/* Looks at what an object refers to; returns the work done, in bytes. An array's rest is pushed again. */
static uint64_t visit(Heap *heap, uint64_t entry) {
  uint32_t object = (uint32_t)entry;
  const VMHeapType *type = type_of(heap, object);
  if (!type->refs) return GRANULE;
  if (type->kind == HEAP_ARRAY) {
    uint32_t start = (uint32_t)(entry >> 32), length = ((Header *)at(heap, object))->length, end = length;
    if (length - start > SLICE) {
      end = start + SLICE;
      heap->stack[heap->depth++] = object | (uint64_t)end << 32;
    }
    const uint32_t *elements = (const uint32_t *)(at(heap, object) + HEAP_HEADER);
    for (uint32_t i = start; i < end; i++) reach(heap, elements[i]);
    return GRANULE + 4 * (uint64_t)(end - start);
  }
  const uint32_t *offsets = (const uint32_t *)((const uint8_t *)type + type->refs_at);
  for (uint32_t i = 0; i < type->refs; i++) reach(heap, *(uint32_t *)(at(heap, object) + offsets[i]));
  return type->size;
}

static void reach_frames(Heap *heap, const VMGcFrame *frame) {
  for (; frame; frame = frame->previous) {
    const uint32_t *words = (const uint32_t *)(frame + 1);
    for (uint32_t i = 0; i < (uint32_t)frame->count; i++) reach(heap, words[i]);
  }
}

static void reach_roots(Store *store) {
  Heap *heap = &store->heap;
  for (uint32_t i = 0; i < heap->root_count; i++) {
    const HeapRoot *root = &heap->roots[i];
    const uint64_t *words = root->place;
    uint64_t count = 1;
    if (root->kind != VM_ROOT_GLOBAL) { /* VMTableDefinition and VMRoots begin alike */
      words = ((const VMRoots *)root->place)->words;
      count = ((const VMRoots *)root->place)->count;
    }
    for (uint64_t k = 0; k < count; k++) reach(heap, (uint32_t)words[k]);
  }
  for (uint64_t i = 0; i < heap->handle_count; i++) reach(heap, heap->handles[i]);
  reach(heap, store->face.exception);
  reach_frames(heap, store->face.gc_frame);
  pthread_mutex_lock(&vm_lock);
  /* The frames of the fiber inside hang on the store context; what it has itself is from when it was left. */
  for (Fiber *fiber = store->fibers; fiber; fiber = fiber->sibling)
    if (fiber->state == FIBER_LEFT || fiber->state == FIBER_PARKED) reach_frames(heap, fiber->face.gc_frame);
  pthread_mutex_unlock(&vm_lock);
}

/* Marks the cells of a run, so that what will be allocated there survives the marking that goes on. */
static void mark_run(Heap *heap, uint32_t from, uint32_t to, uint32_t size) {
  for (uint32_t cell = from; cell < to; cell += size) set_mark(heap, cell);
}

static void start(Store *store) {
  Heap *heap = &store->heap;
  uint32_t *runs = store->face.gc_runs;
  if (heap->base) {
    memset(heap->marks, 0, (uint64_t)heap->top * WORDS_PER_BLOCK * 8);
    for (int c = 0; c < (int)HEAP_CLASS_COUNT; c++) mark_run(heap, runs[2 * c], runs[2 * c + 1], class_sizes[c]);
  }
  if (heap->slot_count) memset(heap->slots, 0, heap->slot_count);
  store->face.gc_marking = 1;
  reach_roots(store);
}

/* Returns the work done, in bytes; there is more of it if `depth` is not zero. */
static uint64_t mark_some(Heap *heap, uint64_t budget) {
  uint64_t done = 0;
  while (heap->depth && done < budget) done += visit(heap, heap->stack[--heap->depth]);
  return done;
}

static uint32_t marks_in(const Heap *heap, uint32_t block) {
  const uint64_t *words = heap->marks + (uint64_t)block * WORDS_PER_BLOCK;
  uint32_t count = 0;
  for (uint32_t i = 0; i < WORDS_PER_BLOCK; i++) count += (uint32_t)__builtin_popcountll(words[i]);
  return count;
}

static void free_blocks(Heap *heap, uint32_t first, uint32_t count) {
  memset(heap->kinds + first, BLOCK_FREE, count);
  heap->free_blocks += count;
}

static inline bool is_spare(const Heap *heap, uint32_t block) {
  return heap->kinds[block] == BLOCK_FREE && heap->table[block].dirty;
}

/* How many free blocks have memory that nobody will need soon. */
static uint32_t count_spare(const Heap *heap) {
  uint32_t dirty = 0, used = 0;
  for (uint32_t i = 1; i < heap->top; i++) {
    used += heap->kinds[i] != BLOCK_FREE;
    dirty += is_spare(heap, i);
  }
  return dirty > used + FIRST_THRESHOLD * 2 / HEAP_BLOCK ? dirty - used : 0;
}

/* Gives the memory of some of them back to the system, from the top of the heap downwards. */
static void trim_some(Heap *heap) {
  uint32_t end = heap->trim_at, looked = 0;
  while (end > 1 && looked < 4096 && !is_spare(heap, end - 1)) end--, looked++;
  uint32_t first = end;
  while (first > 1 && end - first < 32 && is_spare(heap, first - 1)) heap->table[--first].dirty = 0;
  if (first < end) madvise(at(heap, first * HEAP_BLOCK), (uint64_t)(end - first) * HEAP_BLOCK, MADV_DONTNEED);
  heap->spare = first > 1 && heap->spare > end - first ? heap->spare - (end - first) : 0;
  heap->trim_at = first;
}

/* All is marked: what has no mark is free. Looks at `count` more blocks, those below `ending`; the rest of a block in which something
 * was reached is swept by who allocates. Until all were looked at, allocation goes on as while marking, in fresh blocks, which are
 * in the lists already. */
static void settle(Heap *heap, uint64_t count) {
  for (; heap->ending > 1 && count; count--) {
    uint32_t i = --heap->ending;
    HeapBlock *block = &heap->table[i];
    if (heap->kinds[i] == BLOCK_LARGE) {
      if (is_marked(heap, (uint64_t)i * HEAP_BLOCK)) heap->reached += (uint64_t)block->span * HEAP_BLOCK;
      else free_blocks(heap, i, block->span);
    } else if (heap->kinds[i] == BLOCK_CELLS) {
      uint32_t marks = marks_in(heap, i);
      heap->reached += (uint64_t)marks * class_sizes[block->class];
      if (block->fresh) continue;
      if (!marks) {
        free_blocks(heap, i, 1);
        continue;
      }
      block->next = heap->first[block->class];
      heap->first[block->class] = i;
    }
  }
}

static void finish(Store *store) {
  Heap *heap = &store->heap;
  store->face.gc_marking = 0;
  store->face.gc_cycles++;
  memcpy(heap->sweep, heap->first, sizeof heap->sweep);
  memset(heap->scan, 0, sizeof heap->scan);
  heap->live = heap->reached;
  heap->allocated = heap->debt = 0;
  heap->hint = 1;
  heap->ending = 0;
  heap->threshold = threshold(heap);
  heap->spare = heap->base ? count_spare(heap) : 0;
  heap->trim_at = heap->top;
}

/* Some of the work between `start` and `finish`. */
static void advance(Store *store, uint64_t budget) {
  Heap *heap = &store->heap;
  uint64_t done = mark_some(heap, budget);
  if (heap->depth) return;
  if (!heap->ending) {
    heap->ending = heap->base ? heap->top : 1;
    heap->reached = 0;
    memset(heap->first, 0, sizeof heap->first);
    for (uint32_t i = 1; i < heap->ending; i++) heap->table[i].fresh = 0;
  }
  settle(heap, (budget - (done < budget ? done : budget)) / (8 * WORDS_PER_BLOCK) + 1);
  if (heap->ending <= 1) finish(store);
}

static void paused(Heap *heap, uint64_t since) {
  uint64_t length = now() - since;
  heap->pauses++;
  heap->pause_total += length;
  if (length > heap->pause_longest) heap->pause_longest = length;
  uint32_t log2 = 63u - (uint32_t)__builtin_clzll(length | 4);
  heap->pause_counts[log2 < 40 ? 4 * log2 + (length >> (log2 - 2) & 3) : 4 * 40 - 1]++;
}

/* The length that 99 % of the pauses do not exceed, rounded up by at most a quarter. */
static uint64_t pause_usual(const Heap *heap) {
  uint64_t above = heap->pauses / 100;
  for (uint32_t i = 4 * 40; i-- > 8;) {
    if (heap->pause_counts[i] <= above) above -= heap->pause_counts[i];
    else {
      uint64_t limit = (uint64_t)(i % 4 + 5) << (i / 4 - 2);
      return limit < heap->pause_longest ? limit : heap->pause_longest;
    }
  }
  return 0;
}

static void collect(Store *store);

/* Some marking, as the price of `bytes` that are being allocated. */
static void pay(Store *store, uint64_t bytes) {
  Heap *heap = &store->heap;
  heap->allocated += bytes;
  heap->allocated_ever += bytes;
  if (UNLIKELY(heap->stress)) {
    collect(store);
    return;
  }
  if (!store->face.gc_marking) {
    if (heap->allocated < heap->threshold && !heap->spare) return;
    uint64_t since = now();
    if (heap->spare) trim_some(heap);
    else start(store);
    paused(heap, since);
    return;
  }
  heap->debt += 3 * bytes;
  if (heap->debt < 16384) return;
  uint64_t since = now(), part = 32768 + heap->debt / 4; /* large objects pay in instalments */
  if (part > heap->debt) part = heap->debt;
  heap->debt -= part;
  advance(store, part);
  paused(heap, since);
}

static void complete(Store *store) {
  while (store->face.gc_marking) advance(store, UINT64_MAX);
}

static void collect(Store *store) {
  uint64_t since = now();
  if (store->face.gc_marking) complete(store);
  start(store);
  complete(store);
  while (store->heap.spare) trim_some(&store->heap);
  paused(&store->heap, since);
}

/* ------------------------------------------------------------------------------------------------ allocation */

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
  uint32_t block = take_blocks(heap, 1);
  if (!block) return false;
  clear_blocks(heap, block, 1);
  uint32_t size = class_sizes[class], from = block * HEAP_BLOCK, to = from + HEAP_BLOCK / size * size;
  heap->kinds[block] = BLOCK_CELLS;
  heap->table[block].class = (uint8_t)class;
  heap->table[block].fresh = 1;
  heap->table[block].next = heap->first[class];
  heap->first[class] = block;
  if (UNLIKELY(heap->stress)) to = from + size;
  if (store->face.gc_marking) mark_run(heap, from, to, size);
  run[0] = from;
  run[1] = to;
  return true;
}

static uint32_t take_large(Store *store, uint64_t size) {
  Heap *heap = &store->heap;
  uint32_t count = (uint32_t)((size + HEAP_BLOCK - 1) / HEAP_BLOCK), first = take_blocks(heap, count);
  if (!first) return 0;
  clear_blocks(heap, first, count);
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
    if (round) collect(store);
    else if (store->face.gc_marking) complete(store);
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
      pay(store, run[1] - run[0]); /* whatever that does, the run is marked or will be swept around */
    }
    uint32_t object = run[0];
    run[0] += class_sizes[class];
    return give(heap, object, type, length);
  }
  pay(store, size);
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

/* ------------------------------------------------------------------------------------------------ what the host asks for */

int vm_heap_add_root(VMStoreContext *context, int kind, void *place) {
  Heap *heap = &((Store *)context)->heap;
  if (heap->root_count == heap->root_capacity) {
    uint32_t capacity = heap->root_capacity ? 2 * heap->root_capacity : 16;
    HeapRoot *roots = realloc(heap->roots, capacity * sizeof *roots);
    if (!roots) return -1;
    heap->roots = roots;
    heap->root_capacity = capacity;
  }
  heap->roots[heap->root_count++] = (HeapRoot){kind, place};
  return 0;
}

void vm_heap_handles(VMStoreContext *context, uint32_t *words, uint64_t count) {
  Heap *heap = &((Store *)context)->heap;
  heap->handles = words;
  heap->handle_count = count;
}

void vm_heap_slots(VMStoreContext *context, uint8_t *marks, uint64_t count) {
  Heap *heap = &((Store *)context)->heap;
  heap->slots = marks;
  heap->slot_count = count;
}

void vm_heap_stress(VMStoreContext *context, int on) {
  Heap *heap = &((Store *)context)->heap;
  heap->stress = on;
  if (on) memset(context->gc_runs, 0, sizeof context->gc_runs); /* what was left of the runs is found again */
}

void vm_heap_collect(VMStoreContext *context) { collect((Store *)context); }

/* Some marking: starts one if `start_one` says so and none goes on. For hosts that make references themselves. */
void vm_heap_step(VMStoreContext *context, int start_one, uint64_t budget) {
  Store *store = (Store *)context;
  uint64_t since = now();
  if (!context->gc_marking) {
    if (!start_one && (!store->heap.base || store->heap.allocated < store->heap.threshold)) return;
    start(store);
  }
  advance(store, budget);
  paused(&store->heap, since);
}

/* Before the host overwrites a reference in the heap. */
void vm_heap_keep(VMStoreContext *context, uint32_t reference) {
  if (context->gc_marking) reach(&((Store *)context)->heap, reference);
}

void vm_heap_statistics(VMStoreContext *context, VMHeapStatistics *out) {
  const Heap *heap = &((Store *)context)->heap;
  memset(out, 0, sizeof *out);
  out->reserved = (uint64_t)heap->blocks * HEAP_BLOCK;
  out->used = heap->base ? (uint64_t)(heap->blocks - 1 - heap->free_blocks) * HEAP_BLOCK : 0;
  out->live = heap->live;
  out->collections = context->gc_cycles;
  out->pause_total = heap->pause_total;
  out->pause_longest = heap->pause_longest;
  out->pause_usual = pause_usual(heap);
  out->pauses = heap->pauses;
  out->allocated = heap->allocated_ever;
}

/* ------------------------------------------------------------------------------------------------ services for compiled code */

static inline Heap *heap_of(void *vmctx) { return &((Store *)((VMContextHeader *)vmctx)->store)->heap; }
static inline bool fits(uint64_t start, uint64_t count, uint64_t length) { return count <= length && start <= length - count; }
static inline uint8_t *element(Heap *heap, uint32_t array, const VMHeapType *type, uint64_t index) {
  return at(heap, array) + HEAP_HEADER + index * type->size;
}

void vm_builtin_gc_keep(void *vmctx, uint32_t reference) { reach(heap_of(vmctx), reference); }

/* A range of an array is about to be overwritten. */
static void keep_range(void *vmctx, uint32_t array, const VMHeapType *type, uint32_t from, uint32_t count) {
  if (!type->refs || !((VMStoreContext *)((VMContextHeader *)vmctx)->store)->gc_marking) return;
  Heap *heap = heap_of(vmctx);
  const uint32_t *elements = (const uint32_t *)element(heap, array, type, from);
  for (uint32_t i = 0; i < count; i++) reach(heap, elements[i]);
}

static inline uint32_t length_of(Heap *heap, uint32_t array) { return ((Header *)at(heap, array))->length; }

uint32_t vm_builtin_gc_array_new_data(void *vmctx, uint32_t type, uint32_t segment, uint32_t from, uint32_t n) {
  Heap *heap = heap_of(vmctx);
  const VMSegment *data = (const VMSegment *)((VMContextHeader *)vmctx)->data_segments + segment;
  uint64_t bytes = (uint64_t)n * ((const VMHeapType *)at(heap, type))->size;
  if (!fits(from, bytes, data->length)) TRAP_HERE(vm_fiber_of(vmctx), TRAP_MEMORY_OUT_OF_BOUNDS, NO_OFFSET);
  uint32_t array = vm_builtin_gc_allocate(vmctx, type, n);
  if (bytes) memcpy(at(heap, array) + HEAP_HEADER, (const uint8_t *)data->base + from, bytes);
  return array;
}

void vm_builtin_gc_array_init_data(void *vmctx, uint32_t array, uint32_t start, uint32_t segment, uint32_t from, uint32_t n) {
  Heap *heap = heap_of(vmctx);
  const VMHeapType *type = type_of(heap, array);
  const VMSegment *data = (const VMSegment *)((VMContextHeader *)vmctx)->data_segments + segment;
  uint64_t bytes = (uint64_t)n * type->size;
  if (!fits(start, n, length_of(heap, array))) TRAP_HERE(vm_fiber_of(vmctx), TRAP_ARRAY_OUT_OF_BOUNDS, NO_OFFSET);
  if (!fits(from, bytes, data->length)) TRAP_HERE(vm_fiber_of(vmctx), TRAP_MEMORY_OUT_OF_BOUNDS, NO_OFFSET);
  if (bytes) memcpy(element(heap, array, type, start), (const uint8_t *)data->base + from, bytes);
}

void vm_builtin_gc_array_copy(void *vmctx, uint32_t to, uint32_t to_start, uint32_t from, uint32_t from_start, uint32_t n) {
  Heap *heap = heap_of(vmctx);
  const VMHeapType *type = type_of(heap, to); /* a subtype's elements have the same size */
  if (!fits(to_start, n, length_of(heap, to)) || !fits(from_start, n, length_of(heap, from)))
    TRAP_HERE(vm_fiber_of(vmctx), TRAP_ARRAY_OUT_OF_BOUNDS, NO_OFFSET);
  if (!n) return;
  keep_range(vmctx, to, type, to_start, n);
  memmove(element(heap, to, type, to_start), element(heap, from, type, from_start), (uint64_t)n * type->size);
}

void vm_builtin_gc_array_fill(void *vmctx, uint32_t array, uint32_t start, uint64_t low, uint64_t high, uint32_t n) {
  Heap *heap = heap_of(vmctx);
  const VMHeapType *type = type_of(heap, array);
  if (!fits(start, n, length_of(heap, array))) TRAP_HERE(vm_fiber_of(vmctx), TRAP_ARRAY_OUT_OF_BOUNDS, NO_OFFSET);
  keep_range(vmctx, array, type, start, n);
  uint8_t *place = element(heap, array, type, start);
  switch (type->size) {
    case 1: memset(place, (int)(low & 0xff), n); break;
    case 2: for (uint32_t i = 0; i < n; i++) ((uint16_t *)place)[i] = (uint16_t)low; break;
    case 4: for (uint32_t i = 0; i < n; i++) ((uint32_t *)place)[i] = (uint32_t)low; break;
    case 8: for (uint32_t i = 0; i < n; i++) ((uint64_t *)place)[i] = low; break;
    default:
      for (uint32_t i = 0; i < n; i++) {
        ((uint64_t *)place)[2 * i] = low;
        ((uint64_t *)place)[2 * i + 1] = high;
      }
  }
}

/* Types of functions are known to the host only, which is asked once for each pair. Ids are never used again, so answers keep. */
uint32_t vm_builtin_gc_is_subtype(void *vmctx, uint32_t actual, uint32_t wanted) {
  if (actual == wanted) return 1;
  HeapAnswer *answer = &heap_of(vmctx)->answers[(actual * 31 + wanted) % VM_ANSWERS];
  if (answer->actual == actual && answer->wanted == wanted) return answer->yes;
  uint32_t yes = vm_builtin_gc_subtype_asked(vmctx, actual, wanted);
  *answer = (HeapAnswer){actual, wanted, yes};
  return yes;
}
