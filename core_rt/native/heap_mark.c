/* Marking, as an allocation pays for it or the host asks for it, and how long that took. */
#include "heap.h"
#include <time.h>

#define SLICE 1024u /* elements of an array that are looked at in one go */

static inline uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Bytes to allocate until the next marking starts: as much as is alive, but less where that would reach the limit, so that it ends
 * in time. Not where little room is left: a marking takes fresh blocks, and a whole one in time of need leaves them together. */
uint64_t vm_heap_threshold(const Heap *heap) {
  uint64_t wanted = heap->live > FIRST_THRESHOLD ? heap->live : FIRST_THRESHOLD;
  uint64_t room = heap->limit > heap->live ? (heap->limit - heap->live) / 2 : 0;
  return wanted > room && room > FIRST_THRESHOLD ? room : wanted;
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

void vm_heap_mark_run(Heap *heap, uint32_t from, uint32_t to, uint32_t size) {
  for (uint32_t cell = from; cell < to; cell += size) set_mark(heap, cell);
}

static void start(Store *store) {
  Heap *heap = &store->heap;
  uint32_t *runs = store->face.gc_runs;
  if (heap->base) {
    memset(heap->marks, 0, (uint64_t)heap->top * WORDS_PER_BLOCK * 8);
    for (int c = 0; c < (int)HEAP_CLASS_COUNT; c++) vm_heap_mark_run(heap, runs[2 * c], runs[2 * c + 1], class_sizes[c]);
  }
  if (heap->slot_count) memset(heap->slots, 0, heap->slot_count);
  store->face.gc_marking = 1;
  vm_heap_reach_roots(store);
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

/* All is marked: what has no mark is free. Looks at `count` more blocks, those below `ending`; the rest of a block in which something
 * was reached is swept by who allocates. Until all were looked at, allocation goes on as while marking, in fresh blocks, which are
 * in the lists already. */
static void settle(Heap *heap, uint64_t count) {
  for (; heap->ending > 1 && count; count--) {
    uint32_t i = --heap->ending;
    HeapBlock *block = &heap->table[i];
    if (heap->kinds[i] == BLOCK_LARGE) {
      if (is_marked(heap, (uint64_t)i * HEAP_BLOCK)) heap->reached += (uint64_t)block->span * HEAP_BLOCK;
      else vm_heap_free_blocks(heap, i, block->span);
    } else if (heap->kinds[i] == BLOCK_CELLS) {
      uint32_t marks = marks_in(heap, i);
      heap->reached += (uint64_t)marks * class_sizes[block->class];
      if (block->fresh) continue;
      if (!marks) {
        vm_heap_free_blocks(heap, i, 1);
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
  heap->threshold = vm_heap_threshold(heap);
  heap->spare = heap->base ? vm_heap_count_spare(heap) : 0;
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

void vm_heap_pay(Store *store, uint64_t bytes) {
  Heap *heap = &store->heap;
  heap->allocated += bytes;
  heap->allocated_ever += bytes;
  if (UNLIKELY(heap->stress)) {
    vm_heap_collect(&store->face);
    return;
  }
  if (!store->face.gc_marking) {
    if (heap->allocated < heap->threshold && !heap->spare) return;
    uint64_t since = now();
    if (heap->spare) vm_heap_trim_some(heap);
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

void vm_heap_complete(Store *store) {
  while (store->face.gc_marking) advance(store, UINT64_MAX);
}

void vm_heap_collect(VMStoreContext *context) {
  Store *store = (Store *)context;
  uint64_t since = now();
  vm_heap_complete(store);
  start(store);
  vm_heap_complete(store);
  while (store->heap.spare) vm_heap_trim_some(&store->heap);
  paused(&store->heap, since);
}

/* ------------------------------------------------------------------------------------------------ what the host asks for */

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

/* While marking goes on: before compiled code overwrites one. */
void vm_builtin_gc_keep(void *vmctx, uint32_t reference) { reach(heap_of(vmctx), reference); }

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
