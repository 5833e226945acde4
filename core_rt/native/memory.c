/* Linear memories: address space that is reserved once and made accessible from its start on, and copy-on-write images of
 * initial contents.
 *
 *     base                accessible                               size
 *     | read and write     | PROT_NONE: a fault is an out-of-bounds access |
 *
 * Reservations that are given back are reset and kept for reuse: reserving and unmapping 8 GiB costs more than resetting, and
 * their ranges stay known to the signal handler. */
#include "shim.h"
#include <fcntl.h>
#include <stdio.h>

pthread_mutex_t vm_lock = PTHREAD_MUTEX_INITIALIZER;
VMStatistics vm_counts;

static VMReservation *pool;
static uint64_t pool_limit = 128;

uint64_t vm_round_to_page(uint64_t size) {
  static uint64_t page;
  if (!page) page = (uint64_t)sysconf(_SC_PAGESIZE);
  return (size + page - 1) & -page;
}

static void *reserve_at(void *at, uint64_t size, int fixed) {
  return mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
}

static void unmap(VMReservation *reservation) {
  vm_ranges_remove(&vm_memory_ranges, reservation->range);
  munmap(reservation->base, reservation->size);
  free(reservation);
}

/* Takes reservations out of the pool until `keep` are left, and unmaps them. */
static void drain(uint64_t keep) {
  VMReservation *dropped = NULL;
  pthread_mutex_lock(&vm_lock);
  while (vm_counts.reservations_pooled > keep) {
    VMReservation *r = pool;
    pool = r->next;
    r->next = dropped;
    dropped = r;
    vm_counts.reservations_pooled--;
  }
  pthread_mutex_unlock(&vm_lock);
  while (dropped) {
    VMReservation *r = dropped;
    dropped = r->next;
    unmap(r);
  }
}

void vm_reservation_pool_limit(uint64_t count) {
  pthread_mutex_lock(&vm_lock);
  pool_limit = count;
  pthread_mutex_unlock(&vm_lock);
  drain(count);
}

/* One of that size from the pool: almost always they all have the same. */
static VMReservation *reuse(uint64_t size) {
  pthread_mutex_lock(&vm_lock);
  VMReservation **link = &pool;
  while (*link && (*link)->size != size) link = &(*link)->next;
  VMReservation *found = *link;
  if (found) {
    *link = found->next;
    vm_counts.reservations_pooled--;
    vm_counts.reservations++;
  }
  pthread_mutex_unlock(&vm_lock);
  return found;
}

VMReservation *vm_reserve(uint64_t wanted) {
  uint64_t size = vm_round_to_page(wanted ? wanted : 1);
  if (size < wanted) {
    errno = ENOMEM;
    return NULL;
  }
  VMReservation *reservation = reuse(size);
  if (reservation) return reservation;
  void *base = reserve_at(NULL, size, 0);
  if (base == MAP_FAILED) {
    /* Perhaps the address space (or the limit on it) is full of reservations that nobody uses. */
    drain(0);
    base = reserve_at(NULL, size, 0);
    if (base == MAP_FAILED) return NULL;
  }
  reservation = calloc(1, sizeof *reservation);
  int64_t range = reservation ? vm_ranges_add(&vm_memory_ranges, base, size) : -1;
  if (range < 0) {
    munmap(base, size);
    free(reservation);
    errno = ENOMEM;
    return NULL;
  }
  reservation->base = base;
  reservation->size = size;
  reservation->range = (uint64_t)range;
  pthread_mutex_lock(&vm_lock);
  vm_counts.reservations++;
  pthread_mutex_unlock(&vm_lock);
  return reservation;
}

int vm_commit(VMReservation *reservation, uint64_t length) {
  uint64_t end = vm_round_to_page(length);
  if (length > reservation->size || end > reservation->size) {
    errno = EINVAL;
    return -1;
  }
  uint64_t accessible = reservation->accessible;
  if (end <= accessible) return 0;
  if (mprotect(reservation->base + accessible, end - accessible, PROT_READ | PROT_WRITE)) return -1;
  reservation->accessible = end;
  return 0;
}

int vm_decommit(VMReservation *reservation, uint64_t keep) {
  uint64_t start = vm_round_to_page(keep);
  if (keep > reservation->accessible || start >= reservation->accessible) return 0;
  void *at = reservation->base + start;
  /* A fresh mapping over it: contents, image and permissions are gone in one call. */
  if (reserve_at(at, reservation->accessible - start, MAP_FIXED) == MAP_FAILED) return -1;
  reservation->accessible = start;
  return 0;
}

void vm_release(VMReservation *reservation) {
  bool clean = vm_decommit(reservation, 0) == 0;
  pthread_mutex_lock(&vm_lock);
  vm_counts.reservations--;
  clean = clean && vm_counts.reservations_pooled < pool_limit;
  if (clean) {
    reservation->next = pool;
    pool = reservation;
    vm_counts.reservations_pooled++;
  }
  pthread_mutex_unlock(&vm_lock);
  if (!clean) unmap(reservation);
}

/* ------------------------------------------------------------------------------------------------ images */

static bool is_zero(const uint8_t *data, uint64_t length) { return !length || (!data[0] && !memcmp(data, data + 1, length - 1)); }

static int fill(int fd, const uint8_t *data, uint64_t length) {
  const uint64_t step = 4096;
  for (uint64_t at = 0; at < length;) {
    /* Zero pages stay holes. */
    uint64_t end = at;
    while (end < length && !is_zero(data + end, length - end < step ? length - end : step)) end = end + step;
    if (end > length) end = length;
    while (at < end) {
      ssize_t written = pwrite(fd, data + at, end - at, (off_t)at);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return -1;
      at += (uint64_t)written;
    }
    at += step - at % step;
  }
  return 0;
}

/* A file in memory with these contents, padded with zeros to whole pages. Gives its descriptor. */
int vm_image_new(const uint8_t *data, uint64_t length) {
  int fd = memfd_create("wasm-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  if (ftruncate(fd, (off_t)vm_round_to_page(length)) || fill(fd, data, length) ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  pthread_mutex_lock(&vm_lock);
  vm_counts.images++;
  pthread_mutex_unlock(&vm_lock);
  return fd;
}

/* Puts an image at the start of a memory that has not been used yet: `length` bytes, whole pages. */
int vm_image_map(VMReservation *reservation, int image, uint64_t length) {
  uint64_t end = vm_round_to_page(length);
  if (!length) return 0;
  if (length > reservation->size || end > reservation->size) {
    errno = EINVAL;
    return -1;
  }
  if (mmap(reservation->base, end, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image, 0) == MAP_FAILED)
    return -1;
  if (end > reservation->accessible) reservation->accessible = end;
  return 0;
}

void vm_image_free(int image) {
  close(image);
  pthread_mutex_lock(&vm_lock);
  vm_counts.images--;
  pthread_mutex_unlock(&vm_lock);
}

void vm_statistics(VMStatistics *out) {
  pthread_mutex_lock(&vm_lock);
  *out = vm_counts;
  pthread_mutex_unlock(&vm_lock);
}
