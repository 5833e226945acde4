/* Memory for machine code: one file in memory, mapped twice. No address is ever writable and executable. */
#include "shim.h"
#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <sys/auxv.h>
#endif

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif

static int code_file(void) {
  int fd = memfd_create("wasm-code", MFD_CLOEXEC | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("wasm-code", MFD_CLOEXEC); /* before Linux 6.3 */
  return fd;
}

VMCodeArena *vm_code_arena_new(uint64_t wanted) {
  uint64_t size = vm_round_to_page(wanted ? wanted : 1);
  VMCodeArena *arena = calloc(1, sizeof *arena);
  int fd = arena && size >= wanted ? code_file() : -1;
  if (fd < 0) {
    free(arena);
    return NULL;
  }
  void *rw = MAP_FAILED, *rx = MAP_FAILED;
  int64_t range = -1;
  if (ftruncate(fd, (off_t)size) == 0) rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (rw != MAP_FAILED) rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
  if (rx != MAP_FAILED) range = vm_ranges_add(&vm_code_ranges, rx, size);
  int error = errno;
  close(fd);
  if (range < 0) {
    if (rw != MAP_FAILED) munmap(rw, size);
    if (rx != MAP_FAILED) munmap(rx, size);
    free(arena);
    errno = error;
    return NULL;
  }
  *arena = (VMCodeArena){rw, rx, size, (uint64_t)range};
  pthread_mutex_lock(&vm_lock);
  vm_counts.code_arenas++;
  pthread_mutex_unlock(&vm_lock);
  return arena;
}

/* Code that a file holds, ready to run wherever it lies: mapped as it is, not writable. NULL where the file system forbids that. */
VMCodeArena *vm_code_arena_map(int fd, uint64_t offset, uint64_t size) {
  VMCodeArena *arena = calloc(1, sizeof *arena);
  void *rx = arena ? mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, (off_t)offset) : MAP_FAILED;
  int64_t range = rx != MAP_FAILED ? vm_ranges_add(&vm_code_ranges, rx, size) : -1;
  if (range < 0) {
    int error = errno;
    if (rx != MAP_FAILED) munmap(rx, size);
    free(arena);
    errno = error;
    return NULL;
  }
  *arena = (VMCodeArena){NULL, rx, size, (uint64_t)range};
  pthread_mutex_lock(&vm_lock);
  vm_counts.code_arenas++;
  pthread_mutex_unlock(&vm_lock);
  return arena;
}

void vm_code_arena_free(VMCodeArena *arena) {
  vm_ranges_remove(&vm_code_ranges, arena->range);
  if (arena->rw) munmap(arena->rw, arena->size);
  munmap(arena->rx, arena->size);
  free(arena);
  pthread_mutex_lock(&vm_lock);
  vm_counts.code_arenas--;
  pthread_mutex_unlock(&vm_lock);
}

/* After writing: makes [address, address + length) of the executable view fit to run. Nothing to do on x86-64. */
void vm_code_flush(void *address, uint64_t length) { __builtin___clear_cache((char *)address, (char *)address + length); }

/* Code that stands elsewhere (made by another loader): its faults are traps too. -1 when there is no memory. */
int64_t vm_code_register(void *address, uint64_t length) { return vm_ranges_add(&vm_code_ranges, address, length); }

void vm_code_unregister(int64_t range) { vm_ranges_remove(&vm_code_ranges, (uint64_t)range); }

/* Puts `base` + offset into the entries of a code table whose offset is not 0xffffffff. Gives how many these were. */
uint64_t vm_code_enter(uint64_t *table, const uint32_t *offsets, uint64_t count, uint64_t base) {
  uint64_t entered = 0;
  for (uint64_t i = 0; i < count; i++)
    if (offsets[i] != UINT32_MAX) {
      __atomic_store_n(&table[i], base + offsets[i], __ATOMIC_RELEASE);
      entered++;
    }
  return entered;
}

/* What code for this very processor depends on, as words that are the same on all its cores. Gives how many. */
uint64_t vm_processor(uint64_t *words, uint64_t capacity) {
  uint64_t found[16] = {0}, count = 0;
#if defined(__x86_64__)
  uint32_t a, b, c, d;
  if (__get_cpuid(0, &a, &b, &c, &d)) found[count++] = (uint64_t)b << 32 | c, found[count++] = d;
  /* b of leaf 1 and what changes with power states are left out. */
  if (__get_cpuid(1, &a, &b, &c, &d)) found[count++] = (uint64_t)c << 32 | d, found[count++] = a;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) found[count++] = (uint64_t)b << 32 | c, found[count++] = d;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found[count++] = (uint64_t)a << 32 | d;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) found[count++] = (uint64_t)c << 32 | d;
  if (__get_cpuid(1, &a, &b, &c, &d) && c & 1u << 27) { /* which registers the system saves */
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    found[count++] = (uint64_t)d << 32 | a;
  }
#else
  found[count++] = getauxval(AT_HWCAP);
  found[count++] = getauxval(AT_HWCAP2);
#endif
  for (uint64_t i = 0; i < count && i < capacity; i++) words[i] = found[i];
  return count < capacity ? count : capacity;
}
