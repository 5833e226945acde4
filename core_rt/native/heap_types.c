/* What a store's heap knows of types: their records, and which function types are subtypes. */
#include "heap.h"

/* Copies a VMHeapType with its arrays into the heap; 0 if there is no room. */
uint32_t vm_heap_describe(VMStoreContext *store, const uint32_t *words, uint64_t count) {
  Heap *heap = &((Store *)store)->heap;
  uint64_t size = (count * 4 + 15) & ~15ull;
  if (size > heap->types_end - heap->types_at) {
    uint32_t blocks = (uint32_t)((size + HEAP_BLOCK - 1) / HEAP_BLOCK), first = vm_heap_take_blocks(heap, blocks);
    if (!first) return 0;
    vm_heap_clear_blocks(heap, first, blocks);
    memset(heap->kinds + first, BLOCK_TYPES, blocks);
    heap->types_at = (uint64_t)first * HEAP_BLOCK;
    heap->types_end = heap->types_at + (uint64_t)blocks * HEAP_BLOCK;
  }
  uint32_t offset = (uint32_t)heap->types_at;
  memcpy(heap->base + offset, words, count * 4);
  heap->types_at += size;
  return offset;
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
