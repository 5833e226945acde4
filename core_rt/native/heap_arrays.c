/* Arrays of the heap: what instructions on whole ranges of them do. */
#include "heap.h"

static inline bool fits(uint64_t start, uint64_t count, uint64_t length) { return count <= length && start <= length - count; }
static inline uint8_t *element(Heap *heap, uint32_t array, const VMHeapType *type, uint64_t index) {
  return at(heap, array) + HEAP_HEADER + index * type->size;
}

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
