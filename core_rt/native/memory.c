/* Linear memories: address space that is reserved once and made accessible from its start on, and copy-on-write images of
 * initial contents.
 *
 *     base                        accessible                             size
 *     | image   | zeros, written to | PROT_NONE: a fault is an out-of-bounds access |
 *
 * Reservations that are given back are kept for reuse, with their permissions and their image: reserving and unmapping 8 GiB costs
 * more than all the rest, and who instantiates a module again asks for the same as before. Only the contents are dropped (one
 * system call): what was written reads as zeros, or as the image, again. Their ranges stay known to the signal handler. */
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

static void drop_image(VMImage *image) {
  if (!__atomic_sub_fetch(&image->users, 1, __ATOMIC_ACQ_REL)) free(image);
}

/* The reservation does not map its image any more. */
static void forget_image(VMReservation *reservation) {
  if (reservation->image) drop_image(reservation->image);
  reservation->image = NULL;
}

static void unmap(VMReservation *reservation) {
  vm_ranges_remove(&vm_memory_ranges, reservation->range);
  munmap(reservation->base, reservation->size);
  forget_image(reservation);
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

/* One of that size from the pool, best one that is as wanted already; `accessible` is in whole pages. */
static VMReservation *reuse(uint64_t size, uint64_t accessible, const VMImage *image) {
  VMReservation **best = NULL;
  pthread_mutex_lock(&vm_lock);
  for (VMReservation **link = &pool; *link; link = &(*link)->next) {
    if ((*link)->size != size) continue;
    bool same_image = (*link)->image == image;
    if (same_image && (*link)->accessible == accessible) {
      best = link;
      break;
    }
    if (!best || (same_image && (*best)->image != image)) best = link;
  }
  VMReservation *found = best ? *best : NULL;
  if (found) {
    *best = found->next;
    vm_counts.reservations_pooled--;
    vm_counts.reservations++;
  }
  pthread_mutex_unlock(&vm_lock);
  return found;
}

static VMReservation *make(uint64_t size) {
  void *base = reserve_at(NULL, size, 0);
  if (base == MAP_FAILED) {
    /* Perhaps the address space (or the limit on it) is full of reservations that nobody uses. */
    drain(0);
    base = reserve_at(NULL, size, 0);
    if (base == MAP_FAILED) return NULL;
  }
  VMReservation *reservation = calloc(1, sizeof *reservation);
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

/* Takes contents, image and permissions away in one call: a fresh mapping over them. */
static int wipe(VMReservation *reservation) {
  if (!reservation->accessible) return 0;
  if (reserve_at(reservation->base, reservation->accessible, MAP_FIXED) == MAP_FAILED) return -1;
  reservation->accessible = 0;
  forget_image(reservation);
  return 0;
}

/* Gives an unused reservation the permissions and the image that are wanted. */
static int arrange(VMReservation *reservation, uint64_t accessible, VMImage *image) {
  uint64_t end = image ? vm_round_to_page(image->size) : 0;
  if (reservation->image != image && wipe(reservation)) return -1;
  if (image && !reservation->image) {
    if (mmap(reservation->base, end, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image->fd, 0) == MAP_FAILED)
      return -1;
    reservation->image = image;
    __atomic_fetch_add(&image->users, 1, __ATOMIC_RELAXED);
    if (reservation->accessible < end) reservation->accessible = end;
  }
  if (reservation->accessible > accessible) {
    if (mprotect(reservation->base + accessible, reservation->accessible - accessible, PROT_NONE)) return -1;
    reservation->accessible = accessible;
  }
  return vm_commit(reservation, accessible);
}

/* A range of `size` bytes, of which the first `length` are accessible and begin with the image (if there is one); all rounded to
 * pages, all else zero. */
VMReservation *vm_reserve(uint64_t wanted, uint64_t length, VMImage *image) {
  uint64_t size = vm_round_to_page(wanted ? wanted : 1), accessible = vm_round_to_page(length);
  if (size < wanted || accessible < length) {
    errno = ENOMEM;
    return NULL;
  }
  if (accessible > size || (image && image->size > length)) {
    errno = EINVAL;
    return NULL;
  }
  if (image && !image->size) image = NULL;
  VMReservation *reservation = reuse(size, accessible, image);
  if (!reservation && !(reservation = make(size))) return NULL;
  reservation->users = 1;
  if (arrange(reservation, accessible, image)) {
    int error = errno;
    vm_release(reservation);
    errno = error;
    return NULL;
  }
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

/* One user more. */
void vm_hold(VMReservation *reservation) { __atomic_fetch_add(&reservation->users, 1, __ATOMIC_RELAXED); }

#define KEPT_ACCESSIBLE (64u << 20)

/* Drops the contents. A large memory also gives back its permissions: systems that count what is writable count that. */
static int clean(VMReservation *reservation) {
  if (reservation->accessible > KEPT_ACCESSIBLE) return wipe(reservation);
  return reservation->accessible ? madvise(reservation->base, reservation->accessible, MADV_DONTNEED) : 0;
}

/* One user less. */
void vm_release(VMReservation *reservation) {
  if (__atomic_sub_fetch(&reservation->users, 1, __ATOMIC_ACQ_REL)) return;
  bool keep = clean(reservation) == 0;
  pthread_mutex_lock(&vm_lock);
  vm_counts.reservations--;
  keep = keep && vm_counts.reservations_pooled < pool_limit && !(reservation->image && reservation->image->closed);
  if (keep) {
    reservation->next = pool;
    pool = reservation;
    vm_counts.reservations_pooled++;
  }
  pthread_mutex_unlock(&vm_lock);
  if (!keep) unmap(reservation);
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

static VMImage *image_in(int fd, uint64_t length) {
  VMImage *image = calloc(1, sizeof *image);
  if (!image) return NULL;
  *image = (VMImage){.fd = fd, .size = length, .users = 1};
  pthread_mutex_lock(&vm_lock);
  vm_counts.images++;
  pthread_mutex_unlock(&vm_lock);
  return image;
}

/* An image that a file begins with, which nobody changes, and has zeros behind up to a whole page. The descriptor stays the caller's. */
VMImage *vm_image_of_file(int file, uint64_t length) {
  int fd = fcntl(file, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return NULL;
  VMImage *image = image_in(fd, length);
  if (!image) close(fd);
  return image;
}

/* A file in memory with these contents, padded with zeros to whole pages. */
VMImage *vm_image_new(const uint8_t *data, uint64_t length) {
  int fd = memfd_create("wasm-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  VMImage *image = NULL;
  if (fd < 0 || ftruncate(fd, (off_t)vm_round_to_page(length)) || fill(fd, data, length) ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) ||
      !(image = image_in(fd, length))) {
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
  }
  return image;
}

/* Memories that were made from it keep their contents; reservations that wait to be used again with it are given up. */
void vm_image_free(VMImage *image) {
  VMReservation *mapped = NULL;
  pthread_mutex_lock(&vm_lock);
  vm_counts.images--;
  image->closed = 1;
  for (VMReservation **link = &pool; *link;) {
    VMReservation *r = *link;
    if (r->image != image) {
      link = &r->next;
      continue;
    }
    *link = r->next;
    r->next = mapped;
    mapped = r;
    vm_counts.reservations_pooled--;
  }
  pthread_mutex_unlock(&vm_lock);
  while (mapped) {
    VMReservation *r = mapped;
    mapped = r->next;
    unmap(r);
  }
  close(image->fd);
  drop_image(image);
}

void vm_statistics(VMStatistics *out) {
  pthread_mutex_lock(&vm_lock);
  *out = vm_counts;
  pthread_mutex_unlock(&vm_lock);
}
