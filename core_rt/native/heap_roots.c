/* Where marking begins: what the host has told of, and the frames of compiled code. */
#include "heap.h"

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

static void reach_frames(Heap *heap, const VMGcFrame *frame) {
  for (; frame; frame = frame->previous) {
    const uint32_t *words = (const uint32_t *)(frame + 1);
    for (uint32_t i = 0; i < (uint32_t)frame->count; i++) reach(heap, words[i]);
  }
}

void vm_heap_reach_roots(Store *store) {
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
