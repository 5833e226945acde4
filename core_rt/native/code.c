/* Memory for machine code: one file in memory, mapped twice. No address is ever writable and executable. */
#include "shim.h"

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

void vm_code_arena_free(VMCodeArena *arena) {
  vm_ranges_remove(&vm_code_ranges, arena->range);
  munmap(arena->rw, arena->size);
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
