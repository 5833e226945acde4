/* Address ranges for the signal handler: machine code, and reservations of linear memories.
 *
 * The handler cannot take a lock, so a table is an array of chunks that are never freed, of entries that are empty when `end`
 * is 0. A writer (under vm_lock) changes an entry only while it is empty; a reader that finds its address between base and
 * end looks at end once more, so that it never believes a half-written entry. Reading is linear, but begins with the entry
 * that was found last; faults are rare and thousands of entries are scanned in microseconds. */
#include "shim.h"

#define CHUNK 512
#define CHUNKS 2048

typedef struct Range {
  uint64_t base;
  uint64_t end;
  uint64_t next_free; /* index + 1; meaningful while empty */
} Range;

struct Ranges {
  Range *chunks[CHUNKS];
  uint64_t used;  /* entries that were ever used */
  uint64_t free;  /* index + 1 of an empty one among them */
  uint64_t hint;
};

Ranges vm_code_ranges, vm_memory_ranges;

static inline Range *at(Ranges *ranges, uint64_t index) {
  return &__atomic_load_n(&ranges->chunks[index / CHUNK], __ATOMIC_ACQUIRE)[index % CHUNK];
}

int64_t vm_ranges_add(Ranges *ranges, const void *base, uint64_t size) {
  int64_t index = -1;
  pthread_mutex_lock(&vm_lock);
  if (ranges->free) {
    index = (int64_t)ranges->free - 1;
    ranges->free = at(ranges, (uint64_t)index)->next_free;
  } else if (ranges->used < (uint64_t)CHUNK * CHUNKS) {
    uint64_t chunk = ranges->used / CHUNK;
    if (!ranges->chunks[chunk]) {
      Range *fresh = calloc(CHUNK, sizeof *fresh);
      if (fresh) __atomic_store_n(&ranges->chunks[chunk], fresh, __ATOMIC_RELEASE);
    }
    if (ranges->chunks[chunk]) index = (int64_t)ranges->used;
  }
  if (index >= 0) {
    Range *range = at(ranges, (uint64_t)index);
    __atomic_store_n(&range->base, (uint64_t)base, __ATOMIC_RELEASE);
    __atomic_store_n(&range->end, (uint64_t)base + size, __ATOMIC_RELEASE);
    if ((uint64_t)index == ranges->used) __atomic_store_n(&ranges->used, ranges->used + 1, __ATOMIC_RELEASE);
  } else {
    errno = ENOMEM;
  }
  pthread_mutex_unlock(&vm_lock);
  return index;
}

void vm_ranges_remove(Ranges *ranges, uint64_t index) {
  pthread_mutex_lock(&vm_lock);
  Range *range = at(ranges, index);
  __atomic_store_n(&range->end, 0, __ATOMIC_RELEASE);
  range->next_free = ranges->free;
  ranges->free = index + 1;
  pthread_mutex_unlock(&vm_lock);
}

static inline bool holds(Range *range, uint64_t address, uint64_t *low, uint64_t *high) {
  uint64_t end = __atomic_load_n(&range->end, __ATOMIC_ACQUIRE);
  if (address >= end) return false;
  uint64_t base = __atomic_load_n(&range->base, __ATOMIC_ACQUIRE);
  if (address < base || __atomic_load_n(&range->end, __ATOMIC_ACQUIRE) != end) return false;
  *low = base;
  *high = end;
  return true;
}

bool vm_ranges_find(Ranges *ranges, uint64_t address, uint64_t *low, uint64_t *high) {
  uint64_t used = __atomic_load_n(&ranges->used, __ATOMIC_ACQUIRE);
  uint64_t hint = __atomic_load_n(&ranges->hint, __ATOMIC_RELAXED);
  if (hint < used && holds(at(ranges, hint), address, low, high)) return true;
  for (uint64_t index = 0; index < used; index++) {
    if (!holds(at(ranges, index), address, low, high)) continue;
    __atomic_store_n(&ranges->hint, index, __ATOMIC_RELAXED);
    return true;
  }
  return false;
}
