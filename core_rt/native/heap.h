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
#pragma once
#include "shim.h"

enum { BLOCK_FREE, BLOCK_CELLS, BLOCK_LARGE, BLOCK_REST, BLOCK_TYPES };

#define GRANULE 8u
#define BITS_PER_BLOCK (HEAP_BLOCK / GRANULE)
#define STACK_PER_BLOCK (HEAP_BLOCK / class_sizes[0] * 8) /* every object once */
#define WORDS_PER_BLOCK (BITS_PER_BLOCK / 64)
#define LARGEST_CELL 16384u
#define FIRST_THRESHOLD ((uint64_t)8 << 20) /* bytes to allocate before the first marking */

static const uint32_t class_sizes[HEAP_CLASS_COUNT] = HEAP_CLASS_SIZES;

typedef struct Header {
  uint32_t type;
  uint32_t length;
} Header;

static inline Heap *heap_of(void *vmctx) { return &((Store *)((VMContextHeader *)vmctx)->store)->heap; }
static inline uint8_t *at(const Heap *heap, uint32_t reference) { return heap->base + reference; }
static inline const VMHeapType *type_of(const Heap *heap, uint32_t object) {
  return (const VMHeapType *)at(heap, ((Header *)at(heap, object))->type);
}

static inline bool is_marked(const Heap *heap, uint64_t offset) {
  uint64_t bit = offset / GRANULE;
  return heap->marks[bit / 64] >> (bit % 64) & 1;
}

static inline void set_mark(Heap *heap, uint64_t offset) {
  uint64_t bit = offset / GRANULE;
  heap->marks[bit / 64] |= (uint64_t)1 << (bit % 64);
}

/* Marks what a reference says, if that was not done. */
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

/* ------------------------------------------------------------------------------------------------ heap_blocks.c */
/* Takes `count` neighbouring blocks; 0 if there are none. */
HIDDEN uint32_t vm_heap_take_blocks(Heap *heap, uint32_t count);
HIDDEN void vm_heap_clear_blocks(Heap *heap, uint32_t first, uint32_t count);
HIDDEN void vm_heap_free_blocks(Heap *heap, uint32_t first, uint32_t count);
/* How many free blocks have memory that nobody will need soon. */
HIDDEN uint32_t vm_heap_count_spare(const Heap *heap);
/* Gives the memory of some of them back to the system, from the top of the heap downwards. */
HIDDEN void vm_heap_trim_some(Heap *heap);

/* ------------------------------------------------------------------------------------------------ heap_roots.c */
HIDDEN void vm_heap_reach_roots(Store *store);

/* ------------------------------------------------------------------------------------------------ heap_mark.c */
/* Bytes to allocate until the next marking starts. */
HIDDEN uint64_t vm_heap_threshold(const Heap *heap);
/* Marks the cells of a run, so that what will be allocated there survives the marking that goes on. */
HIDDEN void vm_heap_mark_run(Heap *heap, uint32_t from, uint32_t to, uint32_t size);
/* Some marking, as the price of `bytes` that are being allocated. */
HIDDEN void vm_heap_pay(Store *store, uint64_t bytes);
/* Ends the marking that goes on, if one does. */
HIDDEN void vm_heap_complete(Store *store);
